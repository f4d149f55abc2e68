// SPDX-License-Identifier: GPL-2.0

//! Why bytes could not be read or written.

use core::fmt;

/// What is wrong with some bytes. The caller knows which errno that is in its protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// They end before the structure does.
    Short,
    /// They do not begin with the structure's magic number.
    Magic,
    /// A field has a value that the format does not allow.
    Value,
    /// They are of a kind or version that is not understood.
    Unsupported,
    /// What is to be written does not fit into the buffer or the format.
    NoRoom,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Short => "too short",
            Malformed::Magic => "wrong magic number",
            Malformed::Value => "value out of range",
            Malformed::Unsupported => "unsupported",
            Malformed::NoRoom => "does not fit",
        })
    }
}

impl core::error::Error for Malformed {}

/// The result of reading or writing a structure.
pub type Result<T> = core::result::Result<T, Malformed>;
