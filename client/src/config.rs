// SPDX-License-Identifier: GPL-2.0

//! The configuration of a file system, from the records of its log (spec `mgs-config.md` 10, 11).
//!
//! [`FsConfig`] takes records one by one and does no I/O.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use wire::cfg::{Cfg, CmFlags, LcfgCommand, LovDesc, LOV_DESC_MAGIC};
use wire::lov::LOV_MIN_STRIPE_SIZE;
use wire::nid::Nid;
use zerocopy::FromBytes;

/// A record that cannot be followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRecord(pub String);

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A target and where to find it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetConfig {
    /// Index in the file system.
    pub index: u32,
    /// UUID, "lustre-OST0000_UUID".
    pub uuid: String,
    /// Nodes that it may be on, the first one first, with their NIDs.
    pub nodes: Vec<Vec<Nid>>,
    /// It is not to be used.
    pub inactive: bool,
}

/// Defaults of striping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StripeDefaults {
    /// Stripes; 0xffff: all OSTs.
    pub count: u16,
    /// Bytes of a stripe.
    pub size: u32,
}

#[derive(Debug, Default)]
struct Device {
    kind: Vec<u8>,
    /// mdc, osc: the target.
    target: Option<String>,
    /// mdc, osc: UUIDs of nodes.
    nodes: Vec<String>,
}

/// What the log says so far.
#[derive(Debug, Default)]
pub struct FsConfig {
    devices: HashMap<Vec<u8>, Device>,
    /// NIDs of nodes by UUID.
    nids: HashMap<String, Vec<Nid>>,
    /// Index of target, its UUID and whether it is inactive.
    osts: BTreeMap<u32, (String, bool)>,
    mdts: BTreeMap<u32, (String, bool)>,
    /// Names of the lov and lmv devices, once a mount option names them.
    profile: Option<(Vec<u8>, Vec<u8>)>,
    defaults: Option<StripeDefaults>,
    /// `sys.timeout`, seconds.
    timeout: Option<u32>,
    /// Within a section; with its flags.
    section: Option<CmFlags>,
}

fn string(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into_owned()
}

fn bad(cfg: &Cfg<'_>, why: &str) -> BadRecord {
    let command = cfg.head.lcfg_command.get();
    BadRecord(format!("record {command:#x}: {why}"))
}

impl FsConfig {
    /// Takes the payload of the next record.
    ///
    /// # Errors
    /// A record that cannot be read or followed.
    pub fn apply(&mut self, payload: &[u8]) -> Result<(), BadRecord> {
        let cfg = Cfg::parse(payload).map_err(|e| BadRecord(format!("{e:?}")))?;
        let Ok(command) = cfg.command() else {
            return match cfg.is_required() {
                true => Err(bad(&cfg, "unknown, and required")),
                false => Ok(()),
            };
        };
        if command == LcfgCommand::Marker {
            let m = cfg.marker().ok_or_else(|| bad(&cfg, "no marker in it"))?;
            let f = m.flags();
            self.section = f.contains(CmFlags::START).then_some(f);
            return Ok(());
        }
        let Some(section) = self.section else {
            // Nothing counts outside of sections.
            return Ok(());
        };
        if section.contains(CmFlags::SKIP) {
            return Ok(());
        }
        self.command(command, &cfg, section.contains(CmFlags::EXCLUDE))
    }

    fn command(
        &mut self,
        command: LcfgCommand,
        cfg: &Cfg<'_>,
        exclude: bool,
    ) -> Result<(), BadRecord> {
        match command {
            LcfgCommand::Attach => {
                let device = Device {
                    kind: cfg.text(1).to_vec(),
                    ..Device::default()
                };
                self.devices.insert(cfg.text(0).to_vec(), device);
            }
            LcfgCommand::Detach => {
                self.devices.remove(cfg.text(0));
            }
            LcfgCommand::Setup => self.setup(cfg)?,
            LcfgCommand::AddUuid => self.add_uuid(cfg)?,
            LcfgCommand::DelUuid => {
                self.nids.remove(&string(cfg.text(1)));
            }
            LcfgCommand::AddConn => {
                let d = self
                    .devices
                    .get_mut(cfg.text(0))
                    .ok_or_else(|| bad(cfg, "no such device"))?;
                d.nodes.push(string(cfg.text(1)));
            }
            LcfgCommand::DelConn => {
                if let Some(d) = self.devices.get_mut(cfg.text(0)) {
                    let node = string(cfg.text(1));
                    d.nodes.retain(|n| *n != node);
                }
            }
            LcfgCommand::LovAddObd | LcfgCommand::LovAddIna => {
                let inactive = exclude || command == LcfgCommand::LovAddIna;
                let uuid = string(cfg.text(1));
                self.osts.insert(index(cfg)?, (uuid, inactive));
            }
            LcfgCommand::LovDelObd => {
                self.osts.remove(&index(cfg)?);
            }
            LcfgCommand::AddMdc => {
                let uuid = string(cfg.text(1));
                self.mdts.insert(index(cfg)?, (uuid, exclude));
            }
            LcfgCommand::DelMdc => {
                self.mdts.remove(&index(cfg)?);
            }
            LcfgCommand::MountOpt => {
                self.profile = Some((cfg.text(2).to_vec(), cfg.text(3).to_vec()));
            }
            LcfgCommand::DelMountOpt => self.profile = None,
            LcfgCommand::SetTimeout => self.timeout = Some(cfg.head.lcfg_num.get()),
            // Parameters, pools and rules that this client has no use for.
            _ => {}
        }
        Ok(())
    }

