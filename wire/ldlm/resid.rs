// SPDX-License-Identifier: GPL-2.0

//! Names of resources (`spec/ldlm.md` 2).

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{Malformed, Result};
use crate::fid::Fid;
use crate::ostid::OstId;

/// The last word of the name of a file's `fcntl` and `flock` locks.
const FLOCK: u64 = 12;

/// What a configuration lock is for; the second word of its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum ConfigLock {
    /// The logs of clients and targets, and the rules for security flavours.
    Config = 0,
    /// Where restarted targets are.
    Recover = 2,
    /// Parameters for all file systems.
    Params = 3,
    /// Node maps.
    Nodemap = 4,
    /// The barrier.
    Barrier = 5,
}

impl TryFrom<u64> for ConfigLock {
    type Error = Malformed;

    fn try_from(v: u64) -> Result<Self> {
        Ok(match v {
            0 => ConfigLock::Config,
            2 => ConfigLock::Recover,
            3 => ConfigLock::Params,
            4 => ConfigLock::Nodemap,
            5 => ConfigLock::Barrier,
            _ => return Err(Malformed::Value),
        })
    }
}

/// `ldlm_res_id`
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Debug,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct LdlmResId {
    /// The name.
    pub name: [U64; 4],
}
assert_layout!(LdlmResId, 32);

impl LdlmResId {
    /// From its words.
    pub fn from_words(words: [u64; 4]) -> Self {
        LdlmResId {
            name: words.map(U64::new),
        }
    }

    /// Its words in the host's order.
    pub fn words(&self) -> [u64; 4] {
        self.name.map(|w| w.get())
    }

    /// An inode of an MDT, or an object with a FID of its own.
    pub fn from_fid(fid: Fid) -> Self {
        Self::from_words([
            fid.seq,
            (u64::from(fid.ver) << 32) | u64::from(fid.oid),
            0,
            0,
        ])
    }

    /// The file locks of an inode.
    pub fn flock(fid: Fid) -> Self {
        let [seq, oid, ..] = Self::from_fid(fid).words();
        Self::from_words([seq, oid, 0, FLOCK])
    }

    /// An object of an OST: by number, if its FID is of the oldest format.
    pub fn ost_object(fid: Fid) -> Self {
        let id = OstId::from_fid(fid);
        LdlmResId {
            name: [id.oi_id, id.oi_seq, U64::ZERO, U64::ZERO],
        }
    }

    /// A configuration lock; `name` is that of the file system, or of the log without its last
    /// dash and what follows.
    ///
    /// # Errors
    /// [`Malformed::Value`]: no name, or one of more than 8 bytes.
    pub fn config(name: &[u8], kind: ConfigLock) -> Result<Self> {
        let mut word = [0; 8];
        if name.is_empty() {
            return Err(Malformed::Value);
        }
        word.get_mut(..name.len())
            .ok_or(Malformed::Value)?
            .copy_from_slice(name);
        Ok(Self::from_words([
            u64::from_le_bytes(word),
            kind as u64,
            0,
            0,
        ]))
    }

    /// The inode of an MDT that it names; of file locks too.
    pub fn fid(&self) -> Fid {
        let [seq, low, ..] = self.words();
        Fid {
            seq,
            oid: low as u32,
            ver: (low >> 32) as u32,
        }
    }

    /// The object of OST `ost_index` that it names.
    ///
    /// # Errors
    /// [`Malformed::Value`]: none can have that name.
    pub fn ost_fid(&self, ost_index: u16) -> Result<Fid> {
        let [oi_id, oi_seq, ..] = self.name;
        OstId { oi_id, oi_seq }.to_fid(ost_index)
    }

    /// The name in that of a configuration lock, and what the lock is for.
    ///
    /// # Errors
    /// [`Malformed::Value`]: not the name of such a lock.
    pub fn config_name(&self) -> Result<([u8; 8], ConfigLock)> {
        let [name, kind, zero, zero2] = self.words();
        if name == 0 || zero != 0 || zero2 != 0 {
            return Err(Malformed::Value);
        }
        Ok((name.to_le_bytes(), kind.try_into()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn inodes() {
        let f = Fid::new(0x2_0000_0401, 0x1a5);
        assert_eq!(LdlmResId::from_fid(f).words(), [0x2_0000_0401, 0x1a5, 0, 0]);
        assert_eq!(LdlmResId::flock(f).words(), [0x2_0000_0401, 0x1a5, 0, 12]);
        assert_eq!(LdlmResId::flock(f).fid(), f);
    }

    #[test]
    fn objects() {
        let idif = Fid::idif(3, 0x1_0000_0002).unwrap();
        assert_eq!(
            LdlmResId::ost_object(idif).words(),
            [0x1_0000_0002, 0, 0, 0]
        );
        assert_eq!(LdlmResId::ost_object(idif).ost_fid(3), Ok(idif));
        let norm = Fid::new(0x2_4000_0400, 2);
        assert_eq!(LdlmResId::ost_object(norm), LdlmResId::from_fid(norm));
        assert_eq!(LdlmResId::ost_object(norm).ost_fid(3), Ok(norm));
    }

    #[test]
    fn config() {
        let r = LdlmResId::config(b"lustre", ConfigLock::Config).unwrap();
        assert_eq!(r.words(), [0x6572_7473_756c, 0, 0, 0]);
        let (name, kind) = r.config_name().unwrap();
        assert_eq!(
            (text::get(&name), kind),
            (&b"lustre"[..], ConfigLock::Config)
        );
        let p = LdlmResId::config(b"params", ConfigLock::Params).unwrap();
        assert_eq!(p.words(), [0x736d_6172_6170, 3, 0, 0]);
        assert!(LdlmResId::config(b"123456789", ConfigLock::Config).is_err());
        assert!(LdlmResId::config(b"", ConfigLock::Config).is_err());
        assert!(LdlmResId::from_words([1, 1, 0, 0]).config_name().is_err());
    }
}
