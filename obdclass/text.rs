// SPDX-License-Identifier: GPL-2.0

//! Text that is made at run time: names, options, reasons.

use core::fmt::{self, Write};
use kapi::prelude::*;

/// A text that grows as it is written to; without memory, writing to it fails.
#[derive(Default)]
pub struct Text(KVVec<u8>);

impl Text {
    /// An empty one.
    pub const fn new() -> Text {
        Text(KVVec::new())
    }

    /// What is formatted.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn format(args: fmt::Arguments<'_>) -> Result<Text> {
        let mut t = Text::new();
        t.write_fmt(args).map_err(|_| ENOMEM)?;
        Ok(t)
    }

    /// A copy of a text.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn copy(s: &str) -> Result<Text> {
        Text::format(format_args!("{s}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes, for those who keep names as such.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn to_bytes(&self) -> Result<KVVec<u8>> {
        let mut v = KVVec::new();
        v.extend_from_slice(&self.0, GFP_KERNEL)?;
        Ok(v)
    }
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let r = self.0.extend_from_slice(s.as_bytes(), GFP_KERNEL);
        r.map_err(|_| fmt::Error)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says why something failed, to the administrator: the first reason that is given stays, as it
/// comes from nearest to the cause.
#[derive(Default)]
pub struct Why(Text);

impl Why {
    /// Nothing is wrong yet.
    pub const fn new() -> Why {
        Why(Text::new())
    }

    /// The error, with a reason. What to do belongs into it.
    pub fn fail<T>(&mut self, error: Error, args: fmt::Arguments<'_>) -> Result<T> {
        if self.0.is_empty() {
            // Without memory the error has to speak for itself.
            let _ = self.0.write_fmt(args);
        }
        Err(error)
    }

    /// The reason; empty if none was given.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}
