// SPDX-License-Identifier: GPL-2.0

//! What clients hold locks on, and what becomes of it when others change it.

mod common;

use common::World;
use kapi::prelude::*;
use ldlm::client::{CacheOps, ClientView};
use ldlm::core::{flags, ibits, Mode, Policy};
use ldlm::msg::{self, ReplyMsg};
use lustre_client::attr::{S_IFDIR, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::mdc::{Looked, NewNode, SetAttr};
use lustre_client::rpc;
use lustre_client::target::TargetEvents;
use ptlrpc::call::CallOptions;
use ptlrpc::import::Import;
use ptlrpc::message::Msg;
use stack::TestClient;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc as StdArc, Condvar, Mutex as StdMutex, OnceLock};
use wire::fid::Fid;
use wire::ldlm::{IntentOp, LdlmIntent};
use wire::mdt::{Disposition, MdtBody, OpenFlags};
use wire::msg::{MsgFlags, DLM_VERSION, OBD_VERSION};
use wire::obdo::ObdMd;
use wire::opcode::{LDLM_ENQUEUE, OBD_PING};
use zerocopy::IntoBytes;

/// Takes a lock on a name's object, as a lookup does, and keeps it unused.
fn hold(c: &TestClient, parent: Fid, name: &[u8]) -> (Fid, u64) {
    let found = match c
        .mdc
        .look_up((parent, None), name, Fid::ZERO, &Cred::root())
    {
        Ok(Looked::Found(f)) => f,
        _ => panic!("{name:?} is not there"),
    };
    let v = found.lock.as_ref().unwrap().view().unwrap();
    assert_eq!(v.res.0, found.attr.fid.to_res_name());
    assert_eq!(v.mode, Mode::Pr);
    let Policy::Ibits(b) = v.policy else { panic!() };
    (found.attr.fid, b.bits)
}

/// Every change takes away what it changes before it is answered, and nothing else.
#[test]
fn changes_call_back() {
    let w = World::new();
    let b = TestClient::connect(&w.node);
    let (m, root) = (&w.c.mdc, Fid::ROOT);
    let d = w.mkdir(root, "d").unwrap();
    let f = w.create(d.fid, "f");
    w.create(d.fid, "g");
    let cred = Cred::root();
    let mut seen = b.given_up();
    let mut lost = |n: u32, what: &str| {
        let now = b.given_up();
        assert_eq!(now - seen, n, "{what}");
        seen = now;
    };
    let all = ibits::LOOKUP | ibits::UPDATE | ibits::PERM;
    assert_eq!(hold(&b, root, b"d"), (d.fid, all));
    assert_eq!(hold(&b, d.fid, b"f"), (f.fid, all | ibits::LAYOUT));
    lost(0, "nothing happened");
    let node = NewNode {
        parent: d.fid,
        name: b"e",
        mode: S_IFDIR | 0o755,
        rdev: 0,
        umask: 0,
        target: b"",
        group: None,
    };
    m.create(&node, &cred).unwrap();
    lost(1, "the directory");
    hold(&b, root, b"d");
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    m.setattr(f.fid, &mode, &[], None, &cred).unwrap();
    lost(1, "the file");
    hold(&b, d.fid, b"f");
    m.set_xattr(f.fid, b"user.a", Some(b"1"), 0, &cred).unwrap();
    lost(1, "the file: its change time");
    hold(&b, d.fid, b"f");
    m.link(f.fid, root, b"f2", (None, None), &cred).unwrap();
    lost(1, "the file: its links");
    hold(&b, d.fid, b"f");
    let old = (d.fid, &b"f"[..], None);
    let new = (d.fid, &b"g"[..], None);
    m.rename(old, new, (None, None), &cred).unwrap();
    lost(2, "the directory, and the name of the file");
    hold(&b, root, b"d");
    hold(&b, d.fid, b"g");
    m.unlink(d.fid, b"g", Fid::ZERO, false, None, &cred)
        .unwrap();
    lost(2, "the directory, and the file");
    // Looking takes nothing away.
    hold(&b, root, b"d");
    hold(&w.c, root, b"d");
    hold(&b, root, b"f2");
    hold(&w.c, root, b"f2");
    lost(0, "looking");
    b.stop();
    w.stop();
}

/// An open that is to be kept gets a lock for that.
#[test]
fn open_locks() {
    let w = World::new();
    let f = w.create(Fid::ROOT, "f");
    let wish = lustre_client::mdc::OpenWish {
        parent: Fid::ROOT,
        name: b"f",
        fid: f.fid,
        flags: OpenFlags::FMODE_READ | OpenFlags::LOCK,
        mode: S_IFREG,
        umask: 0,
        layout: &[],
        group: None,
    };
    let o = w.c.mdc.open(&wish, &w.cred).unwrap();
    let v = o.found.lock.as_ref().unwrap().view().unwrap();
    let Policy::Ibits(b) = v.policy else { panic!() };
    let bits = ibits::LOOKUP | ibits::OPEN;
    assert_eq!((v.mode, b.bits & bits), (Mode::Cr, bits));
    drop(o);
    w.stop();
}

struct Answer {
    status: i32,
    lock: ReplyMsg,
    body: MdtBody,
}

