// SPDX-License-Identifier: GPL-2.0

//! What was done, how often, how much and how long (`ost.md` 21.1).

use core::fmt;
use kapi::prelude::*;
use wire::opcode;

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Op {
    ReadBytes,
    WriteBytes,
    Read,
    Write,
    Getattr,
    Setattr,
    Punch,
    Sync,
    Destroy,
    Create,
    Statfs,
    GetInfo,
    SetInfo,
    Quotactl,
    Fallocate,
    Seek,
}

/// All, with their names and units.
const ALL: [(Op, &str, &str); 16] = [
    (Op::ReadBytes, "read_bytes", "bytes"),
    (Op::WriteBytes, "write_bytes", "bytes"),
    (Op::Read, "read", "usecs"),
    (Op::Write, "write", "usecs"),
    (Op::Getattr, "getattr", "usecs"),
    (Op::Setattr, "setattr", "usecs"),
    (Op::Punch, "punch", "usecs"),
    (Op::Sync, "sync", "usecs"),
    (Op::Destroy, "destroy", "usecs"),
    (Op::Create, "create", "usecs"),
    (Op::Statfs, "statfs", "usecs"),
    (Op::GetInfo, "get_info", "usecs"),
    (Op::SetInfo, "set_info", "usecs"),
    (Op::Quotactl, "quotactl", "usecs"),
    (Op::Fallocate, "prealloc", "usecs"),
    (Op::Seek, "seek", "usecs"),
];

/// Samples of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counter {
    /// How many.
    pub samples: u64,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
    /// Their sum.
    pub sum: u64,
    /// The sum of their squares.
    pub sum_squares: u64,
}

impl Counter {
    fn add(&mut self, v: u64) {
        self.min = match self.samples {
            0 => v,
            _ => self.min.min(v),
        };
        self.max = self.max.max(v);
        self.samples += 1;
        self.sum = self.sum.wrapping_add(v);
        self.sum_squares = self.sum_squares.wrapping_add(v.wrapping_mul(v));
    }
}

/// All counters of an OST.
#[pin_data]
pub(crate) struct Stats {
    #[pin]
    counters: SpinLock<[Counter; ALL.len()]>,
}

impl Stats {
    pub(crate) fn new() -> Result<Arc<Stats>> {
        Arc::pin_init(
            pin_init!(Stats {
                counters <- new_spinlock!([Counter::default(); ALL.len()]),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn add(&self, op: Op, value: u64) {
        if let Some(c) = self.counters.lock().get_mut(op as usize) {
            c.add(value);
        }
    }

    pub(crate) fn get(&self, op: Op) -> Counter {
        let all = self.counters.lock();
        all.get(op as usize).copied().unwrap_or_default()
    }

    pub(crate) fn clear(&self) {
        *self.counters.lock() = [Counter::default(); ALL.len()];
    }

    /// Prints those that are not zero.
    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> Result {
        let now = kapi::time::real();
        let (s, ns) = (now.as_secs(), now.subsec_nanos());
        writeln!(out, "{:<35}{s}.{ns:09} secs.nsecs", "snapshot_time")?;
        let all = *self.counters.lock();
        for ((_, name, unit), c) in ALL.iter().zip(all).filter(|(_, c)| c.samples > 0) {
            writeln!(
                out,
                "{name:<35}{} samples [{unit}] {} {} {} {}",
                c.samples, c.min, c.max, c.sum, c.sum_squares
            )?;
        }
        Ok(())
    }
}

/// What a request counts as.
pub(crate) fn op_of(opc: u32) -> Option<Op> {
    Some(match opc {
        opcode::OST_READ => Op::Read,
        opcode::OST_WRITE => Op::Write,
        opcode::OST_GETATTR => Op::Getattr,
        opcode::OST_SETATTR => Op::Setattr,
        opcode::OST_PUNCH => Op::Punch,
        opcode::OST_SYNC => Op::Sync,
        opcode::OST_DESTROY => Op::Destroy,
        opcode::OST_CREATE => Op::Create,
        opcode::OST_STATFS => Op::Statfs,
        opcode::OST_GET_INFO => Op::GetInfo,
        opcode::OST_SET_INFO => Op::SetInfo,
        opcode::OST_QUOTACTL => Op::Quotactl,
        opcode::OST_FALLOCATE => Op::Fallocate,
        opcode::OST_SEEK => Op::Seek,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_their_places() {
        for (i, (op, _, _)) in ALL.iter().enumerate() {
            assert_eq!(*op as usize, i);
        }
        let s = Stats::new().unwrap();
        s.add(Op::Seek, 5);
        s.add(Op::Seek, 3);
        let want = Counter {
            samples: 2,
            min: 3,
            max: 5,
            sum: 8,
            sum_squares: 34,
        };
        assert_eq!(s.get(Op::Seek), want);
        let mut text = String::new();
        s.show(&mut text).unwrap();
        assert!(text.contains("seek") && !text.contains("read"));
        s.clear();
        assert_eq!(s.get(Op::Seek), Counter::default());
    }
}
