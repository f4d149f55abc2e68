// SPDX-License-Identifier: GPL-2.0

//! What configuration logs say, from their records (`mgs-config.md` 10, 11). No I/O here.

use crate::text::Text;
use kapi::prelude::*;
use wire::cfg::{Cfg, CmFlags, LcfgCommand, LovDesc, LOV_DESC_MAGIC};
use wire::nid::Nid;
use zerocopy::FromBytes;

/// Devices, nodes or targets that one log may name.
const MAX: usize = 0x10000;

/// A device of a target that is connected to.
struct Device {
    name: KVVec<u8>,
    kind: KVVec<u8>,
    target: KVVec<u8>,
    /// UUIDs of the nodes where the target may be.
    nodes: KVec<KVVec<u8>>,
}

/// A node and its NIDs.
struct Node {
    uuid: KVVec<u8>,
    nids: KVec<Nid>,
}

/// An OST or MDT that the log has.
struct Entry {
    index: u32,
    uuid: KVVec<u8>,
    inactive: bool,
}

/// A target to connect to.
pub struct Peer {
    /// Its index.
    pub index: u32,
    /// "lustre-OST0000_UUID"
    pub uuid: Text,
    /// The nodes where it may be, in the order to try, each with its NIDs.
    pub nodes: KVec<KVec<Nid>>,
    /// The administrator does not want it used.
    pub inactive: bool,
}

/// The state that the records of a log lead to.
pub struct Config {
    devices: KVVec<Device>,
    nodes: KVVec<Node>,
    osts: KVVec<Entry>,
    mdts: KVVec<Entry>,
    /// Type of the target's own device, once it is set up.
    own: Option<KVVec<u8>>,
    svname: KVVec<u8>,
    /// How files are striped where nothing else is said.
    pub striping: Option<LovDesc>,
    /// `sys.timeout`, seconds.
    pub timeout: Option<u32>,
    /// `sys.ldlm_timeout`, seconds.
    pub ldlm_timeout: Option<u32>,
    /// Parameters, in their order: device and "name=value".
    pub params: KVVec<(Text, Text)>,
    section: Option<CmFlags>,
}

fn copy(b: &[u8]) -> Result<KVVec<u8>> {
    let mut v = KVVec::new();
    v.extend_from_slice(b, GFP_KERNEL)?;
    Ok(v)
}

fn text(b: &[u8]) -> Result<Text> {
    Text::copy(core::str::from_utf8(b).map_err(|_| EINVAL)?)
}

fn push<T>(v: &mut KVVec<T>, item: T) -> Result {
    if v.len() >= MAX {
        return Err(E2BIG);
    }
    Ok(v.push(item, GFP_KERNEL)?)
}

/// Index of a target, decimal, in buffer 2.
fn index(cfg: &Cfg<'_>) -> Result<u32> {
    let text = core::str::from_utf8(cfg.text(2)).map_err(|_| EINVAL)?;
    text.parse::<u16>().map(u32::from).map_err(|_| EINVAL)
}

fn set(all: &mut KVVec<Entry>, index: u32, uuid: &[u8], inactive: bool) -> Result {
    let uuid = copy(uuid)?;
    match all.iter_mut().find(|e| e.index == index) {
        Some(e) => {
            e.uuid = uuid;
            e.inactive = inactive;
            Ok(())
        }
        None => push(
            all,
            Entry {
                index,
                uuid,
                inactive,
            },
        ),
    }
}

