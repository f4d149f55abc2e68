// SPDX-License-Identifier: GPL-2.0

//! The stand-in behaves as its users expect.
#![forbid(unsafe_code)]

use kapi::net::{Event, Poller, SocketAddrV4, TcpListener, TcpStream};
use kapi::pages::Pages;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};

trait Number: Send + Sync {
    fn get(&self) -> u32;
    fn shared(self: Arc<Self>) -> u32;
}

#[pin_data]
struct Shared {
    #[pin]
    value: Mutex<u32>,
    #[pin]
    changed: CondVar,
    #[pin]
    spin: SpinLock<u32>,
    hits: Atomic<u64>,
}

impl Shared {
    fn new() -> Result<Arc<Shared>> {
        Arc::pin_init(
            try_pin_init!(Shared {
                value <- new_mutex!(0),
                changed <- new_condvar!(),
                spin <- new_spinlock!(7),
                hits: Atomic::<u64>::new(0),
            }),
            GFP_KERNEL,
        )
    }
}

impl Number for Shared {
    fn get(&self) -> u32 {
        *self.value.lock()
    }
    fn shared(self: Arc<Self>) -> u32 {
        *self.spin.lock()
    }
}

#[test]
fn wait_and_notify() -> Result {
    let s = Shared::new()?;
    let t = s.clone();
    let h = kapi::thread::spawn(format_args!("waiter"), move || {
        let mut g = t.value.lock();
        while *g != 5 {
            g = t.changed.wait(g);
        }
        t.hits.add(1, Relaxed);
    })?;
    *s.value.lock() = 5;
    s.changed.notify_all();
    h.join();
    assert_eq!(s.hits.load(Relaxed), 1);
    let (g, out) = s
        .changed
        .wait_timeout(s.value.lock(), Duration::from_millis(5));
    assert!(out);
    drop(g);
    let d: Arc<dyn Number> = s;
    assert_eq!((d.get(), d.clone().shared()), (5, 7));
    let b: KBox<dyn Fn() -> u32> = KBox::new(|| 3, GFP_KERNEL)?;
    assert_eq!(b(), 3);
    Ok(())
}

#[test]
fn pages_through_a_socket() -> Result {
    const N: usize = 300;
    let l = TcpListener::bind(SocketAddrV4::new([127, 0, 0, 1].into(), 0), 8)?;
    let addr = l.local_addr()?;
    let second = Duration::from_secs(1);
    let a = TcpStream::connect(None, addr, second)?;
    let (b, _) = l.accept(second)?;
    let mut src = Pages::new(N)?;
    for i in 0..N {
        src.page_mut(i).ok_or(EINVAL)?.fill(i as u8);
    }
    let (pa, pb) = (Poller::new()?, Poller::new()?);
    pa.register(&a, 1)?;
    pb.register(&b, 2)?;
    let h = kapi::thread::spawn(format_args!("sender"), move || {
        let mut sent = 0;
        let mut ev = [Event::default(); 4];
        while sent < src.len() {
            match a.try_send_pages(&src, sent, src.len() - sent, false) {
                Ok(n) => sent += n,
                Err(EAGAIN) => {
                    pa.wait(&mut ev, None).unwrap();
                }
                Err(e) => panic!("{e:?}"),
            }
        }
    })?;
    let mut dst = Pages::new(N)?;
    let mut got = 0;
    let mut ev = [Event::default(); 4];
    while got < dst.len() {
        let left = dst.len() - got;
        match b.try_recv_pages(&mut dst, got, left) {
            Ok(0) => return Err(ECONNRESET),
            Ok(n) => got += n,
            Err(EAGAIN) => {
                pb.wait(&mut ev, Some(second))?;
            }
            Err(e) => return Err(e),
        }
    }
    h.join();
    for i in 0..N {
        assert!(dst.page(i).ok_or(EINVAL)?.iter().all(|x| *x == i as u8));
    }
    l.shutdown();
    assert_eq!(l.accept(second).err(), Some(EINVAL));
    Ok(())
}

#[test]
fn deque_keeps_order() -> Result {
    let mut d = Deque::new();
    let mut model = std::collections::VecDeque::new();
    let mut x = 1u32;
    for i in 0..10_000u32 {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        match x >> 29 {
            0..3 => {
                d.push_back(i, GFP_KERNEL)?;
                model.push_back(i);
            }
            3 => {
                d.push_front(i, GFP_KERNEL)?;
                model.push_front(i);
            }
            4 => assert_eq!(d.pop_back(), model.pop_back()),
            5..7 => assert_eq!(d.pop_front(), model.pop_front()),
            _ => {
                d.retain(|v| v % 7 != x % 7);
                model.retain(|v| v % 7 != x % 7);
            }
        }
        assert_eq!(d.len(), model.len());
        assert!(d.iter().eq(model.iter()));
    }
    Ok(())
}

#[test]
fn checksums() {
    assert_eq!(kapi::checksum::adler32(1, b"Wikipedia"), 0x11E6_0398);
    assert_eq!(!kapi::checksum::crc32c(!0, b"123456789"), 0xE306_9283);
    assert_eq!(!kapi::checksum::crc32(!0, b"123456789"), 0xCBF4_3926);
}

#[test]
fn once() -> Result {
    let (tx, rx) = std::sync::mpsc::channel();
    let f: KBox<dyn Once<u32>> = KBox::new(move |x: u32| tx.send(x).unwrap(), GFP_KERNEL)?;
    f.call(9);
    assert_eq!(rx.recv(), Ok(9));
    Ok(())
}
