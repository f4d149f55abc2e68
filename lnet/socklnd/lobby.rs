// SPDX-License-Identifier: GPL-2.0

//! Where new connections wait until they have said who they are.
//!
//! One thread reads what all of them say, so that those that say nothing hold up nobody. A handshake
//! that is here, whole, is answered by the pool, where nobody waits for the peer any more.

use super::{hello, Socklnd};
use kapi::net::{Event, Ipv4Addr, Poller, SocketAddrV4, TcpStream};
use kapi::prelude::*;
use kapi::thread::JoinHandle;
use wire::nid::Nid;

/// How long a peer may take for all that it has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked who has used that up.
const PERIOD: Duration = Duration::from_secs(1);
/// Connections that may wait, and those of one address: then the oldest has to go.
const GUESTS_MAX: usize = 1024;
const GUESTS_MAX_OF_ADDRESS: usize = 16;
/// Events taken at a time.
const BATCH: usize = 32;

/// A connection, and what it has said.
pub(super) struct Guest {
    /// Which of our NIDs it came to.
    pub(super) nid: Nid,
    pub(super) stream: TcpStream,
    pub(super) from: SocketAddrV4,
    until: Instant,
    said: [u8; hello::SAID_MAX],
    len: usize,
}

impl Guest {
    pub(super) fn said(&self) -> &[u8] {
        self.said.get(..self.len).unwrap_or_default()
    }

    /// Reads what is here; whether that is all that is wanted. Nothing that may follow is read.
    ///
    /// # Errors
    /// `ECONNRESET`: it has gone. What the socket says.
    fn read(&mut self) -> Result<bool> {
        loop {
            let want = hello::wanted(self.said());
            if want <= self.len {
                return Ok(true);
            }
            let room = self.said.get_mut(self.len..want).ok_or(EPROTO)?;
            match self.stream.try_recv(room) {
                Ok(0) => return Err(ECONNRESET),
                Ok(n) => self.len += n,
                Err(EAGAIN) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }
}

struct Inner {
    /// In the order of their arrival.
    guests: RBTree<u64, Guest>,
    count: usize,
    next: u64,
    stopping: bool,
}

impl Inner {
    fn remove(&mut self, token: u64) -> Option<Guest> {
        let g = self.guests.remove(&token)?;
        self.count -= 1;
        Some(g)
    }

    /// Who has to go for another one from that address.
    fn surplus(&self, from: &Ipv4Addr) -> Option<u64> {
        let same = || self.guests.iter().filter(|(_, g)| g.from.ip() == from);
        if same().count() >= GUESTS_MAX_OF_ADDRESS {
            return same().next().map(|(t, _)| *t);
        }
        match self.count >= GUESTS_MAX {
            true => self.guests.keys().next().copied(),
            false => None,
        }
    }
}

/// The connections that wait, and the thread that reads from them.
#[pin_data]
pub(super) struct Lobby {
    poller: Poller,
    #[pin]
    inner: Mutex<Inner>,
    #[pin]
    thread: Mutex<Option<JoinHandle>>,
}

impl Lobby {
    pub(super) fn start(lnd: &Arc<Socklnd>) -> Result<Arc<Lobby>> {
        let lobby = Arc::pin_init(
            try_pin_init!(Lobby {
                poller: Poller::new()?,
                inner <- new_mutex!(Inner {
                    guests: RBTree::new(),
                    count: 0,
                    next: 1,
                    stopping: false,
                }),
                thread <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )?;
        let (me, lnd) = (lobby.clone(), lnd.clone());
        let h = kapi::thread::spawn(format_args!("socknal_lobby"), move || me.run(&lnd))?;
        *lobby.thread.lock() = Some(h);
        Ok(lobby)
    }

    /// Ends the thread, closes what waits.
    pub(super) fn stop(&self) {
        self.inner.lock().stopping = true;
        self.poller.wake();
        let thread = self.thread.lock().take();
        drop(thread);
        let guests = core::mem::take(&mut self.inner.lock().guests);
        drop(guests);
    }

    /// Takes a new connection in.
    ///
    /// # Errors
    /// `ESHUTDOWN`, `ENOMEM`.
    pub(super) fn enter(&self, nid: Nid, stream: TcpStream, from: SocketAddrV4) -> Result {
        let guest = Guest {
            nid,
            stream,
            from,
            until: Instant::now() + PATIENCE,
            said: [0; hello::SAID_MAX],
            len: 0,
        };
        let (gone, entered) = {
            let mut inner = self.inner.lock();
            if inner.stopping {
                return Err(ESHUTDOWN);
            }
            let surplus = inner.surplus(from.ip());
            let gone = surplus.and_then(|t| inner.remove(t));
            let token = inner.next;
            inner.next += 1;
            inner
                .guests
                .try_create_and_insert(token, guest, GFP_KERNEL)?;
            inner.count += 1;
            let known = inner.guests.get(&token).ok_or(ENOMEM);
            let entered = known.and_then(|g| self.poller.register(&g.stream, token));
            if entered.is_err() {
                inner.remove(token);
            }
            (gone, entered)
        };
        if let Some(g) = gone {
            pr_debug!("{} says nothing, and others come\n", g.from);
            self.poller.unregister(&g.stream);
        }
        entered
    }

    fn run(&self, lnd: &Arc<Socklnd>) {
        let mut events = [Event::default(); BATCH];
        loop {
            let n = match self.poller.wait(&mut events, Some(PERIOD)) {
                Ok(n) => n,
                Err(e) => {
                    pr_err!("poller: {:?}\n", e);
                    kapi::time::sleep(PERIOD);
                    0
                }
            };
            if self.inner.lock().stopping {
                return;
            }
            for e in events.iter().take(n) {
                self.listen(lnd, e.token);
            }
            self.dismiss(Instant::now());
        }
    }

    /// A guest says something.
    fn listen(&self, lnd: &Arc<Socklnd>, token: u64) {
        let (read, guest) = {
            let mut inner = self.inner.lock();
            let Some(g) = inner.guests.get_mut(&token) else {
                return;
            };
            match g.read() {
                Ok(false) => return,
                read => (read, inner.remove(token)),
            }
        };
        let Some(guest) = guest else { return };
        self.poller.unregister(&guest.stream);
        let from = guest.from;
        let me = lnd.clone();
        let done = read.and_then(|_| lnd.workers.handshake(move || me.welcome(guest)));
        if let Err(e) = done {
            pr_debug!("connection from {}: {:?}\n", from, e);
        }
    }

    /// Closes those that have taken too long.
    fn dismiss(&self, now: Instant) {
        loop {
            let guest = {
                let mut inner = self.inner.lock();
                let first = inner.guests.iter().next();
                let late = first.filter(|(_, g)| g.until <= now).map(|(t, _)| *t);
                match late.and_then(|t| inner.remove(t)) {
                    Some(g) => g,
                    None => return,
                }
            };
            pr_debug!("connection from {}: it says nothing\n", guest.from);
            self.poller.unregister(&guest.stream);
        }
    }
}
