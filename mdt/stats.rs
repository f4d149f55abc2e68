// SPDX-License-Identifier: GPL-2.0

//! How often what was done (`admin.md`, `mdt.*.md_stats`).

use core::fmt;
use kapi::sync::atomic::{Atomic, Relaxed};

macro_rules! ops {
    ($( $(#[$m:meta])* $name:ident = $text:literal, )*) => {
        /// What is counted.
        #[derive(Clone, Copy)]
        pub(crate) enum Op { $( $(#[$m])* $name, )* }

        const NAMES: &[&str] = &[$($text),*];

        impl Stats {
            /// Nothing yet.
            pub(crate) fn new() -> Stats {
                Stats { counts: [$( { let _ = Op::$name; Atomic::<u64>::new(0) } ),*] }
            }
        }

        /// Counters.
        pub(crate) struct Stats {
            counts: [Atomic<u64>; NAMES.len()],
        }
    };
}

ops! {
    Open = "open",
    Close = "close",
    Mknod = "mknod",
    Link = "link",
    Unlink = "unlink",
    Mkdir = "mkdir",
    Rmdir = "rmdir",
    Rename = "rename",
    Getattr = "getattr",
    Setattr = "setattr",
    Getxattr = "getxattr",
    Setxattr = "setxattr",
    Statfs = "statfs",
    Sync = "sync",
    Readpage = "readpage",
    SamedirRename = "samedir_rename",
    CrossdirRename = "crossdir_rename",
}

impl Stats {
    /// Counts one.
    pub(crate) fn count(&self, op: Op) {
        if let Some(c) = self.counts.get(op as usize) {
            c.fetch_add(1, Relaxed);
        }
    }

    /// Calls `f` with each name and count.
    pub(crate) fn for_each(&self, f: &mut dyn FnMut(&'static str, u64)) {
        for (n, c) in NAMES.iter().zip(&self.counts) {
            f(n, c.load(Relaxed));
        }
    }

    /// Starts anew.
    pub(crate) fn clear(&self) {
        for c in &self.counts {
            c.store(0, Relaxed);
        }
    }

    /// As the field's tools read them.
    pub(crate) fn show(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (n, c) in NAMES.iter().zip(&self.counts) {
            let c = c.load(Relaxed);
            if c > 0 {
                writeln!(out, "{n:<25} {c} samples [reqs]")?;
            }
        }
        Ok(())
    }
}
