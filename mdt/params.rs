// SPDX-License-Identifier: GPL-2.0

//! What administrators can see and set (`admin.md`, `mdt.*`).

use crate::device::Core;
use crate::squash::Squash;
use core::fmt::{self, Write};
use kapi::params::{Param, ParamDir};
use kapi::prelude::*;

/// What can be set while the target runs.
#[pin_data]
pub(crate) struct Params {
    /// Who the superuser of clients is.
    #[pin]
    pub(crate) squash: Mutex<Squash>,
}

impl Params {
    pub(crate) fn new() -> impl PinInit<Params> {
        pin_init!(Params {
            squash <- new_mutex!(Squash::off()),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    RootSquash,
    NosquashNids,
    MdStats,
    IdentityUpcall,
}

const ALL: &[(&str, Which)] = &[
    ("root_squash", Which::RootSquash),
    ("nosquash_nids", Which::NosquashNids),
    ("md_stats", Which::MdStats),
    ("identity_upcall", Which::IdentityUpcall),
];

struct One {
    core: Arc<Core>,
    which: Which,
}

impl Param for One {
    fn show(&self, out: &mut dyn Write) -> Result {
        let done: fmt::Result = match self.which {
            Which::RootSquash => self.core.params.squash.lock().show_ids(out),
            Which::NosquashNids => self.core.params.squash.lock().show_spared(out),
            Which::MdStats => self.core.stats.show(out),
            Which::IdentityUpcall => out.write_str("NONE\n"),
        };
        Ok(done?)
    }

    fn store(&self, value: &str) -> Result {
        self.core.set_param(self.which, value)
    }

    fn writable(&self) -> bool {
        self.which != Which::IdentityUpcall
    }
}

impl Core {
    fn set_param(&self, which: Which, value: &str) -> Result {
        match which {
            Which::RootSquash => self.params.squash.lock().set_ids(value),
            Which::NosquashNids => self.params.squash.lock().set_spared(value),
            Which::MdStats => {
                self.stats.clear();
                Ok(())
            }
            Which::IdentityUpcall => Err(EPERM),
        }
    }

    /// Sets a parameter by its name, as a configuration record or an administrator does.
    ///
    /// # Errors
    /// `ENOENT`: there is no such one. `EINVAL`: no such value. `EPERM`: it cannot be set.
    pub(crate) fn set_param_by_name(&self, name: &str, value: &str) -> Result {
        let which = ALL.iter().find(|(n, _)| *n == name).ok_or(ENOENT)?.1;
        self.set_param(which, value)
    }
}

/// The directory `mdt/NAME` of parameters.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub(crate) fn publish(core: &Arc<Core>, target: &str) -> Result<ParamDir> {
    let dir = ParamDir::new(format_args!("mdt/{target}"))?;
    for (name, which) in ALL {
        let one = One {
            core: core.clone(),
            which: *which,
        };
        dir.add(name, Arc::new(one, GFP_KERNEL)?)?;
    }
    Ok(dir)
}
