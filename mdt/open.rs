// SPDX-License-Identifier: GPL-2.0

//! Opens, which may create (`mdt.md` 7).

use crate::answer::{Answer, Wanted};
use crate::change::{self, Change};
use crate::device::Core;
use crate::getattr::{DLM_REP, LOOKED_UP};
use crate::locks;
use crate::message::{self, NAME_MAX};
use crate::open_files::{open_mode, Agreed, MdtClient, OpenFile};
use crate::stats::Op;
use kapi::prelude::*;
use ldlm::core::{ibits, Mode};
use ldlm::server::{Intent, LocalLock};
use lnet::fail::{self, point};
use mdd::{Alone, Creds, NewObject, Reserved, Wish, MAY_EXEC, MAY_READ, MAY_WRITE};
use osd::{Attr, Fid, ObjectRef};
use target::Request;
use wire::connect::ConnectFlags;
use wire::mdt::{Disposition, InodeFlags, NiobufInline, OpenFlags, VOLATILE_PREFIX};
use wire::obdo::ObdMd;
use wire::reint::{MdsBias, RecCreate};

/// What follows in the reply: CAPA1, CAPA2, NIOBUF_INLINE (zeros: no data), FILE_SECCTX,
/// FILE_ENCCTX, DEFAULT_MDT_MD.
const REST: [u32; 6] = [0, 0, size_of::<NiobufInline>() as u32, 0, 0, 0];
const S_IFMT: u32 = osd::S_IFMT;
const S_IFREG: u32 = 0o100000;

/// The layout version of directories that are not striped; 0: not checked.
pub(crate) fn check_layout_version(v: u32) -> Result {
    match v {
        0 | 1 => Ok(()),
        _ => Err(ESTALE),
    }
}

/// An object that is not there though it has a name.
fn lost(e: Error) -> Error {
    if e == ENOENT {
        EIO
    } else {
        e
    }
}

/// An open, as it was asked for.
struct Open {
    rec: RecCreate,
    flags: OpenFlags,
    name: KVec<u8>,
    ea: KVVec<u8>,
    creds: Creds,
    agreed: Agreed,
    /// The intent names creation too.
    may_create: bool,
}

/// How far an open has come.
struct Progress {
    reached: Disposition,
    /// What the reply says; of a failed one, too.
    answer: Answer,
    lock: Option<LocalLock>,
}

/// An object that was found or made.
struct Target {
    o: ObjectRef,
    created: bool,
    by_name: bool,
}

impl Open {
    fn read(core: &Core, req: &Request<'_>, may_create: bool) -> Result<Open> {
        let rec = *req.rpc.get::<RecCreate>(3)?;
        let msg = req.rpc.msg();
        let flags = rec.open_flags();
        let name = match flags.contains(OpenFlags::BY_FID) {
            true => KVec::new(),
            false => message::name(msg, 6)?,
        };
        let ea = match flags.contains(OpenFlags::HAS_EA) {
            true => message::bytes(msg, 7, crate::connect::MAX_EASIZE)?,
            false => KVVec::new(),
        };
        Ok(Open {
            rec,
            flags,
            name,
            ea,
            creds: core.creds_of_record(req, &rec.head),
            agreed: Agreed::with(req),
            may_create,
        })
    }

    fn has(&self, f: OpenFlags) -> bool {
        self.flags.intersects(f)
    }

    fn creates(&self) -> bool {
        self.has(OpenFlags::CREAT)
    }

