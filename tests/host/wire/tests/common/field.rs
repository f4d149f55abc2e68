// SPDX-License-Identifier: GPL-2.0

//! What a buffer can be (`spec/ptlrpc.md` 14.2).

use wire::connect::ConnectData;
use wire::fid::{Fid, LuFid};
use wire::fiemap::{Fiemap, FiemapExtent, LlFiemapInfoKey};
use wire::ldlm::{self, LdlmFlags, LdlmIntent, LdlmReply, LockMode, LockType, Request};
use wire::llog::{LlogLogHdr, LlogdBody, Records};
use wire::lmv::{LmvMdsMdV1, LmvUserMdV1};
use wire::lov::LovMd;
use wire::lvb::OstLvb;
use wire::mdt::{
    CloseData, LayoutIntent, MdtBody, MdtIoepoch, NiobufInline, PosixAclXattrEntry,
    PosixAclXattrHeader, SwapLayouts,
};
use wire::mgs::{MgsConfigBody, MgsConfigRes, MgsTargetInfo, MgsTargetNidlist};
use wire::msg::PtlrpcBody;
use wire::obdo::Obdo;
use wire::ost::{LadviseHdr, LuLadvise, NiobufRemote, ObdIoobj, ObdStatfs};
use wire::quota::ObdQuotactl;
use wire::reint::{self, RecHead, ReintOp};
use wire::seq::{LuSeqRange, LuSeqRangeArray};
use wire::text;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A kind of buffer. What it holds may be missing, then it is of no length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    Body,
    Capa,
    U32,
    U64,
    Name,
    Text,
    Uuid,
    ConnectData,
    MdtBody,
    Epoch,
    Reint,
    Md,
    MdOrLink,
    UserMd,
    Acl,
    Raw,
    CloseData,
    InlineNiobuf,
    Fid,
    SwapLayouts,
    Statfs,
    Quotactl,
    Obdo,
    Ioobjs,
    Niobufs,
    Fiemap,
    FiemapKey,
    LadviseHdr,
    Ladvises,
    DlmReq,
    Cancels,
    DlmRep,
    Lvb,
    Intent,
    LayoutIntent,
    SeqRange,
    SeqRanges,
    TargetInfo,
    NidList,
    ConfigBody,
    ConfigRes,
    LlogdBody,
    LlogHdr,
    LlogChunk,
    HsmState,
    Batch,
    BatchBufs,
    BatchReply,
    Updates,
    UpdateBufs,
    UpdateReply,
}

type Again = Result<Vec<u8>, String>;

fn one<T: FromBytes + IntoBytes + KnownLayout + Immutable>(b: &[u8]) -> Again {
    let t = T::read_from_bytes(b).map_err(|_| format!("{} bytes", b.len()))?;
    Ok(t.as_bytes().to_vec())
}

fn many<T: FromBytes + IntoBytes + KnownLayout + Immutable>(b: &[u8]) -> Again {
    let t = <[T]>::ref_from_bytes(b).map_err(|_| format!("{} bytes", b.len()))?;
    Ok(t.as_bytes().to_vec())
}

fn head<T: FromBytes + IntoBytes + KnownLayout + Immutable>(
    b: &[u8],
) -> Result<(T, &[u8]), String> {
    T::read_from_prefix(b).map_err(|_| format!("{} bytes", b.len()))
}

fn known<T: PartialEq + Default + std::fmt::LowerHex>(
    what: &str,
    unknown: T,
) -> Result<(), String> {
    if unknown == T::default() {
        Ok(())
    } else {
        Err(format!("{what}: unknown bits {unknown:#x}"))
    }
}

fn zero(what: &str, value: u64) -> Result<(), String> {
    known(what, value)
}

