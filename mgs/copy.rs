// SPDX-License-Identifier: GPL-2.0

//! What a new MDT takes over from the logs of others (`mgs-config.md` 11.7).

use crate::configs::Batch;
use crate::fs::{client_log, target_log, FsState};
use crate::section::{text, Records};
use crate::target_logs::osp_name;
use kapi::prelude::*;
use osd::Walk;
use wire::cfg::{Cfg, CfgMarker, CfgSpec, CmFlags, LcfgCommand};
use wire::disk::names::Name;
use wire::svname::{SvKind, SvName};

/// Buffers of a record.
const BUFS: usize = wire::cfg::LUSTRE_CFG_MAX_BUFCOUNT;

/// The flags of a marker that its copy has, too.
fn kept(m: &CfgMarker) -> CmFlags {
    m.flags() & CmFlags::EXCLUDE
}

/// Adds a copy of a record with some of its buffers replaced.
fn push(
    r: &mut Records,
    cfg: &Cfg<'_>,
    command: LcfgCommand,
    replace: &[(usize, &[u8])],
) -> Result {
    let mut bufs: [&[u8]; BUFS] = [&[]; BUFS];
    for (i, to) in bufs.iter_mut().enumerate() {
        *to = cfg.buf(i).unwrap_or(&[]);
    }
    for (i, with) in replace {
        *bufs.get_mut(*i).ok_or(EINVAL)? = with;
    }
    r.push(&CfgSpec {
        command,
        num: cfg.head.lcfg_num.get(),
        flags: cfg.head.lcfg_flags.get(),
        nid: cfg.head.lcfg_nid.get(),
        bufs: bufs.get(..cfg.bufcount()).ok_or(EINVAL)?,
    })
}

/// The devices of the clients' log, as an MDT names them.
struct Devices<'r> {
    records: &'r mut Records,
    step: u32,
    mdt: SvName,
    lov: Name,
    group: Name,
    /// The device of the section that is being copied, and its type.
    device: Option<(Name, &'static [u8])>,
}

impl Devices<'_> {
    /// The targets that the clients' log sets up are set up for the MDT as well.
    fn marker(&mut self, m: &CfgMarker) -> Result {
        let target = wire::text::get(&m.cm_tgtname);
        let comment: &[u8] = match wire::text::get(&m.cm_comment) {
            b"add mdc" => b"add osp",
            c @ (b"add osc" | b"add failnid") => c,
            _ => return Ok(()),
        };
        if m.flags().contains(CmFlags::START) {
            let Ok(of) = SvName::parse(target) else {
                return Ok(());
            };
            if m.flags().contains(CmFlags::SKIP) || of.fs != self.mdt.fs || of == self.mdt {
                return Ok(());
            }
            let kind: &[u8] = match of.kind {
                SvKind::Ost => b"osc\0",
                SvKind::Mdt => b"osp\0",
            };
            self.device = Some((osp_name(&of, &self.mdt)?, kind));
            self.records.start(&mut self.step, kept(m), target, comment)
        } else if self.device.take().is_some() {
            self.records.end(&self.step, kept(m), target, comment)
        } else {
            Ok(())
        }
    }

    fn record(&mut self, cfg: &Cfg<'_>) -> Result {
        if let Some(m) = cfg.marker() {
            return self.marker(m);
        }
        let (Some((name, kind)), Ok(command)) = (&self.device, cfg.command()) else {
            return Ok(());
        };
        let replace: &[(usize, &[u8])] = match command {
            LcfgCommand::AddUuid => &[],
            LcfgCommand::Attach => &[(0, name.as_bytes()), (1, kind), (2, self.group.as_bytes())],
            LcfgCommand::Setup | LcfgCommand::AddConn | LcfgCommand::DelConn => {
                &[(0, name.as_bytes())]
            }
            LcfgCommand::AddMdc
            | LcfgCommand::DelMdc
            | LcfgCommand::LovAddObd
            | LcfgCommand::LovAddIna
            | LcfgCommand::LovDelObd => &[(0, self.lov.as_bytes())],
            _ => return Ok(()),
        };
        push(self.records, cfg, command, replace)
    }
}

