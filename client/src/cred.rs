// SPDX-License-Identifier: GPL-2.0

//! Who asks for an operation (spec `mdt.md` 19.1).

use wire::mdt::{MdtBody, NO_GROUP};
use wire::reint::RecHead;

/// Every capability of the 32 that the protocol carries.
const ALL_CAPS: u32 = u32::MAX;

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cred {
    /// File system user.
    pub uid: u32,
    /// File system group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Cred {
    /// The superuser.
    pub fn root() -> Cred {
        Cred::default()
    }

    /// The capabilities: all of the superuser's, none of others'.
    pub fn caps(&self) -> u32 {
        if self.uid == 0 {
            ALL_CAPS
        } else {
            0
        }
    }

    /// `group` if the caller is in it by a supplementary group.
    pub fn offer(&self, group: Option<u32>) -> u32 {
        match group {
            Some(g) if self.groups.contains(&g) => g,
            _ => NO_GROUP,
        }
    }

    /// Fills in the fields of a body.
    pub fn fill_body(&self, b: &mut MdtBody, group: Option<u32>) {
        b.mbo_uid.set(self.uid);
        b.mbo_gid.set(self.gid);
        b.mbo_fsuid.set(self.uid);
        b.mbo_fsgid.set(self.gid);
        b.mbo_capability.set(self.caps());
        b.mbo_suppgid.set(self.offer(group));
    }

    /// The head of a record; the groups are those of its first and second object.
    pub fn head(&self, op: wire::reint::ReintOp, g1: Option<u32>, g2: Option<u32>) -> RecHead {
        let mut h = RecHead::default();
        h.opcode.set(op as u32);
        h.cap.set(self.caps());
        h.fsuid.set(self.uid);
        h.fsgid.set(self.gid);
        h.suppgid1.set(self.offer(g1));
        h.suppgid2.set(self.offer(g2));
        h
    }
}
