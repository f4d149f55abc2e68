// SPDX-License-Identifier: GPL-2.0

//! How the data of a transfer lie in its memory descriptors, MDs for short (`ptlrpc.md` 7.3). Both
//! ends cut them alike.

use kapi::pages::PAGE_SIZE;
use kapi::prelude::*;

/// Most bytes of an MD.
pub(crate) const MD_SIZE: usize = 1 << 20;
const PAGE: u64 = PAGE_SIZE as u64;

/// An extent of an object that is read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    /// First byte.
    pub(crate) pos: u64,
    /// Bytes.
    pub(crate) len: u32,
}

impl Range {
    /// The byte behind it.
    pub(crate) fn end(&self) -> u64 {
        self.pos.saturating_add(u64::from(self.len))
    }
}

/// An MD. Its bytes lie in its pages as they lie in those of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Md {
    /// Where in its pages the data begin.
    pub(crate) off: usize,
    /// Bytes.
    pub(crate) len: usize,
}

impl Md {
    /// Pages that it takes.
    pub(crate) fn pages(&self) -> usize {
        (self.off + self.len).div_ceil(PAGE_SIZE)
    }
}

/// What of a range is in one MD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// Which range.
    pub(crate) range: usize,
    /// First byte in the object.
    pub(crate) pos: u64,
    /// Bytes.
    pub(crate) len: usize,
    /// Which MD.
    pub(crate) md: usize,
    /// Where in the MD's pages.
    pub(crate) at: usize,
}

/// A transfer, cut.
pub(crate) struct Layout {
    /// The MDs in order.
    pub(crate) mds: KVec<Md>,
    /// The pieces in the order of the transfer.
    pub(crate) pieces: KVVec<Piece>,
}

/// Whether ranges are as a client's may be: in order, apart from each other, none empty; only the
/// first may begin, and only the last may end, within a page.
pub(crate) fn is_sane(ranges: &[Range]) -> bool {
    let mut end = 0;
    let last = ranges.len().saturating_sub(1);
    for (i, r) in ranges.iter().enumerate() {
        let Some(e) = r.pos.checked_add(r.len.into()) else {
            return false;
        };
        let fits = (i == 0 || (r.pos >= end && r.pos % PAGE == 0)) && (i == last || e % PAGE == 0);
        if r.len == 0 || !fits {
            return false;
        }
        end = e;
    }
    !ranges.is_empty()
}

