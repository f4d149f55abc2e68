// SPDX-License-Identifier: GPL-2.0

//! MGS_TARGET_REG: targets register, and say that they are up (`mgs-config.md` 7.2).

use crate::configs::Batch;
use crate::fs::{client_log, target_log, Fs};
use crate::nidtbl::MAX_NIDS;
use crate::params::Setting;
use crate::revoke::topic;
use crate::section::text;
use crate::service::Mgs;
use crate::target_logs::{write_mdt, write_ost, Newcomer};
use crate::words::{failover_nodes, Words};
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use lnet::Sink;
use target::{Request, Served};
use wire::connect::ConnectFlags;
use wire::disk::mountdata::LddFlags;
use wire::disk::names::Name;
use wire::mgs::{
    nid_strings, MgsConfigType, MgsTargetInfo, MgsTargetNidlist, NidlistFlags, NIDSTR_SIZE,
};
use wire::nid::Nid;
use wire::opcode::portal;
use wire::svname::{FsName, SvKind, SvName};
use zerocopy::FromBytes;

const INFO: usize = size_of::<MgsTargetInfo>();
/// NIDs as text that a target may send.
const MAX_TEXTS: u32 = 4096;
/// Names that are no file systems' (`mgs-config.md` 20).
const RESERVED: &[&[u8]] = &[b"params", b"nodemap", b"general", b"_mgs"];

/// A registration.
struct Registration {
    /// The request's buffer: the answer is made of it.
    bytes: KVVec<u8>,
    flags: LddFlags,
    fs: FsName,
    kind: SvKind,
    index: u32,
    instance: u32,
    nids: KVec<Nid>,
    params: KVVec<u8>,
    uuid: KVec<u8>,
}

fn info(bytes: &[u8]) -> Result<&MgsTargetInfo> {
    let (info, _) = MgsTargetInfo::ref_from_prefix(bytes).map_err(|_| EPROTO)?;
    Ok(info)
}

fn add(nids: &mut KVec<Nid>, nid: Nid) -> Result {
    if nids.len() < MAX_NIDS && nid != Nid::LO && !nid.is_any() && !nids.contains(&nid) {
        nids.push(nid, GFP_KERNEL)?;
    }
    Ok(())
}

/// NIDs in the form of text; those of a kind that is unknown here are of no use.
fn add_texts(nids: &mut KVec<Nid>, bytes: &[u8], count: u32) -> Result {
    for text in nid_strings(bytes, count) {
        let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
        if let Ok(nid) = Nid::parse(text) {
            add(nids, nid)?;
        }
    }
    Ok(())
}

impl Registration {
    fn read(req: &Request<'_>) -> Result<Registration> {
        let buf = req.rpc.msg().buf(1).ok_or(EPROTO)?;
        let m = info(buf)?;
        let flags = m.flags();
        let kind = match (flags.is_mdt(), flags.is_ost()) {
            (true, false) => SvKind::Mdt,
            (false, true) => SvKind::Ost,
            _ => return Err(EINVAL),
        };
        let fs = FsName::new(wire::text::get(&m.mti_fsname)).map_err(|_| EINVAL)?;
        if RESERVED.contains(&fs.as_bytes()) {
            return Err(EINVAL);
        }
        let uuid = wire::text::get(&m.mti_uuid);
        if uuid.len() >= m.mti_uuid.len() || !uuid.iter().all(u8::is_ascii_graphic) {
            return Err(EINVAL);
        }
        let mut nids = KVec::new();
        if !Self::read_nidlist(req, flags, &mut nids)? {
            match buf
                .get(INFO..)
                .filter(|_| flags.contains(LddFlags::LARGE_NID))
            {
                Some(texts) => add_texts(&mut nids, texts, m.mti_nid_count.get())?,
                None => {
                    for n in m.nids() {
                        add(&mut nids, Nid::from_nid4(n))?;
                    }
                }
            }
        }
        let mut r = Registration {
            bytes: KVVec::new(),
            flags,
            fs,
            kind,
            index: m.mti_stripe_index.get(),
            instance: m.mti_instance.get(),
            nids,
            params: KVVec::new(),
            uuid: KVec::new(),
        };
        r.bytes.extend_from_slice(buf, GFP_KERNEL)?;
        let params = wire::text::get(&m.mti_params);
        r.params.extend_from_slice(params, GFP_KERNEL)?;
        r.uuid.extend_from_slice(uuid, GFP_KERNEL)?;
        Ok(r)
    }

