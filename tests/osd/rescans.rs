// SPDX-License-Identifier: GPL-2.0

//! Power cuts while a lost object index is made anew, and while the store serves meanwhile.

use crate::cuts::{self, Campaign, Tape};
use crate::existing::scanned;
use crate::threads::file_name;
use crate::Store;
use kapi::prelude::*;
use osd::{Create, Device, Fid, ObjectRef};
use osd_contract::{check, ok, ops, Stage};
use osd_disk::PATH;
use wire::fid::oid;

const SEQ: u64 = 0x2_0000_0700;
/// Objects whose index is lost; the file system has room for some more.
const OLD: u32 = 1000;

fn make(d: &dyn Device, dir: &ObjectRef, i: u32) -> Result {
    let fid = Fid::new(SEQ, 10 + i);
    ops::make(d, dir, &file_name(i), fid, &Create::file(0o600)).map(drop)
}

/// The objects up to `n` are there, by name and by FID.
fn all_there(s: &Store, n: u32) -> Result {
    let d = s.device()?;
    scanned(&*d)?;
    // Nothing but what the index says.
    if let Some(m) = &s.mounted {
        m.forget();
    }
    let dir = ok!(d.object(&Fid::new(SEQ, 1)));
    for i in 0..n {
        let fid = Fid::new(SEQ, 10 + i);
        check!(ok!(d.object(&fid)).exists());
        check!(ok!(dir.lookup(&file_name(i))) == fid);
    }
    Ok(())
}

fn record(tape: &Arc<Tape>, c: &Campaign, seed: u64) -> Result {
    let disk = &tape.0;
    disk.forget();
    ok!(cuts::format(disk, seed));
    {
        let s = Store::on(PATH, false)?;
        let d = s.device()?;
        let base = ok!(ops::root(&*d));
        // By which a mount knows that there was an index.
        let used = Fid::local(oid::LAST_RCVD);
        let file = Create::file(0o600);
        ok!(ops::make(&*d, &base, b"last_rcvd", used, &file));
        let dir = Fid::new(SEQ, 1);
        let dir = ok!(ops::make(&*d, &base, b"dir", dir, &Create::dir(0o755)));
        for i in 0..OLD {
            make(&*d, &dir, i)?;
        }
    }
    ok!(disk.closed());
    let lost = match seed % 2 {
        0 => c"/sbin/debugfs -w -f /src/tests/osd/lose-index.debugfs /dev/osdtest",
        _ => c"/sbin/debugfs -w -f /src/tests/osd/lose-state.debugfs /dev/osdtest",
    };
    check!(ok!(osd_disk::run(lost)) == 0);
    ok!(disk.closed());
    // It leaves the quota files as they were.
    check!(ok!(osd_disk::run(c"/sbin/e2fsck -fy /dev/osdtest")) <= 1);
    ok!(disk.closed());
    disk.settle();
    disk.record(true);
    // When how many more were made, and safe.
    let mut safe: KVVec<(u32, u32)> = KVVec::new();
    {
        let s = cuts::restless(tape, || Store::on(PATH, false))??;
        let d = s.device()?;
        let dir = ok!(d.object(&ok!(ok!(ops::root(&*d)).lookup(b"dir"))));
        let mut n = OLD;
        while ok!(d.scrub().ok_or(ENODEV)).running.is_some() || n == OLD {
            make(&*d, &dir, n)?;
            n += 1;
            ok!(d.sync());
            safe.push((disk.entries(), n), GFP_KERNEL)?;
        }
        all_there(&s, n)?;
    }
    ok!(disk.closed());
    disk.record(false);
    disk.forget();
    let (n, least, most) = cuts::each(disk, c, seed, &|at| {
        let made = safe.iter().filter(|s| s.0 <= at).map(|s| s.1);
        let made = made.max().unwrap_or(OLD);
        all_there(&Store::on(PATH, false)?, made)?;
        Ok(made as usize)
    })?;
    let writes = disk.entries();
    pr_info!("seed {seed}: {n} cuts of a scan of {writes} writes, {least} to {most} objects\n");
    Ok(())
}

/// Runs it.
pub(crate) fn check(c: &Campaign) -> Result {
    cuts::seeds(c, &record)
}
