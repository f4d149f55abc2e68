// SPDX-License-Identifier: GPL-2.0

//! Pools of OSTs, which stand in the logs of clients and MDTs (`mgs-config.md` 15).

use crate::configs::{skip, Batch};
use crate::fs::{client_log, target_log, FsState};
use crate::section::text;
use crate::service::Mgs;
use kapi::prelude::*;
use osd::Walk;
use wire::cfg::{Cfg, CmFlags, LcfgCommand};
use wire::disk::names::Name;
use wire::error::Malformed;
use wire::lov::PoolName;
use wire::svname::{FsName, SvKind, SvName};

/// What is done with a pool. OSTs have names such as "lustre-OST0000_UUID".
#[derive(Clone, Copy, Debug)]
pub enum PoolChange<'a> {
    /// It is made.
    New,
    /// An OST is put into it.
    Add(&'a [u8]),
    /// An OST is taken out of it.
    Remove(&'a [u8]),
    /// It ends.
    Destroy,
}

/// A pool that is changed: how it is.
struct Known<'a> {
    fs: FsName,
    name: &'a [u8],
    exists: bool,
    members: KVec<SvName>,
}

fn ost(fs: FsName, uuid: &[u8]) -> Option<SvName> {
    let name = SvName::parse(uuid.strip_suffix(b"_UUID")?).ok()?;
    (name.fs == fs && name.kind == SvKind::Ost).then_some(name)
}

impl<'a> Known<'a> {
    /// What the log of the clients says of it.
    fn read(batch: &mut Batch<'_>, fs: FsName, name: &'a [u8]) -> Result<Known<'a>> {
        let mut pool = Known {
            fs,
            name,
            exists: false,
            members: KVec::new(),
        };
        let Some(log) = batch.log(client_log(fs)?.as_bytes())? else {
            return Ok(pool);
        };
        let mut counts = false;
        batch.configs().scan(&log, &mut |cfg| {
            if let Some(m) = cfg.marker() {
                counts = !m.flags().contains(CmFlags::SKIP);
            } else if counts && cfg.text(2) == name {
                pool.follow(cfg)?;
            }
            Ok(Walk::Next)
        })?;
        Ok(pool)
    }

    fn follow(&mut self, cfg: &Cfg<'_>) -> Result {
        let member = ost(self.fs, cfg.text(3));
        match cfg.command() {
            Ok(LcfgCommand::PoolNew) => self.exists = true,
            Ok(LcfgCommand::PoolDel) => self.exists = false,
            Ok(LcfgCommand::PoolAdd) => {
                if let Some(m) = member {
                    self.members.push(m, GFP_KERNEL)?;
                }
            }
            Ok(LcfgCommand::PoolRem) => self.members.retain(|m| Some(*m) != member),
            _ => {}
        }
        Ok(())
    }

    /// Whether this can be done.
    fn check(&self, state: &FsState, change: PoolChange<'_>) -> Result {
        match change {
            PoolChange::New if self.exists => Err(EEXIST),
            PoolChange::New => Ok(()),
            PoolChange::Destroy if !self.exists => Err(ENOENT),
            PoolChange::Destroy if !self.members.is_empty() => Err(ENOTEMPTY),
            PoolChange::Destroy => Ok(()),
            PoolChange::Add(_) | PoolChange::Remove(_) if !self.exists => Err(ENOMEDIUM),
            PoolChange::Add(uuid) => {
                let ost = ost(self.fs, uuid).ok_or(EINVAL)?;
                if !state.osts.contains(ost.index) {
                    return Err(ENODEV);
                }
                match self.members.contains(&ost) {
                    true => Err(EEXIST),
                    false => Ok(()),
                }
            }
            PoolChange::Remove(uuid) => {
                let ost = ost(self.fs, uuid).ok_or(EINVAL)?;
                match self.members.contains(&ost) {
                    true => Ok(()),
                    false => Err(ENOENT),
                }
            }
        }
    }

    /// Writes it to the log of `lov`, a device.
    fn write(
        &self,
        batch: &mut Batch<'_>,
        step: &mut u32,
        (log, lov): (&Name, &Name),
        change: PoolChange<'_>,
    ) -> Result {
        if batch.is_empty(log.as_bytes())? {
            return Ok(());
        }
        let utf8 = |text| core::str::from_utf8(text).map_err(|_| EINVAL);
        let (fs, name) = (self.fs, utf8(self.name)?);
        // What the section is called, and the one that it takes back.
        let (command, word, undone, uuid) = match change {
            PoolChange::New => (LcfgCommand::PoolNew, "new", None, None),
            PoolChange::Add(u) => (LcfgCommand::PoolAdd, "add", None, Some(u)),
            PoolChange::Remove(u) => (LcfgCommand::PoolRem, "rem", Some("add"), Some(u)),
            PoolChange::Destroy => (LcfgCommand::PoolDel, "del", Some("new"), None),
        };
        let comment = |word: &str| match uuid {
            Some(u) => text(format_args!("{word} {fs}.{name}.{}", utf8(u)?)),
            None => text(format_args!("{word} {fs}.{name}")),
        };
        let target = wire::text::get(lov.as_bytes());
        if let Some(word) = undone {
            let old = comment(word)?;
            let old = wire::text::get(old.as_bytes());
            batch.mark(log.as_bytes(), target, old, &skip)?;
        }
        let (fs, name) = (text(format_args!("{fs}"))?, text(format_args!("{name}"))?);
        let uuid = match uuid {
            Some(u) => Some(text(format_args!("{}", utf8(u)?))?),
            None => None,
        };
        let bufs: [&[u8]; 4] = [
            lov.as_bytes(),
            fs.as_bytes(),
            name.as_bytes(),
            uuid.as_ref().map_or(&[], |u| u.as_bytes()),
        ];
        let bufs = bufs.get(..3 + usize::from(uuid.is_some()));
        let comment = comment(word)?;
        let comment = wire::text::get(comment.as_bytes());
        let r = batch.records(log.as_bytes())?;
        r.start(step, CmFlags::empty(), target, comment)?;
        r.command(command, bufs.ok_or(EINVAL)?)?;
        r.end(step, CmFlags::empty(), target, comment)
    }
}

