// SPDX-License-Identifier: GPL-2.0

//! Server nodes and a client with an MGS: they register, follow logs, and live through its absence.

mod common;

use common::*;
use kapi::prelude::*;
use mgc::{Config, Copies, Follow, Follower, Mgc, MgcConfig, Registration};
use osd::Device;
use osd_memory::MemoryDevice;
use ptlrpc::node::Node;
use std::sync::{Condvar, Mutex as StdMutex};
use std::time::Duration as StdDuration;
use target::{local, Server};
use wire::disk::mountdata::LddFlags;
use wire::nid::Nid;
use wire::svname::{FsName, SvKind, SvName};

/// A node with targets.
struct ServerNode {
    node: Arc<Node>,
    server: Arc<Server>,
    mgc: Arc<Mgc>,
}

fn start_mgc(server: &Arc<Server>, mgs: Nid) -> Arc<Mgc> {
    let mut nids = KVec::new();
    nids.push(mgs, GFP_KERNEL).unwrap();
    let mut config = MgcConfig::new(nids);
    config.requeue = Duration::from_millis(20);
    config.patience = Duration::from_millis(300);
    Mgc::start(server, config).unwrap()
}

impl ServerNode {
    fn new(id: u8, n: u8) -> ServerNode {
        let node = node(nid(id, n));
        let server = Server::start(&node).unwrap();
        let mgc = start_mgc(&server, nid(id, 1));
        ServerNode { node, server, mgc }
    }
}

impl Drop for ServerNode {
    fn drop(&mut self) {
        self.mgc.stop();
        self.server.stop();
        self.node.stop();
        self.node.lnet().stop();
    }
}

/// What a follower was told last, in short.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Seen {
    own: String,
    osts: Vec<(u16, String, String, Vec<String>, bool)>,
    mdts: Vec<(u16, String, String, Vec<String>, bool)>,
    params: Vec<String>,
    timeout: Option<u32>,
    stripe_size: u64,
}

fn peers(list: &[mgc::Peer]) -> Vec<(u16, String, String, Vec<String>, bool)> {
    let nids = |p: &mgc::Peer| p.nids().map(|n| n.to_string()).collect();
    list.iter()
        .map(|p| {
            (
                p.index,
                string(&p.uuid),
                string(&p.device),
                nids(p),
                p.inactive,
            )
        })
        .collect()
}

#[derive(Default)]
struct Watch {
    seen: StdMutex<(u32, Seen)>,
    news: Condvar,
}

struct Told(Arc<Watch>);

impl Follower for Told {
    fn changed(&self, c: &Config) -> Result {
        let seen = Seen {
            own: c.own.as_ref().map_or_else(String::new, |o| {
                format!(
                    "{} {} {}",
                    string(&o.name),
                    string(&o.kind),
                    string(&o.uuid)
                )
            }),
            osts: peers(&c.osts),
            mdts: peers(&c.mdts),
            params: c
                .params
                .iter()
                .map(|p| format!("{} {} {}", string(&p.device), string(&p.text), p.global))
                .collect(),
            timeout: c.timeout,
            stripe_size: c.striping.map_or(0, |d| d.ld_default_stripe_size.get()),
        };
        let mut s = self.0.seen.lock().unwrap();
        *s = (s.0 + 1, seen);
        self.0.news.notify_all();
        Ok(())
    }
}

impl Watch {
    fn new() -> Arc<Watch> {
        Arc::new(Watch::default(), GFP_KERNEL).unwrap()
    }

    fn follower(self: &Arc<Watch>) -> Arc<dyn Follower> {
        Arc::new(Told(self.clone()), GFP_KERNEL).unwrap()
    }

    /// Waits until it has seen something that `good` likes.
    fn until(&self, good: impl Fn(&Seen) -> bool) -> Seen {
        let s = self.seen.lock().unwrap();
        let (s, late) = self
            .news
            .wait_timeout_while(s, StdDuration::from_secs(10), |s| !good(&s.1))
            .unwrap();
        assert!(!late.timed_out(), "still {:?}", s.1);
        s.1.clone()
    }

