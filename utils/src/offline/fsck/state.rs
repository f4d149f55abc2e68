// SPDX-License-Identifier: GPL-2.0

//! The server's own files: what the target is, clients and replies, sequences, logs.

use super::{iam, llog, Check};
use crate::offline::ext4::{Inode, ROOT_INO};
use crate::offline::{dir, Result};
use std::collections::HashSet;
use wire::disk::last_rcvd::{LrIncompat, LrServerData, LsdClientData, LR_MAX_CLIENTS};
use wire::disk::mountdata::{LddFlags, LustreDiskData, INDEX_UNASSIGNED, MOUNT_DATA_FILE};
use wire::disk::names::root as top;
use wire::disk::reply_data::LsdReplyHeader;
use wire::fid::{seq, Fid};
use wire::ostid::LlogLogid;
use wire::seq::{LuSeqRange, LuSeqRangeBe};
use zerocopy::FromBytes;

/// Most bytes of a file that is read as a whole.
const MAX_FILE: u64 = 64 << 20;
/// Bytes of an entry of `CATALOGS`.
const CATID_SIZE: usize = 32;

/// What the target says it is.
pub(super) struct Target {
    flags: LddFlags,
    index: u32,
    uuid: Option<String>,
}

impl Check<'_, '_> {
    fn whole(&mut self, inode: &Inode, what: &str) -> Result<Option<Vec<u8>>> {
        let size = inode.size();
        if size > MAX_FILE {
            self.problem(inode.ino, format!("{what} of {size} bytes"));
            return Ok(None);
        }
        let r = self.fs.read(inode, 0, size as usize);
        self.caught(inode.ino, what, r)
    }

    /// What `CONFIGS/mountdata` says.
    pub(super) fn mountdata(&mut self, root: &Inode) -> Result<Target> {
        let mut t = Target {
            flags: LddFlags::from_bits_retain(0),
            index: 0,
            uuid: None,
        };
        let file = match self.named(root, top::CONFIGS)? {
            Some(d) if d.is_dir() => self.named(&d, "mountdata")?,
            _ => None,
        };
        let Some(file) = file else {
            self.problem(ROOT_INO, format!("{MOUNT_DATA_FILE} is missing"));
            return Ok(t);
        };
        let r = self.fs.read(&file, 0, size_of::<LustreDiskData>());
        let Some(bytes) = self.caught(file.ino, "mountdata", r)? else {
            return Ok(t);
        };
        let ldd = match LustreDiskData::parse(&bytes) {
            Ok(ldd) => ldd,
            Err(e) => {
                self.problem(file.ino, format!("mountdata: {e}"));
                return Ok(t);
            }
        };
        t.flags = ldd.flags();
        t.index = ldd.ldd_svindex.get();
        if !t.flags.intersects(LddFlags::SV_TYPE_MASK) {
            self.problem(file.ino, "mountdata: neither MGS nor MDT nor OST");
        }
        if t.flags.is_mdt() && t.flags.is_ost() {
            self.problem(file.ino, "mountdata: both an MDT and an OST");
        }
        let fsname = wire::text::get(&ldd.ldd_fsname);
        let kind = match (t.flags.is_mdt(), t.flags.is_ost()) {
            (true, _) => "MDT",
            (_, true) => "OST",
            _ => return Ok(t),
        };
        if t.index == INDEX_UNASSIGNED {
            return Ok(t);
        }
        let suffix = format!("{kind}{:04x}", t.index);
        let label = self.fs.label();
        let head = label.len().checked_sub(suffix.len() + 1);
        let agrees = head.is_some_and(|n| {
            label[..n] == *fsname
                && b"-:=+".contains(&label[n])
                && label[n + 1..] == *suffix.as_bytes()
        });
        let name = format!("{}-{suffix}", String::from_utf8_lossy(fsname));
        if !agrees {
            let label = label.escape_ascii().to_string();
            self.problem(
                file.ino,
                format!("the label is '{label}', mountdata says {name}"),
            );
        }
        t.uuid = Some(format!("{name}_UUID"));
        Ok(t)
    }