    /// Reads NIDs from the list that goes with the request; false: there is none.
    fn read_nidlist(req: &Request<'_>, flags: LddFlags, nids: &mut KVec<Nid>) -> Result<bool> {
        let granted = req.export.connect_data().flags();
        if !granted.contains(ConnectFlags::MGS_NIDLIST) {
            return Ok(false);
        }
        let buf = req.rpc.msg().buf(2).ok_or(EPROTO)?;
        let (head, texts) = MgsTargetNidlist::ref_from_prefix(buf).map_err(|_| EPROTO)?;
        let how = NidlistFlags::from_bits_retain(head.mtn_flags.get());
        let bulk = how.contains(NidlistFlags::IN_BULK);
        if (texts.is_empty() && !bulk) || !flags.contains(LddFlags::LARGE_NID) {
            return Ok(false);
        }
        let count = head.mtn_nids.get();
        if count > MAX_TEXTS || how.contains(NidlistFlags::COMPRESSED) {
            return Err(EINVAL);
        }
        if bulk {
            let bytes = fetch(req, count as usize * NIDSTR_SIZE)?;
            add_texts(nids, &bytes, count)?;
        } else {
            add_texts(nids, texts, count)?;
        }
        Ok(true)
    }

    fn has(&self, flag: LddFlags) -> bool {
        self.flags.contains(flag)
    }

    /// Its name, if it has an index already.
    fn name(&self) -> Result<SvName> {
        SvName::new(self.fs, self.kind, self.index).map_err(|_| ERANGE)
    }

    /// The UUID that it brings, or that it gets.
    fn uuid(&self, name: &SvName) -> Result<Name> {
        match core::str::from_utf8(&self.uuid) {
            Ok(u) if !u.is_empty() => text(format_args!("{u}")),
            _ => text(format_args!("{name}_UUID")),
        }
    }

    /// The answer.
    fn answer(&mut self, name: Option<&SvName>, uuid: Option<&Name>) -> Result {
        let (m, _) = MgsTargetInfo::mut_from_prefix(&mut self.bytes).map_err(|_| EPROTO)?;
        m.set_flags(self.flags);
        m.mti_stripe_index.set(self.index);
        if let Some(name) = name {
            let text = target_log(name)?;
            wire::text::set(&mut m.mti_svname, text.as_bytes()).map_err(|_| EINVAL)?;
        }
        if let Some(uuid) = uuid {
            let text = wire::text::get(uuid.as_bytes());
            wire::text::set(&mut m.mti_uuid, text).map_err(|_| EINVAL)?;
        }
        Ok(())
    }
}

/// Fetches a list of NIDs.
fn fetch(req: &Request<'_>, len: usize) -> Result<KVVec<u8>> {
    let mut sinks = KVec::new();
    let pages = Pages::new(len.div_ceil(PAGE_SIZE).max(1))?;
    sinks.push(Sink::new(pages), GFP_KERNEL)?;
    let (first, _) = req.rpc.bulk_begin(1)?;
    let got = req.rpc.bulk_get(portal::MGS_BULK, first, sinks)?;
    let (sink, filled) = got.first().ok_or(EPROTO)?;
    if *filled < len {
        return Err(EPROTO);
    }
    let mut bytes = KVVec::from_elem(0u8, len, GFP_KERNEL)?;
    sink.pages.copy_out(0, &mut bytes)?;
    Ok(bytes)
}

