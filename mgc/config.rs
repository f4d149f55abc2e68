// SPDX-License-Identifier: GPL-2.0

//! What a log says, as values: [`ConfigReader`] takes records one by one and does no I/O
//! (`mgs-config.md` 10, 11).

use kapi::prelude::*;
use wire::cfg::{Cfg, CmFlags, LcfgCommand, LovDesc, LOV_DESC_MAGIC};
use wire::nid::Nid;
use zerocopy::FromBytes;

/// NIDs of a node, and nodes of a target.
const MAX_NIDS: usize = 32;
/// Devices, nodes and parameters that one log may have.
const MAX_ITEMS: usize = 1 << 17;

/// A node that a target may be on.
#[derive(Debug)]
pub struct PeerNode {
    /// Its UUID: the text of its first NID.
    pub uuid: KVVec<u8>,
    /// Its NIDs.
    pub nids: KVec<Nid>,
}

/// Another target, and how to reach it.
#[derive(Debug)]
pub struct Peer {
    /// Its index among its kind.
    pub index: u16,
    /// "lustre-OST0000_UUID"
    pub uuid: KVVec<u8>,
    /// The device that stands for it here: "lustre-OST0000-osc-MDT0000".
    pub device: KVVec<u8>,
    /// Nodes that it may be on, the first one first.
    pub nodes: KVec<PeerNode>,
    /// It is known, and not to be used.
    pub inactive: bool,
}

impl Peer {
    /// All its NIDs in the order to try.
    pub fn nids(&self) -> impl Iterator<Item = Nid> + '_ {
        self.nodes.iter().flat_map(|n| n.nids.iter().copied())
    }
}

/// The target whose log it is.
#[derive(Debug)]
pub struct Own {
    /// "lustre-OST0000"
    pub name: KVVec<u8>,
    /// "mdt", "obdfilter"
    pub kind: KVVec<u8>,
    /// "lustre-OST0000_UUID"
    pub uuid: KVVec<u8>,
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    /// The device it is for; empty: the node; of `params`, a file system or "general".
    pub device: KVVec<u8>,
    /// "osc.max_dirty_mb=64"
    pub text: KVVec<u8>,
    /// It is one of `params`, to be set as `lctl set_param` does.
    pub global: bool,
}

/// A named set of OSTs.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: KVVec<u8>,
    /// UUIDs of its OSTs: "lustre-OST0000_UUID"
    pub osts: KVVec<KVVec<u8>>,
}

/// What a log says.
#[derive(Debug, Default)]
pub struct Config {
    /// The target whose log it is, if it is that of a target.
    pub own: Option<Own>,
    /// The OSTs, by index.
    pub osts: KVVec<Peer>,
    /// The MDTs, by index: without the one whose log it is.
    pub mdts: KVVec<Peer>,
    /// Defaults of striping.
    pub striping: Option<LovDesc>,
    /// The pools.
    pub pools: KVVec<Pool>,
    /// `sys.timeout`, seconds.
    pub timeout: Option<u32>,
    /// `sys.ldlm_timeout`, seconds.
    pub ldlm_timeout: Option<u32>,
    /// Parameters in the order in which they were set.
    pub params: KVVec<Param>,
}

struct Device {
    name: KVVec<u8>,
    kind: KVVec<u8>,
    uuid: KVVec<u8>,
    /// Of other targets: UUID of the target.
    target: KVVec<u8>,
    nodes: KVec<KVVec<u8>>,
}

/// A target in the list of a device.
struct Listed {
    ost: bool,
    index: u16,
    uuid: KVVec<u8>,
    inactive: bool,
}

/// Makes a [`Config`] of records.
#[derive(Default)]
pub struct ConfigReader {
    devices: KVVec<Device>,
    nodes: KVVec<PeerNode>,
    listed: KVVec<Listed>,
    config: Config,
    /// Within a section; with its flags.
    section: Option<CmFlags>,
}

fn bytes(from: &[u8]) -> Result<KVVec<u8>> {
    let mut v = KVVec::new();
    v.extend_from_slice(from, GFP_KERNEL)?;
    Ok(v)
}

fn add<T>(list: &mut KVVec<T>, item: T) -> Result {
    if list.len() >= MAX_ITEMS {
        return Err(EFBIG);
    }
    Ok(list.push(item, GFP_KERNEL)?)
}

fn index(cfg: &Cfg<'_>) -> Result<u16> {
    let text = core::str::from_utf8(cfg.text(2)).map_err(|_| EINVAL)?;
    text.parse().map_err(|_| EINVAL)
}