    /// Clients and their replies.
    pub(super) fn last_rcvd(&mut self, root: &Inode, target: &Target) -> Result<()> {
        let Some(file) = self.named(root, top::LAST_RCVD)? else {
            if target.uuid.is_some() && !target.flags.contains(LddFlags::VIRGIN) {
                self.problem(ROOT_INO, "last_rcvd is missing");
            }
            return Ok(());
        };
        let Some(bytes) = self.whole(&file, "last_rcvd")?.filter(|b| !b.is_empty()) else {
            return Ok(());
        };
        let head = match LrServerData::parse(&bytes) {
            Ok(h) => h,
            Err(e) => {
                self.problem(file.ino, format!("last_rcvd: {e}"));
                return Ok(());
            }
        };
        if head.lsd_subdir_count.get() != 0 {
            self.subdirs = head.lsd_subdir_count.get();
        }
        let uuid = wire::text::get(&head.lsd_uuid);
        if target.uuid.as_ref().is_some_and(|u| u.as_bytes() != uuid) {
            let is = uuid.escape_ascii();
            let want = target.uuid.as_deref().unwrap_or("");
            self.problem(
                file.ino,
                format!("last_rcvd is of {is}, should be of {want}"),
            );
        }
        if target.uuid.is_some() && head.lsd_osd_index.get() != target.index {
            let (is, want) = (head.lsd_osd_index.get(), target.index);
            self.problem(
                file.ino,
                format!("last_rcvd has the index {is}, should be {want}"),
            );
        }
        let known = if target.flags.is_ost() {
            LrIncompat::OST_SUPPORTED
        } else {
            LrIncompat::MDT_SUPPORTED
        };
        if !(head.incompat() - known).is_empty() {
            let bits = (head.incompat() - known).bits();
            self.problem(
                file.ino,
                format!("last_rcvd has unknown features {bits:#x}"),
            );
        }
        let (start, step) = (
            head.client_offset(0) as usize,
            usize::from(head.lsd_client_size.get()),
        );
        let slots = bytes.get(start..).unwrap_or(&[]);
        if slots.len() / step > LR_MAX_CLIENTS as usize {
            self.problem(
                file.ino,
                format!("last_rcvd has {} slots", slots.len() / step),
            );
        }
        let mut generations = HashSet::new();
        for (i, slot) in slots.chunks(step).take(LR_MAX_CLIENTS as usize).enumerate() {
            let Ok((c, _)) = LsdClientData::ref_from_prefix(slot) else {
                self.problem(file.ino, format!("slot {i} of last_rcvd is cut"));
                break;
            };
            if c.is_free() {
                continue;
            }
            let name = wire::text::get(&c.lcd_uuid);
            if name.len() == c.lcd_uuid.len() || !name.iter().all(u8::is_ascii_graphic) {
                self.problem(
                    file.ino,
                    format!("slot {i} of last_rcvd has no UUID that can be"),
                );
            }
            // The header may lag after a cut, its epoch may not.
            if c.last_transno() >> 32 > u64::from(head.lsd_start_epoch.get()) {
                let (t, e) = (c.last_transno(), head.lsd_start_epoch.get());
                self.problem(
                    file.ino,
                    format!(
                        "slot {i} of last_rcvd has the transaction {t:#x}, but the epoch is {e}"
                    ),
                );
            }
            let g = c.lcd_generation.get();
            if g != 0 && !generations.insert(g) {
                self.problem(
                    file.ino,
                    format!("slot {i} of last_rcvd has a generation twice: {g}"),
                );
            }
        }
        self.reply_data(root)
    }

    fn reply_data(&mut self, root: &Inode) -> Result<()> {
        let Some(file) = self.named(root, top::REPLY_DATA)?.filter(|f| f.size() != 0) else {
            return Ok(());
        };
        let r = self.fs.read(&file, 0, size_of::<LsdReplyHeader>());
        let Some(bytes) = self.caught(file.ino, "reply_data", r)? else {
            return Ok(());
        };
        let version = LsdReplyHeader::read_from_bytes(&bytes).map(|h| h.version());
        match version {
            Ok(Ok(v)) => {
                let records = file.size().saturating_sub(bytes.len() as u64);
                if records % v.reply_size() as u64 != 0 {
                    let size = file.size();
                    self.problem(
                        file.ino,
                        format!("reply_data of {size} bytes ends in a record"),
                    );
                }
            }
            _ => self.problem(file.ino, "reply_data has a damaged header"),
        }
        Ok(())
    }