    fn times(&self) -> u32 {
        self.seen.lock().unwrap().0
    }
}

trait Loud {
    fn until_read(&self);
}

impl Loud for Arc<Follow> {
    fn until_read(&self) {
        for _ in 0..1000 {
            if !self.is_stale() {
                return;
            }
            std::thread::sleep(StdDuration::from_millis(10));
        }
        panic!("{} stays stale", self.name());
    }
}

fn fresh(kind: SvKind, index: Option<u16>) -> Registration {
    Registration {
        fs: FsName::new(b"lustre").unwrap(),
        kind,
        index,
        flags: LddFlags::VIRGIN | LddFlags::UPDATE,
        nids: KVec::new(),
        params: KVVec::new(),
    }
}

fn restart(kind: SvKind, index: u16) -> Registration {
    Registration {
        flags: LddFlags::empty(),
        ..fresh(kind, Some(index))
    }
}

/// An MGS and MDT0000 on one node, over the loopback; OSTs on another.
#[test]
fn a_file_system_grows() {
    let w = World::new(21);
    let mds = start_mgc(&w.server, nid(21, 1));
    let r = mds.register(&fresh(SvKind::Mdt, Some(0))).unwrap();
    assert_eq!(r.name.to_string(), "lustre-MDT0000");
    assert!(r.flags.contains(LddFlags::REWRITE_LDD));
    let mdt = Watch::new();
    let follow = mds.follow(b"lustre-MDT0000", None, mdt.follower()).unwrap();
    let seen = mdt.until(|_| true);
    assert_eq!(seen.own, "lustre-MDT0000 mdt lustre-MDT0000_UUID");
    assert_eq!(
        (seen.stripe_size, seen.osts.len(), seen.mdts.len()),
        (4 << 20, 0, 0)
    );

    let oss = ServerNode::new(21, 2);
    let r = oss.mgc.register(&fresh(SvKind::Ost, Some(0))).unwrap();
    assert_eq!(r.name.to_string(), "lustre-OST0000");
    let seen = mdt.until(|s| s.osts.len() == 1);
    let want = (
        0,
        "lustre-OST0000_UUID".to_string(),
        "lustre-OST0000-osc-MDT0000".to_string(),
        vec!["127.11.21.2@tcp".to_string()],
        false,
    );
    assert_eq!(seen.osts, [want]);
    // The MGS chooses the lowest index that is free.
    let r = oss.mgc.register(&fresh(SvKind::Ost, None)).unwrap();
    assert_eq!(r.name.index, 1);
    mdt.until(|s| s.osts.len() == 2);

    let ost = Watch::new();
    let osts = oss
        .mgc
        .follow(b"lustre-OST0001", None, ost.follower())
        .unwrap();
    assert_eq!(
        ost.until(|_| true).own,
        "lustre-OST0001 obdfilter lustre-OST0001_UUID"
    );
    let clients = Watch::new();
    oss.mgc
        .follow(b"lustre-client", None, clients.follower())
        .unwrap();
    let seen = clients.until(|_| true);
    assert_eq!((seen.osts.len(), seen.mdts.len()), (2, 1));
    assert_eq!(seen.mdts[0].1, "lustre-MDT0000_UUID");

    // Parameters reach those that they are for.
    w.mgs
        .conf_param(b"lustre-OST0001", b"osc.max_dirty_mb=64", false)
        .unwrap();
    let seen = mdt.until(|s| !s.params.is_empty());
    assert_eq!(
        seen.params,
        ["lustre-OST0001-osc-MDT0000 osc.max_dirty_mb=64 false"]
    );
    w.mgs
        .conf_param(b"lustre", b"sys.timeout=20", false)
        .unwrap();
    assert_eq!(ost.until(|s| s.timeout.is_some()).timeout, Some(20));
    w.mgs
        .conf_param(b"lustre-OST0001", b"osc.active=0", false)
        .unwrap();
    assert!(mdt.until(|s| s.osts[1].4).osts[1].4);
    w.mgs
        .conf_param(b"lustre-OST0001", b"osc.active=1", false)
        .unwrap();
    mdt.until(|s| !s.osts[1].4);
    let global = Watch::new();
    oss.mgc.follow_params(None, global.follower()).unwrap();
    assert_eq!(global.times(), 1);
    w.mgs.set_param(b"osc.*.max_dirty_mb=99", false).unwrap();
    let seen = global.until(|s| !s.params.is_empty());
    assert_eq!(seen.params, ["general osc.*.max_dirty_mb=99 true"]);

    // Who follows no more is told no more.
    oss.mgc.unfollow(&osts);
    let before = ost.times();
    w.mgs
        .conf_param(b"lustre", b"sys.timeout=30", false)
        .unwrap();
    mdt.until(|s| s.timeout == Some(30));
    assert_eq!(ost.times(), before);
    follow.until_read();
    mds.stop();
}

