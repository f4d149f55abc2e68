// SPDX-License-Identifier: GPL-2.0

//! Opcodes and portals (spec `ptlrpc.md` §4, §14.3).
#![allow(missing_docs)]

macro_rules! opcodes {
    ($($name:ident = $value:literal,)*) => {
        $(pub const $name: u32 = $value;)*

        /// The name of an opcode, for messages and statistics.
        pub fn name(opc: u32) -> Option<&'static str> {
            match opc {
                $($value => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

opcodes! {
    OST_REPLY = 0,
    OST_GETATTR = 1,
    OST_SETATTR = 2,
    OST_READ = 3,
    OST_WRITE = 4,
    OST_CREATE = 5,
    OST_DESTROY = 6,
    OST_GET_INFO = 7,
    OST_CONNECT = 8,
    OST_DISCONNECT = 9,
    OST_PUNCH = 10,
    OST_STATFS = 13,
    OST_SYNC = 16,
    OST_SET_INFO = 17,
    OST_QUOTACTL = 19,
    OST_LADVISE = 21,
    OST_FALLOCATE = 22,
    OST_SEEK = 23,
    MDS_GETATTR = 33,
    MDS_GETATTR_NAME = 34,
    MDS_CLOSE = 35,
    MDS_REINT = 36,
    MDS_READPAGE = 37,
    MDS_CONNECT = 38,
    MDS_DISCONNECT = 39,
    MDS_GET_ROOT = 40,
    MDS_STATFS = 41,
    MDS_SYNC = 44,
    MDS_SET_INFO = 46,
    MDS_QUOTACTL = 48,
    MDS_GETXATTR = 49,
    MDS_WRITEPAGE = 51,
    MDS_GET_INFO = 53,
    MDS_HSM_STATE_GET = 54,
    MDS_HSM_STATE_SET = 55,
    MDS_HSM_ACTION = 56,
    MDS_HSM_PROGRESS = 57,
    MDS_HSM_REQUEST = 58,
    MDS_HSM_CT_REGISTER = 59,
    MDS_HSM_CT_UNREGISTER = 60,
    MDS_SWAP_LAYOUTS = 61,
    MDS_RMFID = 62,
    MDS_BATCH = 63,
    MDS_HSM_DATA_VERSION = 64,
    LDLM_ENQUEUE = 101,
    LDLM_CONVERT = 102,
    LDLM_CANCEL = 103,
    LDLM_BL_CALLBACK = 104,
    LDLM_CP_CALLBACK = 105,
    LDLM_GL_CALLBACK = 106,
    LDLM_SET_INFO = 107,
    MGS_CONNECT = 250,
    MGS_DISCONNECT = 251,
    MGS_EXCEPTION = 252,
    MGS_TARGET_REG = 253,
    MGS_TARGET_DEL = 254,
    MGS_SET_INFO = 255,
    MGS_CONFIG_READ = 256,
    OBD_PING = 400,
    OBD_IDX_READ = 403,
    LLOG_ORIGIN_HANDLE_CREATE = 501,
    LLOG_ORIGIN_HANDLE_NEXT_BLOCK = 502,
    LLOG_ORIGIN_HANDLE_READ_HEADER = 503,
    LLOG_ORIGIN_HANDLE_PREV_BLOCK = 508,
    QUOTA_DQACQ = 601,
    SEQ_QUERY = 700,
    SEC_CTX_INIT = 801,
    SEC_CTX_INIT_CONT = 802,
    SEC_CTX_FINI = 803,
    FLD_QUERY = 900,
    FLD_READ = 901,
    OUT_UPDATE = 1000,
    LFSCK_NOTIFY = 1101,
    LFSCK_QUERY = 1102,
}

/// Whether it makes a connection.
pub fn is_connect(opc: u32) -> bool {
    matches!(opc, OST_CONNECT | MDS_CONNECT | MGS_CONNECT)
}

/// Whether it ends a connection.
pub fn is_disconnect(opc: u32) -> bool {
    matches!(opc, OST_DISCONNECT | MDS_DISCONNECT | MGS_DISCONNECT)
}

/// Portal numbers.
pub mod portal {
    pub const OSC_REPLY: u32 = 4;
    pub const OST_IO: u32 = 6;
    pub const OST_CREATE: u32 = 7;
    pub const OST_BULK: u32 = 8;
    pub const MDC_REPLY: u32 = 10;
    pub const MDS_REQUEST: u32 = 12;
    pub const MDS_IO: u32 = 13;
    pub const MDS_BULK: u32 = 14;
    pub const LDLM_CB_REQUEST: u32 = 15;
    pub const LDLM_CB_REPLY: u32 = 16;
    pub const LDLM_CANCEL_REQUEST: u32 = 17;
    pub const LDLM_CANCEL_REPLY: u32 = 18;
    pub const MDS_READPAGE: u32 = 23;
    pub const OUT: u32 = 24;
    pub const MGC_REPLY: u32 = 25;
    pub const MGS_REQUEST: u32 = 26;
    pub const OST_REQUEST: u32 = 28;
    pub const FLD_REQUEST: u32 = 29;
    pub const SEQ_METADATA: u32 = 30;
    pub const SEQ_DATA: u32 = 31;
    pub const SEQ_CONTROLLER: u32 = 32;
    pub const MGS_BULK: u32 = 33;
}
