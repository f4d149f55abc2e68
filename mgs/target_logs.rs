// SPDX-License-Identifier: GPL-2.0

//! What the registration of a target writes to which log (`mgs-config.md` 11, 12).

use crate::configs::{skip, Batch};
use crate::copy;
use crate::fs::{client_log, target_log, FsState};
use crate::section::{node_uuid, text, Records};
use crate::words::{failover_nodes, Words};
use kapi::prelude::*;
use wire::cfg::{CmFlags, LcfgCommand};
use wire::disk::names::Name;
use wire::nid::Nid;
use wire::svname::{FsName, SvKind, SvName};

/// A target that registers.
pub(crate) struct Newcomer<'a> {
    /// Its name.
    pub(crate) name: SvName,
    /// Its UUID, with a NUL.
    pub(crate) uuid: Name,
    /// Where it is: at least one.
    pub(crate) nids: &'a [Nid],
    /// Its parameters.
    pub(crate) params: &'a [u8],
}

/// How a device of another node that stands for the target is set up.
struct Device<'a> {
    /// "osc", "mdc", "osp"
    kind: &'a [u8],
    name: Name,
    /// UUID of the device that it is one of.
    group: Name,
}

impl Newcomer<'_> {
    /// Whether the administrator wants it to fail, not to wait, when it is away.
    fn fails_out(&self) -> bool {
        Words::new(self.params).any(|w| w.starts_with(b"failover.mode=failout"))
    }

    fn failover_flag(&self) -> &'static [u8] {
        if self.fails_out() {
            b"n\0"
        } else {
            b"f\0"
        }
    }

    /// The records between the markers that make a device for it: its node, the device, other
    /// nodes. The order tells the former from the latter.
    fn device(&self, r: &mut Records, d: &Device<'_>) -> Result {
        let node = node_uuid(self.nids.first().ok_or(EINVAL)?)?;
        for nid in self.nids {
            r.add_uuid(nid, &node)?;
        }
        let name = d.name.as_bytes();
        r.command(LcfgCommand::Attach, &[name, d.kind, d.group.as_bytes()])?;
        r.command(
            LcfgCommand::Setup,
            &[name, self.uuid.as_bytes(), node.as_bytes()],
        )?;
        add_nodes(r, &d.name, &failover_nodes(self.params)?)
    }

    /// The section with which a log gets to know this OST.
    fn add_osc(
        &self,
        r: &mut Records,
        step: &mut u32,
        flags: CmFlags,
        osc: Name,
        lov: &str,
    ) -> Result {
        let target = text(format_args!("{}", self.name))?;
        let target = wire::text::get(target.as_bytes());
        let index = text(format_args!("{}", self.name.index))?;
        r.start(step, flags, target, b"add osc")?;
        let device = Device {
            kind: b"osc\0",
            name: osc,
            group: text(format_args!("{lov}_UUID"))?,
        };
        self.device(r, &device)?;
        let lov = text(format_args!("{lov}"))?;
        r.command(
            LcfgCommand::LovAddObd,
            &[
                lov.as_bytes(),
                self.uuid.as_bytes(),
                index.as_bytes(),
                b"1\0",
            ],
        )?;
        r.end(step, flags, target, b"add osc")
    }
}

/// Other nodes of the target that `device` stands for.
pub(crate) fn add_nodes(r: &mut Records, device: &Name, nodes: &[KVec<Nid>]) -> Result {
    for nids in nodes {
        let node = node_uuid(nids.first().ok_or(EINVAL)?)?;
        for nid in nids {
            r.add_uuid(nid, &node)?;
        }
        r.command(LcfgCommand::AddConn, &[device.as_bytes(), node.as_bytes()])?;
    }
    Ok(())
}

/// The name of the device that stands for OST `ost` on MDT `mdt`, or for MDT `ost`.
pub(crate) fn osp_name(of: &SvName, on: &SvName) -> Result<Name> {
    let kind = match of.kind {
        SvKind::Ost => "osc",
        SvKind::Mdt => "osp",
    };
    text(format_args!("{of}-{kind}-MDT{:04x}", on.index))
}