#[test]
fn what_is_refused() {
    let w = World::new(22);
    let oss = ServerNode::new(22, 2);
    oss.mgc.register(&fresh(SvKind::Ost, Some(3))).unwrap();
    let again = oss.mgc.register(&fresh(SvKind::Ost, Some(3)));
    assert_eq!(again.err(), Some(EADDRINUSE));
    // It starts again, and is known.
    let r = oss.mgc.register(&restart(SvKind::Ost, 3)).unwrap();
    assert!(!r.flags.contains(LddFlags::REWRITE_LDD));
    assert_eq!(
        oss.mgc.register(&restart(SvKind::Ost, 4)).err(),
        Some(ENOENT)
    );
    let mut from_elsewhere = fresh(SvKind::Ost, Some(5));
    from_elsewhere
        .params
        .extend_from_slice(b"failover.node=127.11.22.2@tcp", GFP_KERNEL)
        .unwrap();
    assert_eq!(oss.mgc.register(&from_elsewhere).err(), Some(EADDRNOTAVAIL));
    assert_eq!(
        oss.mgc.register(&fresh(SvKind::Ost, Some(0xffff))).err(),
        Some(ERANGE)
    );
    let nobody = oss
        .mgc
        .follow(b"lustre-OST0009", None, Watch::new().follower());
    assert_eq!(nobody.err(), Some(ENOENT));
    assert_eq!(
        w.mgs.conf_param(b"nobody", b"sys.timeout=1", false),
        Err(EINVAL)
    );
    assert_eq!(
        w.mgs.conf_param(b"lustre-OST0004", b"osc.a=1", false),
        Err(ENOENT)
    );
    let name = SvName::new(FsName::new(b"lustre").unwrap(), SvKind::Ost, 4).unwrap();
    assert_eq!(oss.mgc.ready(name, 1, &[], false).err(), Some(ENOENT));
    oss.mgc.gone(&name);
}

