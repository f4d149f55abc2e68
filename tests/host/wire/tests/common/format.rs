// SPDX-License-Identifier: GPL-2.0

//! Which buffers the messages of an opcode have (`spec/ptlrpc.md` 14.3).

use super::field::Field::{self, *};
use wire::ldlm::{IntentOp, LdlmFlags, LdlmIntent, LdlmRequest};
use wire::msg::Message;
use wire::opcode::*;
use wire::reint::{RecHead, ReintOp};
use zerocopy::FromBytes;

/// The buffers behind the body: of a request, and of the reply to it.
pub type Formats = (Vec<Field>, Vec<Field>);

/// The formats of a request; `None` if there is none of that kind.
pub fn formats(opc: u32, m: &Message<'_>) -> Option<Formats> {
    let key = m.buf(1).unwrap_or(&[]);
    let (request, reply): (&[Field], &[Field]) = match opc {
        OST_GETATTR | OST_SETATTR | OST_PUNCH | OST_SYNC | OST_FALLOCATE => {
            (&[Obdo, Capa], &[Obdo])
        }
        OST_READ => (&[Obdo, Ioobjs, Niobufs, Capa, Raw], &[Obdo, Raw]),
        OST_WRITE => (&[Obdo, Ioobjs, Niobufs, Capa, Raw], &[Obdo, U32]),
        OST_CREATE | OST_SEEK => (&[Obdo], &[Obdo]),
        OST_DESTROY => (&[Obdo, Cancels, Capa], &[Obdo]),
        OST_LADVISE => (&[Obdo, LadviseHdr, Ladvises], &[Obdo]),
        OST_GET_INFO if key.starts_with(b"last_id") => (&[Raw], &[U64]),
        OST_GET_INFO if key.starts_with(b"last_fid") => (&[Raw, Fid], &[Fid]),
        OST_GET_INFO | MDS_GET_INFO if key.starts_with(b"fiemap") => {
            (&[FiemapKey, Fiemap], &[Fiemap])
        }
        MDS_GET_INFO if key.starts_with(b"fid2path") => (&[Raw, U32], &[Raw]),
        OST_SET_INFO if key.starts_with(b"grant_shrink") => (&[Raw, Obdo], &[Obdo]),
        OST_SET_INFO | MDS_SET_INFO => (&[Raw, Raw, MdtBody], &[]),
        OST_CONNECT | MDS_CONNECT | MGS_CONNECT => {
            (&[Uuid, Uuid, U64, ConnectData, Text], &[ConnectData])
        }
        OST_DISCONNECT | MDS_DISCONNECT | MGS_DISCONNECT | OBD_PING => (&[], &[]),
        OST_STATFS => (&[], &[Statfs]),
        MDS_STATFS => (&[MdtBody], &[Statfs]),
        OST_QUOTACTL | MDS_QUOTACTL => (&[Quotactl], &[Quotactl, Raw]),

        MDS_GETATTR | MDS_GETATTR_NAME => (
            &[MdtBody, Capa, Name],
            &[MdtBody, MdOrLink, Acl, Capa, Capa, Raw],
        ),
        MDS_CLOSE => (
            &[Epoch, Reint, Capa, CloseData, U32],
            &[MdtBody, Md, Raw, Capa, Capa],
        ),
        MDS_REINT => return reint(key),
        MDS_READPAGE | MDS_SYNC => (&[MdtBody, Capa], &[MdtBody]),
        MDS_GET_ROOT => (&[MdtBody, Name], &[MdtBody, Capa]),
        MDS_GETXATTR => (&[MdtBody, Capa, Name, Raw, Text], &[MdtBody, Raw]),
        MDS_HSM_STATE_GET => (&[MdtBody, Capa], &[MdtBody, HsmState]),
        MDS_SWAP_LAYOUTS => (&[MdtBody, SwapLayouts, Capa, Capa, Cancels], &[]),
        MDS_BATCH => (&[Batch, BatchBufs], &[BatchReply]),

        LDLM_ENQUEUE => return enqueue(m),
        LDLM_CONVERT => (&[Cancels], &[DlmRep]),
        LDLM_CANCEL => (&[Cancels], &[]),
        LDLM_BL_CALLBACK => (&[DlmReq], &[]),
        LDLM_CP_CALLBACK => (&[DlmReq, Lvb], &[]),
        LDLM_GL_CALLBACK => (&[DlmReq, Raw], &[Lvb]),

        MGS_TARGET_REG => (&[TargetInfo, NidList], &[TargetInfo]),
        MGS_CONFIG_READ => (&[ConfigBody], &[ConfigRes]),
        LLOG_ORIGIN_HANDLE_CREATE => (&[LlogdBody, Name, MdtBody], &[LlogdBody]),
        LLOG_ORIGIN_HANDLE_NEXT_BLOCK | LLOG_ORIGIN_HANDLE_PREV_BLOCK => {
            (&[LlogdBody], &[LlogdBody, LlogChunk])
        }
        LLOG_ORIGIN_HANDLE_READ_HEADER => (&[LlogdBody], &[LlogHdr]),
        SEQ_QUERY | FLD_QUERY => (&[U32, SeqRange], &[SeqRange]),
        FLD_READ => (&[SeqRange], &[SeqRanges]),
        OUT_UPDATE => (&[Updates, UpdateBufs], &[UpdateReply]),
        _ => return None,
    };
    Some((request.to_vec(), reply.to_vec()))
}