/// Begins the log of the clients.
fn begin_client_log(batch: &mut Batch<'_>, state: &mut FsState, fs: FsName) -> Result {
    let log = client_log(fs)?;
    if !batch.is_empty(log.as_bytes())? {
        return Ok(());
    }
    let (lov, lmv) = (
        text(format_args!("{fs}-clilov"))?,
        text(format_args!("{fs}-clilmv"))?,
    );
    let step = &mut state.step;
    let r = batch.records(log.as_bytes())?;
    r.lov_setup(step, bare(&lov))?;
    r.lmv_setup(step, bare(&lmv))?;
    let profile = text(format_args!("{fs}-client"))?;
    r.start(step, CmFlags::empty(), log.as_bytes(), b"mount opts")?;
    r.command(
        LcfgCommand::MountOpt,
        &[b"", profile.as_bytes(), lov.as_bytes(), lmv.as_bytes()],
    )?;
    r.end(step, CmFlags::empty(), log.as_bytes(), b"mount opts")
}

fn bare(name: &Name) -> &str {
    name.as_str().trim_end_matches('\0')
}

/// Writes what there is to write of a new MDT.
///
/// # Errors
/// `EINVAL`: a log cannot be read, or the target has no NID. `EIO`, `ENOMEM`.
pub(crate) fn write_mdt(batch: &mut Batch<'_>, state: &mut FsState, new: &Newcomer<'_>) -> Result {
    let fs = new.name.fs;
    let log = target_log(&new.name)?;
    let own = log.as_bytes();
    let lov = text(format_args!("{}-mdtlov", new.name))?;
    if batch.is_empty(own)? {
        batch.records(own)?.lov_setup(&mut state.step, bare(&lov))?;
    }
    let name = text(format_args!("{}", new.name))?;
    let index = text(format_args!("{}", new.name.index))?;
    let (step, none) = (&mut state.step, CmFlags::empty());
    let r = batch.records(own)?;
    r.start(step, none, own, b"add mdt")?;
    r.command(
        LcfgCommand::Attach,
        &[name.as_bytes(), b"mdt\0", new.uuid.as_bytes()],
    )?;
    r.command(
        LcfgCommand::MountOpt,
        &[b"", name.as_bytes(), lov.as_bytes()],
    )?;
    r.command(
        LcfgCommand::Setup,
        &[
            name.as_bytes(),
            new.uuid.as_bytes(),
            index.as_bytes(),
            lov.as_bytes(),
            new.failover_flag(),
        ],
    )?;
    r.end(step, none, own, b"add mdt")?;

    begin_client_log(batch, state, fs)?;
    copy::devices(batch, state, &new.name)?;
    copy::from_other_mdt(batch, state, &new.name)?;
    add_mdc(batch, state, new)?;
    for i in state.mdts.iter().filter(|i| *i != new.name.index) {
        let other = SvName {
            index: i,
            ..new.name
        };
        // An index may be taken, and its log yet to be written.
        if !batch.is_empty(target_log(&other)?.as_bytes())? {
            add_osp(batch, &mut state.step, new, &other)?;
        }
    }
    Ok(())
}

/// The log of the clients gets to know an MDT.
fn add_mdc(batch: &mut Batch<'_>, state: &mut FsState, new: &Newcomer<'_>) -> Result {
    let (fs, target) = (new.name.fs, target_log(&new.name)?);
    let log = client_log(fs)?;
    let (target, log) = (target.as_bytes(), log.as_bytes());
    batch.mark(log, target, b"add mdc", &skip)?;
    let lmv = text(format_args!("{fs}-clilmv"))?;
    let uuid = text(format_args!("{}-mdc_UUID", new.name))?;
    let index = text(format_args!("{}", new.name.index))?;
    let (step, none) = (&mut state.step, CmFlags::empty());
    let r = batch.records(log)?;
    r.start(step, none, target, b"add mdc")?;
    let device = Device {
        kind: b"mdc\0",
        name: text(format_args!("{}-mdc", new.name))?,
        group: text(format_args!("{fs}-clilmv_UUID"))?,
    };
    new.device(r, &device)?;
    r.command(
        LcfgCommand::AddMdc,
        &[
            lmv.as_bytes(),
            new.uuid.as_bytes(),
            index.as_bytes(),
            b"1\0",
            uuid.as_bytes(),
        ],
    )?;
    r.end(step, none, target, b"add mdc")
}

