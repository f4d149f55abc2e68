// SPDX-License-Identifier: GPL-2.0

//! A client and a server over real TCP: connects, calls, bulk both ways, resends, eviction.

use core::any::Any;
use kapi::net::Ipv4Addr;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use lnet::config::Accept;
use lnet::{Config, Lnet, Sink};
use ptlrpc::bulk::{ClientBulk, Piece};
use ptlrpc::call::CallOptions;
use ptlrpc::export::{ClientState, ClientUuid, Export, TargetDevice};
use ptlrpc::import::{Import, ImportConfig, ImportEvents, State};
use ptlrpc::limits::Limits;
use ptlrpc::message::Msg;
use ptlrpc::node::Node;
use ptlrpc::request::ServerRequest;
use ptlrpc::service::{Handler, Service, ServiceConfig};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Mutex as StdMutex;
use wire::connect::{ConnectData, ConnectFlags, ConnectFlags2};
use wire::msg::{ConnectOpFlags, OBD_VERSION, OST_VERSION};
use wire::nid::{Net, Nid};
use wire::opcode::{
    portal, OBD_PING, OST_CONNECT, OST_DISCONNECT, OST_READ, OST_STATFS, OST_WRITE,
};

const PORT: u16 = 29988;
const ECHO: u32 = 2;