/// `MDS_REINT`, by the record.
fn reint(record: &[u8]) -> Option<Formats> {
    let (head, _) = RecHead::ref_from_prefix(record).ok()?;
    let (request, reply): (&[Field], &[Field]) = match head.op().ok()? {
        ReintOp::Setattr => (
            &[Reint, Capa, Epoch, UserMd, Raw, Cancels],
            &[MdtBody, Md, Acl, Capa, Capa],
        ),
        // The fourth is a layout, or the target of a symlink.
        ReintOp::Create => (
            &[Reint, Capa, Name, Raw, Cancels, Text, Raw, Text, Raw],
            &[MdtBody, Capa, Md],
        ),
        ReintOp::Link => (&[Reint, Capa, Capa, Name, Cancels, Text], &[MdtBody]),
        ReintOp::Unlink | ReintOp::Rmentry => (
            &[Reint, Capa, Name, Cancels, Text],
            &[MdtBody, Md, Raw, Capa, Capa],
        ),
        ReintOp::Rename => (
            &[Reint, Capa, Capa, Name, Name, Cancels, Text],
            &[MdtBody, Md, Raw, Capa, Capa],
        ),
        ReintOp::Open => return None,
        ReintOp::Setxattr => (&[Reint, Capa, Name, Raw, Cancels, Text], &[MdtBody]),
        ReintOp::Migrate => (
            &[
                Reint, Capa, Capa, Name, Name, Cancels, Text, Epoch, CloseData, Raw,
            ],
            &[MdtBody, Md, Raw, Capa, Capa],
        ),
        ReintOp::Resync => (&[Reint, Cancels], &[MdtBody]),
    };
    Some((request.to_vec(), reply.to_vec()))
}

/// `LDLM_ENQUEUE`, by the intent.
fn enqueue(m: &Message<'_>) -> Option<Formats> {
    let (lock, _) = LdlmRequest::ref_from_prefix(m.buf(1)?).ok()?;
    let flags = LdlmFlags::from_bits_retain(lock.lock_flags.get());
    if !flags.contains(LdlmFlags::HAS_INTENT) || m.count() < 3 {
        return Some((vec![DlmReq], vec![DlmRep, Lvb]));
    }
    let intent = LdlmIntent::ref_from_bytes(m.buf(2)?).ok()?;
    let op = IntentOp::from_bits_retain(intent.opc.get());
    let (request, reply): (&[Field], &[Field]) = if op.contains(IntentOp::OPEN) {
        (
            &[Reint, Capa, Capa, Name, UserMd, Text, Raw, Text, Raw],
            &[MdtBody, Md, Acl, Capa, Capa, InlineNiobuf, Raw, Raw, Md],
        )
    } else if op == IntentOp::GETATTR || op == IntentOp::LOOKUP {
        (
            &[MdtBody, Capa, Name, Text],
            &[MdtBody, Md, Acl, Capa, Raw, Md, Raw],
        )
    } else if op == IntentOp::GETXATTR {
        (&[MdtBody, Capa, Text], &[MdtBody, Md, Acl, Raw, Raw, U32])
    } else if op == IntentOp::LAYOUT {
        (&[LayoutIntent, UserMd], &[Md])
    } else {
        return None;
    };
    Some((
        [&[DlmReq, Intent], request].concat(),
        [&[DlmRep], reply].concat(),
    ))
}