    /// What can be told from the request alone.
    fn check(&self) -> Result {
        if !self.has(OpenFlags::FMODE) || (self.creates() && !self.may_create) {
            return Err(EPROTO);
        }
        let special = OpenFlags::LEASE | OpenFlags::RELEASE | OpenFlags::HAS_OBJS;
        let bias = MdsBias::from_bits_retain(self.rec.cr_bias.get());
        if self.has(special) || bias.intersects(MdsBias::CROSS_REF) {
            return Err(EOPNOTSUPP);
        }
        let volatile = self.has(OpenFlags::VOLATILE);
        if volatile && (!self.creates() || self.has(OpenFlags::BY_FID))
            || volatile != bias.contains(MdsBias::CREATE_VOLATILE)
            || volatile && !self.name.starts_with(VOLATILE_PREFIX)
        {
            return Err(EINVAL);
        }
        let writes = OpenFlags::CREAT | OpenFlags::FMODE_WRITE | OpenFlags::TRUNC;
        if self.agreed.has(ConnectFlags::RDONLY) && self.has(writes) {
            return Err(EROFS);
        }
        if self.has(OpenFlags::HAS_EA) && self.ea.is_empty() {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// What the caller must be allowed to do.
    fn access(&self) -> u32 {
        let mut want = 0;
        // The kernel reads what it executes, which needs no permission to read.
        if self.has(OpenFlags::FMODE_READ) && !self.has(OpenFlags::FMODE_EXEC) {
            want |= MAY_READ;
        }
        if self.has(OpenFlags::FMODE_WRITE | OpenFlags::TRUNC | OpenFlags::APPEND) {
            want |= MAY_WRITE;
        }
        if self.has(OpenFlags::FMODE_EXEC | OpenFlags::FMODE_EXECUTE) {
            want |= MAY_EXEC;
        }
        want
    }

    /// The layout of a file that is made.
    fn layout(&self) -> Wish<'_> {
        if self.has(OpenFlags::DELAY_CREATE) {
            Wish::None
        } else if self.has(OpenFlags::HAS_EA) {
            Wish::User(&self.ea)
        } else if self.flags.may_create_layout() {
            Wish::Default
        } else {
            Wish::None
        }
    }

    /// What the reply shall say.
    fn wanted(&self) -> Wanted {
        let mut valid = ObdMd::FLEASIZE | ObdMd::FLACL;
        if !self.has(OpenFlags::BY_FID) {
            valid |= ObdMd::FLMODEASIZE;
        }
        Wanted {
            valid,
            room: u32::MAX,
            size: true,
        }
    }
}

impl Core {
    /// IT_OPEN, with `create` IT_CREAT, too.
    #[inline(never)]
    pub(crate) fn intent_open(&self, req: &mut Request<'_>, create: bool) -> Result<Intent> {
        if fail::check(point::MDS_OPEN_PACK) {
            return Err(ENOMEM);
        }
        let timeout = u64::from(req.target.node().limits().obd_timeout);
        fail::pause(point::MDS_PAUSE_OPEN, |_| {
            Duration::from_secs((timeout + 1) / 4)
        });
        let open = Open::read(self, req, create)?;
        let mut p = Progress {
            reached: LOOKED_UP,
            answer: Answer::default(),
            lock: None,
        };
        let status = match self.open(req, &open, &mut p) {
            Ok(()) => 0,
            Err(e) => {
                req.rpc.transno = 0;
                p.lock = None;
                e.to_errno()
            }
        };
        if let Err(e) = p.answer.pack(req.rpc, &[DLM_REP], &REST) {
            self.undo_handle(req, &p);
            req.rpc.transno = 0;
            return Err(e);
        }
        Ok(match p.lock {
            Some(l) => Intent::Lock(l, p.reached.bits(), status),
            None => Intent::NoLock(p.reached.bits(), status),
        })
    }

    /// The reply cannot be sent: nobody will close what was opened.
    fn undo_handle(&self, req: &Request<'_>, p: &Progress) {
        let cookie = p.answer.body.mbo_handle.get();
        if let Ok(Some(f)) = req.own::<MdtClient>().map(|c| c.take(cookie)) {
            self.mdd.close(f.object.fid(), f.mode());
        }
    }

    fn open(&self, req: &mut Request<'_>, open: &Open, p: &mut Progress) -> Result {
        open.check()?;
        if open.has(OpenFlags::BY_FID) {
            let fid = message::sane(open.rec.cr_fid2.get())?;
            let t = Target {
                o: self.mdd.object(&fid)?,
                created: false,
                by_name: false,
            };
            p.reached |= Disposition::LOOKUP_POS;
            return self.open_object(req, open, &t, p);
        }
        if open.has(OpenFlags::VOLATILE) {
            return self.open_volatile(req, open, p);
        }
        self.open_name(req, open, p)
    }

