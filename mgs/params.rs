// SPDX-License-Identifier: GPL-2.0

//! Parameters that stay: which logs they go to, and how older values are taken back
//! (`mgs-config.md` 15).

use crate::configs::{marked, skip, Batch};
use crate::fs::{client_log, target_log, FsState};
use crate::section::text;
use crate::target_logs::{add_nodes, osp_name};
use crate::words::{key, nodes, value, FAILOVER_NODE, PARAM_MAX};
use kapi::prelude::*;
use osd::Walk;
use wire::cfg::{Cfg, CfgSpec, CmFlags, LcfgCommand};
use wire::disk::names::Name;
use wire::svname::{FsName, SvKind, SvName};

/// A parameter that is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The file system.
    pub(crate) fs: FsName,
    /// The target it is for; none: the file system.
    pub(crate) target: Option<SvName>,
    /// It comes with a registration.
    pub(crate) registering: bool,
    /// The registration writes the target's sections anew, with its other nodes in them.
    pub(crate) fresh: bool,
    /// The parameter is taken back.
    pub(crate) delete: bool,
}

/// What a section says, besides its markers.
pub(crate) struct Entry<'a> {
    pub(crate) command: LcfgCommand,
    pub(crate) num: u32,
    /// Buffer 0.
    pub(crate) device: &'a [u8],
    /// The buffers behind it, two at the most.
    pub(crate) bufs: &'a [&'a [u8]],
}

/// The old sections of a parameter.
struct Old {
    /// Their markers, and what these become.
    edits: KVec<(u64, KVVec<u8>)>,
    /// One of them has the value already.
    same: bool,
}

/// Whether several values may stand side by side.
fn is_compound(param: &[u8]) -> bool {
    [&b"nrs_tbf_rule"[..], b"pcc", b"wbc"]
        .iter()
        .any(|c| key(param).split(|b| *b == b'.').any(|part| part == *c))
}

/// Finds the sections of a log for `param` of `target` that count.
fn find_old(batch: &mut Batch<'_>, log: &[u8], target: &[u8], param: &[u8]) -> Result<Old> {
    let mut old = Old {
        edits: KVec::new(),
        same: false,
    };
    let Some(log) = batch.log(log)? else {
        return Ok(old);
    };
    let mut inside = false;
    log.for_each(0, &mut |found| {
        let cfg = Cfg::parse(found.rec.payload).map_err(|_| EINVAL)?;
        if let (Some(m), Some([])) = (cfg.marker(), cfg.buf(0)) {
            inside = false;
            if !m.flags().contains(CmFlags::SKIP)
                && wire::text::get(&m.cm_tgtname) == target
                && wire::text::get(&m.cm_comment) == key(param)
            {
                inside = m.flags().contains(CmFlags::START);
                let edit = (found.at, marked(found.rec.payload, m, &skip)?);
                old.edits.push(edit, GFP_KERNEL)?;
            }
        } else if inside && cfg.text(1) == param {
            old.same = true;
        }
        Ok(Walk::Next)
    })?;
    Ok(old)
}

impl Setting {
    /// Writes a parameter to the logs that it concerns.
    ///
    /// # Errors
    /// `EINVAL`: not a value that it can have. `EPERM`: it cannot be changed like this. `ENOENT`:
    /// the target is not known, or there is nothing to take back. `EOPNOTSUPP`. `EIO`, `ENOMEM`.
    pub(crate) fn write(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        if param.len() > PARAM_MAX || key(param).is_empty() {
            return Err(EINVAL);
        }
        let first = param.split(|b| *b == b'.').next().unwrap_or(&[]);
        match first {
            _ if value(param, b"mgsnode=").is_some() || value(param, b"network=").is_some() => {
                Ok(())
            }
            b"failover" => self.failover(batch, state, param),
            b"srpc" => Err(EINVAL),
            b"sys" => self.sys(batch, state, param),
            b"quota" => self.quota(batch, state, param),
            b"lov" => self.lov(batch, state, param),
            b"osc" | b"mdc" | b"llite" => self.client_device(batch, state, param),
            b"mdt" => self.mdt(batch, state, param),
            b"mdd" | b"lod" | b"ost" | b"osd" => {
                let own = self.target.ok_or(EINVAL)?;
                let log = target_log(&own)?;
                self.param(
                    batch,
                    state,
                    log.as_bytes(),
                    &text(format_args!("{own}"))?,
                    param,
                )
            }
            _ => {
                let text = core::str::from_utf8(param).unwrap_or("?");
                pr_warn!("MGS: parameter {} is not known, and not written\n", text);
                Ok(())
            }
        }
    }

