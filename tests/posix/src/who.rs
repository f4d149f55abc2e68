// SPDX-License-Identifier: GPL-2.0

//! Who does something. Ids are a thread's, so each does its work in one of its own.

use rustix::fs::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Somebody.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub uid: u32,
    pub gid: u32,
    pub groups: &'static [u32],
}

/// May do everything.
pub const ROOT: Who = who(0, 0, &[]);
/// The owner of most files here.
pub const OWNER: Who = who(1000, 2000, &[]);
/// Another with the same group.
pub const MEMBER: Who = who(1001, 2000, &[]);
/// One for whom it is a supplementary group, the last of several.
pub const SUPPLEMENTARY: Who = who(1002, 2002, &[3000, 3001, 3002, 3003, 2000]);
/// One who has nothing to do with it.
pub const OTHER: Who = who(1003, 2003, &[3000]);

const fn who(uid: u32, gid: u32, groups: &'static [u32]) -> Who {
    Who { uid, gid, groups }
}

/// Does something as somebody.
pub fn run_as<T: Send>(who: Who, f: impl FnOnce() -> T + Send) -> T {
    let as_who = || {
        let groups: Vec<Gid> = who.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
        set_thread_groups(&groups)
            .and_then(|()| set_thread_res_gid(gid, gid, gid))
            .and_then(|()| set_thread_res_uid(uid, uid, uid))
            .unwrap_or_else(|e| panic!("becoming {who:?}: {e}"));
        f()
    };
    std::thread::scope(|s| s.spawn(as_who).join()).unwrap_or_else(|e| std::panic::resume_unwind(e))
}