struct Empty;
impl ClientState for Empty {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Device;
impl TargetDevice for Device {
    fn name(&self) -> &str {
        "test-OST0000"
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A target that knows just enough.
#[derive(Default)]
struct Server {
    exports: StdMutex<HashMap<String, Arc<Export>>>,
    echoes: AtomicU32,
    ignore: AtomicU32,
    delay_ms: AtomicU32,
}

impl Server {
    fn connect(&self, req: &mut ServerRequest) -> Result {
        let uuid = ClientUuid::from_wire(req.msg().buf(2).ok_or(EPROTO)?)?;
        let mut data = *req.get::<ConnectData>(4)?;
        let f = data.flags() & (ConnectFlags::AT | ConnectFlags::FLAGS2 | ConnectFlags::BULK_MBITS);
        let f2 = data.flags2() & ConnectFlags2::REP_MBITS;
        data.set_flags(f, f2);
        let device: Arc<dyn TargetDevice> = Arc::new(Device, GFP_KERNEL)?;
        let mut all = self.exports.lock().unwrap();
        let known = all.get(uuid.as_str()).filter(|e| !e.is_failed()).cloned();
        let again = known.is_some();
        let e = match known {
            Some(e) => e,
            None => {
                let state: Arc<dyn ClientState> = Arc::new(Empty, GFP_KERNEL)?;
                Export::new(req.node().exports(), device, uuid, state, data)?
            }
        };
        all.insert(uuid.as_str().into(), e.clone());
        {
            let mut i = e.lock();
            i.connect = data;
            i.conn_cnt = req.body().pb_conn_cnt.get();
            i.nid = Some(req.peer().nid);
        }
        if again {
            req.op_flags = ConnectOpFlags::RECONNECT.bits();
        }
        req.reply_handle = e.cookie;
        req.set_export(e);
        req.pack_reply(&[192])?;
        *req.reply_mut()?.get_mut::<ConnectData>(1)? = data;
        Ok(())
    }

    fn work(&self, req: &mut ServerRequest) -> Result<i32> {
        if req.opc() == OST_CONNECT {
            self.connect(req)?;
            return Ok(0);
        }
        req.connected()?;
        match req.opc() {
            OBD_PING | OST_DISCONNECT => req.pack_reply(&[])?,
            ECHO => {
                self.echoes.fetch_add(1, Ordering::Relaxed);
                let ms = self.delay_ms.load(Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(ms.into()));
                let data = req.msg().buf(1).ok_or(EPROTO)?.to_vec();
                req.pack_reply(&[data.len() as u32])?;
                req.reply_mut()?
                    .buf_mut(1)
                    .ok_or(EPROTO)?
                    .copy_from_slice(&data);
            }
            OST_READ => {
                let (first, n) = req.bulk_match(4)?;
                let mut pieces = KVec::new();
                for i in 0..n {
                    let mut pages = Pages::new(256)?;
                    for p in 0..256 {
                        pages.page_mut(p).ok_or(EINVAL)?.fill((i * 64 + p) as u8);
                    }
                    let pages = Arc::new(pages, GFP_KERNEL)?;
                    pieces.push(
                        Piece {
                            pages,
                            off: 0,
                            len: 1 << 20,
                        },
                        GFP_KERNEL,
                    )?;
                }
                req.bulk_put(portal::OST_BULK, first, pieces)?;
                req.pack_reply(&[])?;
                return Ok((n << 20) as i32);
            }
            OST_WRITE => {
                let (first, n) = req.bulk_match(4)?;
                let mut sinks = KVec::new();
                for _ in 0..n {
                    sinks.push(Sink::new(Pages::new(256)?), GFP_KERNEL)?;
                }
                let got = req.bulk_get(portal::OST_BULK, first, sinks)?;
                let sum: u64 = got
                    .iter()
                    .flat_map(|(s, len)| s.pages.chunks(0, *len))
                    .flatten()
                    .map(|b| u64::from(*b))
                    .sum();
                req.pack_reply(&[8])?;
                req.reply_mut()?
                    .buf_mut(1)
                    .ok_or(EPROTO)?
                    .copy_from_slice(&sum.to_le_bytes());
            }
            OST_STATFS => return Err(ENOSPC),
            _ => return Err(EOPNOTSUPP),
        }
        Ok(0)
    }
}

struct Dispatch(Arc<Server>);
impl Handler for Dispatch {
    fn handle(&self, mut req: KBox<ServerRequest>) {
        if req.opc() == ECHO && self.0.ignore.load(Ordering::Relaxed) > 0 {
            self.0.ignore.fetch_sub(1, Ordering::Relaxed);
            return req.discard();
        }
        match self.0.work(&mut req) {
            Ok(status) => req.reply(status),
            Err(e) => req.error(e),
        }
    }
}

#[derive(Default)]
struct Seen {
    active: AtomicU32,
    evicted: AtomicU32,
}
struct Watch(Arc<Seen>);
impl ImportEvents for Watch {
    fn active(&self, _: &ConnectData) {
        self.0.active.fetch_add(1, Ordering::Relaxed);
    }
    fn evicted(&self) {
        self.0.evicted.fetch_add(1, Ordering::Relaxed);
    }
}

struct Pair {
    server: Arc<Server>,
    server_node: Arc<Node>,
    client_node: Arc<Node>,
    service: Arc<Service>,
    import: Arc<Import>,
    seen: Arc<Seen>,
}

fn nid(a: u8, b: u8) -> Nid {
    Nid::v4(Net::TCP, Ipv4Addr::new(127, 10, a, b))
}

fn node(n: Nid) -> Result<Arc<Node>> {
    let mut nids = KVec::new();
    nids.push(n, GFP_KERNEL)?;
    let mut c = Config::new(nids);
    c.port = PORT;
    c.accept = Accept::All;
    c.privileged = false;
    let mut limits = Limits::DEFAULT;
    limits.at.min = 1;
    limits.at.early_margin = 2;
    limits.at.extra = 3;
    Node::start(&Lnet::start(c)?, limits)
}

impl Pair {
    fn new(id: u8) -> Result<Pair> {
        let (server_node, client_node) = (node(nid(id, 1))?, node(nid(id, 2))?);
        let server = Arc::new(Server::default(), GFP_KERNEL)?;
        let config = ServiceConfig {
            name: "ost",
            request_portal: portal::OST_REQUEST,
            reply_portal: portal::OSC_REPLY,
            max_request: 1 << 20,
            threads_min: 3,
            threads_max: 16,
            queue_max: 10_000,
        };
        let handler: Arc<dyn Handler> = Arc::new(Dispatch(server.clone()), GFP_KERNEL)?;
        let service = Service::start(&server_node, config, handler)?;
        let seen = Arc::new(Seen::default(), GFP_KERNEL)?;
        let mut wanted = ConnectData::default();
        wanted.set_flags(
            ConnectFlags::AT | ConnectFlags::FLAGS2 | ConnectFlags::BULK_MBITS | ConnectFlags::FID,
            ConnectFlags2::REP_MBITS,
        );
        let mut peers = KVec::new();
        peers.push(nid(id, 1), GFP_KERNEL)?;
        let import = Import::new(
            &client_node,
            ImportConfig {
                target_uuid: ClientUuid::new(b"test-OST0000_UUID")?,
                client_uuid: ClientUuid::new(b"a-client")?,
                peers,
                request_portal: portal::OST_REQUEST,
                reply_portal: portal::OSC_REPLY,
                connect_opc: OST_CONNECT,
                disconnect_opc: OST_DISCONNECT,
                wanted,
                max_modify: 8,
                part: 0,
            },
            Some(Arc::new(Watch(seen.clone()), GFP_KERNEL)?),
        )?;
        import.wait_full(Duration::from_secs(10))?;
        Ok(Pair {
            server,
            server_node,
            client_node,
            service,
            import,
            seen,
        })
    }

    fn echo(&self, data: &[u8]) -> Result<Vec<u8>> {
        let mut m = Msg::request(ECHO, OST_VERSION, &[data.len() as u32])?;
        m.buf_mut(1).ok_or(EPROTO)?.copy_from_slice(data);
        let r = self
            .import
            .call(m, CallOptions::new(&[data.len() as u32])?, None)?
            .check()?;
        Ok(r.msg.buf(1).ok_or(EPROTO)?.to_vec())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.import.disconnect();
        self.client_node.stop();
        self.client_node.lnet().stop();
        self.service.stop();
        self.server_node.stop();
        self.server_node.lnet().stop();
    }
}

#[test]
fn calls() -> Result {
    let p = Pair::new(1)?;
    for n in [0usize, 1, 7, 8, 1000, 60_000] {
        let data: Vec<u8> = (0..n).map(|i| i as u8).collect();
        assert_eq!(p.echo(&data)?, data);
    }
    let statfs = Msg::request(OST_STATFS, OST_VERSION, &[])?;
    let r = p.import.call(statfs, CallOptions::new(&[])?, None)?;
    assert_eq!(r.status, ENOSPC.to_errno());
    let unknown = Msg::request(999, OST_VERSION, &[])?;
    let r = p.import.call(unknown, CallOptions::new(&[])?, None)?;
    assert_eq!(r.status, EOPNOTSUPP.to_errno());
    let data = p.import.connect_data();
    assert!(data.has_at() && data.has_rep_mbits() && !data.flags().contains(ConnectFlags::FID));
    Ok(())
}

#[test]
fn bulk() -> Result {
    let p = Pair::new(2)?;
    let mut sinks = KVec::new();
    for _ in 0..4 {
        sinks.push(Sink::new(Pages::new(256)?), GFP_KERNEL)?;
    }
    let m = Msg::request(OST_READ, OST_VERSION, &[])?;
    let b = ClientBulk::take(portal::OST_BULK, sinks)?;
    let r = p.import.call(m, CallOptions::new(&[])?, Some(b))?;
    assert_eq!(r.status, 4 << 20);
    let got = r.bulk.ok_or(EIO)?.into_received();
    for (i, (sink, len)) in got.iter().enumerate() {
        assert_eq!(*len, 1 << 20);
        for page in 0..256 {
            let want = (i * 64 + page) as u8;
            assert!(sink.pages.page(page).ok_or(EIO)?.iter().all(|b| *b == want));
        }
    }
    let (mut pieces, mut sum) = (KVec::new(), 0u64);
    for i in 0..3usize {
        let len = (1 << 20) - i * 5000;
        let mut pages = Pages::new(256)?;
        for n in 0..256 {
            pages.page_mut(n).ok_or(EIO)?.fill((n + i) as u8);
        }
        sum += pages
            .chunks(0, len)
            .flatten()
            .map(|b| u64::from(*b))
            .sum::<u64>();
        let pages = Arc::new(pages, GFP_KERNEL)?;
        pieces.push(Piece { pages, off: 0, len }, GFP_KERNEL)?;
    }
    let m = Msg::request(OST_WRITE, OST_VERSION, &[])?;
    let b = ClientBulk::give(portal::OST_BULK, pieces)?;
    let r = p
        .import
        .call(m, CallOptions::new(&[8])?, Some(b))?
        .check()?;
    assert_eq!(r.msg.buf(1), Some(&sum.to_le_bytes()[..]));
    assert_eq!(256 * PAGE_SIZE, 1 << 20);
    Ok(())
}

#[test]
fn many_at_once() -> Result {
    let p = Pair::new(3)?;
    let (tx, rx) = std::sync::mpsc::channel();
    const N: usize = 5000;
    let begin = std::time::Instant::now();
    for i in 0..N as u32 {
        let mut m = Msg::request(ECHO, OST_VERSION, &[4])?;
        m.buf_mut(1)
            .ok_or(EPROTO)?
            .copy_from_slice(&i.to_le_bytes());
        let tx = tx.clone();
        let done = KBox::new(
            move |o: ptlrpc::call::Outcome| {
                let r = o.and_then(|r| r.check()).unwrap();
                tx.send(r.msg.buf(1) == Some(&i.to_le_bytes()[..])).unwrap();
            },
            GFP_KERNEL,
        )?;
        p.import
            .call_async(m, CallOptions::new(&[4])?, None, done)?;
    }
    for _ in 0..N {
        assert!(rx.recv_timeout(std::time::Duration::from_secs(20)).unwrap());
    }
    println!(
        "{:.0} calls a second",
        N as f64 / begin.elapsed().as_secs_f64()
    );
    Ok(())
}

#[test]
fn a_lost_request_is_sent_again() -> Result {
    let p = Pair::new(4)?;
    p.server.ignore.store(1, Ordering::Relaxed);
    assert_eq!(p.echo(b"again")?, b"again");
    assert_eq!(p.server.echoes.load(Ordering::Relaxed), 1);
    assert_eq!(p.seen.evicted.load(Ordering::Relaxed), 0);
    assert_eq!(p.seen.active.load(Ordering::Relaxed), 2);
    Ok(())
}

#[test]
fn an_evicted_client_starts_anew() -> Result {
    let p = Pair::new(5)?;
    let e = p
        .server
        .exports
        .lock()
        .unwrap()
        .get("a-client")
        .cloned()
        .unwrap();
    e.fail();
    // What was under way when the server forgot us fails; the next goes through.
    assert_eq!(p.echo(b"lost").err(), Some(EIO));
    assert_eq!(p.echo(b"new")?, b"new");
    assert_eq!(p.seen.evicted.load(Ordering::Relaxed), 1);
    assert_eq!(p.import.state(), State::Full);
    Ok(())
}

#[test]
fn slow_requests_get_more_time() -> Result {
    let p = Pair::new(6)?;
    // Longer than the client would wait by itself: 1 + 1/4 + 5, and the network's second.
    p.server.delay_ms.store(11_000, Ordering::Relaxed);
    assert_eq!(p.echo(b"slow")?, b"slow");
    assert_eq!(p.server.echoes.load(Ordering::Relaxed), 1);
    assert_eq!(p.seen.active.load(Ordering::Relaxed), 1);
    Ok(())
}

/// All threads that a node may have work at the same time, beside the one that is kept free.
#[test]
fn slow_requests_keep_nobody_waiting() -> Result {
    let p = Pair::new(8)?;
    p.server.delay_ms.store(1_000, Ordering::Relaxed);
    let start = std::time::Instant::now();
    std::thread::scope(|s| {
        let calls: Vec<_> = (0..7).map(|_| s.spawn(|| p.echo(b"all"))).collect();
        for c in calls {
            assert_eq!(c.join().unwrap(), Ok(b"all".to_vec()));
        }
    });
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1900), "{took:?}");
    assert_eq!(p.service.load().0, 8);
    Ok(())
}

#[test]
fn the_server_restarts_its_service() -> Result {
    let mut p = Pair::new(7)?;
    p.service.stop();
    let (server, node) = (p.server.clone(), p.server_node.clone());
    let back = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(3));
        let handler: Arc<dyn Handler> = Arc::new(Dispatch(server), GFP_KERNEL).unwrap();
        let config = ServiceConfig {
            name: "ost",
            request_portal: portal::OST_REQUEST,
            reply_portal: portal::OSC_REPLY,
            max_request: 1 << 20,
            threads_min: 3,
            threads_max: 8,
            queue_max: 10_000,
        };
        Service::start(&node, config, handler).unwrap()
    });
    assert_eq!(p.echo(b"patience")?, b"patience");
    p.service = back.join().unwrap();
    let m = Msg::request(OBD_PING, OBD_VERSION, &[])?;
    p.import.call(m, CallOptions::new(&[])?, None)?.check()?;
    Ok(())
}
