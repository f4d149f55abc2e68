// SPDX-License-Identifier: GPL-2.0

//! Flags, inode bits, intents and results of locks (`spec/ldlm.md` 1.5, 3.8, 4).

crate::flags! {
    /// `LDLM_FL_*`: `lock_flags` of requests, replies and callbacks.
    pub struct LdlmFlags: u32 {
        /// Reply: mode, resource or policy differ from those of the request.
        const LOCK_CHANGED = 0x1;
        /// Reply: it waits. Replay: it was granted.
        const BLOCK_GRANTED = 0x2;
        /// Reply: as `BLOCK_GRANTED`. Replay: it was waiting.
        const BLOCK_WAIT = 0x8;
        /// Fail rather than wait.
        const SPECULATIVE = 0x10;
        /// Somebody waits for it already.
        const AST_SENT = 0x20;
        /// There is contention on the resource; not sent by servers.
        const CONTENTION = 0x40;
        /// Replay of a lock that the client holds or waits for.
        const REPLAY = 0x100;
        /// Execute the intent, give no lock.
        const INTENT_ONLY = 0x200;
        /// Run the policy for intents.
        const HAS_INTENT = 0x1000;
        /// Callback: the file lock was given up because of a deadlock.
        const FLOCK_DEADLOCK = 0x8000;
        /// Callback: drop dirty data.
        const DISCARD_DATA = 0x1_0000;
        /// Reply: wait without limit.
        const NO_TIMEOUT = 0x2_0000;
        /// Fail rather than wait for a file lock or a GROUP lock; send no glimpse callbacks.
        const BLOCK_NOWAIT = 0x4_0000;
        /// Tell of a conflict, grant nothing.
        const TEST_LOCK = 0x8_0000;
        /// Within a client.
        const MATCH_LOCK = 0x10_0000;
        /// The server drops it by itself on a conflict.
        const CANCEL_ON_BLOCK = 0x80_0000;
        /// Within a client.
        const CONVERTING = 0x200_0000;
        /// Do not widen the extent.
        const NO_EXPANSION = 0x2000_0000;
        /// Fail when there is contention.
        const DENY_ON_CONTENTION = 0x4000_0000;
        /// Holders in the way drop dirty data.
        const AST_DISCARD_DATA = 0x8000_0000;
    }
}

impl LdlmFlags {
    /// What a request may carry.
    pub const WIRE_REQ: Self = Self::from_bits_retain(0xe08c_131a);
    /// What a callback may carry; clients are evicted over anything else.
    pub const WIRE_AST: Self = Self::from_bits_retain(0x0001_8020);
    /// What a callback takes from the lock.
    pub const AST: Self = Self::from_bits_retain(0x0001_8000);
    /// It waits.
    pub const BLOCKED: Self = Self::from_bits_retain(0x0000_000a);
    /// What a lock keeps of its request.
    pub const INHERIT: Self = Self::from_bits_retain(0x208a_0000);
    /// What the reply to a resent request must say again.
    pub const SRV_ENQ: Self = Self::from_bits_retain(0x0002_000b);
}

crate::flags! {
    /// `MDS_INODELOCK_*`: what of an inode a lock covers.
    pub struct InodeLock: u64 {
        /// Its name; for a directory, that it can be entered.
        const LOOKUP = 0x1;
        /// Size, times, links; entries of a directory.
        const UPDATE = 0x2;
        /// An open handle that a client keeps.
        const OPEN = 0x4;
        /// The layout.
        const LAYOUT = 0x8;
        /// Owner, mode, ACL.
        const PERM = 0x10;
        /// Extended attributes.
        const XATTR = 0x20;
        /// Data on the MDT.
        const DOM = 0x40;
    }
}

crate::flags! {
    /// `IT_*`: `opc` of an [`LdlmIntent`](super::LdlmIntent). Only open and create combine.
    pub struct IntentOp: u64 {
        /// Open a file.
        const OPEN = 0x1;
        /// Make it if it is not there.
        const CREAT = 0x2;
        /// Read a directory.
        const READDIR = 0x4;
        /// Look up a name, with attributes.
        const GETATTR = 0x8;
        /// Look up a name.
        const LOOKUP = 0x10;
        /// Read extended attributes, all of them.
        const GETXATTR = 0x80;
        /// Read or change the layout.
        const LAYOUT = 0x400;
        /// A quota slave: space for an ID.
        const QUOTA_DQACQ = 0x800;
        /// A quota slave: the global lock.
        const QUOTA_CONN = 0x1000;
        /// Size and times of data on the MDT.
        const GLIMPSE = 0x4000;
        /// Reserved, for data on the MDT.
        const BRW = 0x8000;
    }
}

/// Results of locks, positive in `pb_status` unless said; never translated.
pub mod eldlm {
    /// The intent was executed, no lock was granted.
    pub const LOCK_ABORTED: i32 = 301;
    /// Answer to a glimpse, **negative** there: the client has the lock, but no data.
    pub const NO_LOCK_DATA: i32 = 303;
    /// Answer to a cancel: no handle was known.
    pub const ESTALE: i32 = 116;
}
