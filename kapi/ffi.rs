// SPDX-License-Identifier: GPL-2.0

//! The helpers in C, as `bindgen` sees `kapi/helpers.h`.
#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub
)]
#![allow(clippy::all, improper_ctypes)]

use kernel::bindings::*;
use kernel::ffi;

include!(env!("LUSTRE_KAPI_BINDINGS"));
