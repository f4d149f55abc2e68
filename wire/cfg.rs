// SPDX-License-Identifier: GPL-2.0

//! Records of configuration logs (`spec/mgs-config.md` 10).

use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::flags;
use crate::llog;

/// Version of a [`LustreCfg`].
pub const LUSTRE_CFG_VERSION: u32 = 0x1cf6_0001;
/// Most buffers.
pub const LUSTRE_CFG_MAX_BUFCOUNT: usize = 8;
/// A command with this bit must succeed.
pub const LCFG_REQUIRED: u32 = 0x1000;

macro_rules! commands {
    ($( $(#[$doc:meta])* $name:ident = $value:expr, )*) => {
        /// What a record does.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum LcfgCommand {
            $( $(#[$doc])* $name = $value, )*
        }

        impl TryFrom<u32> for LcfgCommand {
            type Error = Malformed;

            fn try_from(v: u32) -> Result<LcfgCommand> {
                match v {
                    $( $value => Ok(LcfgCommand::$name), )*
                    _ => Err(Malformed::Value),
                }
            }
        }
    };
}

commands! {
    /// Make a device.
    Attach = 0xcf001,
    /// Remove it.
    Detach = 0xcf002,
    /// Set it up.
    Setup = 0xcf003,
    /// Take it down.
    Cleanup = 0xcf004,
    /// A NID of a node.
    AddUuid = 0xcf005,
    /// Forget a node.
    DelUuid = 0xcf006,
    /// What a client mounts.
    MountOpt = 0xcf007,
    /// Forget that.
    DelMountOpt = 0xcf008,
    /// Time-out.
    SetTimeout = 0xcf009,
    /// Obsolete.
    SetUpcall = 0xcf00a,
    /// Another node of a target.
    AddConn = 0xcf00b,
    /// Forget that.
    DelConn = 0xcf00c,
    /// Add an OST.
    LovAddObd = 0xcf00d,
    /// Remove it.
    LovDelObd = 0xcf00e,
    /// Parameter of a device.
    Param = 0xcf00f,
    /// Begin or end of a section.
    Marker = 0xcf010,
    /// Private to the MGC.
    LogStart = 0xce011,
    /// Private to the MGC.
    LogEnd = 0xce012,
    /// Add an OST that is not used.
    LovAddIna = 0xce013,
    /// Add an MDT.
    AddMdc = 0xcf014,
    /// Remove it.
    DelMdc = 0xcf015,
    /// Security rule.
    SptlrpcConf = 0xce016,
    /// Make a pool.
    PoolNew = 0xce020,
    /// Add an OST to it.
    PoolAdd = 0xce021,
    /// Take one out.
    PoolRem = 0xce022,
    /// Remove it.
    PoolDel = 0xce023,
    /// Time-out of locks.
    SetLdlmTimeout = 0xce030,
    /// Private.
    PreCleanup = 0xcf031,
    /// Parameter of a node.
    SetParam = 0xce032,
}

/// `lustre_cfg`, the part of fixed size; lengths and buffers follow.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct LustreCfg {
    /// [`LUSTRE_CFG_VERSION`].
    pub lcfg_version: U32,
    /// [`LcfgCommand`].
    pub lcfg_command: U32,
    /// A number.
    pub lcfg_num: U32,
    /// Flags.
    pub lcfg_flags: U32,
    /// NID in the old numeric form.
    pub lcfg_nid: U64,
    /// 0.
    pub lcfg_nal: U32,
    /// Buffers.
    pub lcfg_bufcount: U32,
}
assert_layout!(
    LustreCfg,
    32,
    lcfg_command = 4,
    lcfg_num = 8,
    lcfg_flags = 12,
    lcfg_nid = 16,
    lcfg_nal = 24,
    lcfg_bufcount = 28
);

/// Where the buffers begin.
const fn head_size(bufcount: usize) -> usize {
    (size_of::<LustreCfg>() + 4 * bufcount).next_multiple_of(8)
}

/// Reads a record's payload.
#[derive(Clone, Copy, Debug)]
pub struct Cfg<'a> {
    /// Command, number and NID.
    pub head: &'a LustreCfg,
    lens: &'a [U32],
    bytes: &'a [u8],
}

impl<'a> Cfg<'a> {
    /// A view of the payload; the buffers were looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &'a [u8]) -> Result<Cfg<'a>> {
        let (head, rest) = LustreCfg::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        if head.lcfg_version.get() != LUSTRE_CFG_VERSION {
            return Err(Malformed::Magic);
        }
        let n = head.lcfg_bufcount.get() as usize;
        if n >= LUSTRE_CFG_MAX_BUFCOUNT || head.lcfg_nal.get() != 0 {
            return Err(Malformed::Value);
        }
        let (lens, _) =
            <[U32]>::ref_from_prefix_with_elems(rest, n).map_err(|_| Malformed::Short)?;
        let cfg = Cfg { head, lens, bytes };
        // The last one may lack its padding.
        let mut end = head_size(n);
        for len in lens {
            let len = len.get() as usize;
            let to = end.checked_add(len).ok_or(Malformed::Value)?;
            if to > bytes.len() {
                return Err(Malformed::Short);
            }
            end = to.checked_next_multiple_of(8).ok_or(Malformed::Value)?;
        }
        Ok(cfg)
    }

    /// The command, if known.
    ///
    /// # Errors
    /// [`Malformed::Value`]: unknown; [`Cfg::is_required`] tells whether that matters.
    pub fn command(&self) -> Result<LcfgCommand> {
        LcfgCommand::try_from(self.head.lcfg_command.get())
    }

    /// Whether a failure must not be ignored.
    pub fn is_required(&self) -> bool {
        self.head.lcfg_command.get() & LCFG_REQUIRED != 0
    }

    /// Number of buffers.
    pub fn bufcount(&self) -> usize {
        self.lens.len()
    }

    /// Buffer `i`; `None` if there is none.
    pub fn buf(&self, i: usize) -> Option<&'a [u8]> {
        let len = self.lens.get(i)?.get() as usize;
        let mut start = head_size(self.lens.len());
        for len in self.lens.iter().take(i) {
            start += (len.get() as usize).next_multiple_of(8);
        }
        self.bytes.get(start..)?.get(..len)
    }

    /// The text of buffer `i`, up to its NUL; empty if there is none.
    pub fn text(&self, i: usize) -> &'a [u8] {
        self.buf(i).map_or(&[], crate::text::get)
    }

    /// The marker in buffer 1.
    pub fn marker(&self) -> Option<&'a CfgMarker> {
        match self.command() {
            Ok(LcfgCommand::Marker) => CfgMarker::ref_from_bytes(self.buf(1)?).ok(),
            _ => None,
        }
    }
}