    fn failover(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        if let Some(list) = value(param, FAILOVER_NODE) {
            if self.fresh {
                // They are in the target's own sections.
                return Ok(());
            }
            return self.add_failnid(batch, state, list);
        }
        if value(param, b"failover.mode=").is_some() {
            // It is part of what sets the target up.
            return if self.registering && self.fresh {
                Ok(())
            } else {
                Err(EPERM)
            };
        }
        Err(EINVAL)
    }

    /// Other nodes of a target that has registered; an empty list takes back those added so.
    fn add_failnid(&self, batch: &mut Batch<'_>, state: &mut FsState, list: &[u8]) -> Result {
        const COMMENT: &[u8] = b"add failnid";
        let own = self.target.ok_or(EINVAL)?;
        let target = target_log(&own)?;
        if batch.is_empty(target.as_bytes())? {
            return Err(ENOENT);
        }
        let others = nodes(list)?;
        let mdts = self.mdts(state)?;
        let mut write = |batch: &mut Batch<'_>, log: &Name, device: &Name| -> Result {
            let log = log.as_bytes();
            if others.is_empty() || self.delete {
                batch.mark(log, target.as_bytes(), COMMENT, &skip)?;
                return Ok(());
            }
            let step = &mut state.step;
            let r = batch.records(log)?;
            r.start(step, CmFlags::empty(), target.as_bytes(), COMMENT)?;
            add_nodes(r, device, &others)?;
            r.end(step, CmFlags::empty(), target.as_bytes(), COMMENT)
        };
        let device = match own.kind {
            SvKind::Mdt => text(format_args!("{own}-mdc"))?,
            SvKind::Ost => text(format_args!("{own}-osc"))?,
        };
        write(batch, &client_log(self.fs)?, &device)?;
        self.for_each_mdt_log(batch, &mdts, &mut |batch, mdt, log| {
            if own == *mdt {
                return Ok(());
            }
            write(batch, log, &osp_name(&own, mdt)?)
        })
    }

    fn mdts(&self, state: &FsState) -> Result<KVec<SvName>> {
        let mut all = KVec::new();
        for i in state.mdts.iter() {
            let name = SvName {
                fs: self.fs,
                kind: SvKind::Mdt,
                index: i,
            };
            all.push(name, GFP_KERNEL)?;
        }
        // The target that just registers.
        if let Some(own) = self.target.filter(|t| t.kind == SvKind::Mdt) {
            if !all.contains(&own) {
                all.push(own, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }

    fn for_each_mdt_log<'b>(
        &self,
        batch: &mut Batch<'b>,
        mdts: &[SvName],
        f: &mut dyn FnMut(&mut Batch<'b>, &SvName, &Name) -> Result,
    ) -> Result {
        for mdt in mdts {
            let log = target_log(mdt)?;
            if !batch.is_empty(log.as_bytes())? {
                f(batch, mdt, &log)?;
            }
        }
        Ok(())
    }

    /// A section with one parameter of a device, instead of older ones. Whether there were any.
    ///
    /// # Errors
    /// `EINVAL`: the log cannot be read. `EIO`, `ENOMEM`.
    pub(crate) fn section(
        &self,
        batch: &mut Batch<'_>,
        state: &mut FsState,
        log: &[u8],
        target: &[u8],
        param: &[u8],
        entry: &Entry<'_>,
    ) -> Result<bool> {
        let old = find_old(batch, log, target, param)?;
        let compound = is_compound(param);
        let found = !old.edits.is_empty();
        if self.delete || param.ends_with(b"=") {
            for (at, payload) in old.edits {
                batch.edit(log, at, payload)?;
            }
            return Ok(found);
        }
        if old.same {
            return Ok(found);
        }
        if !compound {
            for (at, payload) in old.edits {
                batch.edit(log, at, payload)?;
            }
        }
        let step = &mut state.step;
        let r = batch.records(log)?;
        r.start(step, CmFlags::empty(), target, key(param))?;
        let mut bufs: [&[u8]; 3] = [entry.device, &[], &[]];
        for (to, from) in bufs.iter_mut().skip(1).zip(entry.bufs) {
            *to = from;
        }
        r.push(&CfgSpec {
            num: entry.num,
            ..CfgSpec::new(
                entry.command,
                bufs.get(..1 + entry.bufs.len()).ok_or(EINVAL)?,
            )
        })?;
        r.end(step, CmFlags::empty(), target, key(param))?;
        Ok(found)
    }

    /// A parameter of a device, in one log.
    fn param(
        &self,
        batch: &mut Batch<'_>,
        state: &mut FsState,
        log: &[u8],
        device: &Name,
        param: &[u8],
    ) -> Result {
        if batch.is_empty(log)? {
            return Err(ENODEV);
        }
        let value = terminated(param)?;
        let entry = Entry {
            command: LcfgCommand::Param,
            num: 0,
            device: device.as_bytes(),
            bufs: &[&value],
        };
        let target = wire::text::get(device.as_bytes());
        let found = self.section(batch, state, log, target, param, &entry)?;
        if self.delete && !found {
            return Err(ENOENT);
        }
        Ok(())
    }

    /// A time-out of all nodes, or the like.
    fn sys(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        let rest = value(param, b"sys.").ok_or(EINVAL)?;
        let what = rest
            .iter()
            .position(|b| *b == b'=')
            .map(|n| rest.split_at(n + 1));
        let (name, set) = what.ok_or(EINVAL)?;
        let command = match name {
            b"timeout=" => LcfgCommand::SetTimeout,
            b"ldlm_timeout=" => LcfgCommand::SetLdlmTimeout,
            b"at_min=" | b"at_max=" | b"at_extra=" | b"at_early_margin=" | b"at_history="
            | b"jobid_var=" => LcfgCommand::Param,
            _ => return Err(EINVAL),
        };
        let (value, extra) = (terminated(param)?, terminated(set)?);
        let mut num = 0;
        let mut bufs: &[&[u8]] = &[&value];
        let with_extra: [&[u8]; 2] = [&value, &extra];
        if name == b"jobid_var=" {
            bufs = &with_extra;
        } else if !set.is_empty() {
            let set = core::str::from_utf8(set).map_err(|_| EINVAL)?;
            num = set.parse().map_err(|_| EINVAL)?;
        }
        let entry = Entry {
            command,
            num,
            device: &[],
            bufs,
        };
        self.everywhere(batch, state, param, &entry, true)
    }

    /// Which quotas the servers enforce.
    fn quota(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        let set = value(param, b"quota.mdt=")
            .or_else(|| value(param, b"quota.ost="))
            .ok_or(EINVAL)?;
        let kinds = set.iter().any(|b| matches!(b, b'u' | b'g' | b'p'));
        if !(set.is_empty() || set == b"none" || kinds) {
            return Err(EINVAL);
        }
        let (value, fs) = (terminated(param)?, text(format_args!("{}", self.fs))?);
        let entry = Entry {
            command: LcfgCommand::Param,
            num: 0,
            device: fs.as_bytes(),
            bufs: &[&value],
        };
        self.everywhere(batch, state, param, &entry, false)
    }

    /// Writes a section to all logs of the file system.
    fn everywhere(
        &self,
        batch: &mut Batch<'_>,
        state: &mut FsState,
        param: &[u8],
        entry: &Entry<'_>,
        clients: bool,
    ) -> Result {
        let client = client_log(self.fs)?;
        let prefix = client.as_bytes().strip_suffix(b"client").ok_or(EINVAL)?;
        let mut logs: KVec<Name> = KVec::new();
        let configs = batch.configs();
        configs.for_each(prefix, &mut |name| {
            let is_target = SvName::parse(name).is_ok();
            if is_target || clients && name == client.as_bytes() {
                let text = core::str::from_utf8(name).map_err(|_| EINVAL)?;
                let name = Name::new(format_args!("{text}")).map_err(|_| EINVAL)?;
                logs.push(name, GFP_KERNEL)?;
            }
            Ok(())
        })?;
        // Those of the target that just registers are not on disk yet.
        let own = match &self.target {
            Some(t) => Some(target_log(t)?),
            None => None,
        };
        for name in own.into_iter().chain([client]) {
            let known = logs.iter().any(|l| l.as_bytes() == name.as_bytes());
            let wanted = clients || name.as_bytes() != client.as_bytes();
            if wanted && !known && !batch.is_empty(name.as_bytes())? {
                logs.push(name, GFP_KERNEL)?;
            }
        }
        let target = self.fs;
        for log in &logs {
            if !batch.is_empty(log.as_bytes())? {
                self.section(
                    batch,
                    state,
                    log.as_bytes(),
                    target.as_bytes(),
                    param,
                    entry,
                )?;
            }
        }
        Ok(())
    }

    /// A default of striping.
    fn lov(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        let Some(own) = self.target.filter(|t| t.kind == SvKind::Mdt) else {
            pr_warn!("MGS: striping is a matter of MDTs\n");
            return Ok(());
        };
        let lov = text(format_args!("{own}-mdtlov"))?;
        self.param(batch, state, target_log(&own)?.as_bytes(), &lov, param)?;
        let lov = text(format_args!("{}-clilov", self.fs))?;
        self.param(batch, state, client_log(self.fs)?.as_bytes(), &lov, param)
    }

    /// A parameter of a device of clients, and of MDTs for OSTs.
    fn client_device(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        let log = client_log(self.fs)?;
        if let Some(rest) = value(param, b"llite.") {
            let squash = rest.starts_with(b"root_squash=") || rest.starts_with(b"nosquash_nids=");
            if squash {
                return Err(EINVAL);
            }
            let device = text(format_args!("{}-client", self.fs))?;
            return self.param(batch, state, log.as_bytes(), &device, param);
        }
        let own = self.target.ok_or(EINVAL)?;
        let active = value(param, b"osc.active=").or_else(|| value(param, b"mdc.active="));
        if let Some(on) = active {
            self.activate(batch, state, &own, on != b"0" && !self.delete)?;
        }
        let device = match own.kind {
            SvKind::Mdt => text(format_args!("{own}-mdc"))?,
            SvKind::Ost => text(format_args!("{own}-osc"))?,
        };
        self.param(batch, state, log.as_bytes(), &device, param)?;
        if own.kind == SvKind::Mdt {
            return match active {
                Some(on) => self.activate_osps(batch, state, &own, on),
                None => Ok(()),
            };
        }
        let mdts = self.mdts(state)?;
        self.for_each_mdt_log(batch, &mdts, &mut |batch, mdt, log| {
            let device = osp_name(&own, mdt)?;
            self.param(batch, state, log.as_bytes(), &device, param)
        })
    }

    /// Has the target set up by who mounts later, but not used, or used again.
    fn activate(
        &self,
        batch: &mut Batch<'_>,
        state: &mut FsState,
        own: &SvName,
        on: bool,
    ) -> Result {
        if own.kind == SvKind::Mdt && own.index == 0 {
            return Err(EPERM);
        }
        let change = |m: &mut wire::cfg::CfgMarker| {
            let mut flags = m.flags();
            flags.remove(CmFlags::EXCLUDE);
            if !on {
                flags.insert(CmFlags::EXCLUDE);
            }
            m.cm_flags.set(flags.bits());
            m.cm_canceltime.set(0);
        };
        let (here, there): (&[u8], &[u8]) = match own.kind {
            SvKind::Ost => (b"add osc", b"add osc"),
            SvKind::Mdt => (b"add mdc", b"add osp"),
        };
        let target = target_log(own)?;
        let log = client_log(self.fs)?;
        batch.mark(log.as_bytes(), target.as_bytes(), here, &change)?;
        let mdts = self.mdts(state)?;
        self.for_each_mdt_log(batch, &mdts, &mut |batch, _, log| {
            batch
                .mark(log.as_bytes(), target.as_bytes(), there, &change)
                .map(drop)
        })
    }

    /// The other MDTs hear that one is used, or not.
    fn activate_osps(
        &self,
        batch: &mut Batch<'_>,
        state: &mut FsState,
        own: &SvName,
        on: &[u8],
    ) -> Result {
        let mut param = KVec::new();
        param.extend_from_slice(b"osp.active=", GFP_KERNEL)?;
        param.extend_from_slice(on, GFP_KERNEL)?;
        let mdts = self.mdts(state)?;
        self.for_each_mdt_log(batch, &mdts, &mut |batch, mdt, log| {
            if mdt == own {
                return Ok(());
            }
            let device = osp_name(own, mdt)?;
            self.param(batch, state, log.as_bytes(), &device, &param)
        })
    }

    /// A parameter of one MDT, or of all.
    fn mdt(&self, batch: &mut Batch<'_>, state: &mut FsState, param: &[u8]) -> Result {
        let rest = value(param, b"mdt.").ok_or(EINVAL)?;
        let squash = rest.starts_with(b"root_squash=") || rest.starts_with(b"nosquash_nids=");
        match self.target {
            Some(own) if own.kind != SvKind::Mdt => return Err(EINVAL),
            // That would differ from MDT to MDT.
            Some(_) if squash => return Err(EINVAL),
            Some(own) => {
                let device = text(format_args!("{own}"))?;
                self.param(batch, state, target_log(&own)?.as_bytes(), &device, param)?;
            }
            None => {
                let mdts = self.mdts(state)?;
                self.for_each_mdt_log(batch, &mdts, &mut |batch, mdt, log| {
                    let device = text(format_args!("{mdt}"))?;
                    self.param(batch, state, log.as_bytes(), &device, param)
                })?;
            }
        }
        if squash {
            // Clients have to know, too.
            let mut param = KVec::new();
            param.extend_from_slice(b"llite.", GFP_KERNEL)?;
            param.extend_from_slice(rest, GFP_KERNEL)?;
            let device = text(format_args!("{}-client", self.fs))?;
            self.param(
                batch,
                state,
                client_log(self.fs)?.as_bytes(),
                &device,
                &param,
            )?;
        }
        Ok(())
    }
}

/// `text` with a NUL.
///
/// # Errors
/// `EINVAL`: it has one. `ENOMEM`.
pub(crate) fn terminated(text: &[u8]) -> Result<KVec<u8>> {
    if text.contains(&0) {
        return Err(EINVAL);
    }
    let mut out = KVec::with_capacity(text.len() + 1, GFP_KERNEL)?;
    out.extend_from_slice(text, GFP_KERNEL)?;
    out.push(0, GFP_KERNEL)?;
    Ok(out)
}