impl Mgs {
    /// Answers MGS_TARGET_REG.
    pub(crate) fn target_reg(&self, req: &mut Request<'_>) -> Result<Served> {
        let mut r = Registration::read(req)?;
        let hears = req.export.connect_data().flags();
        // The operation is only said where recovery is known; but to say it does no harm.
        let opc = r.flags & LddFlags::OPC_MASK;
        let done = if opc == LddFlags::OPC_READY {
            self.ready(&mut r)
        } else if opc == LddFlags::OPC_REG || !hears.contains(ConnectFlags::IMP_RECOV) {
            self.register(req, &mut r)
        } else {
            Err(EINVAL)
        };
        let status = match done {
            Ok(()) => 0,
            Err(e) => {
                pr_warn_ratelimited!(
                    "MGS: {}-{}{:04x} at {} is refused: {:?}\n",
                    r.fs,
                    r.kind.as_str(),
                    r.index,
                    req.rpc.peer().nid,
                    e
                );
                r.flags.insert(LddFlags::ERROR);
                r.answer(None, None)?;
                e.to_errno()
            }
        };
        // What is answered is on disk.
        self.configs.osd().sync()?;
        req.rpc.pack_reply(&[u32::try_from(r.bytes.len())?])?;
        let out = req.rpc.reply_mut()?.buf_mut(1).ok_or(EPROTO)?;
        out.copy_from_slice(&r.bytes);
        Ok(Served::Reply(status))
    }

    /// A target is up: clients hear where it is.
    fn ready(&self, r: &mut Registration) -> Result {
        if r.instance == 0 {
            return Err(EINVAL);
        }
        let name = r.name()?;
        let fs = self.fs(name.fs)?;
        if !fs.state.lock().indices(name.kind).contains(name.index) {
            return Err(ENOENT);
        }
        if r.nids.is_empty() {
            return Err(EINVAL);
        }
        {
            let nids = core::mem::take(&mut r.nids);
            let mut table = fs.nids.lock();
            let version = table.enter(name.kind, name.index, r.instance, nids)?;
            self.versions.store(name.fs, version)?;
        }
        if self.recovery_is_told(&fs, r) {
            r.flags.insert(LddFlags::IR_CAPABLE);
        }
        r.answer(None, None)?;
        self.revoker.later(topic(name.fs, MgsConfigType::Recover));
        Ok(())
    }

    /// Whether every client hears of restarts: not soon after our own, nor with clients that do
    /// not listen.
    fn recovery_is_told(&self, fs: &Fs, _: &Registration) -> bool {
        let Ok(target) = self.target() else {
            return false;
        };
        let limit = u64::from(target.node().limits().obd_timeout) * 4;
        self.started.elapsed() >= Duration::from_secs(limit) && fs.all_hear()
    }

    fn register(&self, req: &Request<'_>, r: &mut Registration) -> Result {
        if r.has(LddFlags::NEED_INDEX) {
            r.flags.insert(LddFlags::WRITECONF);
        } else {
            // What it calls itself must be what it is.
            r.name()?;
        }
        let fs = if r.flags.intersects(LddFlags::WRITECONF | LddFlags::UPDATE) {
            self.fs_or_new(r.fs)?
        } else {
            match self.fs(r.fs) {
                Err(e) if e == ENOENT => self.fs_or_new(r.fs)?,
                other => other?,
            }
        };
        let mut touched = false;
        let done = self.change_logs(&fs, r, &mut touched);
        if touched {
            // Also after an error: part of it may be there.
            let ns = req.target.namespace();
            self.revoker.now(ns, topic(fs.name, MgsConfigType::Config));
        }
        done
    }