    fn setup(&mut self, cfg: &Cfg<'_>) -> Result<(), BadRecord> {
        let d = self
            .devices
            .get_mut(cfg.text(0))
            .ok_or_else(|| bad(cfg, "setup of a device that was not attached"))?;
        match &*d.kind {
            b"lov" => {
                let desc = cfg
                    .buf(1)
                    .and_then(|b| LovDesc::ref_from_prefix(b).ok())
                    .map(|(d, _)| d)
                    .filter(|d| d.ld_magic.get() == LOV_DESC_MAGIC)
                    .ok_or_else(|| bad(cfg, "no descriptor of striping"))?;
                let size = desc.ld_default_stripe_size.get();
                let size = u32::try_from(size).unwrap_or(1 << 30) & !(LOV_MIN_STRIPE_SIZE - 1);
                self.defaults = Some(StripeDefaults {
                    // -1 means all of them.
                    count: desc.ld_default_stripe_count.get() as u16,
                    size: size.max(LOV_MIN_STRIPE_SIZE),
                });
            }
            b"mdc" | b"osc" => {
                let (target, node) = (string(cfg.text(1)), string(cfg.text(2)));
                if target.is_empty() || !self.nids.contains_key(&node) {
                    return Err(bad(cfg, "a target without a node"));
                }
                d.target = Some(target);
                d.nodes.insert(0, node);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_uuid(&mut self, cfg: &Cfg<'_>) -> Result<(), BadRecord> {
        let nid = match cfg.head.lcfg_nid.get() {
            0 => {
                let text = std::str::from_utf8(cfg.text(2)).unwrap_or("");
                match Nid::parse(text) {
                    Ok(n) => n,
                    // A NID of a form that cannot be reached from here.
                    Err(_) => return Ok(()),
                }
            }
            n => Nid::from_nid4(n),
        };
        let node = string(cfg.text(1));
        if node.is_empty() {
            return Err(bad(cfg, "a node without a name"));
        }
        let all = self.nids.entry(node).or_default();
        if !all.contains(&nid) {
            all.push(nid);
        }
        Ok(())
    }

    fn target(&self, kind: &[u8], index: u32, entry: &(String, bool)) -> Option<TargetConfig> {
        let (uuid, inactive) = entry;
        let device = self
            .devices
            .values()
            .find(|d| d.kind == kind && d.target.as_deref() == Some(uuid))?;
        let nodes = device
            .nodes
            .iter()
            .filter_map(|n| self.nids.get(n).cloned());
        Some(TargetConfig {
            index,
            uuid: uuid.clone(),
            nodes: nodes.filter(|n| !n.is_empty()).collect(),
            inactive: *inactive,
        })
    }

    /// The OSTs in the order of their indices. One without a device is left out.
    pub fn osts(&self) -> Vec<TargetConfig> {
        let all = self.osts.iter();
        all.filter_map(|(i, e)| self.target(b"osc", *i, e))
            .collect()
    }

    /// The MDTs in the order of their indices.
    pub fn mdts(&self) -> Vec<TargetConfig> {
        let all = self.mdts.iter();
        all.filter_map(|(i, e)| self.target(b"mdc", *i, e))
            .collect()
    }

    /// A configuration of these targets, as if a log had named them.
    pub fn of_targets(mdts: &[TargetConfig], osts: &[TargetConfig]) -> FsConfig {
        let mut c = FsConfig::default();
        for (kind, all) in [(&b"mdc"[..], mdts), (b"osc", osts)] {
            for t in all {
                let names: Vec<String> = (0..t.nodes.len())
                    .map(|i| format!("{}-{i}", t.uuid))
                    .collect();
                for (name, nids) in names.iter().zip(&t.nodes) {
                    c.nids.insert(name.clone(), nids.clone());
                }
                let device = Device {
                    kind: kind.to_vec(),
                    target: Some(t.uuid.clone()),
                    nodes: names,
                };
                c.devices.insert(t.uuid.clone().into_bytes(), device);
                let list = if kind == b"mdc" {
                    &mut c.mdts
                } else {
                    &mut c.osts
                };
                list.insert(t.index, (t.uuid.clone(), t.inactive));
            }
        }
        c
    }

    /// Whether there is something to mount.
    pub fn is_complete(&self) -> bool {
        let has = |n| self.devices.contains_key(n);
        self.profile
            .as_ref()
            .is_some_and(|(lov, lmv)| has(lov) && has(lmv))
    }

    /// Striping of files where nothing else is said.
    pub fn defaults(&self) -> StripeDefaults {
        self.defaults.unwrap_or(StripeDefaults {
            count: 1,
            size: 4 << 20,
        })
    }

    /// `sys.timeout`, if set, seconds.
    pub fn timeout(&self) -> Option<u32> {
        self.timeout
    }
}

/// Index of a target, decimal, in buffer 2.
fn index(cfg: &Cfg<'_>) -> Result<u32, BadRecord> {
    std::str::from_utf8(cfg.text(2))
        .ok()
        .and_then(|t| t.parse::<u16>().ok())
        .map(u32::from)
        .ok_or_else(|| bad(cfg, "no index"))
}

#[cfg(test)]
mod tests {
    use super::*;
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

    const NID2: u64 = 0x0002_0000_c0a8_0102;

    fn feed(c: &mut FsConfig, records: &[Vec<u8>]) {
        for r in records {
            c.apply(r).unwrap();
        }
    }

    fn ost(section: CmFlags) -> [Vec<u8>; 6] {
        [
            marker(section),
            rec(LcfgCommand::AddUuid, NID2, &[b"", b"192.168.1.2@tcp\0"]),
            rec(
                LcfgCommand::Attach,
                0,
                &[b"fs-OST0000-osc\0", b"osc\0", b"fs-clilov_UUID\0"],
            ),
            rec(
                LcfgCommand::Setup,
                0,
                &[
                    b"fs-OST0000-osc\0",
                    b"fs-OST0000_UUID\0",
                    b"192.168.1.2@tcp\0",
                ],
            ),
            rec(
                LcfgCommand::LovAddObd,
                0,
                &[b"fs-clilov\0", b"fs-OST0000_UUID\0", b"0\0", b"1\0"],
            ),
            marker(CmFlags::END),
        ]
    }

    #[test]
    fn an_ost() {
        let mut c = FsConfig::default();
        feed(&mut c, &ost(CmFlags::START));
        let want = TargetConfig {
            index: 0,
            uuid: "fs-OST0000_UUID".into(),
            nodes: vec![vec![Nid::from_nid4(NID2)]],
            inactive: false,
        };
        assert_eq!(c.osts(), [want.clone()]);
        assert!(!c.is_complete());
        // Another node for it, then out of use.
        feed(
            &mut c,
            &[
                marker(CmFlags::START),
                rec(LcfgCommand::AddUuid, NID2 + 1, &[b"", b"other\0"]),
                rec(LcfgCommand::AddConn, 0, &[b"fs-OST0000-osc\0", b"other\0"]),
                marker(CmFlags::END),
                marker(CmFlags::START | CmFlags::EXCLUDE),
                rec(
                    LcfgCommand::LovAddObd,
                    0,
                    &[b"fs-clilov\0", b"fs-OST0000_UUID\0", b"0\0", b"1\0"],
                ),
            ],
        );
        let got = c.osts();
        assert_eq!(got[0].nodes.len(), 2);
        assert!(got[0].inactive);
    }

    #[test]
    fn what_does_not_count() {
        let mut c = FsConfig::default();
        feed(&mut c, &ost(CmFlags::START | CmFlags::SKIP));
        feed(&mut c, &ost(CmFlags::START)[1..5]);
        assert_eq!(c.osts(), []);
        assert!(c.apply(b"no record").is_err());
        feed(&mut c, &[marker(CmFlags::START)]);
        let setup = rec(LcfgCommand::Setup, 0, &[b"nobody\0"]);
        assert!(c.apply(&setup).is_err());
    }

    /// The log that an existing MGS sent to a real client.
    #[test]
    fn recorded_log() {
        let Some(files) = pcap_reader::captures() else {
            eprintln!("skipped: no captures");
            return;
        };
        let file = files
            .iter()
            .find(|f| f.to_string_lossy().contains("02-client-mount"))
            .unwrap();
        let items = pcap_reader::Capture::open(file).unwrap().items().unwrap();
        let mut c = FsConfig::default();
        let chunk = recorded_chunk(&items);
        for r in wire::llog::Records::new(&chunk) {
            let r = r.unwrap();
            if r.kind() == wire::llog::rec_type::OBD_CFG {
                c.apply(r.payload).unwrap();
            }
        }
        assert!(c.is_complete());
        assert_eq!(c.mdts().len(), 1);
        assert_eq!(c.mdts()[0].uuid, "lustre-MDT0000_UUID");
        let osts = c.osts();
        assert_eq!(osts.len(), 2);
        assert_eq!(osts[1].uuid, "lustre-OST0001_UUID");
        assert_eq!(osts[1].nodes[0][0].to_string(), "192.168.77.3@tcp");
        assert_eq!(c.defaults().size, 4 << 20);
    }

    /// The first block of a log that the capture has.
    fn recorded_chunk(items: &[pcap_reader::Item]) -> Vec<u8> {
        for i in items {
            let pcap_reader::Kind::Lnet(l) = &i.kind else {
                continue;
            };
            let Ok(m) = wire::msg::Message::parse(&l.payload) else {
                continue;
            };
            let opc = m.body().map_or(0, |b| b.pb_opc.get());
            if opc == wire::opcode::LLOG_ORIGIN_HANDLE_NEXT_BLOCK && m.count() == 3 {
                return m.buf(2).unwrap().to_vec();
            }
        }
        panic!("no log in the capture");
    }
}
