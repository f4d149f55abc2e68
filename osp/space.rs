// SPDX-License-Identifier: GPL-2.0

//! Whether an OST is full (`ost.md` 13.3). No I/O here.

use wire::ost::{ObdStatfs, OsState};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Below `low` an OST is full, until there is more than `high` again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Marks {
    low: u64,
    high: u64,
}

impl Marks {
    const fn new(low: u64) -> Marks {
        Marks {
            low,
            high: 2 * low + 1,
        }
    }

    fn is_full(&self, free: u64, was_full: bool) -> bool {
        free < self.low || (was_full && free <= self.high)
    }
}

/// What is known of an OST's space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    stat: ObdStatfs,
    blocks: Marks,
    inodes: Marks,
}

impl Space {
    /// From an answer to OST_STATFS; the one before, if any, tells whether it was full.
    /// None: the answer means nothing.
    pub(crate) fn new(mut stat: ObdStatfs, before: Option<&Space>) -> Option<Space> {
        let bsize = u64::from(stat.os_bsize.get());
        if stat.os_type.get() == 0 || !bsize.is_power_of_two() {
            return None;
        }
        let mib = |blocks: u64| (u128::from(blocks) * u128::from(bsize) / u128::from(MIB)) as u64;
        let (blocks, inodes) = match before {
            Some(b) => (b.blocks, b.inodes),
            None => (
                Marks::new((mib(stat.os_blocks.get()) / 1000).max(1)),
                Marks::new((stat.os_ffree.get() >> 20).max(32)),
            ),
        };
        let was = before.map_or(OsState::empty(), Space::state);
        let mut state = OsState::from_bits_retain(stat.os_state.get())
            .difference(OsState::ENOSPC | OsState::ENOINO);
        if blocks.is_full(mib(stat.os_bavail.get()), was.contains(OsState::ENOSPC)) {
            state.insert(OsState::ENOSPC);
        }
        if inodes.is_full(stat.os_ffree.get(), was.contains(OsState::ENOINO)) {
            state.insert(OsState::ENOINO);
        }
        stat.os_state.set(state.bits());
        Some(Space {
            stat,
            blocks,
            inodes,
        })
    }

    /// The answer, with what we think of it in `os_state`.
    pub(crate) fn stat(&self) -> &ObdStatfs {
        &self.stat
    }

    /// `os_state`
    pub(crate) fn state(&self) -> OsState {
        OsState::from_bits_retain(self.stat.os_state.get())
    }

    /// Whether no objects shall be made.
    pub(crate) fn is_full(&self) -> bool {
        self.state().intersects(OsState::ENOSPC | OsState::ENOINO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    /// What the recorded OST of 96 MiB answered.
    fn answer() -> ObdStatfs {
        let mut s = ObdStatfs::new_zeroed();
        s.os_type.set(61267);
        s.os_blocks.set(18423);
        s.os_bavail.set(16288);
        s.os_files.set(24576);
        s.os_ffree.set(24273);
        s.os_bsize.set(4096);
        s
    }

    #[test]
    fn full_and_free_again() {
        let mut s = answer();
        let first = Space::new(s, None).unwrap();
        assert_eq!(
            (first.blocks, first.inodes),
            (Marks { low: 1, high: 3 }, Marks { low: 32, high: 65 })
        );
        assert!(!first.is_full());
        s.os_bavail.set(255);
        let full = Space::new(s, Some(&first)).unwrap();
        assert_eq!(full.state(), OsState::ENOSPC);
        // 3 MiB: more than the lower mark, not above the upper one.
        s.os_bavail.set(768);
        let still = Space::new(s, Some(&full)).unwrap();
        assert!(still.is_full());
        assert!(!Space::new(s, Some(&first)).unwrap().is_full());
        s.os_bavail.set(1024);
        assert!(!Space::new(s, Some(&still)).unwrap().is_full());
        s.os_ffree.set(31);
        assert_eq!(
            Space::new(s, Some(&first)).unwrap().state(),
            OsState::ENOINO
        );
    }

    #[test]
    fn nonsense() {
        let mut s = answer();
        s.os_type.set(0);
        assert!(Space::new(s, None).is_none());
        let mut s = answer();
        s.os_bsize.set(3000);
        assert!(Space::new(s, None).is_none());
        let mut s = answer();
        s.os_bavail.set(u64::MAX);
        s.os_blocks.set(u64::MAX);
        assert!(!Space::new(s, None).unwrap().is_full());
    }
}
