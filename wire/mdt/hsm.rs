// SPDX-License-Identifier: GPL-2.0

//! The state of a file towards an archive, as it is asked for and set (`spec/mdt.md` 18).

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::flags;

/// `hsm_user_state`: the answer to MDS_HSM_STATE_GET.
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
pub struct HsmUserState {
    /// [`crate::disk::som::HsmFlags`].
    pub hus_states: U32,
    /// Archive.
    pub hus_archive_id: U32,
    /// What is being done.
    pub hus_in_progress_state: U32,
    /// The action that does it.
    pub hus_in_progress_action: U32,
    /// Where its extent begins.
    pub hus_offset: U64,
    /// Bytes of it.
    pub hus_length: U64,
}
assert_layout!(HsmUserState, 32, hus_archive_id = 4, hus_offset = 16);

flags! {
    /// What of an [`HsmStateSet`] counts.
    pub struct HsmValid: u32 {
        /// Flags to set.
        const SET = 0x1;
        /// Flags to clear.
        const CLEAR = 0x2;
        /// The archive.
        const ARCHIVE_ID = 0x4;
    }
}

/// `hsm_state_set`: what MDS_HSM_STATE_SET changes.
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
pub struct HsmStateSet {
    /// [`HsmValid`].
    pub hss_valid: U32,
    /// Archive.
    pub hss_archive_id: U32,
    /// Flags to set.
    pub hss_setmask: U64,
    /// Flags to clear.
    pub hss_clearmask: U64,
}
assert_layout!(
    HsmStateSet,
    24,
    hss_archive_id = 4,
    hss_setmask = 8,
    hss_clearmask = 16
);
