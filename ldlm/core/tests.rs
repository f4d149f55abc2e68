// SPDX-License-Identifier: GPL-2.0

//! The core against naive models.

mod bench;
mod cases;
mod flocks;
mod model;
mod queues;

use super::*;
use std::vec::Vec;

/// A new lock as the tests make them.
fn new_lock(cookie: u64, export: u64, mode: Mode, policy: Policy) -> NewLock {
    NewLock {
        cookie,
        twin_cookie: cookie | (1 << 40),
        export: ExportId(export),
        client_handle: cookie + 1000,
        mode,
        policy,
        flags: 0,
        client_cookie: export,
        peer: export,
        deadlock_ast: true,
        glimpse: true,
        made: 0,
    }
}

/// All that the resource wants done.
fn drain(r: &mut Resource, waits: &mut FlockWaits) -> Vec<Action> {
    let mut all = Vec::new();
    let mut env = Env {
        waits: Some(waits),
        quiet: false,
    };
    while let Some(a) = r.next_action(&mut env) {
        all.push(a);
    }
    all
}