    /// Sequences, catalogs, logs and indices.
    pub(super) fn server_files(&mut self, root: &Inode) -> Result<()> {
        for name in [top::SEQ_SRV, top::SEQ_CTL] {
            if let Some(f) = self.named(root, name)?.filter(|f| f.size() != 0) {
                let r = self.fs.read(&f, 0, size_of::<LuSeqRange>());
                let range = self.caught(f.ino, name, r)?;
                let range = range
                    .and_then(|b| LuSeqRange::read_from_bytes(&b).ok())
                    .map(|r| r.get());
                if range.is_none_or(|r| r.start > r.end)
                    || f.size() != size_of::<LuSeqRange>() as u64
                {
                    self.problem(f.ino, format!("{name} is no range of sequences"));
                }
            }
        }
        if let Some(f) = self.named(root, top::FLD)? {
            self.fld(&f)?;
        }
        if let Some(f) = self.named(root, top::CATALOGS)? {
            self.catalogs(&f)?;
        }
        for name in [top::LOV_OBJID, top::LOV_OBJSEQ] {
            if let Some(f) = self.named(root, name)?.filter(|f| f.size() % 8 != 0) {
                self.problem(
                    f.ino,
                    format!("{name} of {} bytes ends in a number", f.size()),
                );
            }
        }
        if let Some(d) = self.named(root, top::UPDATE_LOG_DIR)?.filter(Inode::is_dir) {
            let mut inos = Vec::new();
            let r = dir::blocks(self.fs, &d, |_, _, b| {
                let all = dir::entries(b)?;
                inos.extend(
                    all.iter()
                        .filter(|e| e.name.starts_with(b"["))
                        .map(|e| e.ino),
                );
                Ok(())
            });
            self.caught(d.ino, "directory", r)?;
            for ino in inos {
                self.log(ino)?;
            }
        }
        let of = |r: &super::Rec| {
            r.fid()
                .filter(|_| r.kind == 1)
                .map(|f| (f.seq, f.is_last_id()))
        };
        let own: Vec<(u32, u64)> = self
            .recs
            .iter()
            .filter_map(|(ino, r)| of(r).filter(|f| !f.1).map(|f| (*ino, f.0)))
            .collect();
        for (ino, s) in own {
            match s {
                seq::LLOG | seq::LLOG_NAME => self.log(ino)?,
                seq::LOCAL_NAME | seq::QUOTA | seq::QUOTA_GLB => self.index(ino)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn log(&mut self, ino: u32) -> Result<()> {
        let r = self.fs.inode(ino).and_then(|i| llog::check(self.fs, &i));
        self.caught(ino, "llog", r)?;
        Ok(())
    }

    fn index(&mut self, ino: u32) -> Result<()> {
        let fs = self.fs;
        let r = fs.inode(ino).and_then(|i| {
            if iam::is_index(fs, &i)? {
                iam::walk(fs, &i, None, |_, _| Ok(()))?;
            }
            Ok(())
        });
        self.caught(ino, "index", r)?;
        Ok(())
    }

    fn fld(&mut self, file: &Inode) -> Result<()> {
        let mut wrong = Vec::new();
        let r = iam::walk(self.fs, file, Some((8, 24)), |key, rec| {
            let Ok(range) = LuSeqRangeBe::read_from_bytes(rec).map(|r| r.get()) else {
                return Ok(());
            };
            let start = key.first_chunk().map_or(0, |k| u64::from_be_bytes(*k));
            if range.start < range.end && range.start != start {
                wrong.push(format!(
                    "fld: the range of {start:#x} begins with {:#x}",
                    range.start
                ));
            }
            Ok(())
        });
        self.caught(file.ino, "fld", r)?;
        for w in wrong {
            self.problem(file.ino, w);
        }
        Ok(())
    }

    fn catalogs(&mut self, file: &Inode) -> Result<()> {
        let Some(bytes) = self.whole(file, "CATALOGS")? else {
            return Ok(());
        };
        if bytes.len() % CATID_SIZE != 0 {
            self.problem(
                file.ino,
                format!("CATALOGS of {} bytes ends in an entry", bytes.len()),
            );
        }
        for (i, e) in bytes.chunks_exact(CATID_SIZE).enumerate() {
            let Ok((id, _)) = LlogLogid::ref_from_prefix(e) else {
                continue;
            };
            if id.is_zero() {
                continue;
            }
            match id.to_fid() {
                Ok(fid) if self.has_log(fid) => {}
                Ok(fid) => self.problem(
                    file.ino,
                    format!("the catalog of OST {i}, {fid}, is missing"),
                ),
                Err(e) => self.problem(file.ino, format!("the catalog of OST {i}: {e}")),
            }
        }
        Ok(())
    }

    /// Ids of old with an inode's number are not looked for.
    fn has_log(&self, fid: Fid) -> bool {
        !matches!(fid.seq, seq::LLOG | seq::LLOG_NAME) || self.fids.contains_key(&fid)
    }
}