    /// The directory in which a name is opened.
    fn open_dir(&self, open: &Open) -> Result<ObjectRef> {
        let fid = message::sane(open.rec.cr_fid1.get())?;
        let dir = self
            .mdd
            .object(&fid)
            .map_err(|e| if e == ENOENT { ESTALE } else { e })?;
        let a = dir.attr()?;
        if !a.is_dir() {
            return Err(ENOTDIR);
        }
        self.mdd.permission(&dir, &a, &open.creds, MAY_EXEC)?;
        Ok(dir)
    }

    /// A file without a name (`mdt.md` 7.7). Nobody else knows it: no lock but the client's.
    fn open_volatile(&self, req: &mut Request<'_>, open: &Open, p: &mut Progress) -> Result {
        let dir = self.open_dir(open)?;
        let layout = self.mdd.reserve(&open.creds, &dir, open.layout());
        let t = Target {
            o: self.create_file(req, open, &dir, layout)?,
            created: true,
            by_name: true,
        };
        p.reached |= Disposition::LOOKUP_NEG | Disposition::OPEN_CREATE;
        let done = self.open_object(req, open, &t, p);
        if done.is_err() {
            self.mdd.abandon(t.o.fid());
            p.reached.remove(Disposition::OPEN_CREATE);
            p.answer = Answer::default();
        }
        done
    }

    fn open_name(&self, req: &mut Request<'_>, open: &Open, p: &mut Progress) -> Result {
        if open.name.is_empty() || open.name.len() > NAME_MAX {
            return Err(EPROTO);
        }
        if open.name[..] == *b"." || open.name[..] == *b".." {
            // Locks are taken from the root down: what is above would be taken too late.
            return Err(EINVAL);
        }
        let ns = req.target.namespace().clone();
        let dir = self.open_dir(open)?;
        let fid = *dir.fid();
        let find = || match self.mdd.lookup(&dir, &open.name) {
            Ok(fid) => Ok(Some(fid)),
            Err(e) if e == ENOENT => Ok(None),
            Err(e) => Err(e),
        };
        // A look without a lock tells which one is needed, most likely.
        let mut write = open.creates() && find()?.is_none();
        loop {
            // Before the name is locked: it may take long.
            let layout = match write {
                true => self.mdd.reserve(&open.creds, &dir, open.layout()),
                false => Reserved::none(),
            };
            let name = locks::lock_name(&ns, &fid, &open.name, write)?;
            let t = match find()? {
                Some(child) => {
                    p.reached |= Disposition::LOOKUP_POS;
                    Target {
                        // The name cannot go now.
                        o: self.mdd.object(&child).map_err(lost)?,
                        created: false,
                        by_name: true,
                    }
                }
                None if !open.creates() => {
                    p.reached |= Disposition::LOOKUP_NEG;
                    return Ok(());
                }
                None if !write => {
                    drop(name);
                    write = true;
                    continue;
                }
                None => {
                    p.reached |= Disposition::LOOKUP_NEG | Disposition::OPEN_CREATE;
                    Target {
                        o: self.create_file(req, open, &dir, layout)?,
                        created: true,
                        by_name: true,
                    }
                }
            };
            let done = self.open_object(req, open, &t, p);
            if done.is_err() && t.created {
                self.undo_create(&dir, open, &t.o);
                p.reached.remove(Disposition::OPEN_CREATE);
                p.answer = Answer::default();
            }
            return done;
        }
    }

    fn create_file(
        &self,
        req: &mut Request<'_>,
        open: &Open,
        dir: &ObjectRef,
        layout: Reserved,
    ) -> Result<ObjectRef> {
        check_layout_version(open.rec.head.layout_version())?;
        let mode = open.rec.cr_mode.get();
        if mode & S_IFMT != S_IFREG {
            return Err(EINVAL);
        }
        let fid = self.new_fid(&open.rec.cr_fid2.get())?;
        let new = NewObject {
            fid,
            mode,
            umask: self.umask(&open.agreed, open.rec.cr_umask.get()),
            rdev: 0,
            target: None,
            time: open.rec.cr_time.get(),
            security: None,
        };
        let (run, c) = (&mut Change::of(req), &open.creds);
        match open.has(OpenFlags::VOLATILE) {
            true => self.mdd.create_unnamed(run, c, dir, &new, layout),
            false => self.mdd.create(run, c, dir, &open.name, &new, layout),
        }
    }

