// SPDX-License-Identifier: GPL-2.0

//! Data.

use super::{content, Run};
use crate::model::Id;
use kapi::prelude::{Error, ESTALE};
use lustre_client::attr::now;
use lustre_client::cred::Cred;
use lustre_client::fs::{Change, OpenHow};
use stack::RW;

/// What a sync of everything may say when others removed a file at the wrong moment (status.md). Data of files
/// that are there are compared all the same.
const SYNC_OF_GONE: Error = ESTALE;
/// Where data are written: five stripes.
const SPACE: usize = 300_000;

impl Run<'_> {
    pub(super) fn open(&mut self, c: usize) {
        let Some(id) = self.any(|n| n.is_file()) else {
            return;
        };
        let append = self.rng.once_in(3);
        self.tell(c, format!("open of {id}, to append: {append}"));
        let how = OpenHow { append, ..RW };
        let file = self.clients[c].fs.open(self.fid(id), how, &Cred::root());
        self.keep_open(c, id, file.unwrap());
    }

    /// Where in a file: anywhere, or at the begin of a page or a stripe, or next to its end.
    pub(super) fn offset(&mut self, id: Id) -> usize {
        let len = self.model.get_mut(id).data().len();
        match self.rng.below(4) {
            0 => self.rng.below(SPACE),
            1 => self.rng.below(SPACE / 4096) * 4096,
            2 => self.rng.below(5) * stack::STRIPE as usize,
            _ => (len + self.rng.below(9)).saturating_sub(4),
        }
    }

    pub(super) fn length(&mut self) -> usize {
        let most = self.rng.pick(&[10, 4096, 4097, 20_000, 150_000]);
        1 + self.rng.below(most)
    }

    pub(super) fn write(&mut self, c: usize) {
        let Some(i) = self.open_of(c) else {
            return self.open(c);
        };
        let id = self.opens[i].id;
        let (off, len) = (self.offset(id), self.length());
        let data = content(&mut self.rng, len);
        let f = &self.opens[i].file;
        let append = f.how().append;
        let text = format!("write to {id} of {len} at {off}, append: {append}");
        let before = now();
        let got = self.clients[c].fs.write(f, off as u64, &data);
        let when = (before, now());
        self.tell(c, text);
        let n = self.model.get_mut(id);
        let d = n.data();
        let at = if append { d.len() } else { off };
        assert_eq!(got, Ok(at as u64), "where it was written");
        d.resize(d.len().max(at + len), 0);
        d[at..at + len].copy_from_slice(&data);
        n.mtime = when;
        n.ctime = before;
        self.after(id);
    }

    pub(super) fn read(&mut self, c: usize) {
        let Some(i) = self.open_of(c) else {
            return self.open(c);
        };
        let id = self.opens[i].id;
        let (off, len) = (self.offset(id), self.length());
        self.tell(c, format!("read of {id}, {len} at {off}"));
        let got = self.clients[c]
            .fs
            .read(&self.opens[i].file, off as u64, len);
        check_data(self.model.get_mut(id).data(), off, len, &got.unwrap());
    }

    pub(super) fn truncate(&mut self, c: usize) {
        let Some(id) = self.any(|n| n.is_file()) else {
            return;
        };
        let size = match self.rng.once_in(4) {
            true => 0,
            false => self.offset(id),
        };
        self.tell(c, format!("truncate of {id} to {size}"));
        let change = Change {
            size: Some(size as u64),
            ..Change::default()
        };
        let before = now();
        let fs = &self.clients[c].fs;
        let got = fs.setattr(self.fid(id), &change, &Cred::root());
        let n = self.model.get_mut(id);
        n.data().resize(size, 0);
        n.mtime = (before, now());
        n.ctime = before;
        self.check(id, &got.unwrap());
        self.after(id);
    }

    /// What brings data to the OSTs, or takes all out of a client's caches.
    pub(super) fn settle(&mut self, c: usize) {
        let fs = &self.clients[c].fs;
        match self.rng.below(4) {
            0 => {
                self.tell(c, "drops its caches".into());
                fs.drop_caches();
            }
            1 => {
                self.tell(c, "syncs".into());
                if let Err(e) = fs.sync_all() {
                    assert_eq!(e, SYNC_OF_GONE);
                }
            }
            _ => {
                let Some(i) = self.open_of(c) else { return };
                let id = self.opens[i].id;
                self.tell(c, format!("fsync of {id}"));
                fs.fsync(self.fid(id), false, &Cred::root()).unwrap();
            }
        }
    }

    /// All data of a file.
    pub(super) fn check_file(&mut self, c: usize, id: Id) {
        self.tell(c, format!("data of {id}"));
        let fs = &self.clients[c].fs;
        let fid = self.fid(id);
        let f = fs.open(fid, RW, &Cred::root()).unwrap();
        let data = self.model.get_mut(id).data();
        let got = fs.read(&f, 0, data.len() + 1);
        check_data(data, 0, data.len() + 1, &got.unwrap());
        fs.close(&f);
    }
}

/// Whether a read gave what there is.
fn check_data(all: &[u8], off: usize, len: usize, got: &[u8]) {
    let want = &all[off.min(all.len())..(off + len).min(all.len())];
    assert_eq!(got.len(), want.len(), "bytes read");
    let bad = got.iter().zip(want).position(|(a, b)| a != b);
    assert_eq!(bad.map(|i| i + off), None, "the first byte that differs");
}
