// SPDX-License-Identifier: GPL-2.0

//! MGS_CONFIG_READ: where targets are, and the nodemap (`mgs-config.md` 7.3, 17, 18).

use crate::service::Mgs;
use kapi::pages::{Pages, PAGE_SIZE};
use kapi::prelude::*;
use ptlrpc::bulk::Piece;
use target::{Request, Served};
use wire::mgs::{MgsConfigBody, MgsConfigRes, MgsConfigType};
use wire::opcode::portal;
use wire::svname::FsName;

/// Largest buffer that a client may have.
const MAX_BUFFER: u64 = 4 << 20;
/// Bytes that one transfer takes: clients ask again for the rest.
const MAX_BYTES: usize = 1 << 20;
/// Bytes of a container of nodemap records.
const CONTAINER: usize = 4096;
/// There are no more records.
const NODEMAP_END: u64 = 0xffff_ffff_ffff_fffe;

impl Mgs {
    /// Answers MGS_CONFIG_READ.
    pub(crate) fn config_read(&self, req: &mut Request<'_>) -> Result<Served> {
        let body = *req.rpc.get::<MgsConfigBody>(1)?;
        let kind = MgsConfigType::try_from(body.mcb_type.get()).map_err(|_| EINVAL)?;
        let size = u32::from(body.mcb_bits);
        let size = u64::from(body.mcb_units.get())
            .checked_mul(1_u64.checked_shl(size).ok_or(EINVAL)?)
            .filter(|n| *n <= MAX_BUFFER)
            .ok_or(EINVAL)?;
        let (bytes, res) = match kind {
            MgsConfigType::Recover => self.read_nids(&body, size)?,
            MgsConfigType::Nodemap => self.read_nodemap(&body, size)?,
            MgsConfigType::Config => return Err(EOPNOTSUPP),
            _ => return Err(EINVAL),
        };
        // Also if there is nothing: the client waits for it.
        let mut pages = Pages::new(bytes.len().div_ceil(PAGE_SIZE).max(1))?;
        pages.copy_in(0, &bytes)?;
        let mut pieces = KVec::new();
        let piece = Piece {
            pages: Arc::new(pages, GFP_KERNEL)?,
            off: 0,
            len: bytes.len(),
        };
        pieces.push(piece, GFP_KERNEL)?;
        let (first, _) = req.rpc.bulk_begin(1)?;
        if let Err(e) = req.rpc.bulk_put(portal::MGS_BULK, first, pieces) {
            pr_debug!("config of {}: {:?}\n", req.export.client_uuid, e);
            return Ok(Served::Drop);
        }
        req.rpc.pack_reply(&[size_of::<MgsConfigRes>() as u32])?;
        *req.rpc.reply_mut()?.get_mut::<MgsConfigRes>(1)? = res;
        Ok(Served::Reply(0))
    }

    fn read_nids(&self, body: &MgsConfigBody, size: u64) -> Result<(KVVec<u8>, MgsConfigRes)> {
        let name = wire::text::get(&body.mcb_name);
        if !name.ends_with(b"-cliir") && !name.ends_with(b"-mdtir") {
            return Err(EINVAL);
        }
        let fs = self.fs(FsName::of_log(name).map_err(|_| EINVAL)?)?;
        let unit = usize::try_from(1_u64 << body.mcb_bits.min(16))?.min(PAGE_SIZE);
        let size = usize::try_from(size)?.min(MAX_BYTES);
        let nids = fs.nids.lock();
        nids.read(
            body.mcb_offset.get(),
            body.mcb_nm_cur_pass,
            unit,
            size / unit,
        )
    }

    /// The nodemap. There is none here but the one that is not active.
    fn read_nodemap(&self, body: &MgsConfigBody, size: u64) -> Result<(KVVec<u8>, MgsConfigRes)> {
        if wire::text::get(&body.mcb_name) != b"nodemap" || size < CONTAINER as u64 {
            return Err(EINVAL);
        }
        if body.mcb_offset.get() != 0 {
            return Err(EINVAL);
        }
        if !self.nodemap_is_default()? {
            pr_err!("MGS: the nodemap on disk is in use, which is not supported\n");
            return Err(EOPNOTSUPP);
        }
        let mut bytes = KVVec::from_elem(0u8, CONTAINER, GFP_KERNEL)?;
        for (at, part) in DEFAULT_NODEMAP {
            bytes
                .get_mut(*at..at + part.len())
                .ok_or(EINVAL)?
                .copy_from_slice(part);
        }
        let res = MgsConfigRes {
            mcr_offset: NODEMAP_END.into(),
            mcr_size: 1.into(),
        };
        Ok((bytes, res))
    }

    /// Whether the index of an earlier server has the default records, or there is none.
    fn nodemap_is_default(&self) -> Result<bool> {
        let Some(index) = self.configs.other(b"nodemap")? else {
            return Ok(true);
        };
        let (mut key, mut rec) = ([0; NODEMAP_KEY], [0; NODEMAP_REC]);
        if index.index_shape()? != (key.len(), rec.len()) {
            return Err(EINVAL);
        }
        while index.index_next(&mut key, &mut rec)? {
            let default = match key {
                CLUSTER_KEY => true,
                GLOBAL_KEY => rec.first() == Some(&0),
                // The record that every index begins with.
                [0, 0, 0, 0, 0, 0, 0, 0] => true,
                _ => false,
            };
            if !default {
                return Ok(false);
            }
            let next = u64::from_be_bytes(key).checked_add(1);
            match next {
                Some(n) => key = n.to_be_bytes(),
                None => break,
            }
        }
        Ok(true)
    }
}

/// Bytes of a key and of a record.
const NODEMAP_KEY: usize = 8;
const NODEMAP_REC: usize = 32;
/// The cluster of number 0, and whether nodemaps are active at all.
const CLUSTER_KEY: [u8; NODEMAP_KEY] = [0, 0, 0, 0x10, 0, 0, 0, 0];
const GLOBAL_KEY: [u8; NODEMAP_KEY] = [0, 0, 0, 0xf0, 0, 0, 0, 0];
/// One container with the default records: the cluster "default", and that it is not active.
const DEFAULT_NODEMAP: &[(usize, &[u8])] = &[
    (0, &[0x6c, 0x6b, 0x6d, 0x8a, 0, 0, 2, 0]),
    (16, &CLUSTER_KEY),
    (24, b"default"),
    (24 + 17, &[0xb8, 4, 0]),
    (
        24 + 20,
        &[0xfe, 0xff, 0, 0, 0xfe, 0xff, 0, 0, 0xfe, 0xff, 0, 0],
    ),
    (56, &GLOBAL_KEY),
];
