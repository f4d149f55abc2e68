// SPDX-License-Identifier: GPL-2.0

//! osd_test.ko
#![forbid(unsafe_code)]

use kapi::prelude::*;

kernel::prelude::module! {
    type: Test,
    name: "osd_test",
    authors: ["The Lustre server in Rust developers"],
    description: "Tests of osd-ldiskfs",
    license: "GPL v2",
}

struct Test;

impl kernel::Module for Test {
    fn init(_module: &'static kernel::ThisModule) -> Result<Self> {
        Ok(Test)
    }
}
