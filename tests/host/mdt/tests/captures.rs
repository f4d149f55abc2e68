// SPDX-License-Identifier: GPL-2.0

//! What a client of an existing system asked of its MDT is asked again here, and answered in the
//! same form: status, buffers, what is valid, locks, dispositions.
//!
//! The captures are in `$LUSTRE_SHARED/captures` (default `/shared`); without them the tests pass
//! with a message.

mod common;

use common::Striped;
use ldlm::core::{ibits, Mode, Policy};
use ldlm::msg::ReplyMsg;
use pcap_reader::{captures, Capture, Kind};
use ptlrpc::message::Msg;
use std::collections::{HashMap, HashSet};
use wire::fid::{Fid, LuFid};
use wire::ldlm::IntentOp;
use wire::lnet::{Command, Header};
use wire::mdt::{Disposition, MdtBody};
use wire::msg::{Message, PtlrpcBody, TYPE_REQUEST};
use wire::obdo::ObdMd;
use wire::opcode::{self as op, portal};
use wire::reint::{RecReint, ReintOp};
use zerocopy::FromBytes;

/// A request, with the reply that it got.
struct Call {
    portal: u32,
    body: PtlrpcBody,
    request: Vec<Vec<u8>>,
    status: i32,
    numbers: Numbers,
    reply: Vec<Vec<u8>>,
}

/// Whether a reply has a transaction number; versions of objects before it: 0, 1, or some.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Numbers {
    transno: bool,
    versions: [u64; 4],
}

impl Numbers {
    fn of(b: &PtlrpcBody) -> Numbers {
        Numbers {
            transno: b.pb_transno.get() != 0,
            versions: b.pb_pre_versions.map(|v| v.get().min(2)),
        }
    }
}

fn bufs(m: &Message<'_>) -> Vec<Vec<u8>> {
    (1..m.count()).map(|i| m.buf(i).unwrap().to_vec()).collect()
}

/// The calls to the MDT, in the order of their requests.
fn calls(name: &str) -> Option<Vec<Call>> {
    let path = captures()?
        .into_iter()
        .find(|p| p.file_name().unwrap().to_str().unwrap().starts_with(name))?;
    let capture = Capture::open(&path).unwrap();
    let mut items = capture.items().unwrap();
    items.sort_by(|a, b| a.time.total_cmp(&b.time));
    let mut all: Vec<Call> = Vec::new();
    let mut waiting: HashMap<u64, usize> = HashMap::new();
    for i in &items {
        let Kind::Lnet(l) = &i.kind else { continue };
        let h = Header::decode4(&l.header).unwrap();
        let Command::Put {
            portal, match_bits, ..
        } = h.command
        else {
            continue;
        };
        let Ok(m) = Message::parse(&l.payload) else {
            continue;
        };
        let Ok(body) = m.body() else { continue };
        let to_mdt = matches!(
            portal,
            portal::MDS_REQUEST | portal::MDS_READPAGE | portal::MDS_IO
        );
        if body.pb_type.get() == TYPE_REQUEST && to_mdt {
            waiting.insert(body.pb_mbits.get(), all.len());
            all.push(Call {
                portal,
                body,
                request: bufs(&m),
                status: 0,
                numbers: Numbers::default(),
                reply: Vec::new(),
            });
        } else if let Some(n) = waiting.remove(&match_bits) {
            all[n].status = body.pb_status.get();
            all[n].numbers = Numbers::of(&body);
            all[n].reply = bufs(&m);
        }
    }
    Some(all)
}

/// What of a reply is compared.
#[derive(Debug, PartialEq)]
struct Shape {
    status: i32,
    buffers: usize,
    /// Flags, mode and bits of the lock.
    lock: Option<(u32, Option<Mode>, u64)>,
    result: (u64, u64),
    valid: ObdMd,
    fid: Fid,
    mode: u32,
    nlink: u32,
    owner: (u32, u32),
    /// Bytes of the layout, or a link's target.
    md: u32,
}

fn intent(request: &[Vec<u8>]) -> Option<IntentOp> {
    let b = request.get(1)?.first_chunk()?;
    Some(IntentOp::from_bits_retain(u64::from_le_bytes(*b)))
}

