// SPDX-License-Identifier: GPL-2.0

//! The store in memory keeps the contract.

use kapi::prelude::*;
use osd::Device;
use osd_contract::{Amount, Stage};
use osd_memory::{Config, MemoryDevice};

/// Nothing that happens to a store in memory outlives it.
struct Memory(Arc<MemoryDevice>);

impl Stage for Memory {
    fn device(&self) -> Result<Arc<dyn Device>> {
        Ok(self.0.clone())
    }
    fn reopen(&mut self) -> Result {
        Ok(())
    }
}

#[test]
fn store_of_an_mdt() {
    for seed in 1..=4 {
        let amount = Amount {
            files: 600,
            ops: 4000,
            seed,
        };
        osd_contract::mdt(&mut Memory(MemoryDevice::new()), amount).unwrap();
    }
}

#[test]
fn store_of_an_ost() {
    let config = Config {
        ost: true,
        ..Config::default()
    };
    let amount = Amount {
        files: 600,
        ops: 3000,
        seed: 1,
    };
    osd_contract::ost(&mut Memory(MemoryDevice::with(config)), amount).unwrap();
}