    /// Writes what a registration says. `touched`: logs may have changed, whatever it returns.
    fn change_logs(&self, fs: &Fs, r: &mut Registration, touched: &mut bool) -> Result {
        let mut state = fs.state.lock();
        let asked = LddFlags::WRITECONF | LddFlags::UPDATE;
        if !r.flags.intersects(asked) {
            if state.begun {
                let name = r.name()?;
                if !state.indices(name.kind).contains(name.index) {
                    pr_warn_ratelimited!(
                        "MGS: {} claims to have registered, and is not known\n",
                        name
                    );
                    return Err(ENOENT);
                }
                return r.answer(None, None);
            }
            pr_warn!(
                "MGS: the log of the clients of {} is gone, it is made again\n",
                r.fs
            );
            r.flags.insert(LddFlags::WRITECONF);
        } else if !r.has(LddFlags::NO_PRIMNODE) {
            for nid in failover_nodes(&r.params)?.iter().flatten() {
                if r.nids.contains(nid) {
                    pr_warn_ratelimited!("MGS: {} is to register from its own node first\n", nid);
                    return Err(EADDRNOTAVAIL);
                }
            }
        }
        // Nothing is erased for a target that is refused in the end.
        let name = match r.has(LddFlags::NEED_INDEX) {
            true => {
                let free = state.indices(r.kind).free().ok_or(ERANGE)?;
                r.index = free.into();
                r.name()?
            }
            false => r.name()?,
        };
        let known = state.indices(name.kind).contains(name.index);
        let whole = r.has(LddFlags::WRITECONF);
        if known && r.has(LddFlags::VIRGIN) && !whole {
            pr_warn_ratelimited!("MGS: the index of {} is in use already\n", name);
            return Err(EADDRINUSE);
        }
        let fresh = r.flags.intersects(LddFlags::VIRGIN | LddFlags::WRITECONF);
        if fresh && r.nids.is_empty() {
            return Err(EINVAL);
        }
        let mut known = known;
        if whole {
            *touched = true;
            if name.kind == SvKind::Mdt && name.index == 0 {
                pr_warn!(
                    "MGS: the logs of {} are erased; all its targets must register\n",
                    name.fs
                );
                self.erase_all(fs.name)?;
                *state = crate::fs::FsState::load(&self.configs, fs.name)?;
                known = false;
            } else {
                self.configs.erase(target_log(&name)?.as_bytes())?;
            }
        }
        let uuid = r.uuid(&name)?;
        let step = state.step;
        // It is the first log of a file system: numbers are as existing servers have them.
        self.configs.file(client_log(name.fs)?.as_bytes())?;
        let mut batch = Batch::new(&self.configs);
        let new = Newcomer {
            name,
            uuid,
            nids: &r.nids,
            params: &r.params,
        };
        let mut write = || -> Result {
            match (fresh, name.kind) {
                (true, SvKind::Mdt) => write_mdt(&mut batch, &mut state, &new)?,
                (true, SvKind::Ost) => write_ost(&mut batch, &mut state, &new, known)?,
                (false, _) => {}
            }
            for word in Words::new(&r.params) {
                let setting = Setting {
                    fs: name.fs,
                    target: Some(name),
                    registering: true,
                    fresh,
                    delete: false,
                };
                setting.write(&mut batch, &mut state, word)?;
            }
            Ok(())
        };
        let written = write().and_then(|()| {
            *touched = true;
            batch.commit()
        });
        if let Err(e) = written {
            state.step = step;
            return Err(e);
        }
        state.indices_mut(name.kind).insert(name.index)?;
        state.begun = !self.configs.is_empty(client_log(name.fs)?.as_bytes())?;
        r.flags.remove(
            LddFlags::VIRGIN | LddFlags::UPDATE | LddFlags::NEED_INDEX | LddFlags::WRITECONF,
        );
        r.flags.insert(LddFlags::REWRITE_LDD);
        r.answer(Some(&name), Some(&uuid))
    }

    fn erase_all(&self, fs: FsName) -> Result {
        let prefix = client_log(fs)?;
        let prefix = prefix.as_bytes().strip_suffix(b"client").ok_or(EINVAL)?;
        self.configs.for_each(prefix, &mut |name| {
            // Security rules stay.
            if name.ends_with(b"-sptlrpc") {
                return Ok(());
            }
            self.configs.erase(name)
        })
    }
}
