// SPDX-License-Identifier: GPL-2.0

//! Instances that talk over real TCP on loopback addresses.

use kapi::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use lnet::config::Accept;
use lnet::portal::Target;
use lnet::{
    Config, Entry, Event, EventHandler, Lnet, MatchSpec, Payload, ProcessId, PutArgs, Sink,
};
use std::sync::mpsc;
use std::sync::Mutex as StdMutex;
use wire::nid::{Net, Nid};

struct Collect(StdMutex<mpsc::Sender<(u64, Event)>>);

impl EventHandler for Collect {
    fn event(&self, cookie: u64, event: Event) {
        let _ = self.0.lock().unwrap().send((cookie, event));
    }
}

struct Node {
    lnet: Arc<Lnet>,
    handler: Arc<dyn EventHandler>,
    events: mpsc::Receiver<(u64, Event)>,
    id: ProcessId,
}

const PORT: u16 = 19988;

fn nid(last: [u8; 2]) -> Nid {
    Nid::v4(Net::TCP, Ipv4Addr::new(127, 9, last[0], last[1]))
}

impl Node {
    fn with(last: [u8; 2], change: impl FnOnce(&mut Config)) -> Result<Node> {
        let mut nids = KVec::new();
        nids.push(nid(last), GFP_KERNEL)?;
        let mut c = Config::new(nids);
        c.port = PORT;
        c.accept = Accept::All;
        c.privileged = false;
        c.timeout = Duration::from_secs(5);
        change(&mut c);
        let lnet = Lnet::start(c)?;
        let (tx, events) = mpsc::channel();
        Ok(Node {
            lnet,
            handler: Arc::new(Collect(StdMutex::new(tx)), GFP_KERNEL)?,
            events,
            id: ProcessId {
                nid: nid(last),
                pid: wire::lnet::PID_LUSTRE,
            },
        })
    }

    fn new(last: [u8; 2]) -> Result<Node> {
        Self::with(last, |_| {})
    }

    fn target(&self, cookie: u64) -> Target {
        Target {
            handler: self.handler.clone(),
            cookie,
        }
    }

    fn event(&self) -> (u64, Event) {
        self.events
            .recv_timeout(std::time::Duration::from_secs(10))
            .expect("an event")
    }

    fn service(&self, portal: u32) -> Result {
        self.lnet.attach(
            MatchSpec {
                portal,
                peer: None,
                match_bits: 0,
                ignore_bits: !0,
            },
            Entry::Messages {
                max: 1 << 20,
                service: true,
            },
            self.target(7),
        )?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.lnet.stop();
    }
}

fn to(n: &Node, portal: u32, match_bits: u64) -> PutArgs {
    PutArgs {
        source: None,
        target: n.id,
        portal,
        match_bits,
        offset: 5,
        hdr_data: 99,
    }
}

fn bytes(n: usize) -> KVVec<u8> {
    let mut v = KVVec::new();
    for i in 0..n {
        v.push((i * 7 + i / 251) as u8, GFP_KERNEL).unwrap();
    }
    v
}

fn filled_pages(n: usize) -> Pages {
    let mut p = Pages::new(n.div_ceil(PAGE_SIZE).max(1)).unwrap();
    p.copy_in(0, &bytes(n)).unwrap();
    p
}

#[test]
fn messages_of_all_sizes() -> Result {
    let (a, b) = (Node::new([1, 1])?, Node::new([1, 2])?);
    b.service(12)?;
    for n in [0, 1, 71, 4095, 8192, 8193, 100_000, 1 << 20] {
        a.lnet.put(
            &to(&b, 12, 42),
            Payload::Message(bytes(n)),
            Some(a.target(n as u64)),
        )?;
        let (cookie, e) = b.event();
        let Event::Message {
            from,
            match_bits,
            hdr_data,
            offset,
            buf,
            self_nid,
        } = e
        else {
            panic!("no message");
        };
        assert_eq!((cookie, from, self_nid), (7, a.id, b.id.nid));
        assert_eq!((match_bits, hdr_data, offset), (42, 99, 5));
        assert!(buf.data == bytes(n), "{n}");
        let (cookie, e) = a.event();
        assert!(matches!(e, Event::Ack { mlength } if mlength as usize == n));
        assert_eq!(cookie, n as u64);
    }
    assert_eq!(
        a.lnet
            .put(
                &to(&b, 12, 42),
                Payload::Message(bytes((1 << 20) + 1)),
                None
            )
            .err(),
        Some(EINVAL)
    );
    Ok(())
}

