// SPDX-License-Identifier: GPL-2.0

//! `trusted.link` of an object, read to be changed and written in a transaction.

use kapi::prelude::*;
use osd::{Fid, ObjectRef, Plan, Transaction};
use wire::disk::linkea::{Link, LinkEa, LinkEaBuf, MAX_LINKEA_SIZE, XATTR_NAME_LINK};

/// The links of an object.
pub(crate) struct Links {
    buf: KVVec<u8>,
    len: usize,
}

impl Links {
    /// None yet.
    pub(crate) fn new() -> Result<Links> {
        let mut buf = KVVec::from_elem(0u8, MAX_LINKEA_SIZE, GFP_NOFS)?;
        let len = LinkEaBuf::new(&mut buf)
            .map_err(|_| EINVAL)?
            .as_bytes()
            .len();
        Ok(Links { buf, len })
    }

    /// Those of an object. An xattr that is missing or damaged counts as none.
    pub(crate) fn read(o: &ObjectRef) -> Result<Links> {
        let mut links = Links::new()?;
        if let Some(old) = o.xattr_opt(XATTR_NAME_LINK)? {
            if LinkEa::parse(&old).is_ok() {
                if let Some(to) = links.buf.get_mut(..old.len()) {
                    to.copy_from_slice(&old);
                    links.len = old.len();
                }
            }
        }
        Ok(links)
    }

    /// Records a link; one that is known stays, one that does not fit is noted as missing.
    pub(crate) fn add(&mut self, parent: &Fid, name: &[u8], now: i64) -> Result {
        let link = Link {
            parent: *parent,
            name,
        };
        let mut ea = LinkEaBuf::load(&mut self.buf, self.len).map_err(|_| EIO)?;
        if !ea.links().any(|l| l == link) {
            ea.add(&link, now as u32).map_err(|_| EINVAL)?;
        }
        self.len = ea.as_bytes().len();
        Ok(())
    }

    /// Forgets a link.
    pub(crate) fn remove(&mut self, parent: &Fid, name: &[u8]) -> Result {
        let link = Link {
            parent: *parent,
            name,
        };
        let mut ea = LinkEaBuf::load(&mut self.buf, self.len).map_err(|_| EIO)?;
        ea.remove(&link).map_err(|_| EIO)?;
        self.len = ea.as_bytes().len();
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }

    /// Plans to write it.
    pub(crate) fn plan(&self, plan: &mut Plan, o: &ObjectRef) -> Result {
        plan.xattr(o, self.len)
    }

    /// Writes it.
    pub(crate) fn write(&self, tx: &mut Transaction, o: &ObjectRef) -> Result {
        tx.set_xattr(o, XATTR_NAME_LINK, self.bytes())
    }
}
