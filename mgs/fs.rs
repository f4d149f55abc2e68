// SPDX-License-Identifier: GPL-2.0

//! What the MGS knows of a file system: which indices are in use, and how far its logs have come
//! (`mgs-config.md` 12). It is read from the log of the clients, and never differs from it.

use crate::configs::Configs;
use crate::nidtbl::NidTable;
use kapi::prelude::*;
use kapi::sync::atomic::{Atomic, Relaxed};
use osd::Walk;
use wire::cfg::{Cfg, LcfgCommand};
use wire::disk::names::Name;
use wire::svname::{FsName, SvKind, SvName, INDEX_MAX};

/// Indices in use.
pub(crate) struct Indices {
    words: KVVec<u64>,
}

impl Indices {
    fn new() -> Indices {
        Indices {
            words: KVVec::new(),
        }
    }

    /// Whether an index is in use.
    pub(crate) fn contains(&self, index: u16) -> bool {
        let word = self.words.get(usize::from(index) / 64);
        word.is_some_and(|w| w & (1 << (index % 64)) != 0)
    }

    /// An index is in use from now on.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn insert(&mut self, index: u16) -> Result {
        let n = usize::from(index) / 64;
        if n >= self.words.len() {
            self.words.resize(n + 1, 0, GFP_KERNEL)?;
        }
        *self.words.get_mut(n).ok_or(EINVAL)? |= 1 << (index % 64);
        Ok(())
    }

    /// The lowest one that is free.
    pub(crate) fn free(&self) -> Option<u16> {
        (0..=INDEX_MAX).find(|i| !self.contains(*i))
    }

    /// All in use, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let end = u32::try_from(self.words.len() * 64).unwrap_or(u32::MAX);
        let all = (0..end).filter_map(|i| u16::try_from(i).ok());
        all.filter(|i| self.contains(*i))
    }
}

/// What changes with every registration.
pub(crate) struct FsState {
    pub(crate) mdts: Indices,
    pub(crate) osts: Indices,
    /// The last step of a marker.
    pub(crate) step: u32,
    /// The clients' log has records.
    pub(crate) begun: bool,
}

impl FsState {
    /// The indices of a kind.
    pub(crate) fn indices(&self, kind: SvKind) -> &Indices {
        match kind {
            SvKind::Mdt => &self.mdts,
            SvKind::Ost => &self.osts,
        }
    }

    /// The indices of a kind.
    pub(crate) fn indices_mut(&mut self, kind: SvKind) -> &mut Indices {
        match kind {
            SvKind::Mdt => &mut self.mdts,
            SvKind::Ost => &mut self.osts,
        }
    }

    fn note(&mut self, cfg: &Cfg<'_>) -> Result {
        let Ok(command) = cfg.command() else {
            return Ok(());
        };
        match command {
            LcfgCommand::LovAddObd | LcfgCommand::LovDelObd => {
                let text = core::str::from_utf8(cfg.text(2)).map_err(|_| EINVAL)?;
                let index: u16 = text.parse().map_err(|_| EINVAL)?;
                self.osts.insert(index)?;
            }
            LcfgCommand::Attach if cfg.text(1) == b"mdc" => {
                // "lustre-MDT0000-mdc"
                let name = cfg.text(0).strip_suffix(b"-mdc").unwrap_or(cfg.text(0));
                let index = SvName::parse(name).map_or(0, |n| n.index);
                self.mdts.insert(index)?;
            }
            LcfgCommand::Marker => {
                if let Some(m) = cfg.marker() {
                    self.step = self.step.max(m.cm_step.get());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads it from the log of the clients.
    ///
    /// # Errors
    /// `EINVAL`: the log cannot be read. `EIO`, `ENOMEM`.
    pub(crate) fn load(configs: &Configs, fs: FsName) -> Result<FsState> {
        let mut state = FsState {
            mdts: Indices::new(),
            osts: Indices::new(),
            step: 1,
            begun: false,
        };
        if let Some(log) = configs.log(client_log(fs)?.as_bytes())? {
            state.begun = !log.is_empty();
            configs.scan(&log, &mut |cfg| {
                state.note(cfg)?;
                Ok(Walk::Next)
            })?;
        }
        Ok(state)
    }
}

/// "lustre-client"
pub(crate) fn client_log(fs: FsName) -> Result<Name> {
    Name::new(format_args!("{fs}-client")).map_err(|_| ENAMETOOLONG)
}

/// "lustre-OST0000"
pub(crate) fn target_log(name: &SvName) -> Result<Name> {
    Name::new(format_args!("{name}")).map_err(|_| ENAMETOOLONG)
}

/// A file system.
#[pin_data]
pub(crate) struct Fs {
    pub(crate) name: FsName,
    /// Held while its logs are being changed, so also while they are written; nobody waits for
    /// the network or for a client under it.
    #[pin]
    pub(crate) state: Mutex<FsState>,
    /// Where its targets are.
    #[pin]
    pub(crate) nids: Mutex<NidTable>,
    /// Clients that cannot be told where targets went.
    pub(crate) deaf_clients: Atomic<u32>,
}

impl Fs {
    /// Reads what there is of it.
    ///
    /// # Errors
    /// As [`FsState::load`].
    pub(crate) fn load(configs: &Configs, name: FsName, nids: NidTable) -> Result<Arc<Fs>> {
        let state = FsState::load(configs, name)?;
        Arc::pin_init(
            pin_init!(Fs {
                name,
                state <- new_mutex!(state),
                nids <- new_mutex!(nids),
                deaf_clients: Atomic::<u32>::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether all clients hear where targets went.
    pub(crate) fn all_hear(&self) -> bool {
        self.deaf_clients.load(Relaxed) == 0
    }
}
