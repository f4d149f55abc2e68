// SPDX-License-Identifier: GPL-2.0

//! `obdo`, the attributes of an object, and the bits that say which are valid (`spec/ost.md` 2.2,
//! `spec/mdt.md` 3.2).

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::fid::Fid;
use crate::flags;
use crate::ostid::OstId;

flags! {
    /// `OBD_MD_*`: which fields are valid, or wanted.
    pub struct ObdMd: u64 {
        /// Object id.
        const FLID = 0x1;
        /// Access time.
        const FLATIME = 0x2;
        /// Modification time.
        const FLMTIME = 0x4;
        /// Change time.
        const FLCTIME = 0x8;
        /// Size.
        const FLSIZE = 0x10;
        /// Blocks; in a bulk request the dirty bytes.
        const FLBLOCKS = 0x20;
        /// Block size.
        const FLBLKSZ = 0x40;
        /// Permission bits.
        const FLMODE = 0x80;
        /// File type.
        const FLTYPE = 0x100;
        /// Owner.
        const FLUID = 0x200;
        /// Group.
        const FLGID = 0x400;
        /// Flags: of the inode, or `OBD_FL_*`.
        const FLFLAGS = 0x800;
        /// Size of the component on the MDT.
        const DOM_SIZE = 0x1000;
        /// Link count.
        const FLNLINK = 0x2000;
        /// Parent.
        const FLPARENT = 0x4000;
        /// Layout version.
        const LAYOUT_VERSION = 0x8000;
        /// Device number.
        const FLRDEV = 0x10000;
        /// Layout of a file.
        const FLEASIZE = 0x20000;
        /// Target of a symlink.
        const LINKNAME = 0x40000;
        /// Handle.
        const FLHANDLE = 0x80000;
        /// Checksum.
        const FLCKSUM = 0x100000;
        /// Project quota is over the limit or not.
        const FLPRJQUOTA = 0x400000;
        /// Sequence of the object id.
        const FLGROUP = 0x1000000;
        /// FID of the file that an object is part of.
        const FLFID = 0x2000000;
        /// Grant.
        const FLGRANT = 0x8000000;
        /// Default layout of a directory.
        const FLDIREA = 0x10000000;
        /// User quota is over the limit or not.
        const FLUSRQUOTA = 0x20000000;
        /// Group quota is over the limit or not.
        const FLGRPQUOTA = 0x40000000;
        /// Largest layout seen.
        const FLMODEASIZE = 0x80000000;
        /// The object is on another MDT.
        const MDS = 1 << 32;
        /// Stripes of a directory.
        const MEA = 1 << 34;
        /// Transient state.
        const TSTATE = 1 << 35;
        /// Extended attribute.
        const FLXATTR = 1 << 36;
        /// Names of extended attributes.
        const FLXATTRLS = 1 << 37;
        /// Removal of an extended attribute.
        const FLXATTRRM = 1 << 38;
        /// ACL.
        const FLACL = 1 << 39;
        /// Sums over all targets in a statfs.
        const FLAGSTATFS = 1 << 40;
        /// The entry is on one MDT, the object on another.
        const FLCROSSREF = 1 << 44;
        /// A lock comes with the attributes.
        const FLGETATTRLOCK = 1 << 45;
        /// Count of objects to destroy.
        const FLOBJCOUNT = 1 << 46;
        /// Data version.
        const FLDATAVERSION = 1 << 52;
        /// The intent of a close was executed.
        const CLOSE_INTENT_EXECED = 1 << 53;
        /// Default stripes of a directory.
        const DEFAULT_MEA = 1 << 54;
        /// Layout of an object.
        const FLOSTLAYOUT = 1 << 55;
        /// Project.
        const FLPROJID = 1 << 56;
        /// Security context.
        const SECCTX = 1 << 57;
        /// Size that may be old.
        const FLLAZYSIZE = 1 << 58;
        /// Blocks that may be old.
        const FLLAZYBLOCKS = 1 << 59;
        /// Time of birth.
        const FLBTIME = 1 << 60;
        /// Encryption context.
        const ENCCTX = 1 << 61;
        /// Hash of a name.
        const NAMEHASH = 1 << 62;
    }
}