impl Field {
    /// Decodes and encodes.
    pub fn again(self, b: &[u8]) -> Again {
        if b.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Field::Body => body(b),
            Field::Capa => Err("capabilities are dead".to_owned()),
            Field::U32 => many::<zerocopy::little_endian::U32>(b),
            Field::U64 => many::<zerocopy::little_endian::U64>(b),
            Field::Name | Field::Text => {
                let t = text::terminated(b).map_err(|e| e.to_string())?;
                Ok([t, b"\0"].concat())
            }
            Field::Uuid => {
                let mut out = vec![0; b.len()];
                text::set(&mut out, text::get(b)).map_err(|e| e.to_string())?;
                Ok(out)
            }
            Field::ConnectData => connect_data(b),
            Field::MdtBody => mdt_body(b),
            Field::Epoch => one::<MdtIoepoch>(b),
            Field::Reint => reint(b),
            Field::Md => md(b),
            Field::MdOrLink => md(b).or_else(|_| Field::Text.again(b)),
            Field::UserMd => user_md(b),
            Field::Acl => acl(b),
            Field::Raw => Ok(b.to_vec()),
            Field::CloseData => one::<CloseData>(b),
            Field::InlineNiobuf => {
                let (n, rest) = head::<NiobufInline>(b)?;
                if rest.len() != n.rnb_len.get() as usize {
                    return Err(format!("{} bytes of {}", rest.len(), n.rnb_len));
                }
                Ok([n.as_bytes(), rest].concat())
            }
            Field::Fid => {
                let f: Fid = LuFid::read_from_bytes(b).map_err(|_| "size")?.get();
                Ok(LuFid::from(f).as_bytes().to_vec())
            }
            Field::SwapLayouts => one::<SwapLayouts>(b),
            Field::Statfs => one::<ObdStatfs>(b),
            Field::Quotactl => one::<ObdQuotactl>(b),
            Field::Obdo => obdo(b),
            Field::Ioobjs => many::<ObdIoobj>(b),
            Field::Niobufs => niobufs(b),
            Field::Fiemap => {
                let (f, rest) = head::<Fiemap>(b)?;
                Ok([f.as_bytes(), &many::<FiemapExtent>(rest)?].concat())
            }
            Field::FiemapKey => one::<LlFiemapInfoKey>(b),
            Field::LadviseHdr => {
                let h = LadviseHdr::read_from_bytes(b).map_err(|_| "size")?;
                known("magic", h.lah_magic.get() ^ wire::ost::LADVISE_MAGIC)?;
                Ok(h.as_bytes().to_vec())
            }
            Field::Ladvises => many::<LuLadvise>(b),
            Field::DlmReq => dlm_req(b, true),
            Field::Cancels => dlm_req(b, false),
            Field::DlmRep => dlm_rep(b),
            Field::Lvb => {
                let l = OstLvb::parse(b).map_err(|e| e.to_string())?;
                zero("padding", l.lvb_padding.get().into())?;
                Ok(if b.len() == 40 {
                    l.to_v1().as_bytes().to_vec()
                } else {
                    l.as_bytes().to_vec()
                })
            }
            Field::Intent => {
                let i = LdlmIntent::read_from_bytes(b).map_err(|_| "size")?;
                let op = ldlm::IntentOp::from_bits_retain(i.opc.get());
                known("intent", op.unknown())?;
                Ok(LdlmIntent {
                    opc: op.bits().into(),
                }
                .as_bytes()
                .to_vec())
            }
            Field::LayoutIntent => one::<LayoutIntent>(b),
            Field::SeqRange => {
                let r = LuSeqRange::read_from_bytes(b).map_err(|_| "size")?.get();
                Ok(LuSeqRange::from(r).as_bytes().to_vec())
            }
            Field::SeqRanges => {
                let (h, rest) = head::<LuSeqRangeArray>(b)?;
                let n = h.lsra_count.get() as usize * size_of::<LuSeqRange>();
                let (ranges, tail) = rest.split_at_checked(n).ok_or("count")?;
                Ok([h.as_bytes(), &many::<LuSeqRange>(ranges)?, tail].concat())
            }
            Field::TargetInfo => {
                let (t, rest) = MgsTargetInfo::ref_from_prefix(b).map_err(|_| "size")?;
                known("target flags", t.flags().unknown())?;
                Ok([t.as_bytes(), rest].concat())
            }
            Field::NidList => {
                let (h, rest) = head::<MgsTargetNidlist>(b)?;
                let mut out = h.as_bytes().to_vec();
                for n in wire::mgs::nid_strings(rest, h.mtn_nids.get()) {
                    let nid = std::str::from_utf8(n).map_err(|e| e.to_string())?;
                    let nid = wire::nid::Nid::parse(nid).map_err(|_| nid.to_owned())?;
                    let mut field = [0; wire::mgs::NIDSTR_SIZE];
                    text::set(&mut field, nid.to_string().as_bytes()).map_err(|e| e.to_string())?;
                    out.extend(field);
                }
                Ok(out)
            }
            Field::ConfigBody => one::<MgsConfigBody>(b),
            Field::ConfigRes => one::<MgsConfigRes>(b),
            Field::LlogdBody => one::<LlogdBody>(b),
            Field::LlogHdr => {
                let h = LlogLogHdr::parse(b).map_err(|e| e.to_string())?;
                known("log flags", h.flags().unknown())?;
                Ok(h.as_bytes().to_vec())
            }
            Field::LlogChunk => llog_chunk(b),
            _ => Ok(b.to_vec()),
        }
    }
}

