// SPDX-License-Identifier: GPL-2.0

//! The fuzzer of [`lustre_fuzz::network`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lustre_fuzz::network(data));
