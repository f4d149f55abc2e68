// SPDX-License-Identifier: GPL-2.0

//! A lock request with its handles (`spec/ldlm.md` 3.6).

use super::{LdlmRequest, LustreHandle, REQUEST_HANDLES};
use crate::error::{Malformed, Result};
use zerocopy::FromBytes;

/// Bytes of a request with `handles` handles; it has two slots at least.
pub const fn request_size(handles: usize) -> Option<usize> {
    let slots = if handles < REQUEST_HANDLES {
        REQUEST_HANDLES
    } else {
        handles
    };
    match slots.checked_mul(size_of::<LustreHandle>()) {
        Some(n) => n.checked_add(size_of::<LdlmRequest>()),
        None => None,
    }
}

/// A request that was received. Its count fits its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What stands before the handles.
    pub head: &'a LdlmRequest,
    /// All slots that there are bytes for, also behind the count.
    pub slots: &'a [LustreHandle],
}

impl<'a> Request<'a> {
    /// Looks at a buffer.
    ///
    /// # Errors
    /// [`Malformed::Short`]: not even one handle; [`Malformed::Value`]: the count goes beyond
    /// the buffer.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (head, rest) = LdlmRequest::ref_from_prefix(bytes).map_err(|_| Malformed::Short)?;
        let (slots, _) = <[LustreHandle]>::ref_from_prefix_with_elems(
            rest,
            rest.len() / size_of::<LustreHandle>(),
        )
        .map_err(|_| Malformed::Short)?;
        if slots.is_empty() {
            return Err(Malformed::Short);
        }
        let request = Request { head, slots };
        match slots.get(..request.count()) {
            Some(_) => Ok(request),
            None => Err(Malformed::Value),
        }
    }

    /// How many handles count.
    pub fn count(&self) -> usize {
        usize::try_from(self.head.lock_count.get())
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// The handles that count.
    pub fn handles(&self) -> &'a [LustreHandle] {
        self.slots.get(..self.count()).unwrap_or(&[])
    }

    /// The handle in a slot; in callbacks the second one is used though the count is 0. No slot,
    /// no handle.
    pub fn handle(&self, slot: usize) -> LustreHandle {
        self.slots.get(slot).copied().unwrap_or_default()
    }
}

/// Writes a request with its handles into `out`, whose remaining slots become zero.
/// `head.lock_count` is left as it is: callbacks have 0 there.
///
/// # Errors
/// [`Malformed::NoRoom`]: `out` is not of the size that [`request_size`] tells.
pub fn write_handles(out: &mut [u8], head: &LdlmRequest, handles: &[u64]) -> Result<()> {
    if request_size(handles.len()) != Some(out.len()) {
        return Err(Malformed::NoRoom);
    }
    let (to, rest) = LdlmRequest::mut_from_prefix(out).map_err(|_| Malformed::NoRoom)?;
    *to = *head;
    let slots = <[LustreHandle]>::mut_from_bytes(rest).map_err(|_| Malformed::NoRoom)?;
    let all = handles.iter().copied().chain(core::iter::repeat(0));
    for (slot, cookie) in slots.iter_mut().zip(all) {
        *slot = LustreHandle::new(cookie);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(request_size(0), Some(104));
        assert_eq!(request_size(2), Some(104));
        assert_eq!(request_size(153), Some(1312));
        assert_eq!(request_size(usize::MAX), None);
    }

    #[test]
    fn counts() {
        let mut head = LdlmRequest::default();
        head.lock_count.set(3);
        let mut b = vec![0xff; 112];
        write_handles(&mut b, &head, &[1, 2, 3]).unwrap();
        let r = Request::parse(&b).unwrap();
        assert_eq!(
            r.handles()
                .iter()
                .map(|h| h.cookie.get())
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert!(write_handles(&mut b, &head, &[1]).is_err());
        assert_eq!(Request::parse(&b[..104]).err(), Some(Malformed::Value));
        assert_eq!(Request::parse(&b[..95]).err(), Some(Malformed::Short));
        b[4] = 0;
        assert_eq!(Request::parse(&b[..96]).unwrap().handles().len(), 1);
        b[4..8].fill(0xff);
        assert_eq!(Request::parse(&b).err(), Some(Malformed::Value));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(b in proptest::collection::vec(0u8.., 0..200), slot: usize) {
            if let Ok(r) = Request::parse(&b) {
                proptest::prop_assert_eq!(r.handles().len(), r.count());
                let _ = (r.handle(slot), r.head.lock_desc.lock_type(), r.head.lock_desc.granted_mode());
            }
        }
    }
}
