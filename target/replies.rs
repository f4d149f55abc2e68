// SPDX-License-Identifier: GPL-2.0

//! Answers to requests that changed something, kept until the client has surely got them: a
//! request that is sent again is not done again (`ptlrpc.md` 9.2).

use kapi::prelude::*;
use ptlrpc::message::Msg;

/// Answers kept for one client at the most. A well-behaved one has far fewer open.
const MAX: usize = 256;

/// An answer.
pub(crate) struct Saved {
    pub(crate) xid: u64,
    tag: u16,
    pub(crate) status: i32,
    pub(crate) transno: u64,
    pub(crate) pre_versions: [u64; 4],
    /// None for an error reply.
    pub(crate) msg: Option<Msg>,
}

impl Saved {
    pub(crate) fn new(
        xid: u64,
        tag: u16,
        status: i32,
        transno: u64,
        pre_versions: [u64; 4],
        msg: Option<Msg>,
    ) -> Saved {
        Saved {
            xid,
            tag,
            status,
            transno,
            pre_versions,
            msg,
        }
    }
}

/// The answers of one client.
pub(crate) struct Replies {
    saved: KVec<Saved>,
}

impl Replies {
    pub(crate) const fn new() -> Replies {
        Replies { saved: KVec::new() }
    }

    /// Keeps an answer. `last_xid`: the client has all answers up to this one. A new answer of
    /// the same tag says that, too.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn add(&mut self, new: Saved, last_xid: u64) -> Result {
        self.saved
            .retain(|s| s.xid > last_xid && (new.tag == 0 || s.tag != new.tag));
        if self.saved.len() >= MAX {
            // The oldest is the least likely to be asked for.
            let _ = self.saved.remove(0);
        }
        Ok(self.saved.push(new, GFP_KERNEL)?)
    }

    /// The answer to a request.
    pub(crate) fn find(&self, xid: u64) -> Option<&Saved> {
        self.saved.iter().find(|s| s.xid == xid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(xid: u64, tag: u16) -> Saved {
        Saved::new(xid, tag, 0, xid, [0; 4], None)
    }

    #[test]
    fn kept_until_known_to_be_there() {
        let mut r = Replies::new();
        r.add(saved(10, 1), 0).unwrap();
        r.add(saved(11, 2), 0).unwrap();
        assert!(r.find(10).is_some());
        // The tag is used again: its last answer is there.
        r.add(saved(12, 1), 0).unwrap();
        assert!(r.find(10).is_none() && r.find(11).is_some());
        r.add(saved(20, 3), 12).unwrap();
        assert!(r.find(11).is_none() && r.find(12).is_none() && r.find(20).is_some());
    }

    #[test]
    fn bounded() {
        let mut r = Replies::new();
        for x in 1..1000 {
            r.add(saved(x, 0), 0).unwrap();
        }
        assert_eq!(r.saved.len(), MAX);
        assert!(r.find(999).is_some() && r.find(1).is_none());
    }
}
