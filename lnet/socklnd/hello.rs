// SPDX-License-Identifier: GPL-2.0

//! Handshakes: connection request and HELLO, both sides (spec `lnet.md` §4, §5, §6.2).

use super::peer::{Peer, Verdict};
use super::Socklnd;
use kapi::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use kapi::prelude::*;
use wire::lnet::PID_LUSTRE;
use wire::nid::Nid;
use wire::socklnd::{
    ConnRequest1, ConnType, Hello3, Hello4, ACCEPTOR_MAGIC, CONN_NONE, PRIVILEGED_PORT_MAX,
    PROTO_MAGIC,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// How long a peer may take for its part.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses that an old HELLO may carry.
const NIPS_MAX: u32 = 16;

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

/// Magic and version.
fn read_head(s: &TcpStream, timeout: Duration) -> Result<u32> {
    let mut head = [0; 8];
    s.recv_exact(&mut head, timeout)?;
    let [a, b, c, d, e, f, g, h] = head;
    let magic = u32::from_le_bytes([a, b, c, d]);
    if magic != PROTO_MAGIC {
        return Err(EPROTO);
    }
    Ok(u32::from_le_bytes([e, f, g, h]))
}

/// The rest of a HELLO.
fn read_rest(s: &TcpStream, version: u32) -> Result<Hello> {
    match version {
        2 | 3 => {
            let mut b = [0; size_of::<Hello3>()];
            s.recv_exact(b.get_mut(8..).ok_or(EPROTO)?, TIMEOUT)?;
            let h = Hello3::read_from_bytes(&b).map_err(|_| EPROTO)?;
            let nips = h.nips.get();
            if nips > NIPS_MAX {
                return Err(EPROTO);
            }
            for _ in 0..nips {
                let mut ip = [0; 4];
                s.recv_exact(&mut ip, TIMEOUT)?;
                if ip == [0; 4] {
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
            s.recv_exact(b.get_mut(8..).ok_or(EPROTO)?, TIMEOUT)?;
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

fn write(s: &TcpStream, h: &Hello) -> Result {
    if h.version == 4 {
        let mut w = Hello4::new_zeroed();
        w.magic.set(PROTO_MAGIC);
        w.version.set(4);
        w.src_nid = h.src_nid;
        w.dst_nid = h.dst_nid;
        w.src_pid.set(h.src_pid);
        w.src_incarnation.set(h.src_incarnation);
        w.ctype.set(h.ctype);
        return s.send_all(w.as_bytes(), TIMEOUT);
    }
    let mut w = Hello3::new_zeroed();
    w.magic.set(PROTO_MAGIC);
    w.version.set(h.version);
    w.src_nid.set(h.src_nid.to_nid4().ok_or(EAFNOSUPPORT)?);
    w.dst_nid.set(h.dst_nid.to_nid4().ok_or(EAFNOSUPPORT)?);
    w.src_pid.set(h.src_pid);
    w.src_incarnation.set(h.src_incarnation);
    w.ctype.set(h.ctype);
    s.send_all(w.as_bytes(), TIMEOUT)
}

/// The connection request; the NID that is wanted.
fn read_request(s: &TcpStream) -> Result<Nid> {
    let mut word = [0; 4];
    s.recv_exact(&mut word, TIMEOUT)?;
    let magic = u32::from_le_bytes(word);
    let refuse = || -> Result<Nid> {
        let r = ConnRequest1 {
            magic: ACCEPTOR_MAGIC.into(),
            version: 1.into(),
            nid: 0.into(),
        };
        s.send_all(r.as_bytes(), TIMEOUT)?;
        Err(EPROTONOSUPPORT)
    };
    if magic == PROTO_MAGIC {
        return refuse();
    }
    if magic != ACCEPTOR_MAGIC {
        return Err(EPROTO);
    }
    s.recv_exact(&mut word, TIMEOUT)?;
    match u32::from_le_bytes(word) {
        1 => {
            let mut nid = [0; 8];
            s.recv_exact(&mut nid, TIMEOUT)?;
            Ok(Nid::from_nid4(u64::from_le_bytes(nid)))
        }
        2 => {
            let mut nid = [0; size_of::<Nid>()];
            s.recv_exact(&mut nid, TIMEOUT)?;
            Nid::read_from_bytes(&nid).map_err(|_| EPROTO)
        }
        _ => refuse(),
    }
}

/// The passive side: what the peer is and wants.
pub(super) fn answer(
    lnd: &Arc<Socklnd>,
    nid: Nid,
    s: &TcpStream,
    from: SocketAddrV4,
) -> Result<(Arc<Peer>, Agreed)> {
    if read_request(s)? != nid {
        return Err(EADDRNOTAVAIL);
    }
    let version = read_head(s, TIMEOUT)?;
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
        write(s, &ours(3, nid, CONN_NONE))?;
        return Err(EPROTONOSUPPORT);
    }
    let h = read_rest(s, version)?;
    let theirs = ConnType::from_wire(h.ctype).ok_or(EPROTO)?;
    if h.src_nid.is_any() || h.src_nid.is_lo() {
        return Err(EPROTO);
    }
    // From an unprivileged port anybody could claim to be anybody: the address counts.
    let forced = (from.port() > PRIVILEGED_PORT_MAX).then(|| Nid::v4(nid.net(), *from.ip()));
    let who = forced.unwrap_or(h.src_nid);
    let agreed = Agreed {
        version,
        ctype: theirs.inverted(),
        incarnation: h.src_incarnation,
        forced,
    };
    let peer = lnd.peer(nid, who)?;
    match peer.judge(lnd, &agreed) {
        Verdict::Welcome => {
            write(s, &ours(version, h.src_nid, agreed.ctype.to_wire()))?;
            Ok((peer, agreed))
        }
        Verdict::NotNow => {
            write(s, &ours(version, h.src_nid, CONN_NONE))?;
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
    let request = ConnRequest1 {
        magic: ACCEPTOR_MAGIC.into(),
        version: 1.into(),
        nid: theirs.to_nid4().ok_or(EAFNOSUPPORT)?.into(),
    };
    s.send_all(request.as_bytes(), TIMEOUT)?;
    write(
        &s,
        &Hello {
            version,
            src_nid: ours,
            dst_nid: theirs,
            src_pid: PID_LUSTRE,
            src_incarnation: lnd.incarnation,
            ctype: ctype.to_wire(),
        },
    )?;
    let timeout = lnd.lnet.config.timeout;
    let got = read_head(&s, timeout)?;
    let h = read_rest(&s, got).map_err(|e| if e == EPROTONOSUPPORT { EPROTO } else { e })?;
    if h.src_nid != theirs || h.src_pid != PID_LUSTRE {
        pr_err!("{} claims to be {}\n", theirs, h.src_nid);
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
