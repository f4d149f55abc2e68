// SPDX-License-Identifier: GPL-2.0

//! File locks, of fcntl(2) and flock(2), at the MDT (spec `ldlm.md` 6.5).

use crate::cred::Cred;
use crate::mount::Mount;
use crate::target::{Enough, Enqueue, Enqueued};
use kapi::prelude::*;
use ldlm::client::Want;
use ldlm::core::{flags, Flock, Mode, Policy, ResId};
use ptlrpc::call::CallOptions;
use wire::fid::Fid;
use wire::ldlm::{LdlmResId, FLOCK_EOF};

/// What is wanted of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockKind {
    /// To share it with readers.
    Read,
    /// To have it alone.
    Write,
    /// To give it back.
    Unlock,
}

/// A lock of a range of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLock {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// Who holds it.
    pub owner: u64,
    /// Their process.
    pub pid: u32,
    /// What kind it is.
    pub kind: LockKind,
}

impl Mount {
    fn file_lock(&self, fid: Fid, l: &FileLock, how: u32, enough: Enough<'_>) -> Result<Enqueued> {
        let mode = match l.kind {
            LockKind::Read => Mode::Pr,
            LockKind::Write => Mode::Pw,
            LockKind::Unlock => Mode::Nl,
        };
        let mut options = CallOptions::new(&[112, 0])?;
        options.modifies = how & flags::TEST_LOCK == 0;
        let e = Enqueue {
            want: Want {
                res: ResId(LdlmResId::flock(fid).words()),
                mode,
                policy: Policy::Flock(Flock {
                    start: l.start,
                    end: l.end.min(FLOCK_EOF),
                    owner: l.owner,
                    pid: l.pid,
                }),
                flags: how,
            },
            cancels: &[],
            intent: &[],
            lvb: None,
            options,
            cred: &Cred::root(),
        };
        self.mdc.target().enqueue_until(&e, enough)
    }

    /// Takes a lock, or gives it back. With `wait`, waits until it is free.
    ///
    /// # Errors
    /// `EAGAIN`: somebody else has it. `EDEADLK`. Those of the connection.
    pub fn set_lock(&self, fid: Fid, l: &FileLock, wait: bool) -> Result {
        self.set_lock_until(fid, l, wait, None)
    }

    /// The same, until it is enough.
    ///
    /// # Errors
    /// As [`Mount::set_lock`], and `EINTR`.
    pub fn set_lock_until(&self, fid: Fid, l: &FileLock, wait: bool, enough: Enough<'_>) -> Result {
        let how = match wait || l.kind == LockKind::Unlock {
            true => 0,
            false => flags::BLOCK_NOWAIT,
        };
        // What the MDT has granted is its to keep: the connection's end gives it back.
        let e = self.file_lock(fid, l, how, enough)?;
        match e.reply.status {
            0 => Ok(()),
            _ => Err(EAGAIN),
        }
    }

    /// Who would be in the way of a lock.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn test_lock(&self, fid: Fid, l: &FileLock) -> Result<Option<FileLock>> {
        let e = self.file_lock(fid, l, flags::TEST_LOCK, None)?;
        let Some(d) = e.answer.desc else {
            return Ok(None);
        };
        let Policy::Flock(f) = d.policy else {
            return Err(EPROTO);
        };
        let kind = match d.req_mode {
            Mode::Pr => LockKind::Read,
            Mode::Pw => LockKind::Write,
            _ => return Ok(None),
        };
        Ok(Some(FileLock {
            start: f.start,
            end: f.end,
            owner: f.owner,
            pid: f.pid,
            kind,
        }))
    }
}
