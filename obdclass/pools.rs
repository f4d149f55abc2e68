// SPDX-License-Identifier: GPL-2.0

//! Pools as an MDT follows them in its log (`mgs-config.md` 15, `admin.md` 7.4).

use crate::params::{line, show};
use crate::text::Text;
use kapi::params::ParamDir;
use kapi::prelude::*;
use mdt::{Mdt, Pools};
use mgc::Pool;
use wire::svname::{SvKind, SvName};

/// A pool of the log.
struct Known {
    name: Text,
    osts: KVec<u32>,
}

/// The pools of an MDT's log.
#[derive(Default)]
pub(crate) struct LogPools {
    all: KVec<Known>,
    /// `lod.<svname>-mdtlov.pools.*`
    shown: Option<ParamDir>,
}

fn index(uuid: &[u8]) -> Option<u32> {
    let name = SvName::parse(uuid.strip_suffix(b"_UUID")?).ok()?;
    (name.kind == SvKind::Ost).then_some(name.index.into())
}

impl LogPools {
    /// What the log says now.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn take(&mut self, pools: &[Pool]) -> Result {
        self.all.clear();
        for p in pools {
            let Ok(name) = core::str::from_utf8(&p.name) else {
                continue;
            };
            let mut osts = KVec::new();
            for i in p.osts.iter().filter_map(|uuid| index(uuid)) {
                osts.push(i, GFP_KERNEL)?;
            }
            let name = Text::copy(name)?;
            self.all.push(Known { name, osts }, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Brings an MDT to that.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn apply(&mut self, mdt: &Arc<Mdt>) -> Result {
        let mut pools = Pools::new();
        let mut names = KVec::new();
        for p in self.all.iter() {
            let mut osts = KVec::new();
            osts.extend_from_slice(&p.osts, GFP_KERNEL)?;
            match pools.add(p.name.as_str().as_bytes(), osts) {
                Ok(()) => names.push(&p.name, GFP_KERNEL)?,
                Err(e) if e == ENOMEM => return Err(e),
                Err(e) => pr_warn!("{}: pool '{}': {:?}\n", mdt.name(), p.name, e),
            }
        }
        mdt.lod().set_pools(pools);
        // Those of before are gone before there are others of the same names.
        self.shown = None;
        let dir = ParamDir::new(format_args!("lod/{}-mdtlov/pools", mdt.name()))?;
        for name in names {
            show_one(&dir, mdt, name)?;
        }
        self.shown = Some(dir);
        Ok(())
    }

    /// The MDT ends.
    pub(crate) fn end(&mut self) {
        self.shown = None;
    }
}

/// The OSTs of a pool, one in a line.
fn show_one(dir: &ParamDir, mdt: &Arc<Mdt>, name: &Text) -> Result {
    let (lod, pool) = (mdt.lod().clone(), Text::copy(name.as_str())?);
    show(dir, name.as_str(), move |out| {
        let pool = pool.as_str().as_bytes();
        lod.pool_osts(pool, &mut |uuid| line(out, uuid))
    })
}
