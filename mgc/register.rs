// SPDX-License-Identifier: GPL-2.0

//! MGS_TARGET_REG, as targets send it (`mgs-config.md` 7.2).

use crate::client::Mgc;
use kapi::prelude::*;
use ptlrpc::call::CallOptions;
use ptlrpc::import::State;
use ptlrpc::message::Msg;
use wire::connect::ConnectFlags;
use wire::disk::mountdata::LddFlags;
use wire::disk::names::Name;
use wire::mgs::{MgsTargetInfo, MgsTargetNidlist, NidlistFlags, MTI_NIDS_MAX, NIDSTR_SIZE};
use wire::msg::MGS_VERSION;
use wire::nid::Nid;
use wire::opcode::MGS_TARGET_REG;
use wire::svname::{FsName, SvKind, SvName};
use zerocopy::IntoBytes;

const INFO: u32 = size_of::<MgsTargetInfo>() as u32;
/// How long a target waits for the connection to the MGS.
const PATIENCE: Duration = Duration::from_secs(10);

/// A target that registers.
#[derive(Debug)]
pub struct Registration {
    /// The file system.
    pub fs: FsName,
    /// The kind.
    pub kind: SvKind,
    /// The index; none: the MGS shall choose.
    pub index: Option<u16>,
    /// Of `VIRGIN`, `UPDATE`, `WRITECONF`, `NO_PRIMNODE` those that the mount options name.
    pub flags: LddFlags,
    /// Where the target is; empty: all NIDs of the node.
    pub nids: KVec<Nid>,
    /// Its parameters, words of `key=value` with spaces between them.
    pub params: KVVec<u8>,
}

/// What the MGS answered.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// Its name, with the index that it was given.
    pub name: SvName,
    /// The flags: with `REWRITE_LDD` the target was written to the logs.
    pub flags: LddFlags,
}

/// A target that is up.
pub(crate) struct Ready {
    pub(crate) name: SvName,
    pub(crate) instance: u32,
    nids: KVec<Nid>,
    no_primnode: LddFlags,
}

fn put_text(field: &mut [u8], text: &[u8]) -> Result {
    wire::text::set(field, text).map_err(|_| ENAMETOOLONG)
}

impl Registration {
    fn type_flag(kind: SvKind) -> LddFlags {
        match kind {
            SvKind::Mdt => LddFlags::SV_TYPE_MDT,
            SvKind::Ost => LddFlags::SV_TYPE_OST,
        }
    }
}

/// What goes into a request.
struct Request<'a> {
    fs: FsName,
    name: Option<SvName>,
    flags: LddFlags,
    instance: u32,
    nids: &'a [Nid],
    params: &'a [u8],
    again: bool,
}

impl Mgc {
    /// Registers a target, or says that it starts. The MGS may have to wait for others before it
    /// answers.
    ///
    /// # Errors
    /// `EADDRINUSE`: another target has this index. `ENOENT`: the MGS does not know the target,
    /// though it should. `EADDRNOTAVAIL`: another node is the one to register from.
    /// `EALREADY`, `ERANGE`, `EINVAL`, `EBUSY`. `ENOTCONN`, `ETIMEDOUT`, `EIO`, `ESHUTDOWN`: the
    /// MGS cannot be reached.
    pub fn register(&self, r: &Registration) -> Result<Registered> {
        let known =
            LddFlags::VIRGIN | LddFlags::UPDATE | LddFlags::WRITECONF | LddFlags::NO_PRIMNODE;
        let mut flags = (r.flags & known)
            | Registration::type_flag(r.kind)
            | LddFlags::OPC_REG
            | LddFlags::LARGE_NID;
        let name = match r.index {
            Some(i) => Some(SvName::new(r.fs, r.kind, i.into()).map_err(|_| ERANGE)?),
            None => {
                flags.insert(LddFlags::NEED_INDEX);
                None
            }
        };
        let request = Request {
            fs: r.fs,
            name,
            flags,
            instance: 0,
            nids: if r.nids.is_empty() {
                self.own_nids()
            } else {
                &r.nids
            },
            params: &r.params,
            again: false,
        };
        self.import().wait_full(PATIENCE)?;
        let (flags, index) = self.send_registration(&request)?;
        if flags.contains(LddFlags::ERROR) {
            return Err(EIO);
        }
        let name = SvName::new(r.fs, r.kind, index).map_err(|_| EPROTO)?;
        if r.index.is_some_and(|i| i != name.index) {
            return Err(EPROTO);
        }
        Ok(Registered { name, flags })
    }

