// SPDX-License-Identifier: GPL-2.0

//! osd_test.ko: tests of osd-ldiskfs on the device /dev/ubdb. Loading it runs the test of the
//! number given; it fails to load if the test fails.
#![forbid(unsafe_code)]

mod bare;
mod crash;
mod credits;
mod cuts;
mod existing;
mod faults;
mod harm;
mod large;
mod memory;
mod meter;
mod rescans;
mod speed;
mod threads;
mod wrappers;

use core::ffi::CStr;
use kapi::prelude::*;
use osd::Device;
use osd_contract::{ok, Amount, Stage};
use osd_ldiskfs::{mount, Mounted, Options};

kernel::prelude::module! {
    type: Test,
    name: "osd_test",
    authors: ["The Lustre server in Rust developers"],
    description: "Tests of osd-ldiskfs",
    license: "GPL v2",
    params: {
        test: i32 {
            default: 0,
            description: "number of the test",
        },
        seed: u64 {
            default: 1,
            description: "seed of the first record",
        },
        records: u64 {
            default: 1,
            description: "records of random work",
        },
        many: u32 {
            default: 0,
            description: "objects that are there before rates are measured once more",
        },
        cuts: u32 {
            default: 100,
            description: "power cuts of each, or trials",
        },
        only: i32 {
            default: -1,
            description: "number of the only power cut or trial",
        },
        fsck: u32 {
            default: 1,
            description: "e2fsck looks at every so many",
        },
    },
}

const DEV: &CStr = c"/dev/ubdb";

const ALL: Amount = Amount {
    files: 600,
    ops: 3000,
    seed: 1,
};
const LESS: Amount = Amount {
    files: 250,
    ops: 150,
    seed: 2,
};

/// The store on the device.
struct Store {
    // In this order: the one waits for the other to go.
    device: Option<Arc<dyn Device>>,
    mounted: Option<Mounted>,
    path: &'static CStr,
    ost: bool,
}

impl Store {
    fn open(ost: bool) -> Result<Store> {
        Store::on(DEV, ost)
    }

    fn on(path: &'static CStr, ost: bool) -> Result<Store> {
        Ok(ok!(Store::quietly(path, ost)))
    }

    /// The same, but an error is not logged.
    fn quietly(path: &'static CStr, ost: bool) -> Result<Store> {
        let mut s = Store {
            device: None,
            mounted: None,
            path,
            ost,
        };
        s.reopen()?;
        Ok(s)
    }
}

impl Stage for Store {
    fn device(&self) -> Result<Arc<dyn Device>> {
        self.device.clone().ok_or(ENODEV)
    }

    fn reopen(&mut self) -> Result {
        (self.device, self.mounted) = (None, None);
        let mut m = mount(self.path, &Options::default())?;
        self.device = Some(m.open(self.ost)?);
        self.mounted = Some(m);
        Ok(())
    }
}

fn campaign() -> cuts::Campaign {
    cuts::Campaign {
        seed: module_parameters::seed.value(),
        records: module_parameters::records.value(),
        cuts: module_parameters::cuts.value(),
        only: u32::try_from(module_parameters::only.value()).ok(),
        fsck: module_parameters::fsck.value().max(1),
    }
}

struct Test;

impl kernel::Module for Test {
    fn init(_module: &'static kernel::ThisModule) -> Result<Self> {
        match module_parameters::test.value() {
            1 => wrappers::check()?,
            2 => osd_contract::mdt(&mut Store::open(false)?, ALL)?,
            3 => existing::tree()?,
            4 => existing::objects()?,
            19 => existing::damaged()?,
            24 => existing::spoiled()?,
            5 => osd_contract::ost(&mut Store::open(true)?, ALL)?,
            6 => threads::check(2000)?,
            7 => crash::until_killed()?,
            8 => crash::after()?,
            9 => speed::measure(module_parameters::many.value())?,
            10 => credits::measure()?,
            11 => memory::check(100_000)?,
            // The same, less of it, for kernels that take their time.
            12 => osd_contract::mdt(&mut Store::open(false)?, LESS)?,
            15 => osd_contract::ost(&mut Store::open(true)?, LESS)?,
            16 => threads::check(40)?,
            17 => memory::check(2000)?,
            18 => faults::commit()?,
            26 => faults::unplanned()?,
            25 => cuts::in_thread(faults::sink)?,
            21 => cuts::in_thread(|| harm::faults(&campaign()))?,
            22 => cuts::in_thread(|| harm::garbage(&campaign()))?,
            23 => cuts::in_thread(|| harm::full(&campaign()))?,
            20 => cuts::in_thread(|| cuts::check(&campaign()))?,
            27 => cuts::in_thread(|| cuts::replays(&campaign()))?,
            29 => large::check(90_000)?,
            28 => cuts::in_thread(|| rescans::check(&campaign()))?,
            _ => return Err(EINVAL),
        }
        Ok(Test)
    }
}
