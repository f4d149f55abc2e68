// SPDX-License-Identifier: GPL-2.0

//! Accepting connections (spec `lnet.md` §4.3). Handshakes run on threads of a pool, so that a
//! peer that says nothing holds up nobody else for long.

use super::{hello, Socklnd};
use crate::config::Accept;
use kapi::net::{SocketAddrV4, TcpListener, TcpStream};
use kapi::prelude::*;
use kapi::thread::JoinHandle;
use wire::nid::Nid;
use wire::socklnd::PRIVILEGED_PORT_MAX;

/// Listens at one of our NIDs.
#[pin_data]
pub(super) struct Acceptor {
    listener: TcpListener,
    #[pin]
    thread: Mutex<Option<JoinHandle>>,
    #[pin]
    stopping: SpinLock<bool>,
}

impl Acceptor {
    pub(super) fn start(lnd: &Arc<Socklnd>, nid: Nid) -> Result<Arc<Acceptor>> {
        let addr = nid.ipv4().ok_or(EAFNOSUPPORT)?;
        let listener = TcpListener::bind(SocketAddrV4::new(addr, lnd.lnet.config.port), 127)?;
        let a = Arc::pin_init(
            pin_init!(Acceptor {
                listener,
                thread <- new_mutex!(None),
                stopping <- new_spinlock!(false),
            }),
            GFP_KERNEL,
        )?;
        let (me, lnd) = (a.clone(), lnd.clone());
        let port = lnd.lnet.config.port;
        let h = kapi::thread::spawn(format_args!("acceptor_{port}"), move || me.run(&lnd, nid))?;
        *a.thread.lock() = Some(h);
        Ok(a)
    }

    pub(super) fn stop(&self) {
        *self.stopping.lock() = true;
        self.listener.shutdown();
        let thread = self.thread.lock().take();
        drop(thread);
    }

    fn run(&self, lnd: &Arc<Socklnd>, nid: Nid) {
        while !*self.stopping.lock() {
            match self.listener.accept(Duration::from_secs(1)) {
                Ok((stream, from)) => {
                    if lnd.lnet.config.accept == Accept::Secure && from.port() > PRIVILEGED_PORT_MAX
                    {
                        pr_warn_ratelimited!("refusing connection from {}: insecure port\n", from);
                        continue;
                    }
                    let me = lnd.clone();
                    let queued = lnd
                        .workers
                        .handshake(move || handshake(&me, nid, stream, from));
                    if let Err(e) = queued {
                        pr_debug!("connection from {}: {:?}\n", from, e);
                    }
                }
                Err(EAGAIN) => {}
                Err(_) if *self.stopping.lock() => return,
                Err(e) => {
                    // Out of memory or of descriptors: others need time to give some back.
                    pr_warn_ratelimited!("cannot accept connections: {:?}\n", e);
                    kapi::time::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

fn handshake(lnd: &Arc<Socklnd>, nid: Nid, stream: TcpStream, from: SocketAddrV4) {
    let done = hello::answer(lnd, nid, &stream, from)
        .and_then(|(peer, agreed)| lnd.adopt(&peer, stream, agreed));
    if let Err(e) = done {
        pr_debug!("connection from {}: {:?}\n", from, e);
    }
}