impl Layout {
    /// Cuts ranges that are [`is_sane`] into MDs of up to `md_size` bytes, whole pages.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(ranges: &[Range], md_size: usize) -> Result<Layout> {
        let (mut mds, mut pieces) = (KVec::new(), KVVec::new());
        // The pages of the MD that is being filled that are taken.
        let mut taken = md_size;
        let mut md = Md { off: 0, len: 0 };
        for (i, r) in ranges.iter().enumerate() {
            let (mut pos, mut left) = (r.pos, r.len as usize);
            while left > 0 {
                if taken >= md_size {
                    if md.len > 0 {
                        mds.push(md, GFP_KERNEL)?;
                    }
                    let off = (pos % PAGE) as usize;
                    md = Md { off, len: 0 };
                    taken = 0;
                }
                let in_page = (pos % PAGE) as usize;
                let room = md_size - taken;
                let len = (room - in_page).min(left);
                let at = md.off + md.len;
                let piece = Piece {
                    range: i,
                    pos,
                    len,
                    md: mds.len(),
                    at,
                };
                pieces.push(piece, GFP_KERNEL)?;
                md.len += len;
                taken += (in_page + len).next_multiple_of(PAGE_SIZE);
                pos += len as u64;
                left -= len;
            }
        }
        if md.len > 0 {
            mds.push(md, GFP_KERNEL)?;
        }
        Ok(Layout { mds, pieces })
    }

    /// Ends the transfer after `len` bytes.
    pub(crate) fn cut(&mut self, len: usize) {
        let mut left = len;
        for p in self.pieces.iter_mut() {
            let n = p.len.min(left);
            p.len = n;
            left -= n;
        }
        self.pieces.retain(|p| p.len > 0);
        let mut left = len;
        for m in self.mds.iter_mut() {
            let n = m.len.min(left);
            m.len = n;
            left -= n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn r(pos: u64, len: u32) -> Range {
        Range { pos, len }
    }

    fn lens(ranges: &[Range]) -> Vec<usize> {
        let l = Layout::new(ranges, MD_SIZE).unwrap();
        l.mds.iter().map(|m| m.len).collect()
    }

    /// The transfers of `ost.md` 23.
    #[test]
    fn as_observed() {
        assert_eq!(lens(&[r(0, 0x100003)]), [0x100000, 3]);
        assert_eq!(lens(&[r(0, 0x1f8000)]), [0x100000, 0xf8000]);
        assert_eq!(
            lens(&[r(0, 0x100000), r(0x101000, 0x1ff000)]),
            [0x100000, 0x100000, 0xff000]
        );
        // The first page counts as a whole one.
        assert_eq!(lens(&[r(4000, 0x100000)]), [0x100000 - 4000, 4000]);
    }

    #[test]
    fn sane() {
        assert!(is_sane(&[r(5, 4091), r(8192, 3)]));
        for bad in [
            &[][..],
            &[r(0, 0)],
            &[r(u64::MAX, 1)],
            &[r(0, 4096), r(0, 4096)],
            &[r(4096, 4096), r(0, 4096)],
            &[r(0, 5), r(4096, 4096)],
            &[r(0, 4096), r(4097, 5)],
        ] {
            assert!(!is_sane(bad), "{bad:?}");
        }
    }

    #[test]
    fn shorter() {
        let mut l = Layout::new(&[r(0, 0x100000), r(0x200000, 0x100000)], MD_SIZE).unwrap();
        l.cut(0x180000);
        assert_eq!(l.pieces.len(), 2);
        assert_eq!(l.pieces[1].len, 0x80000);
        l.cut(0x100000);
        assert_eq!(
            (l.pieces.len(), l.mds[0].len, l.mds[1].len),
            (1, 0x100000, 0)
        );
        l.cut(0);
        assert_eq!((l.pieces.len(), l.mds.len(), l.mds[0].len), (0, 2, 0));
    }

    /// Page by page, as the spec tells it.
    fn model(ranges: &[Range]) -> Vec<usize> {
        let (mut out, mut count) = (Vec::<usize>::new(), MD_SIZE);
        for r in ranges {
            let (mut pos, mut left) = (r.pos, u64::from(r.len));
            while left > 0 {
                let n = (4096 - pos % 4096).min(left);
                if count + 4096 > MD_SIZE {
                    out.push(0);
                    count = 0;
                }
                *out.last_mut().unwrap() += n as usize;
                count += 4096;
                pos += n;
                left -= n;
            }
        }
        out
    }

    fn ranges() -> impl Strategy<Value = Vec<Range>> {
        let one = (0u64..300, 1u32..400);
        (proptest::collection::vec(one, 1..5), 0u64..4096, 0u32..4096).prop_map(
            |(v, head, tail)| {
                let mut at = 0;
                let n = v.len();
                v.iter()
                    .enumerate()
                    .map(|(i, (gap, pages))| {
                        let (mut pos, mut len) = ((at + gap) * 4096, pages * 4096);
                        at += gap + u64::from(*pages);
                        if i == 0 {
                            pos += head;
                            len -= head as u32;
                        }
                        if i == n - 1 && len > tail {
                            len -= tail;
                        }
                        r(pos, len)
                    })
                    .collect()
            },
        )
    }

    proptest! {
        #[test]
        fn cut_as_pages_are(v in ranges()) {
            prop_assert!(is_sane(&v));
            let l = Layout::new(&v, MD_SIZE).unwrap();
            prop_assert_eq!(l.mds.iter().map(|m| m.len).collect::<Vec<_>>(), model(&v));
            let mut at = vec![0; l.mds.len()];
            let mut done = vec![0u64; v.len()];
            for p in l.pieces.iter() {
                let md = &l.mds[p.md];
                prop_assert_eq!(p.at, md.off + at[p.md]);
                prop_assert_eq!(p.at % 4096, (p.pos % 4096) as usize);
                prop_assert_eq!(p.pos, v[p.range].pos + done[p.range]);
                at[p.md] += p.len;
                done[p.range] += p.len as u64;
                prop_assert!(md.pages() <= 256);
            }
            for (d, r) in done.iter().zip(&v) {
                prop_assert_eq!(*d, u64::from(r.len));
            }
        }
    }
}