fn body(b: &[u8]) -> Again {
    let m = PtlrpcBody::read_from_bytes(b).map_err(|_| "size")?;
    // Clients set two obsolete bits in a request for the root.
    let obsolete = if m.pb_opc.get() == wire::opcode::MDS_GET_ROOT {
        9
    } else {
        0
    };
    known("pb_flags", m.flags().unknown() & !obsolete)?;
    let op = wire::msg::ConnectOpFlags::from_bits_retain(m.pb_op_flags.get());
    known("pb_op_flags", op.unknown())?;
    known("pb_padding0", m.pb_padding0.get())?;
    known("padding64", m.pb_padding64_0.get() | m.pb_padding64_1.get())?;
    wire::opcode::name(m.pb_opc.get()).ok_or("unknown opcode")?;
    if !matches!(
        m.pb_type.get(),
        wire::msg::TYPE_REQUEST..=wire::msg::TYPE_REPLY
    ) {
        return Err(format!("type {}", m.pb_type));
    }
    Ok(m.as_bytes().to_vec())
}

fn connect_data(b: &[u8]) -> Again {
    let d = ConnectData::read_from_bytes(b).map_err(|_| "size")?;
    known("flags", d.flags().unknown())?;
    known("flags2", d.flags2().unknown())?;
    let sums = wire::connect::ChecksumTypes::from_bits_retain(d.ocd_cksum_types.get());
    known("checksums", sums.unknown())?;
    let mut again = d;
    again.set_flags(d.flags(), d.flags2());
    Ok(again.as_bytes().to_vec())
}

fn mdt_body(b: &[u8]) -> Again {
    let d = MdtBody::read_from_bytes(b).map_err(|_| "size")?;
    known("valid", d.valid().unknown())?;
    let mut again = d;
    again.set_valid(d.valid());
    Ok(again.as_bytes().to_vec())
}

fn obdo(b: &[u8]) -> Again {
    let d = Obdo::read_from_bytes(b).map_err(|_| "size")?;
    known("valid", d.valid().unknown())?;
    known("flags", d.flags().unknown())?;
    let mut again = d;
    again.set_valid(d.valid());
    Ok(again.as_bytes().to_vec())
}

fn niobufs(b: &[u8]) -> Again {
    for n in <[NiobufRemote]>::ref_from_bytes(b).map_err(|_| "size")? {
        known("niobuf flags", n.flags().unknown())?;
        n.end().ok_or("end")?;
    }
    many::<NiobufRemote>(b)
}

fn reint(b: &[u8]) -> Again {
    let (h, _) = head::<RecHead>(b)?;
    match h.op().map_err(|e| e.to_string())? {
        ReintOp::Setattr => {
            let r = reint::RecSetattr::read_from_bytes(b).map_err(|_| "size")?;
            known("valid", r.valid().unknown())?;
            Ok(r.as_bytes().to_vec())
        }
        ReintOp::Create | ReintOp::Open => {
            let r = reint::RecCreate::read_from_bytes(b).map_err(|_| "size")?;
            known("open flags", r.open_flags().unknown())?;
            let mut again = r;
            again.set_open_flags(r.open_flags());
            Ok(again.as_bytes().to_vec())
        }
        ReintOp::Link => one::<reint::RecLink>(b),
        ReintOp::Unlink | ReintOp::Rmentry => one::<reint::RecUnlink>(b),
        ReintOp::Rename | ReintOp::Migrate => one::<reint::RecRename>(b),
        ReintOp::Setxattr => one::<reint::RecSetxattr>(b),
        ReintOp::Resync => one::<reint::RecResync>(b),
    }
}

