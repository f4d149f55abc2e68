// SPDX-License-Identifier: GPL-2.0

//! What happens while an OST takes its time. Failures on demand are the process's: one test alone.

mod common;

use common::client::{read, Client};
use common::*;
use lnet::fail::{self, point};

/// Reads that go out while a cut is under way bring what is no longer there: nobody sees it afterwards.
#[test]
fn reads_during_a_cut() {
    let oss = Oss::new(75);
    let m = oss.mdt(2);
    let (fid, _) = m.precreate(1);
    let c = Client::new(&oss, 3);
    let o = c.object(fid);
    let data = pattern(3 << 20, 5);
    o.write(0, &data).unwrap();
    o.sync().unwrap();
    fail::set_val(1);
    fail::set_loc(point::OST_PAUSE_PUNCH | fail::ONCE);
    std::thread::scope(|s| {
        let cut = s.spawn(|| o.punch(100_000).unwrap());
        while fail::loc() & fail::FAILED == 0 {
            std::thread::yield_now();
        }
        o.read_ahead(0, 3 << 20);
        assert!(read(&o, 2 << 20, 4096) == data[2 << 20..][..4096]);
        assert!(!cut.is_finished());
        cut.join().unwrap();
    });
    o.punch(3 << 20).unwrap();
    let mut want = data;
    want[100_000..].fill(0);
    assert!(read(&o, 0, 3 << 20) == want);
}
