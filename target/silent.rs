// SPDX-License-Identifier: GPL-2.0

//! Clients that are not heard any more are given up (spec `recovery.md` §11.2): their nodes have
//! crashed, and nobody else would ever end what they have here.

use crate::device::Target;
use crate::server::Server;
use kapi::prelude::*;
use kapi::thread::Periodic;
use ptlrpc::export::Export;
use wire::connect::ConnectFlags;

/// After how many of the times between two pings a client counts as silent, and how many more it has
/// to be heard: after a break of the network others may be the first to be.
const SILENCE: u32 = 6;
const GRACE: u32 = 2;
/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Starts the thread that looks for silent clients of all targets of a node.
///
/// # Errors
/// `ENOMEM`, `EAGAIN`: no thread to be had.
pub(crate) fn start_evictor(server: &Arc<Server>) -> Result<Periodic> {
    let server = server.clone();
    Periodic::start(format_args!("ll_evictor"), PERIOD, move || {
        server.give_up_silent();
    })
}

/// When a client was heard last; `None` for one that does not have to be: another MDT.
fn heard(e: &Export) -> Option<Instant> {
    let inner = e.lock();
    let kept = inner.connect.flags().contains(ConnectFlags::MDS_MDS);
    (inner.connected && !kept).then_some(inner.last_heard)
}

impl Target {
    /// Evicts the clients that were not heard for long, while others were.
    pub(crate) fn give_up_silent(self: &Arc<Self>, now: Instant) {
        let limits = self.node().limits();
        let ping = Duration::from_secs(limits.ping_interval().into());
        let most = (ping * SILENCE).max(Duration::from_secs(limits.enqueue_min.into()));
        let mut last = None;
        self.for_each_export(&mut |e| last = last.max(heard(e)));
        let is_late = |e: &Arc<Export>| {
            let silent = heard(e).map(|t| now.duration_since(t));
            silent.is_some_and(|s| s >= most)
        };
        // While nobody is heard it is the network, or the server itself, that does not work.
        let works = last.is_some_and(|t| now.duration_since(t) < ping * GRACE);
        let mut late = false;
        if works {
            self.for_each_export(&mut |e| late |= is_late(e));
        }
        let since = {
            let mut since = self.silent_since.lock();
            *since = if late { since.or(Some(now)) } else { None };
            *since
        };
        if since.is_some_and(|t| now.duration_since(t) >= ping * GRACE) {
            self.for_each_export(&mut |e| {
                if is_late(e) {
                    self.evict(e, "it was not heard for long");
                }
            });
        }
    }
}