impl ConfigReader {
    /// Takes the payload of the next record.
    ///
    /// # Errors
    /// `EINVAL`: it cannot be read or followed. `EFBIG`, `ENOMEM`.
    pub fn apply(&mut self, payload: &[u8]) -> Result {
        let cfg = Cfg::parse(payload).map_err(|_| EINVAL)?;
        let Ok(command) = cfg.command() else {
            return match cfg.is_required() {
                true => Err(EINVAL),
                false => Ok(()),
            };
        };
        if command == LcfgCommand::Marker {
            let flags = cfg.marker().ok_or(EINVAL)?.flags();
            self.section = flags.contains(CmFlags::START).then_some(flags);
            return Ok(());
        }
        match self.section {
            Some(s) if !s.contains(CmFlags::SKIP) => {
                self.command(command, &cfg, s.contains(CmFlags::EXCLUDE))
            }
            // Nothing counts outside of sections.
            _ => Ok(()),
        }
    }

    fn command(&mut self, command: LcfgCommand, cfg: &Cfg<'_>, exclude: bool) -> Result {
        match command {
            LcfgCommand::Attach => self.attach(cfg),
            LcfgCommand::Detach => {
                self.devices.retain(|d| *d.name != *cfg.text(0));
                Ok(())
            }
            LcfgCommand::Setup => self.setup(cfg),
            LcfgCommand::AddUuid => self.add_uuid(cfg),
            LcfgCommand::DelUuid => {
                self.nodes.retain(|n| *n.uuid != *cfg.text(1));
                Ok(())
            }
            LcfgCommand::AddConn => {
                let node = bytes(cfg.text(1))?;
                let d = self.device(cfg.text(0)).ok_or(EINVAL)?;
                if d.nodes.len() < MAX_NIDS {
                    d.nodes.push(node, GFP_KERNEL)?;
                }
                Ok(())
            }
            LcfgCommand::DelConn => {
                if let Some(d) = self.device(cfg.text(0)) {
                    d.nodes.retain(|n| **n != *cfg.text(1));
                }
                Ok(())
            }
            LcfgCommand::LovAddObd | LcfgCommand::LovAddIna => {
                let inactive = exclude || command == LcfgCommand::LovAddIna;
                self.list(true, cfg, inactive)
            }
            LcfgCommand::AddMdc => self.list(false, cfg, exclude),
            LcfgCommand::LovDelObd | LcfgCommand::DelMdc => {
                let (ost, index) = (command == LcfgCommand::LovDelObd, index(cfg)?);
                self.listed.retain(|l| (l.ost, l.index) != (ost, index));
                Ok(())
            }
            LcfgCommand::SetTimeout => {
                self.config.timeout = Some(cfg.head.lcfg_num.get().max(1));
                Ok(())
            }
            LcfgCommand::SetLdlmTimeout => {
                self.config.ldlm_timeout = Some(cfg.head.lcfg_num.get().max(1));
                Ok(())
            }
            LcfgCommand::Param | LcfgCommand::SetParam => {
                let param = Param {
                    device: bytes(cfg.text(0))?,
                    text: bytes(cfg.text(1))?,
                    global: command == LcfgCommand::SetParam,
                };
                add(&mut self.config.params, param)
            }
            LcfgCommand::PoolNew
            | LcfgCommand::PoolDel
            | LcfgCommand::PoolAdd
            | LcfgCommand::PoolRem => self.pool(command, cfg.text(2), cfg.text(3)),
            // Profiles and security rules are for others.
            _ => Ok(()),
        }
    }

