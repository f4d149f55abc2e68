// SPDX-License-Identifier: GPL-2.0

//! Looking up, getting attributes, opening: enqueues with an intent (spec `mdt.md` 5, 7).

use super::{resource, Mdc, ACL_SIZE};
use crate::attr::{now, Attr};
use crate::cred::Cred;
use crate::rpc;
use crate::target::{Begun, Enqueue, Enqueued};
use kapi::prelude::*;
use ldlm::client::{Held, Want};
use ldlm::core::{flags, ibits, Mode};
use ptlrpc::call::CallOptions;
use wire::fid::Fid;
use wire::ldlm::{IntentOp, LdlmIntent};
use wire::mdt::{Disposition, MdtBody, MdtIoepoch, OpenFlags};
use wire::msg::MDS_VERSION;
use wire::obdo::ObdMd;
use wire::opcode::{portal, MDS_CLOSE, MDS_GETATTR};
use wire::reint::{MdsAttr, MdsBias, RecCreate, RecSetattr, ReintOp};
use zerocopy::IntoBytes;

/// Room that opens send for the layout they may be given.
const EADATA_SIZE: usize = 128;

/// An object that was found.
pub struct Found {
    /// Its attributes.
    pub attr: Attr,
    /// Its layout, if it is a file that has one.
    pub layout: Vec<u8>,
    /// The access ACL; empty: none. `None`: not told.
    pub acl: Option<Vec<u8>>,
    /// The lock under which all that may be kept.
    pub lock: Option<Held>,
}

/// What a look-up came to.
pub enum Looked {
    /// There is such a name.
    Found(Found),
    /// There is none.
    Absent,
}

/// What a look-up asks.
struct LookUpRequest<'a> {
    intent: LdlmIntent,
    body: MdtBody,
    name: Vec<u8>,
    want: Want,
    options: CallOptions,
    cred: &'a Cred,
}

impl LookUpRequest<'_> {
    fn with<T>(&self, f: impl FnOnce(&Enqueue<'_>) -> T) -> T {
        f(&Enqueue {
            want: self.want,
            cancels: &[],
            intent: &[
                self.intent.as_bytes(),
                self.body.as_bytes(),
                &[],
                &self.name,
            ],
            lvb: None,
            options: self.options,
            cred: self.cred,
        })
    }
}

/// A look-up that is under way. It has to be brought to its end.
pub struct LookUp<'a> {
    asked: LookUpRequest<'a>,
    begun: Begun,
}

impl LookUp<'_> {
    /// The first one that is answered.
    pub fn first_answered(all: &[LookUp<'_>]) -> Option<usize> {
        /// How long one of them is waited for before the others are looked at.
        const TURN: Duration = Duration::from_millis(2);
        let oldest = all.first()?;
        loop {
            let at = all.iter().position(|l| l.begun.is_answered(Duration::ZERO));
            if at.is_some() {
                return at;
            }
            oldest.begun.is_answered(TURN);
        }
    }
}

/// A handle of an open file at the MDT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle(pub u64);

/// What to open, and how.
pub struct OpenWish<'a> {
    /// The parent; of an open by FID the object itself will do.
    pub parent: Fid,
    /// The name; empty: by FID.
    pub name: &'a [u8],
    /// The object, or the FID for what is created.
    pub fid: Fid,
    /// How.
    pub flags: OpenFlags,
    /// Mode of what is created.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// A wanted layout, with [`OpenFlags::HAS_EA`].
    pub layout: &'a [u8],
    /// Group of the parent, if known.
    pub group: Option<u32>,
}

/// What an open came to.
pub struct Opened {
    /// The object.
    pub found: Found,
    /// The handle; special files have none.
    pub handle: Option<Handle>,
    /// It was created by this open.
    pub created: bool,
}

/// The error of an intent (spec `mdt.md` 5.5): `res2`, if it belongs to a phase that was reached.
fn intent_error(e: &Enqueued) -> Result {
    let res = i32::try_from(e.answer.res2 as i64).unwrap_or(0);
    match res {
        0 => Ok(()),
        n if n < 0 => Err(Error::from_errno(n)),
        _ => Err(EPROTO),
    }
}

impl Mdc {
    /// Attributes of a name's object, or (without name) of `child` itself; with a lock. The parent has its group, if
    /// known.
    ///
    /// # Errors
    /// `EACCES`, `ENOTDIR`, `ESTALE`, `ENAMETOOLONG`.
    pub fn look_up(
        &self,
        parent: (Fid, Option<u32>),
        name: &[u8],
        child: Fid,
        cred: &Cred,
    ) -> Result<Looked> {
        self.end_look_up(self.begin_look_up(parent, name, child, cred)?)
    }

