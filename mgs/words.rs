// SPDX-License-Identifier: GPL-2.0

//! Parameters as targets and administrators give them: words of `key=value`
//! (`mgs-config.md` 3, 14, 15). Does no I/O.

use kapi::prelude::*;
use wire::nid::Nid;

/// NIDs of other nodes that a target may be on.
pub(crate) const FAILOVER_NODE: &[u8] = b"failover.node=";
/// Longest parameter.
pub(crate) const PARAM_MAX: usize = 1024;

/// The words of a list. Between quotes, `'` or `"`, spaces do not end a word; the quotes stay.
pub(crate) struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// Of `text`, up to its NUL.
    pub(crate) fn new(text: &'a [u8]) -> Words<'a> {
        Words(wire::text::get(text))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|b| *b != b' ')?;
        let rest = self.0.get(start..)?;
        let mut quote = None;
        let end = rest.iter().position(|b| match quote {
            Some(q) => {
                if *b == q {
                    quote = None;
                }
                false
            }
            None if matches!(b, b'\'' | b'"') => {
                quote = Some(*b);
                false
            }
            None => *b == b' ',
        });
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.0 = rest;
        Some(word)
    }
}

/// The value of a word with this key, `=` among the key.
pub(crate) fn value<'a>(word: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    word.strip_prefix(key)
}

/// What stands before `=`.
pub(crate) fn key(word: &[u8]) -> &[u8] {
    word.split(|b| *b == b'=').next().unwrap_or(word)
}

/// The nodes of a list of NIDs: `:` between nodes, `,` between the NIDs of one.
///
/// # Errors
/// `EINVAL`: not a NID. `ENOMEM`.
pub(crate) fn nodes(list: &[u8]) -> Result<KVec<KVec<Nid>>> {
    let mut all = KVec::new();
    for node in list.split(|b| *b == b':') {
        let mut nids = KVec::new();
        for nid in node.split(|b| *b == b',').filter(|n| !n.is_empty()) {
            let text = core::str::from_utf8(nid).map_err(|_| EINVAL)?;
            nids.push(Nid::parse(text).map_err(|_| EINVAL)?, GFP_KERNEL)?;
        }
        if !nids.is_empty() {
            all.push(nids, GFP_KERNEL)?;
        }
    }
    Ok(all)
}

/// The other nodes that a target's parameters name.
///
/// # Errors
/// As [`nodes`].
pub(crate) fn failover_nodes(params: &[u8]) -> Result<KVec<KVec<Nid>>> {
    let mut all = KVec::new();
    for list in Words::new(params).filter_map(|w| value(w, FAILOVER_NODE)) {
        for node in nodes(list)? {
            all.push(node, GFP_KERNEL)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn words() {
        let all: Vec<_> = Words::new(b"  a=1 b='x y' c=\"d e  f=2\0g=3").collect();
        assert_eq!(all, [&b"a=1"[..], b"b='x y'", b"c=\"d e  f=2"]);
        assert_eq!(Words::new(b" \0").count(), 0);
        assert_eq!((key(b"a.b=c=d"), key(b"a")), (&b"a.b"[..], &b"a"[..]));
    }

    #[test]
    fn nids() {
        let params = b"x=1 failover.node=10.0.0.1@tcp,10.0.1.1@tcp1:10.0.0.2@tcp y=2\0";
        let all = failover_nodes(params).unwrap();
        let text: Vec<Vec<_>> = all
            .iter()
            .map(|n| n.iter().map(|n| n.to_string()).collect())
            .collect();
        let want = [
            ["10.0.0.1@tcp", "10.0.1.1@tcp1"].to_vec(),
            ["10.0.0.2@tcp"].to_vec(),
        ];
        assert_eq!(text, want);
        assert_eq!(
            failover_nodes(b"failover.node=nobody@tcp").err(),
            Some(EINVAL)
        );
        assert!(failover_nodes(b"failover.node=").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_text(text in "[ a='\":,@.0-9\0]{0,60}") {
            for w in Words::new(text.as_bytes()) {
                prop_assert!(!w.is_empty() && w[0] != b' ');
                let _ = nodes(w);
            }
        }
    }
}
