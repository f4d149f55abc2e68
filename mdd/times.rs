// SPDX-License-Identifier: GPL-2.0

//! Times that follow changes. They come from the clocks of clients, so they need not grow; what an
//! object has does not go back by itself (`mdt.md` 22).

use osd::{Attr, SetAttr, Time};

/// What a change of its attributes does to the times of an object.
pub(crate) fn touched(a: &Attr, time: i64) -> SetAttr {
    let t = Time::secs(time);
    SetAttr {
        ctime: (t >= a.ctime).then_some(t),
        ..SetAttr::default()
    }
}

/// What a change of its entries does to the times of a directory.
pub(crate) fn changed(a: &Attr, time: i64) -> SetAttr {
    let set = touched(a, time);
    SetAttr {
        mtime: set.ctime,
        ..set
    }
}
