// SPDX-License-Identifier: GPL-2.0

//! What crate `osd` promises, as checks of any implementation: on the host the one in memory is
//! checked, in a kernel that on ext4. A check that fails says where, and returns `EINVAL`.
#![no_std]
#![forbid(unsafe_code)]

/// What has to hold; the line is in the log if it does not.
#[macro_export]
macro_rules! check {
    ($cond:expr) => {
        if !$cond {
            kapi::pr_err!("{}:{}: {}\n", file!(), line!(), stringify!($cond));
            return Err(kapi::error::code::EINVAL);
        }
    };
}

/// What has to succeed; the line is in the log if it does not.
#[macro_export]
macro_rules! ok {
    ($e:expr) => {
        match $e {
            Ok(v) => v,
            Err(e) => {
                kapi::pr_err!("{}:{}: {}: {:?}\n", file!(), line!(), stringify!($e), e);
                return Err(e.into());
            }
        }
    };
}

/// What has to fail with an error; the line is in the log if it does not.
#[macro_export]
macro_rules! fails {
    ($e:expr, $err:expr) => {
        match $e {
            Err(e) if e == $err => {}
            other => {
                let got = other.err();
                kapi::pr_err!("{}:{}: {}: {:?}\n", file!(), line!(), stringify!($e), got);
                return Err(kapi::error::code::EINVAL);
            }
        }
    };
}

mod bulk;
mod bulk_log;
mod commits;
mod content;
pub mod cuts;
mod endure;
mod model;
mod names;
pub mod ops;
mod random;

use kapi::prelude::*;
use osd::Device;

/// A store to be checked.
pub trait Stage {
    /// The store.
    fn device(&self) -> Result<Arc<dyn Device>>;
    /// Closes and opens it. Nobody uses it when this is called.
    ///
    /// # Errors
    /// Those of opening it.
    fn reopen(&mut self) -> Result;
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Files in a directory, and records in an index: 250 to 999, and not in sevens.
    pub files: u32,
    /// Random operations.
    pub ops: u32,
    /// Which randomness.
    pub seed: u64,
}

/// Checks a fresh store of an MDT.
///
/// # Errors
/// `EINVAL`: a promise is broken. Others where there should be none. The log says where.
pub fn mdt(stage: &mut dyn Stage, amount: Amount) -> Result {
    names::check(stage, amount.files)?;
    content::check(stage, amount.files.into())?;
    commits::check(stage)?;
    random::check(stage, amount.seed, amount.ops)
}

/// Checks a fresh store of an OST.
///
/// # Errors
/// As [`mdt`].
pub fn ost(stage: &mut dyn Stage, amount: Amount) -> Result {
    bulk::check(stage)?;
    bulk::random(stage, amount.seed, amount.ops)
}

/// Random numbers that are the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Those of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next one, below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 20) % n.max(1) as u64) as usize
    }
}
