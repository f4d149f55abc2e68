// SPDX-License-Identifier: GPL-2.0

//! Every message of the recorded traffic is decoded, encoded, and is the same again.
//!
//! The captures are in `$LUSTRE_SHARED/captures` (default `/shared`); without them the tests pass
//! with a message.

mod common;

use common::field::Field;
use common::format::formats;
use pcap_reader::{captures, Capture, Item, Kind};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use wire::lnet::{Command, Header, PingFeatures};
use wire::msg::{Message, TYPE_ERR, TYPE_REQUEST};
use wire::nid::Nid;
use wire::opcode::{self, portal};
use wire::socklnd::{
    ConnRequest1, ConnType, Frame, Hello3, ACCEPTOR_MAGIC, CONN_NONE, FRAME_LNET, FRAME_NOOP,
    PROTO_MAGIC,
};
use zerocopy::{FromBytes, IntoBytes};

/// What was seen.
#[derive(Default)]
struct Seen {
    messages: usize,
    kinds: BTreeMap<String, usize>,
    /// Buffers that were decoded, by kind.
    fields: BTreeMap<String, usize>,
    /// Replies whose requests came before the capture began.
    orphans: usize,
    /// Messages with something in the padding.
    padded: usize,
}

impl Seen {
    fn count(&mut self, kind: String) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn add(&mut self, other: &Seen) {
        self.messages += other.messages;
        self.orphans += other.orphans;
        self.padded += other.padded;
        for (to, from) in [
            (&mut self.kinds, &other.kinds),
            (&mut self.fields, &other.fields),
        ] {
            for (k, n) in from {
                *to.entry(k.clone()).or_default() += n;
            }
        }
    }

    fn print(&self, name: &str) {
        println!(
            "{name}: {} messages ({} replies to unseen requests, {} with bytes in the padding)",
            self.messages, self.orphans, self.padded
        );
        for (k, n) in &self.kinds {
            println!("  {n:6} {k}");
        }
    }
}

/// Where bulk goes.
fn is_bulk(p: u32) -> bool {
    matches!(p, portal::OST_BULK | portal::MDS_BULK | portal::MGS_BULK)
}

/// The formats of replies that are expected, by who asked and the match bits.
type Expected = HashMap<(Nid, u64), (u32, Vec<Field>)>;

fn rpc(
    header: &Header,
    match_bits: u64,
    bytes: &[u8],
    expected: &mut Expected,
    seen: &mut Seen,
) -> Result<(), String> {
    let m = Message::parse(bytes).map_err(|e| format!("{e:?}"))?;
    if m.size() != bytes.len() {
        return Err(format!(
            "{} bytes behind the message",
            bytes.len() - m.size()
        ));
    }
    let body = m.body().map_err(|e| format!("{e:?}"))?;
    let opc = body.pb_opc.get();
    let name = opcode::name(opc).ok_or("unknown opcode")?;
    let format = if body.pb_type.get() == TYPE_REQUEST {
        let (request, reply) = formats(opc, &m).ok_or(format!("{name}: no format"))?;
        for bits in [match_bits, body.pb_mbits.get()] {
            expected.insert((header.src_nid, bits), (opc, reply.clone()));
        }
        seen.count(format!("{name} request"));
        request
    } else {
        let error = if body.pb_type.get() == TYPE_ERR {
            " error"
        } else {
            ""
        };
        seen.count(format!("{name} reply{error}"));
        match expected.get(&(header.dest_nid, match_bits)) {
            _ if m.count() == 1 => Vec::new(),
            Some((o, f)) if *o == opc => f.clone(),
            Some((o, _)) => return Err(format!("{name}: reply to opcode {o}")),
            None => {
                seen.orphans += 1;
                vec![Field::Raw; m.count() - 1]
            }
        }
    };
    for (f, i) in format.iter().zip(1..) {
        if m.buf(i).is_some_and(|b| !b.is_empty()) {
            *seen.fields.entry(format!("{f:?}")).or_default() += 1;
        }
    }
    let again = common::rebuild(bytes, &format).map_err(|e| format!("{name}: {e}"))?;
    let want = common::without_padding(bytes);
    if want != bytes {
        seen.padded += 1;
    }
    if again != want {
        return Err(format!("{name}: differs:\n{want:02x?}\n{again:02x?}"));
    }
    Ok(())
}

fn nid(a: Ipv4Addr) -> Nid {
    Nid::v4(wire::nid::Net::TCP, a)
}