impl ObdMd {
    /// What a client asks for with plain attributes.
    pub const FLGETATTR: ObdMd = ObdMd::from_bits_retain(0x1100_0000_0101_6fdf);
    /// All extended attributes at once.
    pub const FLXATTRALL: ObdMd = ObdMd::FLXATTR.union(ObdMd::FLXATTRLS);
}

flags! {
    /// `OBD_FL_*`: `o_flags` of an [`Obdo`] (`spec/ost.md` 2.3).
    pub struct ObdFl: u32 {
        /// Destroy precreated objects that were never used.
        const DELORPHAN = 0x4;
        /// Do nothing.
        const NORPC = 0x8;
        /// Recreate objects; no action.
        const RECREATE_OBJS = 0x20;
        /// Project is over quota.
        const NO_PRJQUOTA = 0x80;
        /// User is over quota.
        const NO_USRQUOTA = 0x100;
        /// Group is over quota.
        const NO_GRPQUOTA = 0x200;
        /// No action.
        const CREATE_CROW = 0x400;
        /// The server takes the lock.
        const SRVLOCK = 0x800;
        /// Checksum CRC32.
        const CKSUM_CRC32 = 0x1000;
        /// Checksum Adler-32.
        const CKSUM_ADLER = 0x2000;
        /// Checksum CRC32C.
        const CKSUM_CRC32C = 0x4000;
        /// The client gives grant back.
        const SHRINK_GRANT = 0x20000;
        /// Pages may change during the transfer.
        const MMAP = 0x40000;
        /// A bulk request sent again.
        const RECOV_RESEND = 0x80000;
        /// Reserved.
        const NOSPC_BLK = 0x100000;
        /// Readers flush too.
        const FLUSH = 0x200000;
        /// Data are in the message.
        const SHORT_IO = 0x400000;
        /// In replies: root is squashed. In requests: the file is encrypted.
        const ROOT_SQUASH = 0x800000;
        /// Project quota holds for root too.
        const ROOT_PRJQUOTA = 0x1000000;
    }
}

impl ObdFl {
    /// The bits of the checksum's type; see [`CksumType`].
    pub const CKSUM_MASK: ObdFl = ObdFl::from_bits_retain(0xf000);
    /// The name of [`ObdFl::ROOT_SQUASH`] in requests.
    pub const ENCRYPT: ObdFl = ObdFl::ROOT_SQUASH;
}

/// Type of a bulk checksum: a value in the bits of [`ObdFl::CKSUM_MASK`], not a set of them
/// (`spec/ost.md` 3.3, 4.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CksumType {
    /// Reflected CRC-32 without the last inversion.
    Crc32 = 0x1000,
    /// Adler-32.
    Adler = 0x2000,
    /// CRC-32C.
    Crc32c = 0x4000,
    /// Adler-32 over T10 IP guards of 512-byte sectors.
    T10Ip512 = 0x5000,
    /// Adler-32 over T10 IP guards of 4096-byte sectors.
    T10Ip4k = 0x6000,
    /// Adler-32 over T10 CRC guards of 512-byte sectors.
    T10Crc512 = 0x7000,
    /// Adler-32 over T10 CRC guards of 4096-byte sectors.
    T10Crc4k = 0x8000,
}

impl TryFrom<ObdFl> for CksumType {
    type Error = crate::error::Malformed;

    fn try_from(flags: ObdFl) -> crate::error::Result<CksumType> {
        Ok(match flags.bits() & ObdFl::CKSUM_MASK.bits() {
            0x1000 => CksumType::Crc32,
            0x2000 => CksumType::Adler,
            0x4000 => CksumType::Crc32c,
            0x5000 => CksumType::T10Ip512,
            0x6000 => CksumType::T10Ip4k,
            0x7000 => CksumType::T10Crc512,
            0x8000 => CksumType::T10Crc4k,
            _ => return Err(crate::error::Malformed::Value),
        })
    }
}

