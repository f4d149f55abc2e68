// SPDX-License-Identifier: GPL-2.0

//! Requests and replies that get lost on demand (`recovery.md` 18.2).

use lnet::fail::{self, point};
use ptlrpc::request::ServerRequest;
use wire::opcode::{self as op, portal};

/// The points of a kind of target: all requests, all replies, replies to enqueues.
fn points(portal: u32) -> Option<[u32; 3]> {
    Some(match portal {
        portal::OST_IO | portal::OST_CREATE | portal::OST_REQUEST | portal::SEQ_DATA => [
            point::OST_ALL_REQUEST_NET,
            point::OST_ALL_REPLY_NET,
            point::OST_LDLM_REPLY_NET,
        ],
        portal::MGS_REQUEST => [
            point::MGS_ALL_REQUEST_NET,
            point::MGS_ALL_REPLY_NET,
            point::MGS_LDLM_REPLY_NET,
        ],
        portal::LDLM_CB_REQUEST | portal::LDLM_CANCEL_REQUEST => return None,
        _ => [
            point::MDS_ALL_REQUEST_NET,
            point::MDS_ALL_REPLY_NET,
            point::MDS_LDLM_REPLY_NET,
        ],
    })
}

/// The point of requests with an opcode.
fn of_opcode(opc: u32) -> Option<u32> {
    Some(match opc {
        op::MDS_GETATTR => 0x102,
        op::MDS_READPAGE => 0x104,
        op::MDS_REINT => 0x107,
        op::MDS_CLOSE => 0x115,
        op::MDS_CONNECT => 0x117,
        op::MDS_DISCONNECT => 0x11a,
        op::MDS_GET_ROOT => 0x11b,
        op::MDS_STATFS => 0x11e,
        op::MDS_GETATTR_NAME => 0x11f,
        op::MDS_SYNC => 0x124,
        op::MDS_GETXATTR => 0x130,
        op::OST_CONNECT => 0x201,
        op::OST_DISCONNECT => 0x202,
        op::OST_GET_INFO => 0x203,
        op::OST_CREATE => 0x204,
        op::OST_DESTROY => 0x205,
        op::OST_GETATTR => 0x206,
        op::OST_SETATTR => 0x207,
        op::OST_READ | op::OST_WRITE => 0x20a,
        op::OST_PUNCH => 0x20b,
        op::OST_STATFS => 0x20c,
        op::OST_SYNC => 0x210,
        op::OST_QUOTACTL => 0x219,
        op::OST_SET_INFO => 0x232,
        op::OST_LADVISE => 0x235,
        op::OST_FALLOCATE => 0x249,
        op::OST_SEEK => 0x24a,
        op::LDLM_ENQUEUE => 0x302,
        op::OBD_PING => 0x600,
        op::SEQ_QUERY => 0x1001,
        op::FLD_QUERY => 0x1101,
        op::FLD_READ => 0x1102,
        _ => return None,
    })
}

/// Whether a request gets lost before anything is done for it.
pub(crate) fn request(rpc: &ServerRequest) -> bool {
    if !fail::is_on() {
        return false;
    }
    let opc = rpc.opc();
    points(rpc.portal()).is_some_and(|p| fail::check_once_if(p[0], opc))
        || of_opcode(opc).is_some_and(fail::check_once)
        || match opc {
            op::MDS_REINT => fail::check(point::MDS_REINT_MULTI_NET),
            op::LDLM_CANCEL => fail::check(point::LDLM_CANCEL_NET),
            op::LDLM_CONVERT => fail::check(point::LDLM_CONVERT_NET),
            _ => false,
        }
}

/// Whether the reply to a request gets lost.
pub(crate) fn reply(rpc: &ServerRequest) -> bool {
    if !fail::is_on() {
        return false;
    }
    let Some(p) = points(rpc.portal()) else {
        return false;
    };
    match rpc.opc() {
        op::MDS_REINT => {
            fail::check_once(point::MDS_REINT_NET_REP)
                || fail::check(point::MDS_REINT_MULTI_NET_REP)
        }
        op::MDS_CLOSE => fail::check_once(point::MDS_CLOSE_NET_REP),
        op::LDLM_ENQUEUE => fail::check_once(p[2]),
        op::OST_CONNECT => fail::check_once(point::OST_CONNECT_NET2) || fail::check_once(p[1]),
        _ => fail::check_once(p[1]),
    }
}
