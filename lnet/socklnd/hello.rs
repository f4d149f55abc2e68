// SPDX-License-Identifier: GPL-2.0

//! Handshakes: connection request and HELLO, both sides (spec `lnet.md` §4, §5, §6.2).

use super::lobby::Guest;
use super::peer::{Peer, Verdict};
use super::Socklnd;
use core::cell::Cell;
use kapi::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use kapi::prelude::*;
use wire::lnet::PID_LUSTRE;
use wire::nid::Nid;
use wire::socklnd::{
    ConnRequest1, ConnRequest2, ConnType, Hello3, Hello4, ACCEPTOR_MAGIC, CONN_NONE,
    PRIVILEGED_PORT_MAX, PROTO_MAGIC,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// How long an answer may take to leave.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long we wait for the answer to our HELLO; its sender may have much to do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses that an old HELLO may carry.
const NIPS_MAX: u32 = 16;

/// The most that the active side says.
pub(super) const SAID_MAX: usize =
    size_of::<ConnRequest2>() + size_of::<Hello3>() + 4 * NIPS_MAX as usize;

/// How many bytes the active side says, as far as what is here of it tells: if no more than that, it is
/// complete, or wrong.
pub(super) fn wanted(said: &[u8]) -> usize {
    let word = |at: usize| {
        let b = said.get(at..).and_then(|b| b.first_chunk::<4>());
        b.map(|b| u32::from_le_bytes(*b))
    };
    let request = match (word(0), word(4)) {
        (Some(ACCEPTOR_MAGIC), Some(1)) => size_of::<ConnRequest1>(),
        (Some(ACCEPTOR_MAGIC), Some(2)) => size_of::<ConnRequest2>(),
        _ => return 8,
    };
    let hello = match (word(request), word(request + 4)) {
        (Some(PROTO_MAGIC), Some(2 | 3)) => size_of::<Hello3>(),
        (Some(PROTO_MAGIC), Some(4)) => return request + size_of::<Hello4>(),
        _ => return request + 8,
    };
    match word(request + hello - 4) {
        Some(nips) if nips <= NIPS_MAX => request + hello + 4 * nips as usize,
        _ => request + hello,
    }
}

/// What the two ends have agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// Protocol version: 2, 3 or 4.
    pub(super) version: u32,
    /// The type as we see it.
    pub(super) ctype: ConnType,
    /// The peer's incarnation.
    pub(super) incarnation: u64,
    /// Whose name all its messages carry, whatever they say: that of a peer from an unprivileged
    /// port.
    pub(super) forced: Option<Nid>,
}

/// A HELLO, whatever its version.
#[derive(Clone, Copy, Debug)]
struct Hello {
    version: u32,
    src_nid: Nid,
    dst_nid: Nid,
    src_pid: u32,
    src_incarnation: u64,
    ctype: u32,
}

/// A connection with a handshake going on, which has to be done by a certain time: a peer that
/// sends a byte now and then does not hold a thread for long.
struct Shake<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
    /// What was read before, and not used.
    said: Cell<&'a [u8]>,
}

impl<'a> Shake<'a> {
    fn new(stream: &'a TcpStream, said: &'a [u8], limit: Duration) -> Self {
        Shake {
            stream,
            deadline: Instant::now() + limit,
            said: Cell::new(said),
        }
    }

    fn left(&self) -> Result<Duration> {
        let left = self.deadline.duration_since(Instant::now());
        if left.is_zero() {
            return Err(ETIMEDOUT);
        }
        Ok(left)
    }

    fn read(&self, buf: &mut [u8]) -> Result {
        let said = self.said.get();
        let n = said.len().min(buf.len());
        let (now, later) = said.split_at_checked(n).ok_or(EINVAL)?;
        let (from_said, rest) = buf.split_at_mut_checked(n).ok_or(EINVAL)?;
        from_said.copy_from_slice(now);
        self.said.set(later);
        if rest.is_empty() {
            return Ok(());
        }
        self.stream.recv_exact(rest, self.left()?)
    }