/// What a record's payload is made of.
#[derive(Clone, Copy, Debug)]
pub struct CfgSpec<'a> {
    /// The command.
    pub command: LcfgCommand,
    /// A number.
    pub num: u32,
    /// Flags.
    pub flags: u32,
    /// NID in the old numeric form.
    pub nid: u64,
    /// Buffers, fewer than [`LUSTRE_CFG_MAX_BUFCOUNT`]. Text brings its NUL.
    pub bufs: &'a [&'a [u8]],
}

impl<'a> CfgSpec<'a> {
    /// With buffers and nothing else.
    pub const fn new(command: LcfgCommand, bufs: &'a [&'a [u8]]) -> CfgSpec<'a> {
        CfgSpec {
            command,
            num: 0,
            flags: 0,
            nid: 0,
            bufs,
        }
    }

    /// Bytes of the payload.
    pub fn size(&self) -> usize {
        self.bufs.iter().fold(head_size(self.bufs.len()), |n, b| {
            n + b.len().next_multiple_of(8)
        })
    }

    /// Bytes of the record.
    pub fn rec_size(&self) -> usize {
        llog::rec_size(self.size())
    }

    /// Writes the payload. Returns its size.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`]; [`Malformed::Value`]: too many buffers.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize> {
        if self.bufs.len() >= LUSTRE_CFG_MAX_BUFCOUNT {
            return Err(Malformed::Value);
        }
        let size = self.size();
        let out = buf.get_mut(..size).ok_or(Malformed::NoRoom)?;
        out.fill(0);
        let head = LustreCfg {
            lcfg_version: LUSTRE_CFG_VERSION.into(),
            lcfg_command: (self.command as u32).into(),
            lcfg_num: self.num.into(),
            lcfg_flags: self.flags.into(),
            lcfg_nid: self.nid.into(),
            lcfg_nal: 0.into(),
            lcfg_bufcount: (self.bufs.len() as u32).into(),
        };
        head.write_to_prefix(out).map_err(|_| Malformed::NoRoom)?;
        let mut start = head_size(self.bufs.len());
        for (i, b) in self.bufs.iter().enumerate() {
            let at = size_of::<LustreCfg>() + 4 * i;
            out.get_mut(at..at + 4)
                .ok_or(Malformed::NoRoom)?
                .copy_from_slice(&(b.len() as u32).to_le_bytes());
            out.get_mut(start..start + b.len())
                .ok_or(Malformed::NoRoom)?
                .copy_from_slice(b);
            start += b.len().next_multiple_of(8);
        }
        Ok(size)
    }

    /// Writes the record. Returns its size.
    ///
    /// # Errors
    /// As [`CfgSpec::write`].
    pub fn write_rec(&self, index: u32, buf: &mut [u8]) -> Result<usize> {
        let size = self.rec_size();
        let rec = buf.get_mut(..size).ok_or(Malformed::NoRoom)?;
        self.write(
            rec.get_mut(size_of::<llog::LlogRecHdr>()..)
                .ok_or(Malformed::NoRoom)?,
        )?;
        llog::frame(rec, llog::rec_type::OBD_CFG, index)?;
        Ok(size)
    }
}