    /// A FID that a client chose for something new (`mdt.md` 4.4).
    ///
    /// # Errors
    /// `EINVAL`: its sequence is not one that this MDT gives.
    pub(crate) fn new_fid(&self, fid: &Fid) -> Result<Fid> {
        if !fid.is_norm() || fid.ver != 0 {
            return Err(EINVAL);
        }
        match self.fld.lookup(fid.seq, wire::seq::range_type::MDT) {
            Ok(r) if r.index == self.index => Ok(*fid),
            Ok(_) => Err(EINVAL),
            Err(e) if e == ENOENT || e == EIO => Err(EINVAL),
            Err(e) => Err(e),
        }
    }

    /// Permissions to take away from something new: clients that do so themselves send none.
    pub(crate) fn umask(&self, agreed: &Agreed, sent: u32) -> u32 {
        match agreed.has(ConnectFlags::UMASK) {
            true => sent & 0o777,
            false => 0,
        }
    }

    /// The open failed that had made the object.
    fn undo_create(&self, dir: &ObjectRef, open: &Open, o: &ObjectRef) {
        let time = open.rec.cr_time.get();
        let c = &Creds::SERVER;
        if let Err(e) = self.mdd.unlink(&mut Alone, c, dir, &open.name, o, time) {
            pr_err!("{}: stays, though its open failed: {:?}\n", o.fid(), e);
        }
    }

    fn open_object(
        &self,
        req: &mut Request<'_>,
        open: &Open,
        t: &Target,
        p: &mut Progress,
    ) -> Result {
        let a = self.mdd.attr(&t.o)?;
        if open.has(OpenFlags::DIRECTORY) && a.is_file() && t.by_name {
            return Err(ENOTDIR);
        }
        if let Err(e) = self.check_kind(open, &a, t) {
            p.answer = self.describe(&t.o, open.wanted(), &open.agreed)?;
            return Err(e);
        }
        if !a.is_file() && !a.is_dir() {
            // The client opens it by itself.
            p.answer = self.describe(&t.o, open.wanted(), &open.agreed)?;
            return Ok(());
        }
        self.check_access(open, &a, t)?;
        self.mdd.count_open(&t.o, open_mode(open.flags))?;
        let done = self.finish(req, open, &a, t, p);
        if done.is_err() {
            self.mdd.close(t.o.fid(), open_mode(open.flags));
        }
        done
    }

    fn check_kind(&self, open: &Open, a: &Attr, t: &Target) -> Result {
        if t.created {
            return Ok(());
        }
        if open.has(OpenFlags::CREAT) && open.has(OpenFlags::EXCL) && t.by_name {
            return Err(EEXIST);
        }
        if a.is_dir() && open.has(OpenFlags::CREAT | OpenFlags::FMODE_WRITE) {
            return Err(EISDIR);
        }
        if !a.is_dir() && open.has(OpenFlags::DIRECTORY) {
            return Err(ENOTDIR);
        }
        Ok(())
    }

    fn check_access(&self, open: &Open, a: &Attr, t: &Target) -> Result {
        if t.created {
            return Ok(());
        }
        let owner = open.has(OpenFlags::OWNEROVERRIDE) && a.uid == open.creds.uid;
        let want = open.access();
        if !owner {
            self.mdd.permission(&t.o, a, &open.creds, want)?;
        }
        let flags = InodeFlags::from_bits_retain(a.flags);
        if want & MAY_WRITE != 0 {
            if flags.contains(InodeFlags::IMMUTABLE) {
                return Err(EACCES);
            }
            let appends = open.has(OpenFlags::APPEND) && !open.has(OpenFlags::TRUNC);
            if flags.contains(InodeFlags::APPEND) && !appends {
                return Err(EPERM);
            }
        }
        Ok(())
    }