    /// A target is up, for the `instance`th time: clients are told where it is. This is told to
    /// the MGS again when it has restarted, until [`Mgc::gone`]. Returns whether clients are told
    /// at once, so that recovery may be short.
    ///
    /// # Errors
    /// As [`Mgc::register`]; it is told later all the same.
    pub fn ready(
        &self,
        name: SvName,
        instance: u32,
        nids: &[Nid],
        no_primnode: bool,
    ) -> Result<bool> {
        let mut all = KVec::new();
        let nids = if nids.is_empty() {
            self.own_nids()
        } else {
            nids
        };
        all.extend_from_slice(nids, GFP_KERNEL)?;
        let no_primnode = match no_primnode {
            true => LddFlags::NO_PRIMNODE,
            false => LddFlags::empty(),
        };
        let ready = Ready {
            name,
            instance,
            nids: all,
            no_primnode,
        };
        let ready = Arc::new(ready, GFP_KERNEL)?;
        self.set_ready(&name, Some(ready.clone()))?;
        if self.import().state() != State::Full {
            // It is told when the connection is there; nobody waits for that.
            return Err(ENOTCONN);
        }
        self.send_ready(&ready, false)
    }

    /// A target is going down.
    pub fn gone(&self, name: &SvName) {
        // Without a new one nothing is allocated.
        let _ = self.set_ready(name, None);
    }

    pub(crate) fn send_ready(&self, r: &Ready, again: bool) -> Result<bool> {
        let request = Request {
            fs: r.name.fs,
            name: Some(r.name),
            flags: Registration::type_flag(r.name.kind)
                | r.no_primnode
                | LddFlags::OPC_READY
                | LddFlags::LARGE_NID,
            instance: r.instance,
            nids: &r.nids,
            params: &[],
            again,
        };
        let (flags, _) = self.send_registration(&request)?;
        Ok(flags.contains(LddFlags::IR_CAPABLE))
    }

    fn send_registration(&self, r: &Request<'_>) -> Result<(LddFlags, u32)> {
        let granted = self.import().connect_data().flags();
        let list = granted.contains(ConnectFlags::MGS_NIDLIST);
        let mut flags = r.flags;
        if !list {
            flags.remove(LddFlags::LARGE_NID);
        }
        let count = u32::try_from(r.nids.len())?;
        let texts = size_of::<MgsTargetNidlist>() + r.nids.len() * NIDSTR_SIZE;
        let lens = [INFO, u32::try_from(texts)?];
        let lens = if list { &lens[..] } else { &lens[..1] };
        let mut m = Msg::request(MGS_TARGET_REG, MGS_VERSION, lens)?;
        let info = m.get_mut::<MgsTargetInfo>(1)?;
        info.mti_lustre_ver
            .set(if r.again { 0 } else { crate::client::VERSION });
        info.mti_stripe_index
            .set(r.name.map_or(0, |n| u32::from(n.index)));
        info.set_flags(flags);
        info.mti_instance.set(r.instance);
        put_text(&mut info.mti_fsname, r.fs.as_bytes())?;
        if let Some(name) = &r.name {
            let name = Name::new(format_args!("{name}")).map_err(|_| ENAMETOOLONG)?;
            put_text(&mut info.mti_svname, name.as_bytes())?;
        }
        put_text(&mut info.mti_params, r.params)?;
        if list {
            info.mti_nid_count.set(count);
            let append = match r.again {
                true => NidlistFlags::APPEND,
                false => NidlistFlags::empty(),
            };
            let buf = m.buf_mut(2).ok_or(EPROTO)?;
            let head = MgsTargetNidlist {
                mtn_flags: append.bits().into(),
                mtn_nids: count.into(),
            };
            let (first, texts) = buf
                .split_at_mut_checked(size_of::<MgsTargetNidlist>())
                .ok_or(EPROTO)?;
            first.copy_from_slice(head.as_bytes());
            for (to, nid) in texts.chunks_exact_mut(NIDSTR_SIZE).zip(r.nids) {
                let text = Name::new(format_args!("{nid}")).map_err(|_| ENAMETOOLONG)?;
                put_text(to, text.as_bytes())?;
            }
        } else {
            let mut n = 0;
            let old = r.nids.iter().filter_map(|n| n.to_nid4()).take(MTI_NIDS_MAX);
            for (to, nid) in info.mti_nids.iter_mut().zip(old) {
                to.set(nid);
                n += 1;
            }
            info.mti_nid_count.set(n);
        }
        let mut options = CallOptions::new(&[INFO])?;
        // With the next connection it is told anew.
        options.no_resend = r.again;
        options.no_delay = r.again;
        let reply = self.import().call(m, options, None)?.check()?;
        let info = reply.msg.get::<MgsTargetInfo>(1)?;
        Ok((info.flags(), info.mti_stripe_index.get()))
    }
}