#[test]
fn the_mgs_is_away() {
    let osd: Arc<dyn Device> = MemoryDevice::new();
    let target: Arc<dyn Device> = MemoryDevice::new();
    let copies = Copies::open(&target).unwrap();
    let w = World::on(23, osd.clone());
    let oss = ServerNode::new(23, 2);
    oss.mgc.register(&fresh(SvKind::Mdt, Some(0))).unwrap();
    oss.mgc.register(&fresh(SvKind::Ost, Some(0))).unwrap();
    let name = SvName::new(FsName::new(b"lustre").unwrap(), SvKind::Ost, 0).unwrap();
    assert_eq!(oss.mgc.ready(name, 7, &[], false), Ok(false));
    let seen = Watch::new();
    let f = oss
        .mgc
        .follow(b"lustre-client", Some(copies.clone()), seen.follower())
        .unwrap();
    seen.until(|s| s.osts.len() == 1);
    drop(w);

    // Somebody starts meanwhile, and finds the copy.
    let late = Watch::new();
    let g = oss
        .mgc
        .follow(b"lustre-client", Some(copies.clone()), late.follower())
        .unwrap();
    assert_eq!(late.until(|_| true), seen.until(|_| true));
    assert!(g.is_stale());
    let absent = oss
        .mgc
        .follow(b"lustre-OST0000", Some(copies.clone()), late.follower());
    assert_eq!(absent.err(), Some(ENOENT));
    let root = local::root(&target).unwrap();
    let dir = local::find(&target, &root, b"CONFIGS").unwrap().unwrap();
    assert!(dir.lookup(b"lustre-client").is_ok() && dir.lookup(b"lustre-clientT").is_err());

    // It is back: logs are read again, and what has been written since is seen.
    let w = World::on(23, osd);
    f.until_read();
    g.until_read();
    oss.mgc.register(&fresh(SvKind::Ost, Some(1))).unwrap();
    // One after the other writes its copy.
    seen.until(|s| s.osts.len() == 2);
    late.until(|s| s.osts.len() == 2);
    // The copy has followed.
    let copy = dir.lookup(b"lustre-client").unwrap();
    let copy = target.object(&copy).unwrap();
    let mut bytes = vec![0; copy.attr().unwrap().size as usize];
    copy.read(0, &mut bytes).unwrap();
    assert_eq!(log_text(&bytes), w.text("lustre-client"));
}

/// The client in userspace has a reader of its own.
#[test]
fn a_client_reads() {
    use lustre_client::config::FsConfig;
    use lustre_client::node::{ClientNode, NodeOptions};
    use lustre_client::spec::MountSpec;
    let w = World::new(24);
    let oss = ServerNode::new(24, 2);
    oss.mgc.register(&fresh(SvKind::Mdt, Some(0))).unwrap();
    for i in 0..30 {
        oss.mgc.register(&fresh(SvKind::Ost, Some(i))).unwrap();
    }
    let mut options = NodeOptions::new(nid(24, 3));
    options.port = PORT;
    options.privileged = false;
    let node = ClientNode::start(&options).unwrap();
    let connect = |fs: &str| {
        let spec = MountSpec::parse(&format!("127.11.24.1@tcp:/{fs}")).unwrap();
        lustre_client::mgc::Mgc::connect(
            &node,
            &spec,
            &format!("client-{fs}"),
            Duration::from_secs(5),
        )
        .unwrap()
    };
    let mgc = connect("lustre");
    let mut config = FsConfig::default();
    for r in mgc.log().unwrap() {
        config.apply(&r.payload).unwrap();
    }
    assert!(config.is_complete());
    assert_eq!((config.mdts().len(), config.osts().len()), (1, 30));
    let osts = config.osts();
    assert_eq!(osts[29].uuid, "lustre-OST001d_UUID");
    assert_eq!(osts[29].nodes[0][0].to_string(), "127.11.24.2@tcp");
    assert_eq!(config.defaults().size, 4 << 20);
    // What comes later is heard of.
    assert!(mgc.news().unwrap().is_empty());
    oss.mgc.register(&fresh(SvKind::Ost, Some(30))).unwrap();
    let mut news = Vec::new();
    for _ in 0..500 {
        news = mgc.news().unwrap();
        if !news.is_empty() {
            break;
        }
        std::thread::sleep(StdDuration::from_millis(10));
    }
    for r in &news {
        config.apply(&r.payload).unwrap();
    }
    assert_eq!(config.osts().len(), 31);
    let other = connect("nobody");
    assert!(other.log().is_err());
    other.stop();
    mgc.stop();
    node.stop();
    drop(oss);
    drop(w);
}