/// A layout of a file or a directory. Padding may follow.
fn md(b: &[u8]) -> Again {
    let magic = b.first_chunk().map(|m| u32::from_le_bytes(*m));
    match magic {
        Some(wire::lmv::LMV_MAGIC_V1 | wire::lmv::LMV_MAGIC_STRIPE) => {
            LmvMdsMdV1::parse(b).map_err(|e| e.to_string())?;
        }
        Some(wire::lmv::LMV_USER_MAGIC) => {
            head::<LmvUserMdV1>(b)?;
        }
        // Room for a layout.
        Some(0) if b.iter().all(|b| *b == 0) => {}
        _ => {
            LovMd::parse(b).map_err(|e| e.to_string())?;
        }
    }
    Ok(b.to_vec())
}

/// What a client asks for, or the value of an xattr of any kind.
fn user_md(b: &[u8]) -> Again {
    if md(b).is_err() {
        LovMd::parse_user(b).map_err(|e| e.to_string())?;
    }
    Ok(b.to_vec())
}

fn acl(b: &[u8]) -> Again {
    // Room that a failure left unused.
    if b.iter().all(|b| *b == 0) {
        return Ok(b.to_vec());
    }
    let (h, rest) = head::<PosixAclXattrHeader>(b)?;
    known(
        "version",
        h.a_version.get() ^ wire::mdt::POSIX_ACL_XATTR_VERSION,
    )?;
    Ok([h.as_bytes(), &many::<PosixAclXattrEntry>(rest)?].concat())
}

fn lock_flags(flags: u32) -> Result<u32, String> {
    let flags = LdlmFlags::from_bits_retain(flags);
    known("lock flags", flags.unknown())?;
    Ok(flags.bits())
}

/// The description of a lock; with no type it is empty.
fn lock_desc(d: &ldlm::LdlmLockDesc) -> Result<ldlm::LdlmLockDesc, String> {
    let mut again = *d;
    if d.l_resource.lr_type.get() == 0 {
        return Ok(again);
    }
    let (kind, mode) = (d.lock_type(), d.req_mode());
    let kind: LockType = kind.map_err(|e| e.to_string())?;
    let mode: LockMode = mode.map_err(|e| e.to_string())?;
    let held = d.granted_mode().map_err(|e| e.to_string())?;
    again.l_resource.lr_type.set(kind as u32);
    again.l_resource.lr_name = ldlm::LdlmResId::from_words(d.l_resource.lr_name.words());
    again.l_req_mode.set(mode.bits());
    again.l_granted_mode.set(held.map_or(0, LockMode::bits));
    let p = d.l_policy_data;
    again.l_policy_data = match kind {
        LockType::Plain => Default::default(),
        LockType::Extent => {
            zero("extent padding", p.extent().pad.get())?;
            p.extent().into()
        }
        LockType::Flock => {
            zero("flock padding", p.flock().lfw_padding.get().into())?;
            p.flock().into()
        }
        LockType::Ibits => {
            let mut b = p.inodebits();
            let bits = ldlm::InodeLock::from_bits_retain(b.bits.get());
            known("inode bits", bits.unknown())?;
            b.bits.set(bits.bits());
            b.into()
        }
    };
    Ok(again)
}

fn dlm_req(b: &[u8], described: bool) -> Again {
    let r = Request::parse(b).map_err(|e| e.to_string())?;
    let mut again = *r.head;
    again.lock_flags.set(lock_flags(r.head.lock_flags.get())?);
    again.lock_desc = lock_desc(&r.head.lock_desc)?;
    if described && r.head.lock_desc.l_resource.lr_type.get() == 0 {
        return Err("no type".to_owned());
    }
    let handles: Vec<u64> = r.slots.iter().map(|h| h.cookie.get()).collect();
    let mut out = vec![0xff; ldlm::request_size(handles.len()).ok_or("size")?];
    ldlm::write_handles(&mut out, &again, &handles).map_err(|e| e.to_string())?;
    Ok(out)
}

fn dlm_rep(b: &[u8]) -> Again {
    let r = LdlmReply::read_from_bytes(b).map_err(|_| "size")?;
    let mut again = r;
    zero("padding", r.lock_padding.get().into())?;
    again.lock_flags.set(lock_flags(r.lock_flags.get())?);
    again.lock_desc = lock_desc(&r.lock_desc)?;
    Ok(again.as_bytes().to_vec())
}

fn llog_chunk(b: &[u8]) -> Again {
    let mut out = vec![0; b.len()];
    for r in Records::new(b) {
        let r = r.map_err(|e| e.to_string())?;
        out[r.offset..r.offset + r.bytes.len()].copy_from_slice(r.bytes);
    }
    Ok(out)
}
