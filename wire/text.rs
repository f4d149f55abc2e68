// SPDX-License-Identifier: GPL-2.0

//! Names in fields of fixed length, padded with NULs.

use crate::error::{Malformed, Result};

/// The text in a field: what stands before the first NUL, or all of it.
pub fn get(field: &[u8]) -> &[u8] {
    match field.iter().position(|&b| b == 0) {
        Some(n) => field.get(..n).unwrap_or(field),
        None => field,
    }
}

/// Writes `text` into a field and fills up with NULs; at least one NUL remains.
///
/// # Errors
/// [`Malformed::NoRoom`]: the text is too long; [`Malformed::Value`]: it holds a NUL. The field is unchanged then.
pub fn set(field: &mut [u8], text: &[u8]) -> Result<()> {
    if text.contains(&0) {
        return Err(Malformed::Value);
    }
    if text.len() >= field.len() {
        return Err(Malformed::NoRoom);
    }
    let (head, tail) = field.split_at_mut(text.len());
    head.copy_from_slice(text);
    tail.fill(0);
    Ok(())
}

/// The text of a buffer that must end with its only NUL (names in requests).
///
/// # Errors
/// [`Malformed::Value`]: no NUL at the end, or one before it.
pub fn terminated(buf: &[u8]) -> Result<&[u8]> {
    match buf.split_last() {
        Some((0, text)) if !text.contains(&0) => Ok(text),
        _ => Err(Malformed::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let mut f = *b"old text";
        set(&mut f, b"new").unwrap();
        assert_eq!(&f, b"new\0\0\0\0\0");
        assert_eq!(get(&f), b"new");
        assert_eq!(set(&mut f, b"12345678"), Err(Malformed::NoRoom));
        assert_eq!(set(&mut f, b"a\0b"), Err(Malformed::Value));
        assert_eq!(get(b"12345678"), b"12345678");
        assert_eq!(terminated(b"abc\0"), Ok(&b"abc"[..]));
        assert_eq!(terminated(b"\0"), Ok(&b""[..]));
        for bad in [&b""[..], b"abc", b"a\0b\0"] {
            assert_eq!(terminated(bad), Err(Malformed::Value));
        }
    }
}
