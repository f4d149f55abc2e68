// SPDX-License-Identifier: GPL-2.0

//! What the two ends say to each other: frames of a kind, a length (little endian) and bytes.

use std::io::{self, Read, Write};

/// The most that a frame holds.
pub const MAX: usize = 1 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To the node, first: the command's words, each ended by a zero byte.
    Command = 1,
    /// To the node: bytes for the command's standard input.
    Input,
    /// To the node: the end of that.
    InputEnd,
    /// From the node: standard output.
    Output,
    /// From the node: standard error.
    Error,
    /// From the node, last: the exit code (one byte).
    Exit,
}

impl TryFrom<u8> for Kind {
    type Error = io::Error;

    fn try_from(n: u8) -> io::Result<Kind> {
        Ok(match n {
            1 => Kind::Command,
            2 => Kind::Input,
            3 => Kind::InputEnd,
            4 => Kind::Output,
            5 => Kind::Error,
            6 => Kind::Exit,
            _ => return Err(bad("an unknown kind of frame")),
        })
    }
}

/// An error for what should not have been said.
pub fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Sends a frame.
pub fn send(to: &mut impl Write, kind: Kind, data: &[u8]) -> io::Result<()> {
    let len = u32::try_from(data.len()).map_err(|_| bad("the frame is too long"))?;
    let mut head = [kind as u8, 0, 0, 0, 0];
    head[1..].copy_from_slice(&len.to_le_bytes());
    to.write_all(&head)?;
    to.write_all(data)
}

/// Receives a frame; nothing if the other end is gone.
pub fn receive(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut kind = [0];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX {
        return Err(bad("a frame that is too long"));
    }
    let mut data = vec![0; len];
    from.read_exact(&mut data)?;
    Ok(Some((kind[0].try_into()?, data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_as_they_went() {
        let mut wire = Vec::new();
        send(&mut wire, Kind::Output, b"text").unwrap();
        send(&mut wire, Kind::Exit, &[3]).unwrap();
        let mut from = wire.as_slice();
        assert_eq!(
            receive(&mut from).unwrap(),
            Some((Kind::Output, b"text".to_vec()))
        );
        assert_eq!(receive(&mut from).unwrap(), Some((Kind::Exit, vec![3])));
        assert_eq!(receive(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert!(receive(&mut [9u8, 0, 0, 0, 0].as_slice()).is_err());
        assert!(receive(&mut [4u8, 0xff, 0xff, 0xff, 0xff].as_slice()).is_err());
        assert!(receive(&mut [4u8, 2, 0, 0, 0, 1].as_slice()).is_err());
    }
}
