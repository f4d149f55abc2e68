// SPDX-License-Identifier: GPL-2.0

//! Faults on purpose: debug kernels have to complain of each, or their other runs show nothing.

use crate::Store;
use kapi::prelude::*;
use osd::SetAttr;
use osd_contract::{check, ok, ops, Stage};

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

/// Goes down until the stack is full: the kernel has to stop there.
pub(crate) fn sink() -> Result {
    fn deeper(level: u32) -> u64 {
        let frame = core::hint::black_box([u64::from(level); 64]);
        match level {
            u32::MAX => 0,
            _ => deeper(level + 1).wrapping_add(frame[1]),
        }
    }
    pr_info!("{}\n", deeper(0));
    Ok(())
}

/// Does in a transaction what was not planned for.
pub(crate) fn unplanned() -> Result {
    let s = Store::open(false)?;
    let d = s.device()?;
    let root = ok!(ops::root(&*d));
    let mut run = ok!(ok!(d.plan()).start());
    check!(run.set_attr(&root, &SetAttr::default()) == Err(EINVAL));
    check!(run.set_xattr(&root, c"trusted.x", b"y") == Err(EINVAL));
    run.stop()
}