fn shape(opc: u32, request: &[Vec<u8>], status: i32, reply: &[Vec<u8>]) -> Shape {
    let enqueue = opc == op::LDLM_ENQUEUE;
    let mut s = Shape {
        status,
        buffers: reply.len(),
        lock: None,
        result: (0, 0),
        valid: ObdMd::empty(),
        fid: Fid::ZERO,
        mode: 0,
        nlink: 0,
        owner: (0, 0),
        md: 0,
    };
    if enqueue && !reply.is_empty() {
        let r = ReplyMsg::parse(&reply[0]).unwrap();
        s.result = (r.res1, r.res2);
        s.lock = r.desc.map(|d| {
            let Policy::Ibits(b) = d.policy else { panic!() };
            (r.flags, d.granted, b.bits)
        });
        if intent(request) == Some(IntentOp::LAYOUT) {
            s.md = reply[1].len() as u32;
            return s;
        }
    }
    let at = usize::from(enqueue);
    if let Some(Ok((b, _))) = reply.get(at).map(|b| MdtBody::read_from_prefix(b)) {
        s.valid = b.valid();
        s.fid = b.mbo_fid1.get();
        s.mode = b.mbo_mode.get();
        s.nlink = b.mbo_nlink.get();
        s.owner = (b.mbo_uid.get(), b.mbo_gid.get());
        if s.valid.intersects(ObdMd::FLEASIZE | ObdMd::LINKNAME) {
            s.md = b.mbo_eadatasize.get();
        }
        // The form of all xattrs says how many bytes of names there are; the server's own differ.
        if intent(request) == Some(IntentOp::GETXATTR) && enqueue {
            s.nlink = 0;
        }
    }
    s
}

/// What existing servers do and this one does not, or not so.
fn level(s: &mut Shape, intent: Option<IntentOp>) {
    // What is old gets more: the clock is another here.
    if let (Some(IntentOp::LOOKUP), Some((_, _, bits))) = (intent, &mut s.lock) {
        *bits &= !ibits::UPDATE;
    }
    // A file that gets its layout has no size here that would be known without its objects.
    if s.result.0 & Disposition::OPEN_STRIPE.bits() != 0 && s.md > 0 {
        s.valid.remove(ObdMd::FLSIZE | ObdMd::FLBLOCKS);
    }
    // Default stripes of directories: the flag was not granted here.
    s.valid.remove(ObdMd::DEFAULT_MEA);
    if s.mode & 0o170000 == 0o040000 {
        s.valid.remove(ObdMd::FLDIREA);
    }
}

struct Replay {
    s: Striped,
    /// Open handles: theirs, and ours.
    handles: HashMap<u64, u64>,
    /// What is there, also of what was made between the captures.
    known: HashSet<Fid>,
    served: usize,
    wrong: Vec<String>,
}

/// The object that a request is about, or the directory.
fn subject(c: &Call) -> Fid {
    let at = |buf: usize, at: usize| {
        let b = c.request.get(buf).and_then(|b| b.get(at..at + 16));
        b.map_or(Fid::ZERO, |b| LuFid::read_from_bytes(b).unwrap().get())
    };
    match (c.body.pb_opc.get(), intent(&c.request)) {
        (op::LDLM_ENQUEUE, Some(IntentOp::GETATTR | IntentOp::LOOKUP | IntentOp::GETXATTR)) => {
            at(2, 0)
        }
        (op::LDLM_ENQUEUE, Some(IntentOp::LAYOUT)) => Fid::ROOT,
        (op::LDLM_ENQUEUE, _) => at(2, 40),
        (op::MDS_REINT, _) => at(0, 40),
        (op::MDS_CLOSE | op::MDS_GET_ROOT, _) => Fid::ROOT,
        _ => at(0, 0),
    }
}

/// Whether a call makes something.
fn makes(c: &Call) -> bool {
    match c.body.pb_opc.get() {
        op::LDLM_ENQUEUE => {
            let r = c.reply.first().map(|b| ReplyMsg::parse(b).unwrap());
            r.is_some_and(|r| r.res1 & Disposition::OPEN_CREATE.bits() != 0)
        }
        op::MDS_REINT => c.status == 0 && c.request[0].first() == Some(&2),
        _ => false,
    }
}