/// Appends the devices of all targets in the clients' log to the log of MDT `mdt`.
///
/// # Errors
/// `EINVAL`: the log cannot be read. `EIO`, `ENOMEM`.
pub(crate) fn devices(batch: &mut Batch<'_>, state: &mut FsState, mdt: &SvName) -> Result {
    let from = client_log(mdt.fs)?;
    let Some(log) = batch.log(from.as_bytes())? else {
        return Ok(());
    };
    let configs = batch.configs();
    let own = target_log(mdt)?;
    let mut d = Devices {
        records: batch.records(own.as_bytes())?,
        step: state.step,
        mdt: *mdt,
        lov: text(format_args!("{mdt}-mdtlov"))?,
        group: text(format_args!("{mdt}-mdtlov_UUID"))?,
        device: None,
    };
    configs.scan(&log, &mut |cfg| {
        d.record(cfg)?;
        Ok(Walk::Next)
    })?;
    state.step = d.step;
    Ok(())
}

/// `name` with the index of one MDT replaced by that of another, wherever it stands.
fn renamed(name: &[u8], from: &SvName, to: &SvName) -> Result<KVVec<u8>> {
    let old = text(format_args!("-MDT{:04x}", from.index))?;
    let new = text(format_args!("-MDT{:04x}", to.index))?;
    let (old, new) = (
        wire::text::get(old.as_bytes()),
        wire::text::get(new.as_bytes()),
    );
    let mut out = KVVec::new();
    out.extend_from_slice(name, GFP_KERNEL)?;
    let mut at = 0;
    while let Some(part) = out.get_mut(at..at + old.len()) {
        if part == old {
            part.copy_from_slice(new);
            at += old.len();
        } else {
            at += 1;
        }
    }
    Ok(out)
}

/// What of another MDT's log is a setting, not a device.
struct Settings<'r> {
    records: &'r mut Records,
    step: u32,
    from: SvName,
    to: SvName,
    inside: bool,
}

impl Settings<'_> {
    fn is_setting(&self, m: &CfgMarker) -> bool {
        let target = wire::text::get(&m.cm_tgtname);
        let comment = wire::text::get(&m.cm_comment);
        let of_fs = target
            .strip_prefix(self.to.fs.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"));
        let device = [
            &b"add mdt"[..],
            b"lov setup",
            b"add osp",
            b"add osc",
            b"add failnid",
        ];
        of_fs
            && !m.flags().contains(CmFlags::SKIP)
            && !device.iter().any(|d| comment.starts_with(d))
            && SvName::parse(target) != Ok(self.to)
    }

    fn record(&mut self, cfg: &Cfg<'_>) -> Result {
        if let Some(m) = cfg.marker() {
            let target = renamed(wire::text::get(&m.cm_tgtname), &self.from, &self.to)?;
            let comment = wire::text::get(&m.cm_comment);
            if m.flags().contains(CmFlags::START) {
                self.inside = self.is_setting(m);
                if self.inside {
                    return self
                        .records
                        .start(&mut self.step, kept(m), &target, comment);
                }
            } else if core::mem::take(&mut self.inside) {
                return self.records.end(&self.step, kept(m), &target, comment);
            }
            return Ok(());
        }
        let Ok(command) = cfg.command() else {
            return Ok(());
        };
        let copied = matches!(
            command,
            LcfgCommand::Param
                | LcfgCommand::SetTimeout
                | LcfgCommand::SetLdlmTimeout
                | LcfgCommand::SetParam
                | LcfgCommand::PoolNew
                | LcfgCommand::PoolAdd
                | LcfgCommand::PoolRem
                | LcfgCommand::PoolDel
        );
        if !self.inside || !copied {
            return Ok(());
        }
        let device = renamed(cfg.buf(0).unwrap_or(&[]), &self.from, &self.to)?;
        push(self.records, cfg, command, &[(0, &device)])
    }
}

/// Appends the settings of another MDT to the log of MDT `mdt`.
///
/// # Errors
/// `EINVAL`: the log cannot be read. `EIO`, `ENOMEM`.
pub(crate) fn from_other_mdt(batch: &mut Batch<'_>, state: &mut FsState, mdt: &SvName) -> Result {
    for i in state.mdts.iter().filter(|i| *i != mdt.index) {
        let from = SvName { index: i, ..*mdt };
        let Some(log) = batch.log(target_log(&from)?.as_bytes())? else {
            continue;
        };
        if log.is_empty() {
            continue;
        }
        let configs = batch.configs();
        let own = target_log(mdt)?;
        let mut s = Settings {
            records: batch.records(own.as_bytes())?,
            step: state.step,
            from,
            to: *mdt,
            inside: false,
        };
        configs.scan(&log, &mut |cfg| {
            s.record(cfg)?;
            Ok(Walk::Next)
        })?;
        state.step = s.step;
        return Ok(());
    }
    Ok(())
}