fn ask(c: &TestClient, op: IntentOp, handle: u64, resent: bool) -> Answer {
    let mut d = vec![0; 104];
    let desc = ldlm::core::Desc {
        res: lustre_client::mdc::resource(Fid::ROOT),
        req_mode: Mode::Cr,
        granted: None,
        policy: lustre_client::mdc::bits(ibits::UPDATE),
        cancel_bits: 0,
    };
    msg::request(&mut d, flags::HAS_INTENT, Some(&desc), Some(handle), &[]).unwrap();
    let mut b = MdtBody {
        mbo_fid1: Fid::ROOT.into(),
        ..MdtBody::default()
    };
    let valid = match op {
        IntentOp::GETXATTR => ObdMd::FLID | ObdMd::FLXATTRALL,
        _ => ObdMd::FLGETATTR | ObdMd::FLEASIZE,
    };
    b.set_valid(valid);
    b.mbo_eadatasize.set(4096);
    let i = LdlmIntent {
        opc: op.bits().into(),
    };
    let mut m = rpc::request(
        LDLM_ENQUEUE,
        DLM_VERSION,
        &[&d, i.as_bytes(), b.as_bytes(), &[], b"f\0"],
    )
    .unwrap();
    if resent {
        let f = m.body().flags() | MsgFlags::RESENT;
        m.body_mut().unwrap().set_flags(f);
    }
    let o = CallOptions::new(&[1 << 16]).unwrap();
    let r = c.mdc.target().import().call(m, o, None).unwrap();
    Answer {
        status: r.status,
        lock: ReplyMsg::parse(r.msg.buf(1).unwrap()).unwrap(),
        body: *r.msg.get::<MdtBody>(2).unwrap(),
    }
}

/// An enqueue that comes again is answered with the lock that is there, and all that goes with it.
#[test]
fn resent() {
    let w = World::new();
    let f = w.create(Fid::ROOT, "f");
    w.c.mdc
        .set_xattr(Fid::ROOT, b"user.x", Some(b"y"), 0, &w.cred)
        .unwrap();
    for (op, handle) in [(IntentOp::GETATTR, 0x100), (IntentOp::GETXATTR, 0x101)] {
        let first = ask(&w.c, op, handle, false);
        let again = ask(&w.c, op, handle, true);
        assert_eq!((first.status, again.status), (0, 0));
        assert!(first.lock.cookie != 0);
        assert_eq!(first.lock.cookie, again.lock.cookie);
        assert_eq!(first.lock.res1, again.lock.res1);
        assert_eq!(first.lock.desc, again.lock.desc);
        assert_eq!(first.body, again.body);
        if op == IntentOp::GETATTR {
            assert_eq!(again.body.mbo_fid1.get(), f.fid);
            let d = Disposition::from_bits_retain(again.lock.res1);
            assert!(d.contains(Disposition::LOOKUP_POS | Disposition::IT_EXECD));
        } else {
            assert!(again.body.mbo_max_mdsize.get() > 0);
        }
    }
    // One that never got there is an ordinary one.
    let new = ask(&w.c, IntentOp::GETATTR, 0x102, true);
    assert!(new.status == 0 && new.lock.cookie != 0);
    w.stop();
}

/// Loses the connection when a lock is to be given up, so that the cancel is, too.
#[derive(Default)]
struct Unlucky {
    import: OnceLock<Arc<Import>>,
    given_up: AtomicU32,
    lost: StdMutex<bool>,
    news: Condvar,
}

impl TargetEvents for Unlucky {
    /// The connection is not made anew before the cancel has had its chance.
    fn disconnected(&self) {
        *self.lost.lock().unwrap() = true;
        self.news.notify_all();
        std::thread::sleep(Duration::from_secs(1));
    }
}

impl Unlucky {
    /// A request that nobody answers: the connection counts as lost.
    fn lose(&self) {
        let import = self.import.get().unwrap();
        let m = Msg::request(OBD_PING, OBD_VERSION, &[]).unwrap();
        let mut o = CallOptions::new(&[]).unwrap();
        o.portal = Some(60);
        o.timeout = Some(1);
        o.no_resend = true;
        assert_eq!(import.call(m, o, None).err(), Some(ETIMEDOUT));
        let lost = self.lost.lock().unwrap();
        drop(self.news.wait_while(lost, |l| !*l).unwrap());
    }
}

struct UnluckyOps(StdArc<Unlucky>);

impl CacheOps for UnluckyOps {
    fn give_up(&self, _: &ClientView, _: bool) {
        if self.0.given_up.fetch_add(1, Ordering::Relaxed) == 0 {
            self.0.lose();
        }
    }
    fn glimpse(&self, _: &ClientView, _: &mut [u8; 64]) -> Option<usize> {
        None
    }
    fn granted(&self, _: &ClientView, _: &[u8]) {}
    fn droppable(&self, _: &ClientView) -> bool {
        true
    }
}

/// A server that waits for a cancel gets it when the connection is back.
#[test]
fn cancels_outlive_the_connection() {
    let w = World::new();
    w.create(Fid::ROOT, "f");
    let unlucky = StdArc::new(Unlucky::default());
    let ops = Arc::new(UnluckyOps(unlucky.clone()), GFP_KERNEL).unwrap();
    let b = TestClient::with_events(&w.node, false, ops, unlucky.clone());
    let import = b.mdc.target().import().clone();
    assert!(unlucky.import.set(import).is_ok());
    let (fid, _) = hold(&b, Fid::ROOT, b"f");
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let start = Instant::now();
    w.c.mdc.setattr(fid, &mode, &[], None, &w.cred).unwrap();
    let took = start.elapsed();
    // Much sooner than the server would evict it.
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(unlucky.given_up.load(Ordering::Relaxed), 1);
    hold(&b, Fid::ROOT, b"f");
    b.stop();
    w.stop();
}
