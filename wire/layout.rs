// SPDX-License-Identifier: GPL-2.0

//! Checks at build time that a structure is what the format says.

/// Asserts the size of a structure and the offsets of fields in it.
macro_rules! assert_layout {
    ($t:ty, $size:expr $(, $field:ident = $offset:expr)* $(,)?) => {
        const _: () = {
            assert!(::core::mem::size_of::<$t>() == $size);
            assert!(::core::mem::align_of::<$t>() == 1);
            $( assert!(::core::mem::offset_of!($t, $field) == $offset); )*
        };
    };
}