    /// The object is opened; what remains is its layout, the lock and the handle.
    fn finish(
        &self,
        req: &mut Request<'_>,
        open: &Open,
        a: &Attr,
        t: &Target,
        p: &mut Progress,
    ) -> Result {
        let made = a.is_file() && self.layout_of_open(req, open, t, p)?;
        if !made {
            p.lock = self.lock_of_open(req, open, a, t, p)?;
        }
        p.answer = self.describe(&t.o, open.wanted(), &open.agreed)?;
        let client = req.own::<MdtClient>()?;
        let cookie = client.add(OpenFile {
            object: t.o.clone(),
            flags: open.flags,
        })?;
        if let Err(e) = change::number(req) {
            // The caller ends the open.
            drop(req.own::<MdtClient>()?.take(cookie));
            return Err(e);
        }
        p.answer.body.mbo_handle.set(cookie);
        p.reached |= Disposition::OPEN_OPEN;
        self.stats.count(Op::Open);
        Ok(())
    }

    /// Makes the layout that the file is to have from this open on; whether it did.
    fn layout_of_open(
        &self,
        req: &mut Request<'_>,
        open: &Open,
        t: &Target,
        p: &mut Progress,
    ) -> Result<bool> {
        let user = open.has(OpenFlags::HAS_EA);
        if self.mdd.layout(&t.o)?.is_some() {
            return match user && !t.created {
                true => Err(EEXIST),
                false => Ok(false),
            };
        }
        if open.agreed.has(ConnectFlags::DISP_STRIPE) {
            p.reached |= Disposition::OPEN_STRIPE;
        }
        if t.created || !open.flags.may_create_layout() {
            return Ok(false);
        }
        self.make_layout(req, &t.o, user.then_some(&open.ea[..]))
    }

    /// Gives a file a layout, if it has none yet; clients learn of it.
    pub(crate) fn make_layout(
        &self,
        req: &mut Request<'_>,
        o: &ObjectRef,
        user: Option<&[u8]>,
    ) -> Result<bool> {
        // Before the lock: it may take long.
        let layout = self.mdd.reserve_for(o, user);
        let ns = req.target.namespace().clone();
        let _lock = locks::lock(&ns, o.fid(), Mode::Ex, ibits::LAYOUT)?;
        self.mdd.make_layout(&mut Change::of(req), o, layout)
    }

    /// The lock that goes to the client (`mdt.md` 7.3).
    fn lock_of_open(
        &self,
        req: &Request<'_>,
        open: &Open,
        a: &Attr,
        t: &Target,
        p: &mut Progress,
    ) -> Result<Option<LocalLock>> {
        let ns = req.target.namespace();
        let keeps = open.has(OpenFlags::LOCK);
        let mode = match keeps {
            true if open.has(OpenFlags::FMODE_WRITE) => Mode::Cw,
            true if !open.has(OpenFlags::FMODE_EXEC) => Mode::Cr,
            _ => Mode::Pr,
        };
        let needed = match keeps {
            true => ibits::LOOKUP | ibits::OPEN,
            false => 0,
        };
        let mut wished = 0;
        if a.is_file() && open.agreed.has(ConnectFlags::LAYOUTLOCK) {
            wished |= ibits::LOOKUP | ibits::LAYOUT;
            // In another mode these would not keep those away who change them.
            if mode == Mode::Pr && !open.has(OpenFlags::PCC) {
                wished |= ibits::UPDATE | ibits::PERM;
            }
            if mode == Mode::Cw {
                // Nor would the layout be shared with readers.
                wished &= !ibits::LAYOUT;
            }
        }
        if !t.by_name && self.mdd.is_orphan(t.o.fid()) {
            wished &= !ibits::LOOKUP;
        }
        let known = open.agreed.ibits();
        let (needed, wished) = (needed & known, wished & known);
        if needed | wished == 0 {
            return Ok(None);
        }
        match locks::lock_some(ns, t.o.fid(), mode, needed, wished) {
            Ok(l) => {
                if locks::bits_of(&l) & ibits::OPEN != 0 {
                    p.reached |= Disposition::OPEN_LOCK;
                }
                Ok(Some(l))
            }
            // None of the wishes came true: the file is open all the same.
            Err(e) if e == EAGAIN => Ok(None),
            Err(e) => Err(e),
        }
    }
}