flags! {
    /// Flags of a [`CfgMarker`].
    pub struct CmFlags: u32 {
        /// A section begins.
        const START = 0x1;
        /// It ends.
        const END = 0x2;
        /// It does not count.
        const SKIP = 0x4;
        /// From an upgrade of 1.4.6.
        const UPGRADE146 = 0x8;
        /// Its target is not used.
        const EXCLUDE = 0x10;
    }
}

/// `cfg_marker`: begin or end of a section.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct CfgMarker {
    /// Counts sections.
    pub cm_step: U32,
    /// [`CmFlags`].
    pub cm_flags: U32,
    /// Version of the writer's code.
    pub cm_vers: U32,
    /// 0.
    pub cm_padding: U32,
    /// When it was written, seconds.
    pub cm_createtime: U64,
    /// When it was skipped, seconds.
    pub cm_canceltime: U64,
    /// Target.
    pub cm_tgtname: [u8; 64],
    /// What it is for.
    pub cm_comment: [u8; 64],
}
assert_layout!(
    CfgMarker,
    160,
    cm_flags = 4,
    cm_vers = 8,
    cm_createtime = 16,
    cm_canceltime = 24,
    cm_tgtname = 32,
    cm_comment = 96
);

impl CfgMarker {
    /// [`CfgMarker::cm_flags`] as a set.
    pub fn flags(&self) -> CmFlags {
        CmFlags::from_bits_retain(self.cm_flags.get())
    }
}

/// Magic number of a [`LovDesc`].
pub const LOV_DESC_MAGIC: u32 = 0xb0cc_de5c;