impl From<CksumType> for ObdFl {
    fn from(t: CksumType) -> ObdFl {
        ObdFl::from_bits_retain(t as u32)
    }
}

/// `ost_layout`: what an object knows of its file's layout.
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
pub struct OstLayout {
    /// Bytes of a stripe.
    pub ol_stripe_size: U32,
    /// Stripes of the component.
    pub ol_stripe_count: U32,
    /// Where the component begins.
    pub ol_comp_start: U64,
    /// Where it ends.
    pub ol_comp_end: U64,
    /// Its id.
    pub ol_comp_id: U32,
}
assert_layout!(
    OstLayout,
    28,
    ol_stripe_count = 4,
    ol_comp_start = 8,
    ol_comp_end = 16,
    ol_comp_id = 24
);

/// `obdo`. Many fields have a second meaning in some requests; the methods name those.
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
pub struct Obdo {
    /// [`ObdMd`].
    pub o_valid: U64,
    /// Object.
    pub o_oi: OstId,
    /// Sequence of the file's FID.
    pub o_parent_seq: U64,
    /// Size; start of a punch, fallocate or sync; offset of a seek; width of a created sequence.
    pub o_size: U64,
    /// Modification time, seconds.
    pub o_mtime: I64,
    /// Access time, seconds.
    pub o_atime: I64,
    /// Change time, seconds.
    pub o_ctime: I64,
    /// Blocks of 512 bytes; end of a punch, fallocate or sync; dirty bytes in a bulk request.
    pub o_blocks: U64,
    /// Grant: what the client has, or what it gets.
    pub o_grant: U64,
    /// Block size.
    pub o_blksize: U32,
    /// Mode; wanted grant in a bulk request; whence of a seek.
    pub o_mode: U32,
    /// Owner.
    pub o_uid: U32,
    /// Group.
    pub o_gid: U32,
    /// [`ObdFl`].
    pub o_flags: U32,
    /// Link count; checksum of a bulk; mode of a fallocate.
    pub o_nlink: U32,
    /// Number of the file's FID.
    pub o_parent_oid: U32,
    /// Grant lost by the client; count of objects to destroy.
    pub o_misc: U32,
    /// 0.
    pub o_ioepoch: U64,
    /// Number of the stripe in its component.
    pub o_stripe_idx: U32,
    /// Version of the file's FID.
    pub o_parent_ver: U32,
    /// Cookie of the lock that covers the transfer.
    pub o_handle: U64,
    /// Layout.
    pub o_layout: OstLayout,
    /// Layout version of a mirrored file.
    pub o_layout_version: U32,
    /// 0.
    pub o_uid_h: U32,
    /// 0.
    pub o_gid_h: U32,
    /// Data version; grant used in a bulk request.
    pub o_data_version: U64,
    /// Project.
    pub o_projid: U32,
    /// 0.
    pub o_padding_4: U32,
    /// 0.
    pub o_padding_5: U64,
    /// 0.
    pub o_padding_6: U64,
}
assert_layout!(
    Obdo,
    208,
    o_oi = 8,
    o_parent_seq = 24,
    o_size = 32,
    o_mtime = 40,
    o_atime = 48,
    o_ctime = 56,
    o_blocks = 64,
    o_grant = 72,
    o_blksize = 80,
    o_mode = 84,
    o_uid = 88,
    o_gid = 92,
    o_flags = 96,
    o_nlink = 100,
    o_parent_oid = 104,
    o_misc = 108,
    o_ioepoch = 112,
    o_stripe_idx = 120,
    o_parent_ver = 124,
    o_handle = 128,
    o_layout = 136,
    o_layout_version = 164,
    o_uid_h = 168,
    o_gid_h = 172,
    o_data_version = 176,
    o_projid = 184,
    o_padding_4 = 188,
    o_padding_6 = 200
);