impl Config {
    /// One for the target `svname`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(svname: &str) -> Result<Config> {
        Ok(Config {
            devices: KVVec::new(),
            nodes: KVVec::new(),
            osts: KVVec::new(),
            mdts: KVVec::new(),
            own: None,
            svname: copy(svname.as_bytes())?,
            striping: None,
            timeout: None,
            ldlm_timeout: None,
            params: KVVec::new(),
            section: None,
        })
    }

    /// Takes the payload of the next record.
    ///
    /// # Errors
    /// `EINVAL`: a record that cannot be read or followed. `EOPNOTSUPP`: one that is not known and
    /// must not be passed over. `E2BIG`, `ENOMEM`.
    pub fn apply(&mut self, payload: &[u8]) -> Result {
        let cfg = Cfg::parse(payload).map_err(|_| EINVAL)?;
        let Ok(command) = cfg.command() else {
            return match cfg.is_required() {
                true => Err(EOPNOTSUPP),
                false => Ok(()),
            };
        };
        if command == LcfgCommand::Marker {
            let f = cfg.marker().ok_or(EINVAL)?.flags();
            self.section = f.contains(CmFlags::START).then_some(f);
            return Ok(());
        }
        match self.section {
            Some(s) if !s.contains(CmFlags::SKIP) => {
                self.command(command, &cfg, s.contains(CmFlags::EXCLUDE))
            }
            // Outside of sections, and in those that were replaced, nothing counts.
            _ => Ok(()),
        }
    }

    fn command(&mut self, command: LcfgCommand, cfg: &Cfg<'_>, exclude: bool) -> Result {
        match command {
            LcfgCommand::Attach => {
                self.devices.retain(|d| *d.name != *cfg.text(0));
                let device = Device {
                    name: copy(cfg.text(0))?,
                    kind: copy(cfg.text(1))?,
                    target: KVVec::new(),
                    nodes: KVec::new(),
                };
                push(&mut self.devices, device)?;
            }
            LcfgCommand::Detach => self.devices.retain(|d| *d.name != *cfg.text(0)),
            LcfgCommand::Setup => self.setup(cfg)?,
            LcfgCommand::AddUuid => self.add_uuid(cfg)?,
            LcfgCommand::DelUuid => self.nodes.retain(|n| *n.uuid != *cfg.text(1)),
            LcfgCommand::AddConn => {
                let node = copy(cfg.text(1))?;
                self.device(cfg.text(0))?.nodes.push(node, GFP_KERNEL)?;
            }
            LcfgCommand::DelConn => {
                let d = self.device(cfg.text(0))?;
                d.nodes.retain(|n| **n != *cfg.text(1));
            }
            LcfgCommand::LovAddObd | LcfgCommand::LovAddIna => {
                let inactive = exclude || command == LcfgCommand::LovAddIna;
                set(&mut self.osts, index(cfg)?, cfg.text(1), inactive)?;
            }
            LcfgCommand::LovDelObd => {
                let i = index(cfg)?;
                self.osts.retain(|e| e.index != i);
            }
            LcfgCommand::AddMdc => set(&mut self.mdts, index(cfg)?, cfg.text(1), exclude)?,
            LcfgCommand::DelMdc => {
                let i = index(cfg)?;
                self.mdts.retain(|e| e.index != i);
            }
            LcfgCommand::SetTimeout => self.timeout = Some(cfg.head.lcfg_num.get().max(1)),
            LcfgCommand::SetLdlmTimeout => {
                self.ldlm_timeout = Some(cfg.head.lcfg_num.get().max(1));
            }
            LcfgCommand::Param => {
                for i in 1..cfg.bufcount() {
                    let param = (text(cfg.text(0))?, text(cfg.text(i))?);
                    push(&mut self.params, param)?;
                }
            }
            // Profiles matter to clients; pools and rules of security are not there yet.
            _ => {}
        }
        Ok(())
    }

    fn device(&mut self, name: &[u8]) -> Result<&mut Device> {
        let mut all = self.devices.iter_mut();
        all.find(|d| *d.name == *name).ok_or(EINVAL)
    }

    fn setup(&mut self, cfg: &Cfg<'_>) -> Result {
        let own = *self.svname == *cfg.text(0);
        let known = self.nodes.iter().any(|n| *n.uuid == *cfg.text(2));
        let d = self.device(cfg.text(0))?;
        match &*d.kind {
            b"lov" => {
                let desc = cfg.buf(1).ok_or(EINVAL)?;
                let (desc, _) = LovDesc::read_from_prefix(desc).map_err(|_| EINVAL)?;
                if desc.ld_magic.get() != LOV_DESC_MAGIC {
                    return Err(EINVAL);
                }
                self.striping = Some(desc);
            }
            b"mdc" | b"osc" | b"osp" => {
                let target = copy(cfg.text(1))?;
                if target.is_empty() || !known {
                    return Err(EINVAL);
                }
                let node = copy(cfg.text(2))?;
                d.target = target;
                d.nodes.push(node, GFP_KERNEL)?;
            }
            _ if own => self.own = Some(copy(&d.kind)?),
            _ => {}
        }
        Ok(())
    }

    fn add_uuid(&mut self, cfg: &Cfg<'_>) -> Result {
        let nid = match cfg.head.lcfg_nid.get() {
            0 => {
                let text = core::str::from_utf8(cfg.text(2)).unwrap_or_default();
                match Nid::parse(text) {
                    Ok(n) => n,
                    // A NID of a form that cannot be reached from here.
                    Err(_) => return Ok(()),
                }
            }
            n => Nid::from_nid4(n),
        };
        let uuid = cfg.text(1);
        if uuid.is_empty() {
            return Err(EINVAL);
        }
        if let Some(n) = self.nodes.iter_mut().find(|n| *n.uuid == *uuid) {
            if !n.nids.contains(&nid) {
                n.nids.push(nid, GFP_KERNEL)?;
            }
            return Ok(());
        }
        let mut nids = KVec::new();
        nids.push(nid, GFP_KERNEL)?;
        let uuid = copy(uuid)?;
        push(&mut self.nodes, Node { uuid, nids })
    }

    fn peer(&self, kinds: &[&[u8]], e: &Entry) -> Result<Option<Peer>> {
        let device = self
            .devices
            .iter()
            .find(|d| kinds.contains(&&*d.kind) && d.target == e.uuid);
        let Some(device) = device else {
            return Ok(None);
        };
        let mut nodes = KVec::new();
        for uuid in device.nodes.iter() {
            let Some(node) = self.nodes.iter().find(|n| n.uuid == *uuid) else {
                continue;
            };
            let mut nids = KVec::new();
            nids.extend_from_slice(&node.nids, GFP_KERNEL)?;
            nodes.push(nids, GFP_KERNEL)?;
        }
        Ok(Some(Peer {
            index: e.index,
            uuid: text(&e.uuid)?,
            nodes,
            inactive: e.inactive,
        }))
    }

    fn peers(&self, kinds: &[&[u8]], entries: &[Entry]) -> Result<KVec<Peer>> {
        let mut out = KVec::new();
        for e in entries {
            if let Some(p) = self.peer(kinds, e)? {
                out.push(p, GFP_KERNEL)?;
            }
        }
        Ok(out)
    }

    /// The OSTs. One without a device is left out.
    ///
    /// # Errors
    /// `EINVAL`: a name that is no text. `ENOMEM`.
    pub fn osts(&self) -> Result<KVec<Peer>> {
        self.peers(&[b"osc"], &self.osts)
    }

    /// The MDTs; as [`Config::osts`].
    ///
    /// # Errors
    /// As those.
    pub fn mdts(&self) -> Result<KVec<Peer>> {
        self.peers(&[b"mdc", b"osp"], &self.mdts)
    }

    /// Whether the log sets the target itself up, as a device of this type.
    pub fn sets_up(&self, kind: &str) -> bool {
        self.own.as_ref().is_some_and(|k| **k == *kind.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::cfg::CfgSpec;

    fn rec(command: LcfgCommand, nid: u64, bufs: &[&[u8]]) -> Vec<u8> {
        let mut spec = CfgSpec::new(command, bufs);
        spec.nid = nid;
        let mut out = vec![0; spec.size()];
        spec.write(&mut out).unwrap();
        out
    }

    fn marker(f: CmFlags) -> Vec<u8> {
        let mut m = [0; 160];
        m[4..8].copy_from_slice(&f.bits().to_le_bytes());
        rec(LcfgCommand::Marker, 0, &[b"", &m])
    }

    const NID: u64 = 0x0002_0000_c0a8_0102;
    const DEV: &[u8] = b"l-OST0003-osc-MDT0000\0";

    fn ost(section: CmFlags) -> Vec<Vec<u8>> {
        use LcfgCommand::*;
        vec![
            marker(section),
            rec(AddUuid, NID, &[b"", b"192.168.1.2@tcp\0"]),
            rec(Attach, 0, &[DEV, b"osc\0", b"l-MDT0000-mdtlov_UUID\0"]),
            rec(Setup, 0, &[DEV, b"l-OST0003_UUID\0", b"192.168.1.2@tcp\0"]),
            rec(AddUuid, NID + 1, &[b"", b"192.168.1.3@tcp\0"]),
            rec(AddConn, 0, &[DEV, b"192.168.1.3@tcp\0"]),
            rec(
                LovAddObd,
                0,
                &[b"l-MDT0000-mdtlov\0", b"l-OST0003_UUID\0", b"3\0", b"1\0"],
            ),
            marker(CmFlags::END),
        ]
    }

    fn feed(records: &[Vec<u8>]) -> Result<Config> {
        let mut c = Config::new("l-MDT0000")?;
        for r in records {
            c.apply(r)?;
        }
        Ok(c)
    }

    #[test]
    fn an_ost() -> Result {
        let c = feed(&ost(CmFlags::START))?;
        let osts = c.osts()?;
        assert_eq!(osts.len(), 1);
        assert_eq!((osts[0].index, osts[0].inactive), (3, false));
        assert_eq!(osts[0].uuid.as_str(), "l-OST0003_UUID");
        let nids: Vec<String> = osts[0].nodes.iter().map(|n| n[0].to_string()).collect();
        assert_eq!(nids, ["192.168.1.2@tcp", "192.168.1.3@tcp"]);
        // The same once more changes nothing.
        let twice = [ost(CmFlags::START), ost(CmFlags::START)].concat();
        assert_eq!(feed(&twice)?.osts()?.len(), 1);
        Ok(())
    }

    #[test]
    fn sections() -> Result {
        assert!(feed(&ost(CmFlags::START | CmFlags::SKIP))?
            .osts()?
            .is_empty());
        assert!(feed(&ost(CmFlags::START | CmFlags::EXCLUDE))?.osts()?[0].inactive);
        assert!(feed(&ost(CmFlags::START)[1..])?.osts()?.is_empty());
        // A setup without a node.
        let mut bad = ost(CmFlags::START);
        bad.remove(1);
        assert_eq!(feed(&bad).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn own_device() -> Result {
        let c = feed(&[
            marker(CmFlags::START),
            rec(LcfgCommand::Attach, 0, &[b"l-MDT0000\0", b"mdt\0", b"u\0"]),
            rec(LcfgCommand::Setup, 0, &[b"l-MDT0000\0", b"u\0", b"0\0"]),
            rec(LcfgCommand::Param, 0, &[b"l-MDT0000\0", b"mdt.x=1\0"]),
        ])?;
        assert!(c.sets_up("mdt") && !c.sets_up("obdfilter"));
        assert_eq!(c.params[0].1.as_str(), "mdt.x=1");
        Ok(())
    }

    proptest! {
        #[test]
        fn any_bytes(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut c = Config::new("l-MDT0000").unwrap();
            for r in records {
                let _ = c.apply(&r);
            }
        }

        /// Records in any order, cut anywhere: an error or a state, and no panic.
        #[test]
        fn shuffled(order in prop::collection::vec((0usize..8, 0usize..300), 0..40)) {
            let all = ost(CmFlags::START);
            let mut c = Config::new("l-MDT0000").unwrap();
            for (i, cut) in order {
                let r = &all[i];
                let _ = c.apply(&r[..cut.min(r.len())]);
            }
            prop_assert!(c.osts().unwrap().len() <= 1);
        }
    }
}
