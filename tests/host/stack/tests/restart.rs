// SPDX-License-Identifier: GPL-2.0

//! Servers that come and go under a client, or forget it.

use kapi::prelude::{KVec, ENOTCONN, GFP_KERNEL};
use ldlm::client::{ClientState, Want};
use ldlm::core::Mode;
use lustre_client::cred::Cred;
use lustre_client::fs::Make;
use lustre_client::mdc;
use lustre_client::mount::MountOptions;
use lustre_client::target::Enqueue;
use mdt::Mdt;
use ofd::Ofd;
use osd_memory::{Config, MemoryDevice};
use ptlrpc::call::CallOptions;
use stack::{Mounted, ServerNode, TestClient, RW};
use std::time::{Duration, Instant};
use wire::fid::Fid;
use wire::obdo::ObdMd;

fn ost_store() -> kapi::sync::Arc<MemoryDevice> {
    MemoryDevice::with(Config {
        ost: true,
        ..Config::default()
    })
}

fn start_ost(
    oss: &ServerNode,
    store: &kapi::sync::Arc<MemoryDevice>,
    fsname: &str,
    mdt: &kapi::sync::Arc<Mdt>,
) -> kapi::sync::Arc<Ofd> {
    oss.ost(store.clone(), 0, fsname, mdt)
}

/// Tries until it works; what fails meanwhile fails in time.
fn soon<T>(mut f: impl FnMut() -> lustre_client::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match f() {
            Ok(t) => return t,
            Err(e) if start.elapsed() > Duration::from_secs(30) => panic!("still {e:?}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn mkdir(c: &Mounted, dir: Fid, name: &str) -> lustre_client::Result<Fid> {
    let m = Make {
        mode: 0o040755,
        rdev: 0,
        umask: 0,
        target: &[],
    };
    let k = c.fs.make(dir, name.as_bytes(), &m, &Cred::root())?;
    Ok(k.attr.fid)
}

#[test]
fn an_ost_restarts() {
    let r = Cred::root();
    let (mds, oss) = (ServerNode::start(), ServerNode::start());
    let mdt = mds.mdt(osd_memory::device());
    let store = ost_store();
    let ost = start_ost(&oss, &store, &mds.fsname, &mdt);
    let mut nids = KVec::new();
    nids.push(oss.nid, GFP_KERNEL).unwrap();
    mdt.add_ost(0, nids).unwrap();
    let c = Mounted::new(&mds, &[(0, oss.nid)], MountOptions::default());
    let (f, k) = soon(|| c.fs.create(c.fs.root(), b"f", (0o644, 0o022), RW, &r));
    let fid = k.attr.fid;
    c.fs.write(&f, 0, b"on disk").unwrap();
    c.fs.fsync(fid, false, &r).unwrap();
    let nid = oss.nid;
    ost.stop(&oss.server);
    drop(ost);
    oss.stop();
    // Nobody is there: it waits, and goes on when somebody is.
    let writer = std::thread::scope(|s| {
        let t = s.spawn(|| {
            let w = c.fs.write(&f, 7, b", later");
            w.and_then(|_| c.fs.fsync(fid, false, &r))
        });
        std::thread::sleep(Duration::from_millis(300));
        let oss = ServerNode::start_at(nid);
        let ost = start_ost(&oss, &store, &mds.fsname, &mdt);
        let done = t.join().unwrap();
        (oss, ost, done)
    });
    let (oss, ost, done) = writer;
    let text = soon(|| c.fs.read(&f, 0, 100));
    match done {
        Ok(()) => assert_eq!(text, b"on disk, later"),
        // What it had cached is lost, and it was told.
        Err(_) => assert_eq!(text, b"on disk"),
    }
    soon(|| {
        c.fs.write(&f, 0, b"ON")?;
        c.fs.fsync(fid, false, &r)
    });
    assert_eq!(c.fs.read(&f, 0, 7).unwrap(), b"ON disk");
    c.fs.close(&f);
    c.stop();
    mdt.stop();
    mds.stop();
    ost.stop(&oss.server);
    oss.stop();
}

#[test]
fn an_mdt_restarts() {
    let mds = ServerNode::start();
    let store = osd_memory::device();
    let mdt = mds.mdt(store.clone());
    let c = Mounted::new(&mds, &[], MountOptions::default());
    let root = c.fs.root();
    let d = mkdir(&c, root, "d").unwrap();
    c.fs.sync_all().unwrap();
    let look = |name: &str| {
        let k = c.fs.lookup(root, name.as_bytes(), &Cred::root())?;
        Ok(k.map(|k| k.attr.fid))
    };
    assert_eq!(look("d"), Ok(Some(d)));
    assert_eq!(look("e"), Ok(None));
    let nid = mds.nid;
    mdt.stop();
    drop(mdt);
    let fsname = mds.fsname.clone();
    mds.stop();
    let mut mds = ServerNode::start_at(nid);
    mds.fsname = fsname;
    let mdt = mds.mdt(store);
    // What was known is asked again.
    assert_eq!(soon(|| look("d")), Some(d));
    let e = soon(|| mkdir(&c, root, "e"));
    assert_eq!(look("e"), Ok(Some(e)));
    c.stop();
    mdt.stop();
    mds.stop();
}

/// The MDT forgets the client between its answer to a request for a lock and the client's look at
/// the answer. A lock alone is asked for again; what came with an operation is told.
#[test]
fn an_eviction_overtakes_the_answer_with_a_lock() {
    const UPDATE: u64 = 2;
    let mds = ServerNode::start();
    let mdt = mds.mdt(osd_memory::device());
    let c = TestClient::connect(&mds);
    let (t, root) = (c.mdc.target(), Cred::root());
    let dir = c.mdc.root(None).unwrap();
    let server_has = || mdt.target().namespace().granted();
    let ask = |intent| Enqueue {
        want: Want {
            res: mdc::resource(dir),
            mode: Mode::Pr,
            policy: mdc::bits(UPDATE),
            flags: 0,
        },
        cancels: &[],
        intent,
        lvb: None,
        options: CallOptions::new(&[112, 0]).unwrap(),
        cred: &root,
    };
    for (intent, granted) in [(&[][..], true), (&[&b"anything"[..]][..], false)] {
        let begun = t.begin(&ask(&[])).unwrap();
        soon(|| (server_has() == 1).then_some(()).ok_or(ENOTCONN));
        let target = mdt.target();
        target.for_each_export(&mut |e| target.evict(e, "a test"));
        assert_eq!(server_has(), 0);
        // Whose locks are gone is told with the next request.
        soon(|| c.mdc.getattr(dir, ObdMd::FLMODE, 0, &root).map(drop));
        let got = t.finish(&ask(intent), begun, None);
        if granted {
            let lock = got.unwrap().lock.unwrap();
            assert_eq!(lock.view().map(|v| v.state), Some(ClientState::Granted));
            assert_eq!((server_has(), t.locks().counts().0), (1, 1));
            t.locks().cancel(lock.handle());
            drop(lock);
            soon(|| (server_has() == 0).then_some(()).ok_or(ENOTCONN));
        } else {
            assert_eq!(got.err(), Some(ENOTCONN));
            assert_eq!((server_has(), t.locks().counts().0), (0, 0));
        }
    }
    c.stop();
    mdt.stop();
    mds.stop();
}
