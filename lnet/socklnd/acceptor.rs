// SPDX-License-Identifier: GPL-2.0

//! Accepting connections (spec `lnet.md` §4.3).

use super::lobby::Lobby;
use super::Socklnd;
use crate::config::Accept;
use kapi::net::{SocketAddrV4, TcpListener};
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
    pub(super) fn start(lnd: &Arc<Socklnd>, lobby: &Arc<Lobby>, nid: Nid) -> Result<Arc<Acceptor>> {
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
        let (me, lnd, lobby) = (a.clone(), lnd.clone(), lobby.clone());
        let port = lnd.lnet.config.port;
        let h = kapi::thread::spawn(format_args!("acceptor_{port}"), move || {
            me.run(&lnd, &lobby, nid)
        })?;
        *a.thread.lock() = Some(h);
        Ok(a)
    }

    pub(super) fn stop(&self) {
        *self.stopping.lock() = true;
        self.listener.shutdown();
        let thread = self.thread.lock().take();
        drop(thread);
    }

    fn run(&self, lnd: &Socklnd, lobby: &Lobby, nid: Nid) {
        while !*self.stopping.lock() {
            match self.listener.accept(Duration::from_secs(1)) {
                Ok((stream, from)) => {
                    if lnd.lnet.config.accept == Accept::Secure && from.port() > PRIVILEGED_PORT_MAX
                    {
                        pr_warn_ratelimited!("refusing connection from {}: insecure port\n", from);
                        continue;
                    }
                    if let Err(e) = lobby.enter(nid, stream, from) {
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