    /// What was made in a section that does not count any more is still taken back by another.
    fn pool(&mut self, command: LcfgCommand, name: &[u8], ost: &[u8]) -> Result {
        let pools = &mut self.config.pools;
        let known = pools.iter_mut().find(|p| *p.name == *name);
        match (command, known) {
            (LcfgCommand::PoolNew, None) => {
                let new = Pool {
                    name: bytes(name)?,
                    osts: KVVec::new(),
                };
                add(pools, new)
            }
            (LcfgCommand::PoolDel, Some(_)) => {
                pools.retain(|p| *p.name != *name);
                Ok(())
            }
            (LcfgCommand::PoolAdd, Some(p)) => match p.osts.iter().any(|o| **o == *ost) {
                true => Ok(()),
                false => add(&mut p.osts, bytes(ost)?),
            },
            (LcfgCommand::PoolRem, Some(p)) => {
                p.osts.retain(|o| **o != *ost);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn device(&mut self, name: &[u8]) -> Option<&mut Device> {
        self.devices.iter_mut().rev().find(|d| *d.name == *name)
    }

    fn attach(&mut self, cfg: &Cfg<'_>) -> Result {
        if cfg.text(0).is_empty() || cfg.text(1).is_empty() {
            return Err(EINVAL);
        }
        // A device that was left out once may be attached anew.
        self.devices.retain(|d| *d.name != *cfg.text(0));
        let device = Device {
            name: bytes(cfg.text(0))?,
            kind: bytes(cfg.text(1))?,
            uuid: bytes(cfg.text(2))?,
            target: KVVec::new(),
            nodes: KVec::new(),
        };
        add(&mut self.devices, device)
    }

    fn setup(&mut self, cfg: &Cfg<'_>) -> Result {
        let known = |node: &[u8], nodes: &[PeerNode]| nodes.iter().any(|n| *n.uuid == *node);
        let has_node = known(cfg.text(2), &self.nodes);
        let d = self.device(cfg.text(0)).ok_or(EINVAL)?;
        match &*d.kind {
            b"lov" => {
                let desc = cfg.buf(1).and_then(|b| LovDesc::ref_from_prefix(b).ok());
                let desc = desc.map(|(d, _)| *d).ok_or(EINVAL)?;
                if desc.ld_magic.get() != LOV_DESC_MAGIC {
                    return Err(EINVAL);
                }
                self.config.striping = Some(desc);
            }
            b"osc" | b"mdc" | b"osp" => {
                if cfg.text(1).is_empty() || !has_node {
                    return Err(EINVAL);
                }
                d.target = bytes(cfg.text(1))?;
                let node = bytes(cfg.text(2))?;
                d.nodes.push(node, GFP_KERNEL)?;
            }
            b"mdt" | b"obdfilter" => {
                let own = Own {
                    name: bytes(&d.name)?,
                    kind: bytes(&d.kind)?,
                    uuid: bytes(&d.uuid)?,
                };
                self.config.own = Some(own);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_uuid(&mut self, cfg: &Cfg<'_>) -> Result {
        let name = cfg.text(1);
        if name.is_empty() {
            return Err(EINVAL);
        }
        let nid = match cfg.head.lcfg_nid.get() {
            0 => {
                let text = core::str::from_utf8(cfg.text(2)).unwrap_or("");
                match Nid::parse(text) {
                    Ok(n) => n,
                    // A NID of a form that cannot be reached from here; its node is known all
                    // the same.
                    Err(_) => Nid::ANY,
                }
            }
            n => Nid::from_nid4(n),
        };
        let at = match self.nodes.iter().position(|n| *n.uuid == *name) {
            Some(i) => i,
            None => {
                let node = PeerNode {
                    uuid: bytes(name)?,
                    nids: KVec::new(),
                };
                add(&mut self.nodes, node)?;
                self.nodes.len() - 1
            }
        };
        let node = self.nodes.get_mut(at).ok_or(EINVAL)?;
        if !nid.is_any() && !node.nids.contains(&nid) && node.nids.len() < MAX_NIDS {
            node.nids.push(nid, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn list(&mut self, ost: bool, cfg: &Cfg<'_>, inactive: bool) -> Result {
        let index = index(cfg)?;
        self.listed.retain(|l| (l.ost, l.index) != (ost, index));
        let new = Listed {
            ost,
            index,
            uuid: bytes(cfg.text(1))?,
            inactive,
        };
        add(&mut self.listed, new)
    }

    fn peer(&self, listed: &Listed) -> Result<Option<Peer>> {
        let is = |d: &&Device| {
            let kind = match listed.ost {
                true => *d.kind == *b"osc",
                false => *d.kind == *b"mdc" || *d.kind == *b"osp",
            };
            kind && d.target == listed.uuid
        };
        let Some(d) = self.devices.iter().find(is) else {
            return Ok(None);
        };
        let mut nodes = KVec::new();
        for name in &d.nodes {
            let Some(node) = self.nodes.iter().find(|n| n.uuid == *name) else {
                continue;
            };
            let mut nids = KVec::new();
            nids.extend_from_slice(&node.nids, GFP_KERNEL)?;
            if !nids.is_empty() {
                let uuid = bytes(&node.uuid)?;
                nodes.push(PeerNode { uuid, nids }, GFP_KERNEL)?;
            }
        }
        Ok(Some(Peer {
            index: listed.index,
            uuid: bytes(&listed.uuid)?,
            device: bytes(&d.name)?,
            nodes,
            inactive: listed.inactive,
        }))
    }

    /// What all records together say.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn finish(mut self) -> Result<Config> {
        let mut config = core::mem::take(&mut self.config);
        // Indices are few thousand at most: each kind is taken out in order.
        for ost in [true, false] {
            let mut next = 0_u32;
            loop {
                let lowest = self
                    .listed
                    .iter()
                    .filter(|l| l.ost == ost && u32::from(l.index) >= next)
                    .min_by_key(|l| l.index);
                let Some(l) = lowest else { break };
                next = u32::from(l.index) + 1;
                let list = match ost {
                    true => &mut config.osts,
                    false => &mut config.mdts,
                };
                match self.peer(l)? {
                    Some(p) => list.push(p, GFP_KERNEL)?,
                    None => pr_warn!("index {} of the log has no device\n", l.index),
                }
            }
        }
        Ok(config)
    }
}
