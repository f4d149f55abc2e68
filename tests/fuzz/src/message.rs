// SPDX-License-Identifier: GPL-2.0

//! RPC messages.

#[path = "../../host/wire/tests/common/mod.rs"]
mod common;

use wire::msg::Message;

/// A message as it comes out of a network buffer: taken apart by what its opcode says, as a request and
/// as a reply, and put together again.
pub fn message(bytes: &[u8]) {
    let Ok(m) = Message::parse(bytes) else {
        return;
    };
    assert!(m.size() <= bytes.len());
    for i in 0..m.count() {
        assert_eq!(m.buf(i).map(<[u8]>::len), m.range(i).map(|r| r.len()));
    }
    let Ok(body) = m.body() else { return };
    let Some((request, reply)) = common::format::formats(body.pb_opc.get(), &m) else {
        return;
    };
    for format in [request, reply] {
        if let Ok(again) = common::rebuild(bytes, &format) {
            let m = Message::parse(&again).expect("what was built can be read");
            assert!(m.body().is_ok());
        }
    }
}
