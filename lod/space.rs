// SPDX-License-Identifier: GPL-2.0

//! The space of several OSTs together (`mdt.md` 4.2). No I/O here.

use wire::ost::{ObdStatfs, OsState};
use zerocopy::FromZeros;

/// Bytes of a block that all OSTs could say.
const MIN_BSIZE: u64 = 1 << 9;
/// Bytes of the longest name.
const NAME_MAX: u32 = 255;

/// Adds up what OSTs say; none if there is none.
pub(crate) fn sum(all: impl Iterator<Item = ObdStatfs> + Clone) -> Option<ObdStatfs> {
    let bsize = |s: &ObdStatfs| u64::from(s.os_bsize.get()).max(MIN_BSIZE);
    let unit = all.clone().map(|s| bsize(&s)).max()?;
    let mut sum = ObdStatfs::new_zeroed();
    let mut blocks = [0_u64; 3];
    let mut objects = [0_u64; 2];
    let mut ready = 0_u32;
    let mut state = OsState::all();
    for s in all {
        // Both are powers of two.
        let in_units = |n: u64| n / (unit / bsize(&s));
        let more = [s.os_blocks.get(), s.os_bfree.get(), s.os_bavail.get()].map(in_units);
        for (to, n) in blocks.iter_mut().zip(more) {
            *to = to.saturating_add(n);
        }
        for (to, n) in objects.iter_mut().zip([s.os_files.get(), s.os_ffree.get()]) {
            *to = to.saturating_add(n);
        }
        ready = ready.saturating_add(s.os_fprecreated.get());
        sum.os_type = s.os_type;
        sum.os_maxbytes
            .set(sum.os_maxbytes.get().max(s.os_maxbytes.get()));
        // Only what all say is so of the whole.
        state = OsState::from_bits_retain(state.bits() & s.os_state.get());
    }
    let [b, f, a] = blocks;
    sum.os_blocks.set(b);
    sum.os_bfree.set(f);
    sum.os_bavail.set(a);
    let [files, ffree] = objects;
    sum.os_files.set(files);
    sum.os_ffree.set(ffree);
    sum.os_fprecreated.set(ready);
    sum.os_bsize.set(u32::try_from(unit).unwrap_or(u32::MAX));
    sum.os_namelen.set(NAME_MAX);
    sum.os_state.set(state.bits());
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bsize: u32, blocks: u64, state: OsState) -> ObdStatfs {
        let mut s = ObdStatfs::new_zeroed();
        s.os_type.set(61267);
        s.os_bsize.set(bsize);
        s.os_blocks.set(blocks);
        s.os_bfree.set(blocks / 2);
        s.os_bavail.set(blocks / 4);
        s.os_files.set(10);
        s.os_ffree.set(7);
        s.os_fprecreated.set(32);
        s.os_state.set(state.bits());
        s
    }

    #[test]
    fn sums() {
        assert!(sum([].into_iter()).is_none());
        let full = OsState::ENOSPC;
        let all = [
            one(4096, 800, full),
            one(65536, 100, full | OsState::ENOINO),
        ];
        let s = sum(all.into_iter()).unwrap();
        assert_eq!(s.os_bsize.get(), 65536);
        assert_eq!(
            (s.os_blocks.get(), s.os_bfree.get(), s.os_bavail.get()),
            (150, 75, 37)
        );
        assert_eq!((s.os_files.get(), s.os_ffree.get()), (20, 14));
        assert_eq!(s.os_fprecreated.get(), 64);
        assert_eq!(s.os_state.get(), full.bits());
        assert_eq!(s.os_type.get(), 61267);
        let huge = [one(4096, u64::MAX, full); 3];
        let huge = sum(huge.into_iter()).unwrap();
        assert_eq!(huge.os_blocks.get(), u64::MAX);
    }
}
