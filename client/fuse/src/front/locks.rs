// SPDX-License-Identifier: GPL-2.0

//! Locks that programs have on files.

use super::{Front, ENOSYS};
use crate::convert::{errno, has_signal};
use crate::options::Flock;
use fuser::{Errno, INodeNo, LockOwner, ReplyEmpty, ReplyLock, Request};
use lustre_client::fs::{FileLock, LockKind};
use std::sync::PoisonError;
use wire::fid::Fid;

impl Front {
    /// What is asked for: a range, a kind (`F_RDLCK`, `F_WRLCK`, `F_UNLCK`), and by whom. `None`: the
    /// cluster has no part in locks.
    pub(super) fn wanted_lock(
        &self,
        owner: LockOwner,
        (start, end): (u64, u64),
        typ: i32,
        pid: u32,
    ) -> Option<FileLock> {
        let kind = match typ {
            0 => LockKind::Read,
            1 => LockKind::Write,
            2 => LockKind::Unlock,
            _ => return None,
        };
        (self.flock == Flock::Cluster).then_some(FileLock {
            start,
            end,
            owner: owner.0,
            pid,
            kind,
        })
    }

    /// Tells of a lock in the way of one.
    pub(super) fn tell_lock(&self, ino: INodeNo, want: Option<FileLock>, reply: ReplyLock) {
        let Some(want) = want else {
            return reply.error(Errno::from_i32(ENOSYS));
        };
        match self.fid(ino).and_then(|f| self.fs.test_lock(f, &want)) {
            Ok(None) => reply.locked(want.start, want.end, 2, 0),
            Ok(Some(l)) => {
                let typ = i32::from(l.kind == LockKind::Write);
                reply.locked(l.start, l.end, typ, l.pid);
            }
            Err(e) => reply.error(errno(e)),
        }
    }

    /// Takes or drops a lock, and waits for it if that is wanted.
    pub(super) fn take_lock(
        &self,
        req: &Request,
        ino: INodeNo,
        want: Option<FileLock>,
        wait: bool,
        reply: ReplyEmpty,
    ) {
        let Some(want) = want else {
            return reply.error(Errno::from_i32(ENOSYS));
        };
        let fid = match self.fid(ino) {
            Ok(f) => f,
            Err(e) => return reply.error(errno(e)),
        };
        if want.kind != LockKind::Unlock {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.insert((fid, want.owner));
        }
        if !wait {
            return Self::empty(reply, self.fs.set_lock(fid, &want, false));
        }
        // It may wait for long: not on a thread that others wait for.
        let fs = self.fs.clone();
        // The library for the kernel's protocol does not pass interrupts on.
        let who = req.pid();
        let enough = move || has_signal(who);
        let waiter = move || Self::empty(reply, fs.set_lock_until(fid, &want, true, Some(&enough)));
        let _ = std::thread::Builder::new()
            .name("setlkw".into())
            .spawn(waiter);
    }

    /// An owner of locks has closed the file.
    pub(super) fn drop_locks(&self, fid: Fid, owner: u64) {
        let had = {
            let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
            owners.remove(&(fid, owner))
        };
        if !had {
            return;
        }
        let all = FileLock {
            start: 0,
            end: u64::MAX,
            owner,
            pid: 0,
            kind: LockKind::Unlock,
        };
        // Nobody is there to be told.
        let _ = self.fs.set_lock(fid, &all, false);
    }
}
