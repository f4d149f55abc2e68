// SPDX-License-Identifier: GPL-2.0

//! Describing layouts (spec `mdt.md` 20.5).

use wire::lov::{
    LovOstData, LovPattern, PlainSpec, LOV_ALL_STRIPES, LOV_MAGIC_SPECIFIC, LOV_MAXPOOLNAME,
    LOV_MAX_STRIPE_COUNT, LOV_MIN_STRIPE_SIZE, LOV_OFFSET_DEFAULT,
};

/// What is wished for; what is not given is the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Number of stripes; -1: one on each OST.
    pub count: Option<i64>,
    /// Bytes of a stripe.
    pub size: Option<u64>,
    /// Index of the first OST; -1: any.
    pub index: Option<i64>,
    /// The OSTs, one after another.
    pub osts: Vec<u32>,
    /// The pool.
    pub pool: Option<String>,
}

impl Wish {
    /// The descriptor that the MDT takes.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let count = match self.count {
            None => 0,
            Some(-1) => LOV_ALL_STRIPES,
            Some(n) => u16::try_from(n)
                .ok()
                .filter(|n| *n <= LOV_MAX_STRIPE_COUNT)
                .ok_or_else(|| format!("stripe count {n}: not in 0..{LOV_MAX_STRIPE_COUNT}"))?,
        };
        let size = self.size.unwrap_or(0);
        let min = u64::from(LOV_MIN_STRIPE_SIZE);
        let size = match u32::try_from(size) {
            Ok(n) if size % min == 0 => n,
            _ => {
                return Err(format!(
                    "stripe size {size}: not a multiple of {min} below 4 GiB"
                ))
            }
        };
        let index = match self.index {
            None | Some(-1) => LOV_OFFSET_DEFAULT,
            Some(n) => u16::try_from(n)
                .ok()
                .filter(|n| *n != LOV_OFFSET_DEFAULT)
                .ok_or_else(|| format!("OST index {n}: not in 0..65534"))?,
        };
        let pool = self.pool.as_deref().map(str::as_bytes);
        if pool.is_some_and(|p| p.is_empty() || p.len() >= LOV_MAXPOOLNAME) {
            return Err(format!(
                "a pool's name has 1 to {} characters",
                LOV_MAXPOOLNAME - 1
            ));
        }
        if !self.osts.is_empty() {
            return self.specific(size, pool);
        }
        let spec = PlainSpec {
            pattern: LovPattern::RAID0,
            fid: wire::fid::Fid::ZERO,
            stripe_size: size,
            stripe_count: count,
            layout_gen: index,
            pool,
        };
        let mut out = vec![0; spec.size(0)];
        spec.write(&[], &mut out).map_err(|e| format!("{e:?}"))?;
        Ok(out)
    }

    /// The form with a list of OSTs.
    fn specific(&self, size: u32, pool: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let n = u16::try_from(self.osts.len()).unwrap_or(u16::MAX);
        if self.count.is_some_and(|c| c != i64::from(n)) || n > LOV_MAX_STRIPE_COUNT {
            return Err("the stripe count is not the number of OSTs".into());
        }
        let first = self.osts.first().copied().unwrap_or(0);
        let index = self.index.unwrap_or(i64::from(first));
        if index != i64::from(first) || first >= u32::from(LOV_OFFSET_DEFAULT) {
            return Err("the first OST is not the first one of the list".into());
        }
        let spec = PlainSpec {
            pattern: LovPattern::RAID0,
            fid: wire::fid::Fid::ZERO,
            stripe_size: size,
            stripe_count: n,
            layout_gen: first as u16,
            pool: Some(pool.unwrap_or(b"")),
        };
        let objects: Vec<LovOstData> = self
            .osts
            .iter()
            .map(|i| LovOstData {
                l_ost_idx: (*i).into(),
                ..LovOstData::default()
            })
            .collect();
        let mut out = vec![0; spec.size(objects.len())];
        spec.write(&objects, &mut out)
            .map_err(|e| format!("{e:?}"))?;
        if let Some(m) = out.get_mut(..4) {
            m.copy_from_slice(&LOV_MAGIC_SPECIFIC.to_le_bytes());
        }
        Ok(out)
    }
}

/// A list of OSTs: 0,2-4.
pub fn osts(text: &str) -> Option<Vec<u32>> {
    let mut out = Vec::new();
    for part in text.split(',') {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        let (a, b): (u32, u32) = (a.parse().ok()?, b.parse().ok()?);
        if a > b || b - a > u32::from(LOV_MAX_STRIPE_COUNT) {
            return None;
        }
        out.extend(a..=b);
    }
    (out.len() <= usize::from(LOV_MAX_STRIPE_COUNT)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(b: &[u8]) -> String {
        b.iter().fold(String::new(), |s, b| s + &format!("{b:02x}"))
    }

    /// What an existing lfs sent.
    #[test]
    fn established_form() {
        let w = Wish {
            count: Some(2),
            size: Some(2 << 20),
            ..Wish::default()
        };
        let got = hex(&w.encode().unwrap());
        assert_eq!(&got[..8], "d00bd10b");
        assert_eq!(&got[16..48], "0".repeat(32));
        assert_eq!(&got[48..], "000020000200ffff");
        let w = Wish {
            osts: vec![1],
            ..Wish::default()
        };
        let got = hex(&w.encode().unwrap());
        assert_eq!(&got[..8], "d00bd50b");
        assert_eq!(&got[48..64], "0000000001000100");
        assert_eq!(&got[64..96], "0".repeat(32));
        assert_eq!(&got[96..], "0".repeat(40) + "01000000");
    }

    #[test]
    fn nonsense() {
        let bad = |w: Wish| assert!(w.encode().is_err(), "{w:?}");
        let d = Wish::default;
        bad(Wish {
            count: Some(-2),
            ..d()
        });
        bad(Wish {
            count: Some(2001),
            ..d()
        });
        bad(Wish {
            size: Some(1000),
            ..d()
        });
        bad(Wish {
            size: Some(1 << 32),
            ..d()
        });
        bad(Wish {
            index: Some(65535),
            ..d()
        });
        bad(Wish {
            pool: Some("sixteen-bytes-xx".into()),
            ..d()
        });
        bad(Wish {
            count: Some(1),
            osts: vec![1, 2],
            ..d()
        });
        assert_eq!(osts("0,2-4"), Some(vec![0, 2, 3, 4]));
        for t in ["", "a", "4-2", "0-4000000000"] {
            assert_eq!(osts(t), None, "{t}");
        }
    }
}