#[test]
fn bulk_both_ways() -> Result {
    let (a, b) = (Node::new([2, 1])?, Node::new([2, 2])?);
    for (i, n) in [1usize, 4096, 5000, 65536, 1 << 20].into_iter().enumerate() {
        let bits = i as u64;
        let exact = |portal| MatchSpec {
            portal,
            peer: Some(a.id.nid),
            match_bits: bits,
            ignore_bits: 0,
        };
        // A PUT into a sink.
        let sink = Sink::new(Pages::new(n.div_ceil(PAGE_SIZE))?);
        b.lnet.attach(exact(8), Entry::Sink(sink), b.target(1))?;
        let pages = Arc::new(filled_pages(n), GFP_KERNEL)?;
        let payload = Payload::Pages {
            pages: pages.clone(),
            off: 0,
            len: n,
        };
        a.lnet.put(&to(&b, 8, bits), payload, Some(a.target(2)))?;
        let (_, Event::Filled { sink, len }) = b.event() else {
            panic!()
        };
        let mut got = vec![0; n];
        sink.pages.copy_out(0, &mut got)?;
        assert_eq!((len, &got[..]), (n, &bytes(n)[..]));
        assert!(matches!(a.event().1, Event::Ack { .. }));
        // A GET from a source, with room for more than there is.
        let source = Entry::Source {
            pages,
            off: 0,
            len: n,
        };
        b.lnet.attach(exact(9), source, b.target(3))?;
        let sink = Sink::new(Pages::new(300)?);
        let sink = Sink {
            len: n.next_multiple_of(4096),
            ..sink
        };
        a.lnet.get(&to(&b, 9, bits), sink, a.target(4))?;
        let (4, Event::Filled { sink, len }) = a.event() else {
            panic!()
        };
        let mut got = vec![0; n];
        sink.pages.copy_out(0, &mut got)?;
        assert_eq!((len, &got[..]), (n, &bytes(n)[..]));
        assert!(matches!(b.event(), (3, Event::Read)));
    }
    Ok(())
}

#[test]
fn to_itself() -> Result {
    let a = Node::new([3, 1])?;
    a.service(12)?;
    for target in [a.id.nid, Nid::LO] {
        let mut args = to(&a, 12, 1);
        args.target.nid = target;
        a.lnet.put(&args, Payload::Message(bytes(1000)), None)?;
        let (7, Event::Message { buf, .. }) = a.event() else {
            panic!()
        };
        assert!(buf.data == bytes(1000));
    }
    Ok(())
}

#[test]
fn nobody_there() -> Result {
    let a = Node::new([4, 1])?;
    let gone = Node::new([4, 2])?;
    let args = to(&gone, 12, 1);
    drop(gone);
    a.lnet
        .put(&args, Payload::Message(bytes(10)), Some(a.target(1)))?;
    assert!(matches!(a.event(), (1, Event::Failed { .. })));
    // Too soon for another attempt: that is said at once.
    let again = a.lnet.put(&args, Payload::Message(bytes(10)), None);
    assert_eq!(again.err(), Some(EHOSTUNREACH));
    Ok(())
}