fn item(i: &Item, expected: &mut Expected, seen: &mut Seen) -> Result<(), String> {
    let (src, dst) = (nid(*i.ends.src.ip()), nid(*i.ends.dst.ip()));
    match &i.kind {
        Kind::Request(b) => {
            let mut r = ConnRequest1::read_from_bytes(b).map_err(|_| "size")?;
            let wanted = Nid::from_nid4(r.nid.get());
            if (r.magic.get(), r.version.get(), wanted) != (ACCEPTOR_MAGIC, 1, dst) {
                return Err(format!("request for {wanted}"));
            }
            r.nid.set(wanted.to_nid4().ok_or("nid")?);
            same(b, r.as_bytes())?;
            seen.count("connection request".to_owned());
        }
        Kind::Hello(b) => {
            let mut h = Hello3::read_from_bytes(b).map_err(|_| "size")?;
            let (from, to) = (h.src_nid.get(), h.dst_nid.get());
            let (from, to) = (Nid::from_nid4(from), Nid::from_nid4(to));
            if (h.magic.get(), h.version.get(), from, to) != (PROTO_MAGIC, 3, src, dst) {
                return Err(format!("HELLO {} of {from} to {to}", h.version));
            }
            let ctype = h.ctype.get();
            let again = match ConnType::from_wire(ctype) {
                Some(t) => t.to_wire(),
                None => CONN_NONE,
            };
            h.ctype.set(again);
            h.src_nid.set(from.to_nid4().ok_or("nid")?);
            same(b, h.as_bytes())?;
            seen.count("HELLO".to_owned());
        }
        Kind::Noop(b) => {
            frame(b, FRAME_NOOP)?;
            seen.count("NOOP".to_owned());
        }
        Kind::Lnet(l) => {
            frame(&l.frame, FRAME_LNET)?;
            let h = Header::decode4(&l.header).map_err(|e| format!("{e:?}"))?;
            same(&l.header, &h.encode4().map_err(|e| format!("{e:?}"))?)?;
            if (h.src_nid, h.dest_nid) != (src, dst) {
                return Err(format!("from {} to {}", h.src_nid, h.dest_nid));
            }
            seen.messages += 1;
            match h.command {
                Command::Put { portal: 0, .. } => {
                    ping(&l.payload)?;
                    seen.count("push".to_owned());
                }
                Command::Put { portal, .. } if is_bulk(portal) => seen.count("bulk PUT".to_owned()),
                Command::Put { match_bits, .. } => rpc(&h, match_bits, &l.payload, expected, seen)?,
                Command::Get { .. } => seen.count("GET".to_owned()),
                Command::Ack { .. } => seen.count("ACK".to_owned()),
                Command::Reply { .. } => {
                    if l.payload.starts_with(&wire::lnet::PING_MAGIC.to_le_bytes()) {
                        ping(&l.payload)?;
                    }
                    seen.count("REPLY".to_owned());
                }
            }
        }
    }
    Ok(())
}

fn same(want: &[u8], got: &[u8]) -> Result<(), String> {
    if want == got {
        Ok(())
    } else {
        Err(format!("differs:\n{want:02x?}\n{got:02x?}"))
    }
}

fn frame(b: &[u8], kind: u32) -> Result<(), String> {
    let f = Frame::read_from_bytes(b).map_err(|_| "size")?;
    if f.kind != kind || f.csum != 0 {
        return Err(format!("{f:?}"));
    }
    Ok(())
}

fn ping(b: &[u8]) -> Result<(), String> {
    let (features, nis) = wire::lnet::parse_ping(b).ok_or("no ping information")?;
    if features != PingFeatures::from_bits_retain(0x1e) || nis.len() != 2 {
        return Err(format!("{features:?} {nis:?}"));
    }
    Ok(())
}

#[test]
fn every_message() {
    let Some(files) = captures() else { return };
    let mut all = Seen::default();
    let mut wrong = Vec::new();
    for path in files {
        let c = Capture::open(&path).unwrap();
        let mut seen = Seen::default();
        let mut expected = Expected::new();
        for (n, i) in c.items().unwrap().iter().enumerate() {
            if let Err(e) = item(i, &mut expected, &mut seen) {
                wrong.push(format!("{} item {n}: {e}", c.name));
            }
        }
        println!("{}: {} messages", c.name, seen.messages);
        all.add(&seen);
    }
    all.print("all");
    println!("buffers: {:?}", all.fields);
    for w in wrong.iter().take(20) {
        println!("{}", &w[..w.len().min(1500)]);
    }
    assert!(wrong.is_empty(), "{} wrong", wrong.len());
}
