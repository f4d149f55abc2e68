// SPDX-License-Identifier: GPL-2.0

//! What the MGS keeps about each of its clients.

use core::any::Any;
use kapi::prelude::*;
use ptlrpc::export::ClientState;
use wire::svname::FsName;

/// File systems that one client is counted for.
const MAX_FS: usize = 64;

/// A client.
#[pin_data]
pub(crate) struct MgsClient {
    /// File systems whose logs it reads, if it must be counted as one that does not hear where
    /// targets went.
    #[pin]
    deaf_for: Mutex<KVec<FsName>>,
}

impl ClientState for MgsClient {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl MgsClient {
    pub(crate) fn new() -> Result<Arc<MgsClient>> {
        Arc::pin_init(
            pin_init!(MgsClient {
                deaf_for <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// It reads a log of this file system; true for the first time.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn reads(&self, fs: FsName) -> Result<bool> {
        let mut all = self.deaf_for.lock();
        if all.contains(&fs) || all.len() >= MAX_FS {
            return Ok(false);
        }
        all.push(fs, GFP_KERNEL)?;
        Ok(true)
    }

    /// It is gone: what it was counted for.
    pub(crate) fn take(&self) -> KVec<FsName> {
        core::mem::take(&mut *self.deaf_for.lock())
    }
}