#[test]
fn a_peer_that_comes_back() -> Result {
    let a = Node::new([5, 1])?;
    for round in 0..3 {
        let b = Node::new([5, 2])?;
        b.service(12)?;
        // The first may still go to the node that is gone.
        let mut tries = 0;
        loop {
            let sent = a
                .lnet
                .put(&to(&b, 12, round), Payload::Message(bytes(3)), None);
            if sent.is_ok() {
                let e = b.events.recv_timeout(std::time::Duration::from_millis(300));
                if matches!(e, Ok((7, Event::Message { .. }))) {
                    break;
                }
            }
            tries += 1;
            assert!(tries < 50, "round {round}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    Ok(())
}

#[test]
fn back_pressure() -> Result {
    let a = Node::new([6, 1])?;
    let b = Node::with([6, 2], |c| c.receive_budget = 100_000)?;
    b.service(12)?;
    const N: usize = 200;
    for _ in 0..N {
        a.lnet
            .put(&to(&b, 12, 1), Payload::Message(bytes(10_000)), None)?;
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(b.lnet.receive_backlog() <= 100_000);
    for _ in 0..N {
        let (_, Event::Message { buf, .. }) = b.event() else {
            panic!()
        };
        assert_eq!(buf.data.len(), 10_000);
    }
    Ok(())
}

#[test]
fn garbage() -> Result {
    let a = Node::new([7, 1])?;
    let b = Node::new([7, 2])?;
    b.service(12)?;
    let second = Duration::from_secs(1);
    let open = || {
        TcpStream::connect(
            None,
            SocketAddrV4::new(Ipv4Addr::new(127, 9, 7, 2), PORT),
            second,
        )
    };
    let request: Vec<u8> = [0xACCE_7100u32.to_le_bytes(), 1u32.to_le_bytes()]
        .concat()
        .into_iter()
        .chain(b.id.nid.to_nid4().unwrap().to_le_bytes())
        .collect();
    let hello = |ctype: u32| -> Vec<u8> {
        let mut h = Vec::new();
        h.extend(0x4572_6963u32.to_le_bytes());
        h.extend(3u32.to_le_bytes());
        h.extend(nid([7, 9]).to_nid4().unwrap().to_le_bytes());
        h.extend(b.id.nid.to_nid4().unwrap().to_le_bytes());
        h.extend(12345u32.to_le_bytes());
        h.extend(0u32.to_le_bytes());
        h.extend(1u64.to_le_bytes());
        h.extend(0u64.to_le_bytes());
        h.extend(ctype.to_le_bytes());
        h.extend(0u32.to_le_bytes());
        h
    };
    let frame = |kind: u32| -> Vec<u8> {
        let mut f = vec![0; 24];
        f[..4].copy_from_slice(&kind.to_le_bytes());
        f
    };
    let mut bad: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        request[..7].to_vec(),
        [&request[..8], &[9; 8][..]].concat(),
        [request.clone(), vec![0; 56]].concat(),
        [request.clone(), hello(0)].concat(),
        [request.clone(), hello(77)].concat(),
        [request.clone(), hello(1), frame(0xdead)].concat(),
        [request.clone(), hello(1), frame(0xc1), vec![0xff; 72]].concat(),
    ];
    // Every field of a header of an otherwise good message, one after the other.
    for at in (0..72).step_by(4) {
        let mut h = vec![0u8; 72];
        h[..8].copy_from_slice(&b.id.nid.to_nid4().unwrap().to_le_bytes());
        h[8..16].copy_from_slice(&nid([7, 9]).to_nid4().unwrap().to_le_bytes());
        h[24] = 1;
        h[at..at + 4].copy_from_slice(&[0xff; 4]);
        bad.push([request.clone(), hello(1), frame(0xc1), h].concat());
    }
    for b in &bad {
        let s = open()?;
        let _ = s.send_all(b, second);
        let mut buf = [0; 64];
        let _ = s.recv_exact(&mut buf, Duration::from_millis(20));
    }
    // A neighbour is let in, one that claims to be the node itself is not.
    let welcome = |from: [u8; 2]| {
        let [c, d] = from;
        let from = SocketAddrV4::new(Ipv4Addr::new(127, 9, c, d), 0);
        let to = SocketAddrV4::new(Ipv4Addr::new(127, 9, 7, 2), PORT);
        let s = TcpStream::connect(Some(from), to, second)?;
        s.send_all(&[request.clone(), hello(1)].concat(), second)?;
        s.recv_exact(&mut [0; 56], second)
    };
    assert_eq!(welcome([7, 9]), Ok(()));
    assert_eq!(welcome([7, 2]), Err(ECONNRESET));
    // The node is as well as before.
    while b.events.try_recv().is_ok() {}
    a.lnet
        .put(&to(&b, 12, 1), Payload::Message(bytes(10)), None)?;
    let (7, Event::Message { buf, .. }) = b.event() else {
        panic!()
    };
    assert!(buf.data == bytes(10));
    Ok(())
}

#[test]
fn many_small_messages() -> Result {
    let (a, b) = (Node::new([8, 1])?, Node::new([8, 2])?);
    b.service(12)?;
    const N: u64 = 20_000;
    let begin = std::time::Instant::now();
    let (l, args, at) = (a.lnet.clone(), to(&b, 12, 0), a.handler.clone());
    let sender = std::thread::spawn(move || {
        for i in 0..N {
            let args = PutArgs {
                match_bits: i,
                ..args
            };
            while l.put(&args, Payload::Message(bytes(200)), None).is_err() {
                std::thread::yield_now();
            }
        }
        drop(at);
    });
    for _ in 0..N {
        assert!(matches!(b.event().1, Event::Message { .. }));
    }
    sender.join().unwrap();
    println!(
        "{:.0} messages a second",
        N as f64 / begin.elapsed().as_secs_f64()
    );
    Ok(())
}

#[test]
fn pings() -> Result {
    let (a, b) = (Node::with([30, 1], |_| {})?, Node::with([30, 2], |_| {})?);
    let patience = Duration::from_secs(5);
    let nids = a.lnet.ping(b.id.nid, patience)?;
    assert_eq!(*nids, [Nid::LO, b.id.nid]);
    assert_eq!(*a.lnet.ping(a.id.nid, patience)?, [Nid::LO, a.id.nid]);
    // Nobody there: refused at once; another network: no way.
    let begin = std::time::Instant::now();
    assert!(a.lnet.ping(nid([30, 9]), Duration::from_secs(3)).is_err());
    assert!(begin.elapsed() < Duration::from_secs(5));
    let away = Nid::v4(Net::parse("tcp7").unwrap(), Ipv4Addr::new(127, 9, 30, 2));
    assert_eq!(a.lnet.ping(away, patience).err(), Some(ENETUNREACH));
    a.lnet.stop();
    b.lnet.stop();
    Ok(())
}