/// `lov_desc`: defaults of files.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LovDesc {
    /// 0.
    pub ld_tgt_count: U32,
    /// [`LOV_DESC_MAGIC`].
    pub ld_magic: U32,
    /// Stripes.
    pub ld_default_stripe_count: I32,
    /// [`LovPattern`](crate::lov::LovPattern).
    pub ld_pattern: U32,
    /// Bytes of a stripe.
    pub ld_default_stripe_size: U64,
    /// First OST, -1: any.
    pub ld_default_stripe_offset: I64,
    /// 0.
    pub ld_padding_0: U32,
    /// How old statfs data may be, seconds.
    pub ld_qos_maxage: U32,
    /// 0.
    pub ld_padding_1: U32,
    /// 0.
    pub ld_padding_2: U32,
    /// UUID of the device.
    pub ld_uuid: [u8; 40],
}
assert_layout!(
    LovDesc,
    88,
    ld_magic = 4,
    ld_default_stripe_count = 8,
    ld_pattern = 12,
    ld_default_stripe_size = 16,
    ld_default_stripe_offset = 24,
    ld_qos_maxage = 36,
    ld_uuid = 48
);

impl LovDesc {
    /// What an MGS writes for a new file system.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`], [`Malformed::Value`]: not a UUID.
    pub fn new(uuid: &[u8]) -> Result<LovDesc> {
        let mut desc = LovDesc {
            ld_tgt_count: 0.into(),
            ld_magic: LOV_DESC_MAGIC.into(),
            ld_default_stripe_count: 1.into(),
            ld_pattern: crate::lov::LovPattern::RAID0.bits().into(),
            ld_default_stripe_size: (4 << 20).into(),
            ld_default_stripe_offset: (-1).into(),
            ld_padding_0: 0.into(),
            ld_qos_maxage: 5.into(),
            ld_padding_1: 0.into(),
            ld_padding_2: 0.into(),
            ld_uuid: [0; 40],
        };
        crate::text::set(&mut desc.ld_uuid, uuid)?;
        Ok(desc)
    }
}

/// `lmv_desc`: defaults of directories.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LmvDesc {
    /// 0.
    pub ld_tgt_count: U32,
    /// 0.
    pub ld_active_tgt_count: U32,
    /// 0.
    pub ld_default_stripe_count: U32,
    /// 0.
    pub ld_pattern: U32,
    /// 0.
    pub ld_default_hash_size: U64,
    /// 0.
    pub ld_padding_1: U64,
    /// 0.
    pub ld_padding_2: U32,
    /// 0.
    pub ld_qos_maxage: U32,
    /// 0.
    pub ld_padding_3: U32,
    /// 0.
    pub ld_padding_4: U32,
    /// UUID of the device.
    pub ld_uuid: [u8; 40],
}
assert_layout!(LmvDesc, 88, ld_qos_maxage = 36, ld_uuid = 48);