/// `ost_body` is an [`Obdo`] and nothing else.
pub type OstBody = Obdo;

impl Obdo {
    /// [`Obdo::o_valid`] as a set.
    pub fn valid(&self) -> ObdMd {
        ObdMd::from_bits_retain(self.o_valid.get())
    }

    /// Sets [`Obdo::o_valid`].
    pub fn set_valid(&mut self, valid: ObdMd) {
        self.o_valid.set(valid.bits());
    }

    /// Adds to [`Obdo::o_valid`].
    pub fn add_valid(&mut self, valid: ObdMd) {
        self.set_valid(self.valid() | valid);
    }

    /// [`Obdo::o_flags`] as a set, empty unless valid.
    pub fn flags(&self) -> ObdFl {
        if self.valid().contains(ObdMd::FLFLAGS) {
            ObdFl::from_bits_retain(self.o_flags.get())
        } else {
            ObdFl::empty()
        }
    }

    /// Sets [`Obdo::o_flags`] and says that it is valid.
    pub fn set_flags(&mut self, flags: ObdFl) {
        self.o_flags.set(flags.bits());
        self.add_valid(ObdMd::FLFLAGS);
    }

    /// The file that the object is part of: its FID with the stripe index as version, as
    /// `trusted.fid` stores it.
    pub fn parent(&self) -> Option<Fid> {
        self.valid().contains(ObdMd::FLFID).then(|| Fid {
            seq: self.o_parent_seq.get(),
            oid: self.o_parent_oid.get(),
            ver: self.o_stripe_idx.get(),
        })
    }

    /// Bulk request: bytes of dirty cache.
    pub fn dirty(&self) -> u64 {
        self.o_blocks.get()
    }

    /// Bulk request: how much grant is wanted in all.
    pub fn undirty(&self) -> u32 {
        self.o_mode.get()
    }

    /// Bulk request: grant that the client lost.
    pub fn dropped(&self) -> u32 {
        self.o_misc.get()
    }

    /// Bulk request: grant that the data use.
    pub fn grant_used(&self) -> u64 {
        self.o_data_version.get()
    }

    /// Bulk request and reply: the checksum.
    pub fn cksum(&self) -> u32 {
        self.o_nlink.get()
    }

    /// Sets the checksum, its type and that they are valid.
    pub fn set_cksum(&mut self, kind: CksumType, value: u32) {
        self.o_nlink.set(value);
        let others = self.flags() - ObdFl::CKSUM_MASK;
        self.set_flags(others | kind.into());
        self.add_valid(ObdMd::FLCKSUM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(ObdMd::FLGETATTR.unknown(), 0);
        assert!(ObdMd::FLGETATTR.contains(ObdMd::FLBTIME | ObdMd::FLPROJID | ObdMd::FLRDEV));
        assert!(!ObdMd::FLGETATTR.intersects(ObdMd::FLBLOCKS | ObdMd::FLEASIZE));
    }

    #[test]
    fn checksum_types_are_values() {
        for t in [
            CksumType::Crc32,
            CksumType::Adler,
            CksumType::Crc32c,
            CksumType::T10Ip512,
            CksumType::T10Ip4k,
            CksumType::T10Crc512,
            CksumType::T10Crc4k,
        ] {
            assert_eq!(CksumType::try_from(ObdFl::from(t) | ObdFl::SHORT_IO), Ok(t));
        }
        assert!(CksumType::try_from(ObdFl::SHORT_IO).is_err());
        let mut o = Obdo::default();
        o.set_flags(ObdFl::SHORT_IO | ObdFl::CKSUM_ADLER);
        o.set_cksum(CksumType::Crc32c, 7);
        assert_eq!(o.flags(), ObdFl::SHORT_IO | ObdFl::CKSUM_CRC32C);
        assert_eq!((o.cksum(), o.valid()), (7, ObdMd::FLFLAGS | ObdMd::FLCKSUM));
    }
}
