// SPDX-License-Identifier: GPL-2.0

//! The fuzzer of [`lustre_fuzz::message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lustre_fuzz::message(data));
