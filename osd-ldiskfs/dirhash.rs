// SPDX-License-Identifier: GPL-2.0

//! The hash of names in ext4's indexed directories. It orders directories and makes the
//! positions that clients keep as readdir cookies (`ondisk.md` 6.4), so it has to be ext4's to
//! the bit.

/// `EXT4_HTREE_EOF_32BIT`: no name has this hash.
const EOF: u32 = 0x7fff_ffff;

/// Which hash a directory uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Algorithm {
    /// The one of the first htrees.
    Legacy,
    /// Half of an MD4 round.
    HalfMd4,
    /// The tiny encryption algorithm.
    Tea,
}

/// A hash function of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hasher {
    /// The algorithm.
    pub(crate) algorithm: Algorithm,
    /// Whether bytes above 127 count as negative.
    pub(crate) signed: bool,
    /// The seed of the file system.
    pub(crate) seed: [u32; 4],
}

/// The hash of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Hash {
    /// What the index is ordered by; its lowest bit is 0.
    pub(crate) major: u32,
    /// Orders names of equal major hash.
    pub(crate) minor: u32,
}

impl Hasher {
    /// The function of hash version `version` as in `dx_root_info` or the superblock, where 0 to
    /// 2 stand for what `unsigned` says.
    pub(crate) fn new(version: u8, unsigned: bool, seed: [u32; 4]) -> Option<Hasher> {
        let (algorithm, signed) = match version {
            0 => (Algorithm::Legacy, !unsigned),
            1 => (Algorithm::HalfMd4, !unsigned),
            2 => (Algorithm::Tea, !unsigned),
            3 => (Algorithm::Legacy, false),
            4 => (Algorithm::HalfMd4, false),
            5 => (Algorithm::Tea, false),
            _ => return None,
        };
        Some(Hasher {
            algorithm,
            signed,
            seed,
        })
    }

    /// The hash of `name`.
    pub(crate) fn hash(&self, name: &[u8]) -> Hash {
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        if self.seed != [0; 4] {
            state = self.seed;
        }
        let (major, minor) = match self.algorithm {
            Algorithm::Legacy => (self.legacy(name), 0),
            Algorithm::HalfMd4 => {
                for i in (0..name.len()).step_by(32) {
                    let mut words = [0; 8];
                    self.words(name.get(i..).unwrap_or_default(), &mut words);
                    half_md4(&mut state, &words);
                }
                (state[1], state[2])
            }
            Algorithm::Tea => {
                for i in (0..name.len()).step_by(16) {
                    let mut words = [0; 4];
                    self.words(name.get(i..).unwrap_or_default(), &mut words);
                    tea(&mut state, &words);
                }
                (state[0], state[1])
            }
        };
        let mut major = major & !1;
        if major == EOF << 1 {
            major = (EOF - 1) << 1;
        }
        Hash { major, minor }
    }

    fn byte(&self, b: u8) -> u32 {
        if self.signed {
            i32::from(b as i8) as u32
        } else {
            u32::from(b)
        }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut last, mut before) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for &b in name {
            let mut h = before.wrapping_add(last ^ self.byte(b).wrapping_mul(7_152_373));
            if h & 0x8000_0000 != 0 {
                h = h.wrapping_sub(0x7fff_ffff);
            }
            before = last;
            last = h;
        }
        last << 1
    }

    /// Packs the first bytes of the rest of a name into words, filled up with its length.
    fn words<const N: usize>(&self, rest: &[u8], out: &mut [u32; N]) {
        let len = rest.len() as u32;
        let pad = (len | (len << 8)) & 0xffff | (len << 16) | (len << 24);
        let mut chunks = rest.chunks(4);
        for w in out.iter_mut() {
            // What does not fill the block is padded.
            let c = chunks.next().unwrap_or_default();
            *w = c
                .iter()
                .fold(pad, |v, b| self.byte(*b).wrapping_add(v << 8));
        }
    }
}

fn half_md4(state: &mut [u32; 4], x: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (
            |x, y, z| z ^ (x & (y ^ z)),
            0,
            [0, 1, 2, 3, 4, 5, 6, 7],
            [3, 7, 11, 19],
        ),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5a82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ed9_eba1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, k, order, shifts) in ROUNDS {
        for (i, word) in order.iter().enumerate() {
            let w = x.get(*word).copied().unwrap_or(0);
            let t = a.wrapping_add(mix(b, c, d)).wrapping_add(w).wrapping_add(k);
            // The next step works on d, whose neighbours are a, b and c.
            (a, d, c, b) = (
                d,
                c,
                b,
                t.rotate_left(shifts.get(i % 4).copied().unwrap_or(0)),
            );
        }
    }
    for (s, v) in state.iter_mut().zip([a, b, c, d]) {
        *s = s.wrapping_add(v);
    }
}

fn tea(state: &mut [u32; 4], x: &[u32; 4]) {
    const DELTA: u32 = 0x9e37_79b9;
    let (mut b0, mut b1, mut sum) = (state[0], state[1], 0_u32);
    let [a, b, c, d] = *x;
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        b0 = b0.wrapping_add(
            (b1 << 4).wrapping_add(a) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(b),
        );
        b1 = b1.wrapping_add(
            (b0 << 4).wrapping_add(c) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(d),
        );
    }
    state[0] = state[0].wrapping_add(b0);
    state[1] = state[1].wrapping_add(b1);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u32; 4] = [0x11111111, 0x22222222, 0x33333333, 0x44444444];

    #[test]
    fn known() {
        // debugfs -R "dx_hash -h <alg> -s 11111111-2222-2222-3333-333344444444 <name>"
        for line in include_str!("../tests/osd/dirhash.txt").lines() {
            let mut f = line.split(' ');
            let version = f.next().unwrap().parse().unwrap();
            let major = u32::from_str_radix(f.next().unwrap(), 16).unwrap();
            let minor = u32::from_str_radix(f.next().unwrap(), 16).unwrap();
            let name = f.next().unwrap();
            let h = Hasher::new(version, false, SEED).unwrap();
            assert_eq!(h.hash(name.as_bytes()), Hash { major, minor }, "{line}");
        }
    }
}
