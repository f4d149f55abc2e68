// SPDX-License-Identifier: GPL-2.0

//! Parameters that stay, as administrators and clients bring them (`mgs-config.md` 7.4, 15).

use crate::configs::{Batch, PARAMS};
use crate::params::{terminated, Entry, Setting};
use crate::revoke::{params_topic, topic};
use crate::section::text;
use crate::service::Mgs;
use crate::words::{key, PARAM_MAX};
use kapi::prelude::*;
use osd::Walk;
use target::{Request, Served};
use wire::cfg::LcfgCommand;
use wire::disk::names::Name;
use wire::mgs::{MgsConfigType, MgsSendParam};
use wire::svname::{FsName, SvName};

impl Mgs {
    /// `lctl conf_param`: a parameter of a target ("lustre-OST0000") or of a file system
    /// ("lustre"), in the logs of who needs it. With `delete`, or an empty value, it is taken
    /// back.
    ///
    /// # Errors
    /// `EINVAL`: no such file system, or not a value that the parameter can have. `EPERM`: it
    /// cannot be changed like this. `ENOENT`: the target has not registered. `EIO`, `ENOMEM`.
    pub fn conf_param(&self, device: &[u8], param: &[u8], delete: bool) -> Result {
        let target = SvName::parse(device).ok();
        let fs = match &target {
            Some(t) => t.fs,
            None => FsName::new(device).map_err(|_| EINVAL)?,
        };
        let known = match self.fs(fs) {
            Err(e) if e == ENOENT => return Err(EINVAL),
            other => other?,
        };
        if target.is_some() && param.starts_with(b"llite.") {
            return Err(EINVAL);
        }
        let setting = Setting {
            fs,
            target,
            registering: false,
            fresh: false,
            delete,
        };
        let done = {
            let mut state = known.state.lock();
            if !state.begun {
                return Err(EINVAL);
            }
            if target.is_some_and(|t| !state.indices(t.kind).contains(t.index)) {
                return Err(ENOENT);
            }
            let step = state.step;
            let mut batch = Batch::new(&self.configs);
            let done = setting
                .write(&mut batch, &mut state, param)
                .and_then(|()| batch.commit());
            if done.is_err() {
                state.step = step;
            }
            done
        };
        self.announce(fs)?;
        done
    }

    /// The logs of a file system have changed: they are made safe, and who follows them is told.
    ///
    /// # Errors
    /// `EIO`: the store gave up. `ENODEV`: the MGS stops.
    pub(crate) fn announce(&self, fs: FsName) -> Result {
        self.configs.osd().sync()?;
        let target = self.target()?;
        self.revoker
            .now(target.namespace(), topic(fs, MgsConfigType::Config));
        Ok(())
    }

    /// `lctl set_param -P`: a parameter that every node sets with `lctl set_param`.
    ///
    /// # Errors
    /// `EINVAL`: not a parameter. `EPERM`, `EOPNOTSUPP`: not one that goes this way. `ENOENT`:
    /// there is nothing to take back. `EIO`, `ENOMEM`.
    pub fn set_param(&self, param: &[u8], delete: bool) -> Result {
        let name = key(param);
        if name.is_empty() || param.len() > PARAM_MAX || !param.is_ascii() {
            return Err(EINVAL);
        }
        if name == b"mgsnode" || name == b"network" {
            return Ok(());
        }
        if name == b"failover.mode" {
            return Err(EPERM);
        }
        if name.starts_with(b"srpc.") {
            return Err(EINVAL);
        }
        if contains(name, b"failover.node") {
            // That is not one parameter but sections of many logs.
            return Err(EOPNOTSUPP);
        }
        let squash = contains(name, b"root_squash") || contains(name, b"nosquash_nids");
        if squash && name.starts_with(b"llite.") {
            return Err(EINVAL);
        }
        let of = self.whose(name)?;
        let value = terminated(param)?;
        let entry = Entry {
            command: LcfgCommand::SetParam,
            num: 0,
            device: of.as_bytes(),
            bufs: &[&value, b"lctl\0"],
        };
        // Steps count for each log; this one has no file system.
        let all = self.fs_or_new(FsName::new(PARAMS).map_err(|_| EINVAL)?)?;
        let (fs, target) = (all.name, None);
        let setting = Setting {
            fs,
            target,
            registering: false,
            fresh: false,
            delete,
        };
        let done = {
            let mut state = all.state.lock();
            state.step = state.step.max(self.last_step(PARAMS)?);
            let mut batch = Batch::new(&self.configs);
            let bare = wire::text::get(of.as_bytes());
            setting
                .section(&mut batch, &mut state, PARAMS, bare, param, &entry)
                .and_then(|found| match delete && !found {
                    true => Err(ENOENT),
                    false => batch.commit(),
                })
        };
        self.configs.osd().sync()?;
        let target = self.target()?;
        self.revoker.now(target.namespace(), params_topic());
        done
    }

    /// The last step of a log's markers.
    fn last_step(&self, log: &[u8]) -> Result<u32> {
        let mut step = 1;
        if let Some(log) = self.configs.log(log)? {
            self.configs.scan(&log, &mut |cfg| {
                if let Some(m) = cfg.marker() {
                    step = step.max(m.cm_step.get());
                }
                Ok(Walk::Next)
            })?;
        }
        Ok(step)
    }

    /// The file system whose name stands behind the first dot of a parameter, or "general".
    fn whose(&self, name: &[u8]) -> Result<Name> {
        let rest = name
            .iter()
            .position(|b| *b == b'.')
            .and_then(|n| name.get(n + 1..));
        let mut found = None;
        if let Some(rest) = rest {
            self.for_each_known(&mut |fs| {
                if fs.name.as_bytes() != PARAMS && contains(rest, fs.name.as_bytes()) {
                    found = Some(fs.name);
                }
            });
        }
        match found {
            Some(fs) => text(format_args!("{fs}")),
            None => text(format_args!("general")),
        }
    }

    /// MGS_SET_INFO: what clients of old releases send when the layout of the root directory is
    /// set. The layout itself is with the directory, which is where it counts.
    pub(crate) fn set_info(&self, req: &mut Request<'_>) -> Result<Served> {
        let param = req.rpc.get::<MgsSendParam>(1)?.mgs_param;
        let text = wire::text::get(&param);
        if text.is_empty() || text.len() == param.len() {
            return Err(EINVAL);
        }
        let dot = text.iter().position(|b| *b == b'.').ok_or(EINVAL)?;
        let rest = text.get(dot + 1..).unwrap_or(&[]);
        let known = [
            &b"lov.stripesize="[..],
            b"lov.stripecount=",
            b"lov.stripeoffset=",
        ];
        if !known.iter().any(|k| rest.starts_with(k)) {
            return Err(EINVAL);
        }
        req.rpc.pack_reply(&[size_of::<MgsSendParam>() as u32])?;
        req.rpc.reply_mut()?.get_mut::<MgsSendParam>(1)?.mgs_param = param;
        Ok(Served::Reply(0))
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}