/// The log of another MDT gets to know an MDT.
fn add_osp(batch: &mut Batch<'_>, step: &mut u32, new: &Newcomer<'_>, other: &SvName) -> Result {
    let (target, log) = (target_log(&new.name)?, target_log(other)?);
    let (target, log) = (target.as_bytes(), log.as_bytes());
    batch.mark(log, target, b"add osp", &skip)?;
    let lov = text(format_args!("{other}-mdtlov"))?;
    let index = text(format_args!("{}", new.name.index))?;
    let none = CmFlags::empty();
    let r = batch.records(log)?;
    r.start(step, none, target, b"add osp")?;
    let device = Device {
        kind: b"osp\0",
        name: osp_name(&new.name, other)?,
        group: text(format_args!("{other}-mdtlov_UUID"))?,
    };
    new.device(r, &device)?;
    r.command(
        LcfgCommand::AddMdc,
        &[
            lov.as_bytes(),
            new.uuid.as_bytes(),
            index.as_bytes(),
            b"1\0",
        ],
    )?;
    r.end(step, none, target, b"add osp")
}

/// Writes what there is to write of a new OST. `known`: the other logs have it already; what is
/// added there shall not count.
///
/// # Errors
/// `EALREADY`: it has a log, though nobody knows it. `EINVAL`: a log cannot be read, or the target
/// has no NID. `EIO`, `ENOMEM`.
pub(crate) fn write_ost(
    batch: &mut Batch<'_>,
    state: &mut FsState,
    new: &Newcomer<'_>,
    known: bool,
) -> Result {
    let fs = new.name.fs;
    let log = target_log(&new.name)?;
    let own = log.as_bytes();
    if !batch.is_empty(own)? {
        pr_warn_ratelimited!("{}: its log exists, yet it claims to be new\n", new.name);
        return Err(EALREADY);
    }
    let name = text(format_args!("{}", new.name))?;
    let (step, none) = (&mut state.step, CmFlags::empty());
    let r = batch.records(own)?;
    r.start(step, none, own, b"add ost")?;
    r.command(
        LcfgCommand::Attach,
        &[name.as_bytes(), b"obdfilter\0", new.uuid.as_bytes()],
    )?;
    r.command(
        LcfgCommand::Setup,
        &[name.as_bytes(), b"dev\0", b"type\0", new.failover_flag()],
    )?;
    r.end(step, none, own, b"add ost")?;

    let flags = match known {
        true => CmFlags::SKIP,
        false => CmFlags::empty(),
    };
    for i in state.mdts.iter() {
        let mdt = SvName {
            kind: SvKind::Mdt,
            index: i,
            ..new.name
        };
        let log = target_log(&mdt)?;
        if batch.is_empty(log.as_bytes())? {
            continue;
        }
        let lov = text(format_args!("{mdt}-mdtlov"))?;
        let osc = osp_name(&new.name, &mdt)?;
        let r = batch.records(log.as_bytes())?;
        new.add_osc(r, &mut state.step, flags, osc, bare(&lov))?;
    }
    begin_client_log(batch, state, fs)?;
    let lov = text(format_args!("{fs}-clilov"))?;
    let osc = text(format_args!("{}-osc", new.name))?;
    let r = batch.records(client_log(fs)?.as_bytes())?;
    new.add_osc(r, &mut state.step, flags, osc, bare(&lov))
}
