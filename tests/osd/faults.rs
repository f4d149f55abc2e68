// SPDX-License-Identifier: GPL-2.0

//! Faults on purpose: debug kernels have to complain of each, or their other runs show nothing.

use kapi::prelude::*;
use osd_contract::ok;

/// Sleeps with a spin lock held, forgets memory, and takes two locks in both orders.
pub(crate) fn commit() -> Result {
    let spin = ok!(KBox::pin_init(new_spinlock!(0), GFP_KERNEL));
    let one = ok!(KBox::pin_init(new_mutex!(1), GFP_KERNEL));
    let other = ok!(KBox::pin_init(new_mutex!(2), GFP_KERNEL));
    {
        let guard = spin.lock();
        // An allocation may sleep, whether or not this one does.
        drop(ok!(KBox::new(*guard, GFP_KERNEL)));
    }
    // More than one: a register may happen to have the address of the last.
    for i in 0..10_u64 {
        core::mem::forget(ok!(KBox::new([i; 100], GFP_KERNEL)));
    }
    {
        let a = one.lock();
        let b = other.lock();
        pr_info!("{} before {}\n", *a, *b);
    }
    // The last: lockdep looks no further after a complaint.
    let b = other.lock();
    let a = one.lock();
    pr_info!("{} before {}\n", *b, *a);
    Ok(())
}