    /// Asks for that.
    ///
    /// # Errors
    /// `ENAMETOOLONG`, `ENOMEM`, `ESHUTDOWN`.
    pub fn begin_look_up<'a>(
        &self,
        (parent, group): (Fid, Option<u32>),
        name: &[u8],
        child: Fid,
        cred: &'a Cred,
    ) -> Result<LookUp<'a>> {
        if name.len() > 255 {
            return Err(ENAMETOOLONG);
        }
        let mut b = MdtBody::default();
        cred.fill_body(&mut b, group);
        b.mbo_fid1 = parent.into();
        b.mbo_fid2 = child.into();
        b.set_valid(
            ObdMd::FLGETATTR | ObdMd::FLEASIZE | ObdMd::FLDIREA | ObdMd::FLMODEASIZE | ObdMd::FLACL,
        );
        let ea = self.ea_size();
        b.mbo_eadatasize.set(ea);
        let intent = LdlmIntent {
            opc: IntentOp::GETATTR.bits().into(),
        };
        let asked = LookUpRequest {
            intent,
            body: b,
            name: rpc::name(name),
            want: Want {
                res: resource(parent),
                mode: Mode::Cr,
                policy: super::bits(ibits::UPDATE),
                flags: flags::HAS_INTENT,
            },
            options: CallOptions::new(&[112, 216, ea, ACL_SIZE, 0, 0, 64, 0])?,
            cred,
        };
        let begun = asked.with(|e| self.target.begin(e))?;
        Ok(LookUp { asked, begun })
    }

    /// Waits for what was asked for.
    ///
    /// # Errors
    /// As [`Mdc::look_up`].
    pub fn end_look_up(&self, l: LookUp<'_>) -> Result<Looked> {
        let begun = l.begun;
        let e = l.asked.with(|e| self.target.finish(e, begun, None))?;
        let d = Disposition::from_bits_retain(e.answer.res1);
        if d.contains(Disposition::LOOKUP_NEG) {
            return Ok(Looked::Absent);
        }
        intent_error(&e)?;
        if !d.contains(Disposition::LOOKUP_POS) {
            return Err(EPROTO);
        }
        self.found(e).map(Looked::Found)
    }

    fn found(&self, e: Enqueued) -> Result<Found> {
        let body = *e.reply.msg.get::<MdtBody>(2)?;
        self.note_ea_size(&body);
        if body.valid().contains(ObdMd::MDS) {
            // On another MDT.
            return Err(EREMOTEIO);
        }
        let attr = Attr::from_body(&body);
        if !attr.fid.is_sane() {
            return Err(EPROTO);
        }
        // A lock on something else protects nothing of this.
        let lock = e
            .lock
            .filter(|l| l.view().is_some_and(|v| v.res == resource(attr.fid)));
        let mut layout = Vec::new();
        if body.valid().contains(ObdMd::FLEASIZE) && attr.is_file() {
            let n = usize::try_from(body.mbo_eadatasize.get())?;
            let ea = e.reply.msg.buf(3).ok_or(EPROTO)?;
            layout = ea.get(..n).ok_or(EPROTO)?.to_vec();
        }
        let mut acl = None;
        if body.valid().contains(ObdMd::FLACL) {
            let n = usize::try_from(body.mbo_aclsize.get())?;
            let bytes = e.reply.msg.buf(4).unwrap_or(&[]);
            acl = bytes.get(..n).map(<[u8]>::to_vec);
        }
        Ok(Found {
            attr,
            layout,
            acl,
            lock,
        })
    }

    /// Opens, and perhaps creates.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(&self, w: &OpenWish<'_>, cred: &Cred) -> Result<Opened> {
        if w.name.len() > 255 {
            return Err(ENAMETOOLONG);
        }
        let create = w.flags.contains(OpenFlags::CREAT);
        let mut rec = RecCreate {
            head: cred.head(ReintOp::Open, w.group, None),
            ..RecCreate::default()
        };
        // The parent is not striped.
        rec.head.fsuid_h.set(u32::from(!w.name.is_empty()));
        rec.cr_fid1 = w.parent.into();
        rec.cr_fid2 = w.fid.into();
        rec.cr_time.set(now());
        rec.cr_mode.set(w.mode);
        let f = w.flags | OpenFlags::DEFAULT_LMV;
        rec.cr_flags_l.set(f.bits() as u32);
        rec.cr_flags_h.set((f.bits() >> 32) as u32);
        rec.cr_umask.set(w.umask);
        if w.flags.contains(OpenFlags::VOLATILE) {
            rec.cr_bias.set(MdsBias::CREATE_VOLATILE.bits());
        }
        let mut ea = w.layout.to_vec();
        if !w.flags.contains(OpenFlags::DELAY_CREATE) && ea.len() < EADATA_SIZE {
            ea.resize(EADATA_SIZE, 0);
        }
        let mut op = IntentOp::OPEN;
        let (mut mode, mut lock_bits) = (Mode::Cr, ibits::LOOKUP);
        let mut cancels = Vec::new();
        if create {
            op |= IntentOp::CREAT;
            (mode, lock_bits) = (Mode::Cw, ibits::UPDATE);
            self.cancels(w.parent, Mode::Cw, ibits::UPDATE, &mut cancels);
        }
        let intent = LdlmIntent {
            opc: op.bits().into(),
        };
        let n = self.ea_size();
        let mut options = CallOptions::new(&[112, 216, n, ACL_SIZE, 0, 0, 16, 0, 0, 64])?;
        options.modifies = true;
        let e = self.target.enqueue(&Enqueue {
            want: Want {
                res: resource(w.parent),
                mode,
                policy: super::bits(lock_bits),
                flags: flags::HAS_INTENT,
            },
            cancels: &cancels,
            intent: &[
                intent.as_bytes(),
                rec.as_bytes(),
                &[],
                &[],
                &rpc::name(w.name),
                &ea,
                &[],
                &[],
                &[],
                &[],
            ],
            lvb: None,
            options,
            cred,
        })?;
        let d = Disposition::from_bits_retain(e.answer.res1);
        let error = intent_error(&e);
        if d.contains(Disposition::LOOKUP_NEG) && !d.contains(Disposition::OPEN_CREATE) {
            error?;
            return Err(ENOENT);
        }
        let body = *e.reply.msg.get::<MdtBody>(2)?;
        let opened = d.contains(Disposition::OPEN_OPEN);
        if error.is_err() && opened && body.mbo_handle.get() != 0 {
            self.close(Handle(body.mbo_handle.get()), None, &body_fid(&body));
        }
        error?;
        let created = d.contains(Disposition::OPEN_CREATE);
        let handle = opened.then(|| Handle(body.mbo_handle.get()));
        Ok(Opened {
            found: self.found(e)?,
            handle,
            created,
        })
    }

    /// Attributes by FID, without a lock.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn getattr(&self, fid: Fid, valid: ObdMd, room: u32, cred: &Cred) -> Result<Got> {
        let mut b = MdtBody::default();
        cred.fill_body(&mut b, None);
        b.mbo_fid1 = fid.into();
        b.set_valid(valid | ObdMd::FLID);
        b.mbo_eadatasize.set(room);
        let msg = rpc::request(MDS_GETATTR, MDS_VERSION, &[b.as_bytes(), &[]])?;
        let mut o = CallOptions::new(&[216, room, ACL_SIZE, 0, 0, 0])?;
        o.portal = Some(portal::MDS_READPAGE);
        let r = self.target.call(&msg, o)?;
        let body = *r.msg.get::<MdtBody>(1)?;
        self.note_ea_size(&body);
        let n = usize::try_from(body.mbo_eadatasize.get())?;
        let ea = r.msg.buf(2).unwrap_or(&[]);
        Ok(Got {
            attr: Attr::from_body(&body),
            valid: body.valid(),
            ea: ea.get(..n.min(ea.len())).unwrap_or(&[]).to_vec(),
        })
    }

    /// Closes a handle, telling the file's size and times as this client knows them. Nobody waits
    /// for the answer.
    pub fn close(&self, h: Handle, known: Option<&Attr>, fid: &Fid) {
        if let Err(e) = self.try_close(h, known, fid) {
            pr_debug!("close of {}: {:?}\n", fid, e);
        }
    }

    fn try_close(&self, h: Handle, known: Option<&Attr>, fid: &Fid) -> Result {
        let epoch = MdtIoepoch {
            mio_open_handle: h.0.into(),
            ..MdtIoepoch::default()
        };
        let mut rec = RecSetattr {
            head: Cred::root().head(ReintOp::Setattr, None, None),
            ..RecSetattr::default()
        };
        rec.sa_fid = (*fid).into();
        if let Some(a) = known {
            rec.sa_valid.set(
                (MdsAttr::MODE
                    | MdsAttr::ATIME
                    | MdsAttr::MTIME
                    | MdsAttr::CTIME
                    | MdsAttr::ATIME_SET
                    | MdsAttr::MTIME_SET
                    | MdsAttr::CTIME_SET
                    | MdsAttr::LSIZE
                    | MdsAttr::LBLOCKS)
                    .bits(),
            );
            rec.sa_mode.set(a.mode);
            rec.sa_size.set(a.size);
            rec.sa_blocks.set(a.blocks);
            rec.sa_mtime.set(a.mtime);
            rec.sa_atime.set(a.atime);
            rec.sa_ctime.set(a.ctime);
            rec.sa_bias.set(MdsBias::DATA_MODIFIED.bits());
        }
        let mut msg = rpc::request(
            MDS_CLOSE,
            MDS_VERSION,
            &[epoch.as_bytes(), rec.as_bytes(), &[]],
        )?;
        rpc::sign(&mut msg, &Cred::root())?;
        let mut o = CallOptions::new(&[216, 0, 0, 0, 0])?;
        o.portal = Some(portal::MDS_READPAGE);
        o.modifies = true;
        // Nobody waits: the handle is gone in any case; after a restart it was so before.
        self.target.import().begin(msg, o, None).map(|_| ())
    }
}

fn body_fid(b: &MdtBody) -> Fid {
    b.mbo_fid1.get()
}

/// What a getattr came to.
pub struct Got {
    /// The attributes.
    pub attr: Attr,
    /// What is valid.
    pub valid: ObdMd,
    /// The xattr or symlink that was asked for.
    pub ea: Vec<u8>,
}