impl LmvDesc {
    /// What an MGS writes.
    ///
    /// # Errors
    /// [`Malformed::NoRoom`], [`Malformed::Value`]: not a UUID.
    pub fn new(uuid: &[u8]) -> Result<LmvDesc> {
        let mut desc = LmvDesc {
            ld_tgt_count: 0.into(),
            ld_active_tgt_count: 0.into(),
            ld_default_stripe_count: 0.into(),
            ld_pattern: 0.into(),
            ld_default_hash_size: 0.into(),
            ld_padding_1: 0.into(),
            ld_padding_2: 0.into(),
            ld_qos_maxage: 0.into(),
            ld_padding_3: 0.into(),
            ld_padding_4: 0.into(),
            ld_uuid: [0; 40],
        };
        crate::text::set(&mut desc.ld_uuid, uuid)?;
        Ok(desc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// Record 13 of `spec/mgs-config.md` 10.4.
    #[test]
    fn add_uuid() {
        let spec = CfgSpec {
            nid: 0x0002_0000_c0a8_0101,
            ..CfgSpec::new(LcfgCommand::AddUuid, &[b"", b"192.168.1.1@tcp\0"])
        };
        let mut buf = [0xff; 100];
        assert_eq!(spec.write_rec(13, &mut buf), Ok(80));
        let want = b"\x50\0\0\0\x0d\0\0\0\0\0\x62\x10\0\0\0\0\
                     \x01\0\xf6\x1c\x05\xf0\x0c\0\0\0\0\0\0\0\0\0\
                     \x01\x01\xa8\xc0\0\0\x02\0\0\0\0\0\x02\0\0\0\
                     \0\0\0\0\x10\0\0\x00192.168.1.1@tcp\0\
                     \x50\0\0\0\x0d\0\0\0";
        assert_eq!(&buf[..80], want);
        let rec = llog::Records::new(&buf[..80]).next().unwrap().unwrap();
        let cfg = Cfg::parse(rec.payload).unwrap();
        assert_eq!(cfg.command(), Ok(LcfgCommand::AddUuid));
        assert!(cfg.is_required());
        assert_eq!(cfg.text(1), b"192.168.1.1@tcp");
        assert_eq!((cfg.buf(0), cfg.buf(2)), (Some(&b""[..]), None));
    }

    /// Record 16 of `spec/mgs-config.md` 10.4.
    #[test]
    fn add_mdc() {
        let spec = CfgSpec::new(
            LcfgCommand::AddMdc,
            &[
                b"lustre-clilmv\0",
                b"lustre-MDT0000_UUID\0",
                b"0\0",
                b"1\0",
                b"lustre-MDT0000-mdc_UUID\0",
            ],
        );
        let mut buf = [0; 160];
        assert_eq!(spec.write_rec(16, &mut buf), Ok(160));
        assert_eq!(&buf[0x48..0x55], b"lustre-clilmv");
        assert_eq!(&buf[0x58..0x5c], b"lust");
        assert_eq!((buf[0x70], buf[0x78]), (b'0', b'1'));
        assert_eq!(&buf[0x80..0x97], b"lustre-MDT0000-mdc_UUID");
        assert_eq!(buf[0x98], 160);
    }

    /// `spec/mgs-config.md` 10.4.
    #[test]
    fn lov_desc() {
        let d = LovDesc::new(b"lustre-clilov_UUID").unwrap();
        let want = b"\0\0\0\0\x5c\xde\xcc\xb0\x01\0\0\0\x01\0\0\0\
                     \0\0\x40\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
                     \0\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0lustre-clilov_UUID\0";
        assert_eq!(&d.as_bytes()[..want.len()], want);
    }

    #[test]
    fn marker_records_have_one_size() {
        let marker = [0; size_of::<CfgMarker>()];
        let bufs: [&[u8]; 2] = [b"", &marker];
        let spec = CfgSpec::new(LcfgCommand::Marker, &bufs);
        assert_eq!(spec.rec_size(), 224);
        let mut buf = [0; 224];
        spec.write_rec(1, &mut buf).unwrap();
        let cfg = Cfg::parse(&buf[16..216]).unwrap();
        assert_eq!(cfg.marker().unwrap().flags(), CmFlags::empty());
    }

    proptest! {
        #[test]
        fn round_trips(num: u32, nid: u64, bufs in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let refs: Vec<&[u8]> = bufs.iter().map(Vec::as_slice).collect();
            let spec = CfgSpec { num, nid, ..CfgSpec::new(LcfgCommand::Param, &refs) };
            let mut out = vec![0; spec.size()];
            let written = spec.write(&mut out);
            if bufs.len() == 8 {
                prop_assert_eq!(written, Err(Malformed::Value));
                return Ok(());
            }
            prop_assert_eq!(written, Ok(out.len()));
            let cfg = Cfg::parse(&out).unwrap();
            prop_assert_eq!((cfg.head.lcfg_num.get(), cfg.head.lcfg_nid.get()), (num, nid));
            let got: Vec<&[u8]> = (0..cfg.bufcount()).map(|i| cfg.buf(i).unwrap()).collect();
            prop_assert_eq!(got, refs);
        }

        #[test]
        fn garbage(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_u32..9) {
            if bytes.len() >= 32 {
                bytes[..4].copy_from_slice(&LUSTRE_CFG_VERSION.to_le_bytes());
                bytes[24..28].fill(0);
                bytes[28..32].copy_from_slice(&count.to_le_bytes());
            }
            if let Ok(cfg) = Cfg::parse(&bytes) {
                for i in 0..cfg.bufcount() {
                    prop_assert!(cfg.buf(i).is_some());
                }
            }
        }
    }
}
