// SPDX-License-Identifier: GPL-2.0

//! What LNet reads from connections and module parameters.

use lnet::config::Config;
use wire::lnet::{parse_ping, Header};
use wire::nid::{Net, Nid};

fn header(bytes: &[u8]) {
    if let Ok(h) = Header::decode16(bytes) {
        let again = Header::decode16(&h.encode16()).expect("what was encoded can be decoded");
        assert_eq!(format!("{again:?}"), format!("{h:?}"));
    }
    if let Ok(h) = Header::decode4(bytes) {
        if let Ok(bytes) = h.encode4() {
            let again = Header::decode4(&bytes).expect("what was encoded can be decoded");
            assert_eq!(format!("{again:?}"), format!("{h:?}"));
        }
    }
}

fn text(text: &str) {
    if let Ok(nid) = Nid::parse(text) {
        assert_eq!(Nid::parse(&nid.to_string()).ok(), Some(nid));
    }
    let _ = Net::parse(text);
    let _ = Config::parse_networks(text);
}

/// A header of a message, ping information, or the text of a NID or of a parameter.
pub fn network(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => header(bytes),
        1 => {
            if let Some((_, nis)) = parse_ping(bytes) {
                assert!(!nis.is_empty());
            }
        }
        _ => {
            if let Ok(t) = std::str::from_utf8(bytes) {
                text(t);
            }
        }
    }
}
