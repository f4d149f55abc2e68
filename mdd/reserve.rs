// SPDX-License-Identifier: GPL-2.0

//! Objects on OSTs are reserved before names and layouts are locked: it may take seconds.

use crate::creds::Creds;
use crate::layouts::NewLayout;
use crate::Mdd;
use kapi::prelude::*;
use osd::ObjectRef;
use wire::disk::linkea::{LinkEa, XATTR_NAME_LINK};

/// The layout of a file that has none.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// None yet.
    None,
    /// By the defaults of the directories.
    Default,
    /// This one.
    User(&'a [u8]),
}

/// A layout with objects for a file that is to get one, or why there is none: what uses it fails
/// with that once all else is found right. Dropped unused, the objects go back.
pub struct Reserved {
    layout: Result<Option<KBox<dyn NewLayout>>>,
    /// A user wished for it.
    wished: bool,
    /// The size of the file that it is for, which its objects have.
    size: u64,
}

impl Reserved {
    /// No layout.
    pub fn none() -> Reserved {
        Reserved {
            layout: Ok(None),
            wished: false,
            size: 0,
        }
    }

    /// Whether a user wished for it.
    pub(crate) fn is_wished(&self) -> bool {
        self.wished
    }

    /// The size of the file that it is for.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The layout.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn layout(self) -> Result<Option<KBox<dyn NewLayout>>> {
        self.layout
    }
}

impl Mdd {
    /// Reserves what a new file in `dir` is to have. It may wait for OSTs, so the caller holds no
    /// locks.
    pub fn reserve(&self, c: &Creds, dir: &ObjectRef, wish: Wish<'_>) -> Reserved {
        let user = match wish {
            Wish::None => return Reserved::none(),
            Wish::Default => None,
            Wish::User(w) => Some(w),
        };
        // Nobody waits who may not make a file there.
        let may = dir.attr().and_then(|a| self.may_create(dir, &a, c));
        Reserved {
            layout: may.and_then(|()| self.prepare(Some(dir), user)).map(Some),
            wished: user.is_some(),
            size: 0,
        }
    }

    /// Reserves what a file without a layout is to have: what `user` wished for, else by the
    /// defaults. It may wait for OSTs, so the caller holds no locks.
    pub fn reserve_for(&self, o: &ObjectRef, user: Option<&[u8]>) -> Reserved {
        let mut size = 0;
        let mut layout = || {
            let a = o.attr()?;
            if !a.is_file() || self.layout(o)?.is_some() {
                return Ok(None);
            }
            let dir = self.first_parent(o)?;
            let mut layout = self.prepare(dir.as_ref(), user)?;
            if a.size > 0 {
                layout.set_size(a.size)?;
                size = a.size;
            }
            Ok(Some(layout))
        };
        Reserved {
            layout: layout(),
            wished: user.is_some(),
            size,
        }
    }

    fn prepare(&self, dir: Option<&ObjectRef>, user: Option<&[u8]>) -> Result<KBox<dyn NewLayout>> {
        let parent = match dir {
            Some(d) => self.layout(d)?,
            None => None,
        };
        let root = match dir {
            Some(d) if d.fid().is_root() => None,
            _ => self.layout(&self.root)?,
        };
        self.layouts
            .prepare(user, parent.as_deref(), root.as_deref())
    }

    /// The directory of the first recorded name of an object.
    fn first_parent(&self, o: &ObjectRef) -> Result<Option<ObjectRef>> {
        let Some(ea) = o.xattr_opt(XATTR_NAME_LINK)? else {
            return Ok(None);
        };
        let first = LinkEa::parse(&ea)
            .ok()
            .and_then(|l| l.links().next().map(|l| l.parent));
        match first {
            Some(fid) => Ok(self.object(&fid).ok()),
            None => Ok(None),
        }
    }
}
