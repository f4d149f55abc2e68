// SPDX-License-Identifier: GPL-2.0

//! Locks on the wire (`spec/ldlm.md` 2, 3, 14.4).

mod bits;
mod mode;
mod request;
mod resid;

pub use bits::{eldlm, InodeLock, IntentOp, LdlmFlags};
pub use mode::{LockMode, LockType};
pub use request::{request_size, write_handles, Request};
pub use resid::{ConfigLock, LdlmResId};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Result;

/// The end of an extent that reaches to the end of every object.
pub const EXTENT_EOF: u64 = u64::MAX;
/// The end of a file lock that reaches to the end of every file, as clients send it.
pub const FLOCK_EOF: u64 = i64::MAX as u64;
/// Slots for handles that every request has at least.
pub const REQUEST_HANDLES: usize = 2;
/// The slot of the first cancel in an enqueue.
pub const ENQUEUE_CANCEL_OFF: usize = 1;

macro_rules! wire_struct {
    ($(#[$m:meta])* pub struct $n:ident { $( $(#[$fm:meta])* pub $f:ident: $t:ty, )* }) => {
        $(#[$m])*
        #[derive(
            Clone,
            Copy,
            PartialEq,
            Eq,
            Debug,
            Default,
            FromBytes,
            IntoBytes,
            KnownLayout,
            Immutable,
            Unaligned,
        )]
        #[repr(C)]
        pub struct $n { $( $(#[$fm])* pub $f: $t, )* }
    };
}

wire_struct! {
    /// `lustre_handle`: names an object of the node that made it up. 0 names nothing.
    pub struct LustreHandle {
        /// Random, never used twice.
        pub cookie: U64,
    }
}
assert_layout!(LustreHandle, 8);

impl LustreHandle {
    /// The handle with this cookie.
    pub const fn new(cookie: u64) -> Self {
        LustreHandle {
            cookie: U64::new(cookie),
        }
    }

    /// Whether it names something.
    pub fn is_used(&self) -> bool {
        self.cookie.get() != 0
    }
}

wire_struct! {
    /// `ldlm_resource_desc`
    pub struct LdlmResourceDesc {
        /// [`LockType`]
        pub lr_type: U32,
        /// Zero; to be ignored.
        pub lr_pad: U32,
        /// Which.
        pub lr_name: LdlmResId,
    }
}
assert_layout!(LdlmResourceDesc, 40, lr_name = 8);

wire_struct! {
    /// `ldlm_extent`: what an extent lock covers.
    pub struct LdlmExtent {
        /// First byte.
        pub start: U64,
        /// Last byte.
        pub end: U64,
        /// Group id of a GROUP lock.
        pub gid: U64,
        /// Zero.
        pub pad: U64,
    }
}
assert_layout!(LdlmExtent, 32, gid = 16);

wire_struct! {
    /// `ldlm_inodebits`: what an inode lock covers.
    pub struct LdlmInodebits {
        /// [`InodeLock`]
        pub bits: U64,
        /// Requests and replies: bits wished for besides. Callbacks, and replies with
        /// [`LdlmFlags::AST_SENT`]: bits to give up, 0 for all.
        pub try_bits: U64,
        /// Group id of a GROUP lock.
        pub li_gid: U64,
        /// Zero.
        pub li_padding: U32,
        /// Index of the MDT that began it.
        pub li_initiator_id: U32,
    }
}
assert_layout!(LdlmInodebits, 32, li_gid = 16, li_initiator_id = 28);

wire_struct! {
    /// `ldlm_flock_wire`: what a file lock covers.
    pub struct LdlmFlock {
        /// First byte.
        pub lfw_start: U64,
        /// Last byte.
        pub lfw_end: U64,
        /// Who, within the client.
        pub lfw_owner: U64,
        /// Zero.
        pub lfw_padding: U32,
        /// Process, for who asks for the holder.
        pub lfw_pid: U32,
    }
}
assert_layout!(LdlmFlock, 32, lfw_owner = 16, lfw_pid = 28);

wire_struct! {
    /// `ldlm_wire_policy_data`: what a lock covers; which of the forms, the type of the resource
    /// tells.
    pub struct LdlmPolicyData {
        /// The bytes.
        pub raw: [u8; 32],
    }
}
assert_layout!(LdlmPolicyData, 32);

macro_rules! policy {
    ($($t:ident, $name:ident;)*) => {
        impl LdlmPolicyData {
            $(
                /// Read as of this form.
                pub fn $name(&self) -> $t {
                    zerocopy::transmute!(*self)
                }
            )*
        }
        $(
            impl From<$t> for LdlmPolicyData {
                fn from(p: $t) -> Self {
                    zerocopy::transmute!(p)
                }
            }
        )*
    };
}
policy! {
    LdlmExtent, extent;
    LdlmInodebits, inodebits;
    LdlmFlock, flock;
}

wire_struct! {
    /// `ldlm_lock_desc`
    pub struct LdlmLockDesc {
        /// Of what.
        pub l_resource: LdlmResourceDesc,
        /// [`LockMode`] asked for.
        pub l_req_mode: U32,
        /// [`LockMode`] held, 0 while it waits.
        pub l_granted_mode: U32,
        /// What it covers.
        pub l_policy_data: LdlmPolicyData,
    }
}
assert_layout!(
    LdlmLockDesc,
    80,
    l_req_mode = 40,
    l_granted_mode = 44,
    l_policy_data = 48
);

impl LdlmLockDesc {
    /// The type of the lock.
    ///
    /// # Errors
    /// [`Malformed::Value`](crate::error::Malformed::Value)
    pub fn lock_type(&self) -> Result<LockType> {
        self.l_resource.lr_type.get().try_into()
    }

    /// The mode asked for.
    ///
    /// # Errors
    /// [`Malformed::Value`](crate::error::Malformed::Value)
    pub fn req_mode(&self) -> Result<LockMode> {
        self.l_req_mode.get().try_into()
    }

    /// The mode held, `None` while it waits.
    ///
    /// # Errors
    /// [`Malformed::Value`](crate::error::Malformed::Value)
    pub fn granted_mode(&self) -> Result<Option<LockMode>> {
        match self.l_granted_mode.get() {
            0 => Ok(None),
            m => LockMode::try_from(m).map(Some),
        }
    }
}

wire_struct! {
    /// `ldlm_request` up to the handles; see [`Request`].
    pub struct LdlmRequest {
        /// [`LdlmFlags`]
        pub lock_flags: U32,
        /// Handles that follow; 0 means 1.
        pub lock_count: U32,
        /// The lock.
        pub lock_desc: LdlmLockDesc,
    }
}
assert_layout!(LdlmRequest, 88, lock_count = 4, lock_desc = 8);

wire_struct! {
    /// `ldlm_reply`
    pub struct LdlmReply {
        /// [`LdlmFlags`]
        pub lock_flags: U32,
        /// Zero.
        pub lock_padding: U32,
        /// The lock that there is now.
        pub lock_desc: LdlmLockDesc,
        /// Its handle at the server.
        pub lock_handle: LustreHandle,
        /// Intents: what was done. Glimpse: the error.
        pub lock_policy_res1: U64,
        /// Intents: the result, a negative errno or 0.
        pub lock_policy_res2: U64,
    }
}
assert_layout!(
    LdlmReply,
    112,
    lock_desc = 8,
    lock_handle = 88,
    lock_policy_res1 = 96,
    lock_policy_res2 = 104
);

wire_struct! {
    /// `ldlm_intent`
    pub struct LdlmIntent {
        /// [`IntentOp`]
        pub opc: U64,
    }
}
assert_layout!(LdlmIntent, 8);

wire_struct! {
    /// `ldlm_gl_lquota_desc`: what a glimpse of a quota lock tells the slave.
    pub struct LdlmGlLquotaDesc {
        /// `lquota_id`
        pub gl_id: [U64; 2],
        /// Edquot, revoke time.
        pub gl_flags: U64,
        /// Version of the index.
        pub gl_ver: U64,
        /// Hard limit, or qunit.
        pub gl_hardlimit: U64,
        /// Soft limit.
        pub gl_softlimit: U64,
        /// Grace time.
        pub gl_time: U64,
        /// Zero.
        pub gl_pad2: U64,
    }
}
assert_layout!(
    LdlmGlLquotaDesc,
    64,
    gl_flags = 16,
    gl_ver = 24,
    gl_time = 48
);

wire_struct! {
    /// `ldlm_gl_barrier_desc`: what a glimpse of the barrier lock tells an MDT.
    pub struct LdlmGlBarrierDesc {
        /// Status.
        pub lgbd_status: U32,
        /// Seconds.
        pub lgbd_timeout: U32,
        /// Zero.
        pub lgbd_padding: [U64; 7],
    }
}
assert_layout!(LdlmGlBarrierDesc, 64, lgbd_timeout = 4);

#[cfg(test)]
mod tests {
    use super::*;

    /// A blocking callback as a real MDT sent it (`spec/ldlm.md` 28.4).
    #[test]
    fn observed_callback() {
        let words: [u64; 13] = [
            0,
            0xd,
            0x2_0000_0401,
            0x3,
            0,
            0,
            0x1,
            0x22,
            0x22,
            0,
            0,
            0x27d5_5e84_c5c1_a26d,
            0xdf17_010b_8215_b0b6,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let r = Request::parse(&bytes).unwrap();
        let d = &r.head.lock_desc;
        assert_eq!(d.lock_type(), Ok(LockType::Ibits));
        assert_eq!(
            d.l_resource.lr_name,
            LdlmResId::from_words([0x2_0000_0401, 3, 0, 0])
        );
        assert_eq!(
            (d.req_mode(), d.granted_mode()),
            (Ok(LockMode::Ex), Ok(None))
        );
        let b = d.l_policy_data.inodebits();
        let both = InodeLock::UPDATE | InodeLock::XATTR;
        assert_eq!(b.bits.get(), both.bits());
        assert_eq!(b.try_bits.get(), both.bits());
        assert_eq!(LdlmPolicyData::from(b), d.l_policy_data);
        assert_eq!(r.handles().len(), 1);
        assert_eq!(r.handle(0).cookie.get(), 0x27d5_5e84_c5c1_a26d);
        assert_eq!(r.handle(1).cookie.get(), 0xdf17_010b_8215_b0b6);
        assert!(!r.handle(2).is_used());
    }

    #[test]
    fn masks() {
        assert_eq!(LdlmFlags::WIRE_AST, LdlmFlags::AST | LdlmFlags::AST_SENT);
        assert_eq!(
            LdlmFlags::BLOCKED,
            LdlmFlags::BLOCK_GRANTED | LdlmFlags::BLOCK_WAIT
        );
        assert_eq!(
            LdlmFlags::INHERIT,
            LdlmFlags::CANCEL_ON_BLOCK
                | LdlmFlags::NO_TIMEOUT
                | LdlmFlags::TEST_LOCK
                | LdlmFlags::NO_EXPANSION
        );
        assert_eq!(
            LdlmFlags::SRV_ENQ,
            LdlmFlags::LOCK_CHANGED | LdlmFlags::BLOCKED | LdlmFlags::NO_TIMEOUT
        );
        assert_eq!(LdlmFlags::WIRE_REQ.unknown(), 0);
    }
}