impl Mgs {
    /// `lctl pool_new` and the like: changes pool "lustre.name".
    ///
    /// # Errors
    /// `EINVAL`: no such file system, not a name that a pool or an OST can have. `ENAMETOOLONG`.
    /// `EEXIST`: the pool is there, or the OST is in it. `ENOENT`: no such pool to destroy, or the OST is
    /// not in it. `ENOMEDIUM`: no such pool. `ENOTEMPTY`: it has OSTs. `ENODEV`: no such OST. `EIO`,
    /// `ENOMEM`, `ENOSPC`.
    pub fn change_pool(&self, pool: &[u8], change: PoolChange<'_>) -> Result {
        let dot = pool.iter().position(|b| *b == b'.').ok_or(EINVAL)?;
        let (fs, name) = pool.split_at_checked(dot).ok_or(EINVAL)?;
        let fs = FsName::new(fs).map_err(|_| EINVAL)?;
        let name = name.get(1..).unwrap_or_default();
        PoolName::new(name).map_err(|e| match e {
            Malformed::NoRoom => ENAMETOOLONG,
            _ => EINVAL,
        })?;
        let known = match self.fs(fs) {
            Err(e) if e == ENOENT => return Err(EINVAL),
            other => other?,
        };
        {
            let mut state = known.state.lock();
            if !state.begun {
                return Err(EINVAL);
            }
            let mut batch = Batch::new(&self.configs);
            let pool = Known::read(&mut batch, fs, name)?;
            pool.check(&state, change)?;
            let mut step = state.step;
            // Clients come last: what they name is known to the MDTs.
            for i in state.mdts.iter() {
                let mdt = SvName {
                    fs,
                    kind: SvKind::Mdt,
                    index: i,
                };
                let lov = text(format_args!("{mdt}-mdtlov"))?;
                pool.write(&mut batch, &mut step, (&target_log(&mdt)?, &lov), change)?;
            }
            let lov = text(format_args!("{fs}-clilov"))?;
            pool.write(&mut batch, &mut step, (&client_log(fs)?, &lov), change)?;
            batch.commit()?;
            state.step = step;
        }
        self.announce(fs)
    }
}
