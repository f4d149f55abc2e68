// SPDX-License-Identifier: GPL-2.0

//! Where a file's bytes are: layouts of the plain forms, and the arithmetic of stripes (spec
//! `mdt.md` 20.1).

use kapi::error::Result;
use kapi::prelude::{EOPNOTSUPP, EPROTO};
use wire::fid::Fid;
use wire::lov::{LovMd, LovPattern};
use wire::ostid::OstId;

/// An object of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stripe {
    /// Index of the OST.
    pub ost: u32,
    /// The object's FID.
    pub fid: Fid,
    /// The name by which OSTs are asked.
    pub id: OstId,
}

/// A layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes of a stripe.
    pub stripe_size: u64,
    /// The objects.
    pub stripes: Vec<Stripe>,
    /// The bytes of the xattr.
    pub ea: Vec<u8>,
}

/// A part of a range of a file that is in one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Number of the stripe.
    pub stripe: usize,
    /// Where in the object.
    pub object_off: u64,
    /// Where in the file.
    pub file_off: u64,
    /// Bytes.
    pub len: u64,
}

impl Layout {
    /// Reads the xattr. `None`: the file has no objects.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: a form that this client does not know. `EPROTO`: none at all.
    pub fn parse(ea: &[u8]) -> Result<Option<Layout>> {
        if ea.is_empty() {
            return Ok(None);
        }
        let LovMd::Plain(p) = LovMd::parse(ea).map_err(|_| EPROTO)? else {
            return Err(EOPNOTSUPP);
        };
        let pattern = LovPattern::from_bits_retain(p.md.lmm_pattern.get());
        let plain = LovPattern::RAID0 | LovPattern::OVERSTRIPING;
        if !plain.contains(pattern) {
            return Err(EOPNOTSUPP);
        }
        let mut stripes = Vec::new();
        for o in p.stripes() {
            stripes.push(Stripe {
                ost: o.l_ost_idx.get(),
                fid: o.fid().map_err(|_| EPROTO)?,
                id: o.l_ost_oi,
            });
        }
        if stripes.is_empty() {
            return Ok(None);
        }
        let stripe_size = u64::from(p.md.lmm_stripe_size.get());
        if stripe_size == 0 {
            return Err(EPROTO);
        }
        Ok(Some(Layout {
            stripe_size,
            stripes,
            ea: ea.get(..p.size()).unwrap_or(ea).to_vec(),
        }))
    }

    fn count(&self) -> u64 {
        self.stripes.len() as u64
    }

    /// Which stripe has byte `off` of the file, and where.
    pub fn locate(&self, off: u64) -> (usize, u64) {
        let n = off / self.stripe_size;
        let stripe = n % self.count();
        let at = (n / self.count()) * self.stripe_size + off % self.stripe_size;
        (stripe as usize, at)
    }

    /// The pieces of `len` bytes of the file at `off`, in order.
    pub fn pieces(&self, off: u64, len: u64) -> impl Iterator<Item = Piece> + '_ {
        let end = off.saturating_add(len);
        let mut pos = off;
        std::iter::from_fn(move || {
            if pos >= end {
                return None;
            }
            let (stripe, object_off) = self.locate(pos);
            // One object has it all if there is only one.
            let len = match self.count() {
                1 => end - pos,
                _ => (self.stripe_size - pos % self.stripe_size).min(end - pos),
            };
            let p = Piece {
                stripe,
                object_off,
                file_off: pos,
                len,
            };
            pos += len;
            Some(p)
        })
    }

    /// The size of the file, as far as an object of `size` bytes tells.
    pub fn file_size(&self, stripe: usize, size: u64) -> u64 {
        if size == 0 {
            return 0;
        }
        let last = size - 1;
        let row = last / self.stripe_size;
        (row * self.count() + stripe as u64) * self.stripe_size + last % self.stripe_size + 1
    }

    /// How many bytes an object has in a file of `size` bytes.
    pub fn object_size(&self, stripe: usize, size: u64) -> u64 {
        let width = self.stripe_size * self.count();
        let rest = size % width;
        let before = stripe as u64 * self.stripe_size;
        size / width * self.stripe_size + rest.saturating_sub(before).min(self.stripe_size)
    }

    /// What of the bytes from `start` to `end`, both inclusive, is in an object; likewise.
    pub fn object_range(&self, stripe: usize, start: u64, end: u64) -> Option<(u64, u64)> {
        let first = self.object_size(stripe, start);
        let behind = match end {
            u64::MAX => return Some((first, u64::MAX)),
            e => self.object_size(stripe, e + 1),
        };
        (first < behind).then(|| (first, behind - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::lov::{LovOstData, PlainSpec};

    fn layout(size: u32, count: u16) -> Layout {
        let objects: Vec<_> = (0..count)
            .map(|i| LovOstData::new(Fid::new(0x2_4000_0400, u32::from(i) + 2), i.into()))
            .collect();
        let spec = PlainSpec {
            pattern: LovPattern::RAID0,
            fid: Fid::new(0x2_0000_0401, 1),
            stripe_size: size,
            stripe_count: count,
            layout_gen: 0,
            pool: None,
        };
        let mut ea = vec![0; spec.size(objects.len())];
        spec.write(&objects, &mut ea).unwrap();
        Layout::parse(&ea).unwrap().unwrap()
    }

    #[test]
    fn reading() {
        let l = layout(1 << 20, 2);
        assert_eq!(l.stripes.len(), 2);
        assert_eq!(l.stripes[1].ost, 1);
        assert_eq!(l.stripes[1].fid, Fid::new(0x2_4000_0400, 3));
        assert_eq!(Layout::parse(&[]), Ok(None));
        assert_eq!(Layout::parse(&[1; 64]), Err(EPROTO));
        let mut composite = l.ea.clone();
        composite[..4].copy_from_slice(&0x0bd7_0bd0_u32.to_le_bytes());
        assert!(Layout::parse(&composite).is_err());
    }

    #[test]
    fn places() {
        let l = layout(65536, 3);
        assert_eq!(l.locate(0), (0, 0));
        assert_eq!(l.locate(65536 * 4 + 5), (1, 65536 + 5));
        let p: Vec<_> = l.pieces(65530, 12).map(|p| (p.stripe, p.len)).collect();
        assert_eq!(p, [(0, 6), (1, 6)]);
        assert_eq!(l.object_size(0, 65536 * 3 + 1), 65537);
        assert_eq!(l.object_range(1, 0, u64::MAX), Some((0, u64::MAX)));
        assert_eq!(l.object_range(1, 0, 65535), None);
    }

    proptest! {
        #[test]
        fn sizes_agree(count in 1_u16..9, size in 1_u32..5, file in 0_u64..50_000_000) {
            let l = layout(size * 65536, count);
            let all = (0..usize::from(count)).map(|i| l.file_size(i, l.object_size(i, file)));
            prop_assert_eq!(all.max(), Some(file));
            let sum: u64 = (0..usize::from(count)).map(|i| l.object_size(i, file)).sum();
            prop_assert_eq!(sum, file);
        }

        #[test]
        fn pieces_cover(count in 1_u16..5, off in 0_u64..1_000_000, len in 0_u64..2_000_000) {
            let l = layout(65536, count);
            let mut pos = off;
            for p in l.pieces(off, len) {
                prop_assert_eq!(p.file_off, pos);
                prop_assert_eq!((p.stripe, p.object_off), l.locate(pos));
                pos += p.len;
            }
            prop_assert_eq!(pos, off + len);
        }
    }
}