    fn word(&self) -> Result<u32> {
        let mut b = [0; 4];
        self.read(&mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    fn write(&self, b: &[u8]) -> Result {
        self.stream.send_all(b, self.left()?)
    }

    /// The version of the HELLO that comes.
    fn version(&self) -> Result<u32> {
        if self.word()? != PROTO_MAGIC {
            return Err(EPROTO);
        }
        self.word()
    }

    /// The rest of it.
    fn hello(&self, version: u32) -> Result<Hello> {
        match version {
            2 | 3 => {
                let mut b = [0; size_of::<Hello3>()];
                self.read(b.get_mut(8..).ok_or(EPROTO)?)?;
                let h = Hello3::read_from_bytes(&b).map_err(|_| EPROTO)?;
                let nips = h.nips.get();
                if nips > NIPS_MAX {
                    return Err(EPROTO);
                }
                for _ in 0..nips {
                    if self.word()? == 0 {
                        return Err(EPROTO);
                    }
                }
                Ok(Hello {
                    version,
                    src_nid: Nid::from_nid4(h.src_nid.get()),
                    dst_nid: Nid::from_nid4(h.dst_nid.get()),
                    src_pid: h.src_pid.get(),
                    src_incarnation: h.src_incarnation.get(),
                    ctype: h.ctype.get(),
                })
            }
            4 => {
                let mut b = [0; size_of::<Hello4>()];
                self.read(b.get_mut(8..).ok_or(EPROTO)?)?;
                let h = Hello4::read_from_bytes(&b).map_err(|_| EPROTO)?;
                Ok(Hello {
                    version,
                    src_nid: h.src_nid,
                    dst_nid: h.dst_nid,
                    src_pid: h.src_pid.get(),
                    src_incarnation: h.src_incarnation.get(),
                    ctype: h.ctype.get(),
                })
            }
            _ => Err(EPROTONOSUPPORT),
        }
    }

    fn say(&self, h: &Hello) -> Result {
        if h.version == 4 {
            let mut w = Hello4::new_zeroed();
            w.magic.set(PROTO_MAGIC);
            w.version.set(4);
            w.src_nid = h.src_nid;
            w.dst_nid = h.dst_nid;
            w.src_pid.set(h.src_pid);
            w.src_incarnation.set(h.src_incarnation);
            w.ctype.set(h.ctype);
            return self.write(w.as_bytes());
        }
        let mut w = Hello3::new_zeroed();
        w.magic.set(PROTO_MAGIC);
        w.version.set(h.version);
        w.src_nid.set(h.src_nid.to_nid4().ok_or(EAFNOSUPPORT)?);
        w.dst_nid.set(h.dst_nid.to_nid4().ok_or(EAFNOSUPPORT)?);
        w.src_pid.set(h.src_pid);
        w.src_incarnation.set(h.src_incarnation);
        w.ctype.set(h.ctype);
        self.write(w.as_bytes())
    }

    /// The connection request; the NID that is wanted.
    fn request(&self) -> Result<Nid> {
        let magic = self.word()?;
        if magic == PROTO_MAGIC {
            return self.refuse();
        }
        if magic != ACCEPTOR_MAGIC {
            return Err(EPROTO);
        }
        match self.word()? {
            1 => {
                let mut nid = [0; 8];
                self.read(&mut nid)?;
                Ok(Nid::from_nid4(u64::from_le_bytes(nid)))
            }
            2 => {
                let mut nid = [0; size_of::<Nid>()];
                self.read(&mut nid)?;
                Nid::read_from_bytes(&nid).map_err(|_| EPROTO)
            }
            _ => self.refuse(),
        }
    }

    /// Tells a peer that asks in a way we do not know how we are asked.
    fn refuse(&self) -> Result<Nid> {
        let r = ConnRequest1 {
            magic: ACCEPTOR_MAGIC.into(),
            version: 1.into(),
            nid: 0.into(),
        };
        self.write(r.as_bytes())?;
        Err(EPROTONOSUPPORT)
    }
}

/// The passive side: what the peer is and wants.
pub(super) fn answer(lnd: &Arc<Socklnd>, guest: &Guest) -> Result<(Arc<Peer>, Agreed)> {
    let (nid, from) = (guest.nid, guest.from);
    let s = Shake::new(&guest.stream, guest.said(), ACCEPT_TIMEOUT);
    if s.request()? != nid {
        return Err(EADDRNOTAVAIL);
    }
    let version = s.version()?;
    let ours = |version, dst_nid, ctype| Hello {
        version,
        src_nid: nid,
        dst_nid,
        src_pid: PID_LUSTRE,
        src_incarnation: lnd.incarnation,
        ctype,
    };
    if !(2..=4).contains(&version) {
        // Tell our version; the peer will come again with that.
        s.say(&ours(3, nid, CONN_NONE))?;
        return Err(EPROTONOSUPPORT);
    }
    let h = s.hello(version)?;
    let theirs = ConnType::from_wire(h.ctype).ok_or(EPROTO)?;
    if h.src_nid.is_any() || h.src_nid.is_lo() {
        return Err(EPROTO);
    }
    // From an unprivileged port anybody could claim to be anybody: the address counts.
    let forced = (from.port() > PRIVILEGED_PORT_MAX).then(|| Nid::v4(nid.net(), *from.ip()));
    let who = forced.unwrap_or(h.src_nid);
    if lnd.lnet.is_local(&who) {
        // What is for it would never leave this node.
        pr_warn_ratelimited!("{} claims to be {}, which is this node\n", from, who);
        return Err(EPROTO);
    }
    let agreed = Agreed {
        version,
        ctype: theirs.inverted(),
        incarnation: h.src_incarnation,
        forced,
    };
    let peer = lnd.peer(nid, who)?;
    match peer.judge(lnd, &agreed) {
        Verdict::Welcome => {
            s.say(&ours(version, h.src_nid, agreed.ctype.to_wire()))?;
            Ok((peer, agreed))
        }
        Verdict::NotNow => {
            s.say(&ours(version, h.src_nid, CONN_NONE))?;
            Err(EALREADY)
        }
    }
}

/// A connection to the peer's address, from a privileged port if that is asked for.
fn open(lnd: &Socklnd, local: Ipv4Addr, remote: SocketAddrV4) -> Result<TcpStream> {
    let timeout = lnd.lnet.config.timeout.min(Duration::from_secs(10));
    if !lnd.lnet.config.privileged {
        let from = SocketAddrV4::new(local, 0);
        return TcpStream::connect(Some(from), remote, timeout);
    }
    for port in (512..=PRIVILEGED_PORT_MAX).rev() {
        match TcpStream::connect(Some(SocketAddrV4::new(local, port)), remote, timeout) {
            Err(EADDRINUSE | EADDRNOTAVAIL) => {}
            r => return r,
        }
    }
    Err(EADDRINUSE)
}

/// The active side: connects for a connection that we see as `ctype`.
///
/// # Errors
/// `EPROTONOSUPPORT`: the peer speaks another version, which is noted: try again at once.
/// `EALREADY`: the peer wants us to try later.
pub(super) fn dial(
    lnd: &Arc<Socklnd>,
    peer: &Arc<Peer>,
    ctype: ConnType,
    version: u32,
) -> Result<(TcpStream, Agreed)> {
    let (ours, theirs) = peer.key();
    let local = ours.ipv4().ok_or(EAFNOSUPPORT)?;
    let remote = SocketAddrV4::new(theirs.ipv4().ok_or(EAFNOSUPPORT)?, lnd.lnet.config.port);
    let s = open(lnd, local, remote)?;
    let shake = Shake::new(&s, &[], ANSWER_TIMEOUT.min(lnd.lnet.config.timeout));
    let request = ConnRequest1 {
        magic: ACCEPTOR_MAGIC.into(),
        version: 1.into(),
        nid: theirs.to_nid4().ok_or(EAFNOSUPPORT)?.into(),
    };
    shake.write(request.as_bytes())?;
    shake.say(&Hello {
        version,
        src_nid: ours,
        dst_nid: theirs,
        src_pid: PID_LUSTRE,
        src_incarnation: lnd.incarnation,
        ctype: ctype.to_wire(),
    })?;
    let got = shake.version()?;
    let h = shake.hello(got).map_err(|e| match e {
        EPROTONOSUPPORT => EPROTO,
        e => e,
    })?;
    if h.src_nid != theirs || h.src_pid != PID_LUSTRE {
        pr_warn_ratelimited!("{} claims to be {}\n", theirs, h.src_nid);
        return Err(EPROTO);
    }
    if got != version {
        peer.set_version(got);
        return Err(EPROTONOSUPPORT);
    }
    if h.ctype == CONN_NONE {
        return Err(EALREADY);
    }
    if ConnType::from_wire(h.ctype).map(ConnType::inverted) != Some(ctype) {
        return Err(EPROTO);
    }
    Ok((
        s,
        Agreed {
            version,
            ctype,
            incarnation: h.src_incarnation,
            forced: None,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn said(request: u32, version: u32, nips: u32) -> Vec<u8> {
        let mut b = Vec::new();
        b.extend(ACCEPTOR_MAGIC.to_le_bytes());
        b.extend(request.to_le_bytes());
        b.extend(vec![7; if request == 1 { 8 } else { 20 }]);
        b.extend(PROTO_MAGIC.to_le_bytes());
        b.extend(version.to_le_bytes());
        if version == 4 {
            b.extend(vec![9; size_of::<Hello4>() - 8]);
        } else {
            b.extend(vec![9; size_of::<Hello3>() - 12]);
            b.extend(nips.to_le_bytes());
            b.extend(vec![1; 4 * nips as usize]);
        }
        b
    }

    /// However it comes, all of a handshake is waited for, and no byte of what follows.
    #[test]
    fn all_and_no_more() {
        for (request, version, nips) in [(1, 2, 0), (1, 3, 1), (2, 3, NIPS_MAX), (2, 4, 0)] {
            let all = said(request, version, nips);
            assert!(all.len() <= SAID_MAX);
            for n in 0..all.len() {
                let more = wanted(&all[..n]);
                assert!(more > n && more <= all.len(), "{n}");
            }
            assert_eq!(wanted(&all), all.len());
        }
    }

    #[test]
    fn what_is_wrong_is_not_waited_for() {
        let good = said(1, 3, 0);
        for at in [0, 4, 16, 20] {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            assert!(wanted(&bad) <= at + 8);
        }
        assert_eq!(wanted(&said(1, 3, NIPS_MAX + 1)), good.len());
    }
}
