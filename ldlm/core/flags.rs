// SPDX-License-Identifier: GPL-2.0

//! Lock flags of the wire that the core knows (spec/ldlm.md 4).

/// The reply differs from the request in mode, resource or policy.
pub const LOCK_CHANGED: u32 = 0x0000_0001;
/// Not granted yet; in a replay: was granted.
pub const BLOCK_GRANTED: u32 = 0x0000_0002;
/// In a replay: was waiting.
pub const BLOCK_WAIT: u32 = 0x0000_0008;
/// Fail instead of waiting.
pub const SPECULATIVE: u32 = 0x0000_0010;
/// A conflict exists already.
pub const AST_SENT: u32 = 0x0000_0020;
/// Recovery replay of a known lock.
pub const REPLAY: u32 = 0x0000_0100;
/// Execute the intent, give no lock.
pub const INTENT_ONLY: u32 = 0x0000_0200;
/// Run the intent policy.
pub const HAS_INTENT: u32 = 0x0000_1000;
/// The wait ended because of a deadlock.
pub const FLOCK_DEADLOCK: u32 = 0x0000_8000;
/// Drop dirty data.
pub const DISCARD_DATA: u32 = 0x0001_0000;
/// The client waits for the completion without limit.
pub const NO_TIMEOUT: u32 = 0x0002_0000;
/// Fail instead of waiting (file locks, behind GROUP locks); no glimpse callbacks.
pub const BLOCK_NOWAIT: u32 = 0x0004_0000;
/// Report a conflict, grant nothing.
pub const TEST_LOCK: u32 = 0x0008_0000;
/// The server cancels the lock by itself on a conflict.
pub const CANCEL_ON_BLOCK: u32 = 0x0080_0000;
/// Do not widen the extent.
pub const NO_EXPANSION: u32 = 0x2000_0000;
/// Holders in the way shall drop dirty data.
pub const AST_DISCARD_DATA: u32 = 0x8000_0000;

/// What a lock keeps of its request.
pub const INHERIT: u32 = CANCEL_ON_BLOCK | NO_TIMEOUT | TEST_LOCK | NO_EXPANSION;
/// What callbacks may carry of a lock's flags.
pub const AST: u32 = FLOCK_DEADLOCK | DISCARD_DATA;
/// What an enqueue request may carry.
pub const WIRE_REQ: u32 = 0xe08c_131a;
/// What a callback may carry: clients evict themselves over anything else.
pub const WIRE_AST: u32 = AST | AST_SENT;