impl Replay {
    fn is_asked(c: &Call) -> bool {
        match c.body.pb_opc.get() {
            op::LDLM_ENQUEUE => intent(&c.request).is_some(),
            op::MDS_GETATTR
            | op::MDS_GETATTR_NAME
            | op::MDS_CLOSE
            | op::MDS_REINT
            | op::MDS_GET_ROOT
            | op::MDS_GETXATTR
            | op::MDS_SYNC => true,
            _ => false,
        }
    }

    /// Whether a call is about something from another capture.
    fn is_strange(&mut self, c: &Call) -> bool {
        let answer = shape(c.body.pb_opc.get(), &c.request, c.status, &c.reply).fid;
        if makes(c) {
            self.known.insert(answer);
        }
        let known = |f: Fid| f.is_zero() || self.known.contains(&f);
        !known(subject(c)) || !known(answer)
    }

    fn call(&mut self, c: &Call) {
        if self.is_strange(c) {
            return;
        }
        let opc = c.body.pb_opc.get();
        let mut request = c.request.clone();
        if opc == op::MDS_CLOSE {
            let theirs = u64::from_le_bytes(*request[0].first_chunk().unwrap());
            // Opened before the capture began.
            let Some(ours) = self.handles.remove(&theirs) else {
                return;
            };
            request[0][..8].copy_from_slice(&ours.to_le_bytes());
        }
        let lens: Vec<u32> = request.iter().map(|b| b.len() as u32).collect();
        let mut m = Msg::request(opc, c.body.pb_version.get() & 0xffff_0000, &lens).unwrap();
        for (i, b) in request.iter().enumerate() {
            m.buf_mut(i + 1).unwrap().copy_from_slice(b);
        }
        let body = m.body_mut().unwrap();
        body.set_flags(c.body.flags());
        body.pb_uid.set(c.body.pb_uid.get());
        body.pb_gid.set(c.body.pb_gid.get());
        let r = self.s.w.c.raw(m, Some(c.portal)).unwrap();
        self.served += 1;
        let reply: Vec<Vec<u8>> = (1..r.msg.count())
            .map(|i| r.msg.buf(i).unwrap().to_vec())
            .collect();
        let mut theirs = shape(opc, &request, c.status, &c.reply);
        let mut ours = shape(opc, &request, r.status, &reply);
        if opc == op::LDLM_ENQUEUE {
            let cookie = |reply: &[Vec<u8>]| {
                let b = MdtBody::read_from_prefix(reply.get(1)?).ok()?.0;
                Some(b.mbo_handle.get()).filter(|h| *h != 0)
            };
            if let (Some(t), Some(o)) = (cookie(&c.reply), cookie(&reply)) {
                self.handles.insert(t, o);
            }
        }
        let it = match opc {
            op::LDLM_ENQUEUE => intent(&request),
            _ => None,
        };
        level(&mut theirs, it);
        level(&mut ours, it);
        let numbers = Numbers::of(r.msg.body());
        if theirs != ours || numbers != c.numbers {
            let what = match opc {
                op::LDLM_ENQUEUE => format!("intent {:?}", intent(&request).unwrap()),
                op::MDS_REINT => {
                    let rec = RecReint::read_from_prefix(&request[0]).unwrap().0;
                    format!("{:?}", ReintOp::try_from(rec.head.opcode.get()).unwrap())
                }
                _ => op::name(opc).unwrap().to_owned(),
            };
            let n = self.served;
            self.wrong.push(format!(
                "{n} {what}:\n  theirs {theirs:?} {:?}\n  ours   {ours:?} {numbers:?}",
                c.numbers
            ));
        }
    }
}

fn replay(names: &[&str]) {
    let mut r = Replay {
        s: Striped::new(),
        handles: HashMap::new(),
        known: HashSet::from([Fid::ROOT]),
        served: 0,
        wrong: Vec::new(),
    };
    for name in names {
        let Some(calls) = calls(name) else { return };
        for c in calls.iter().filter(|c| Replay::is_asked(c)) {
            r.call(c);
        }
    }
    println!("{} requests", r.served);
    for w in &r.wrong {
        println!("{w}");
    }
    assert!(r.wrong.is_empty(), "{} differ", r.wrong.len());
    r.s.stop();
}

#[test]
fn metadata() {
    replay(&["03-", "07-", "08-"]);
}

#[test]
fn directories() {
    replay(&["04-"]);
}
