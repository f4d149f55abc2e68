// SPDX-License-Identifier: GPL-2.0

//! Streams out of segments: in whatever order they came, however often.

use crate::packet::Segment;
use crate::Ends;
use std::collections::BTreeMap;

/// What one end sent.
pub struct Stream {
    /// From where to where.
    pub ends: Ends,
    /// The bytes up to the first that the capture lacks.
    pub bytes: Vec<u8>,
    /// Whether the capture has the connection from its beginning.
    pub from_start: bool,
    /// Bytes behind the first that is lacking.
    pub lost: usize,
    /// Where the pieces begin, and when they came.
    times: Vec<(usize, f64)>,
}

impl Stream {
    /// When byte `at` came for the first time.
    pub fn time(&self, at: usize) -> f64 {
        let i = self.times.partition_point(|(start, _)| *start <= at);
        i.checked_sub(1).map_or(0.0, |i| self.times[i].1)
    }
}

/// A TCP connection. An end that sent nothing has an empty stream.
pub struct Connection {
    /// From the end that made the connection, and from the other; if the capture does not have
    /// the beginning, the end whose port is not [`PORT`](crate::PORT) is taken for the first.
    pub streams: [Stream; 2],
}

/// The pieces of a stream by their place in it.
struct Half {
    ends: Ends,
    first: u32,
    from_start: bool,
    pieces: BTreeMap<i64, (f64, Vec<u8>)>,
}

impl Half {
    fn new(ends: Ends, first: u32, from_start: bool) -> Half {
        Half {
            ends,
            first,
            from_start,
            pieces: BTreeMap::new(),
        }
    }

    /// The place of a sequence number, which has gone round at most once since the first.
    fn place(&self, seq: u32) -> i64 {
        let forward = seq.wrapping_sub(self.first);
        // What was sent before the first segment that we have seen is behind it.
        if forward > u32::MAX - (1 << 24) {
            i64::from(forward as i32)
        } else {
            i64::from(forward)
        }
    }

    fn add(&mut self, s: &Segment<'_>) {
        let at = self.place(s.seq);
        match self.pieces.get(&at) {
            // Sent again, with more behind it.
            Some((time, old)) if old.len() < s.data.len() => {
                let time = *time;
                self.pieces.insert(at, (time, s.data.to_vec()));
            }
            Some(_) => {}
            None => {
                self.pieces.insert(at, (s.time, s.data.to_vec()));
            }
        }
    }

    fn finish(self) -> Stream {
        let (mut bytes, mut times) = (Vec::new(), Vec::new());
        let start = match self.pieces.first_key_value() {
            Some((at, _)) if !self.from_start => *at,
            _ => 0,
        };
        let mut lost = 0;
        for (at, (time, data)) in self.pieces {
            let known = start + bytes.len() as i64;
            if lost > 0 || at > known {
                lost += data.len();
            } else if let Some(new) = data.get((known - at) as usize..).filter(|n| !n.is_empty()) {
                times.push((bytes.len(), time));
                bytes.extend_from_slice(new);
            }
        }
        Stream {
            ends: self.ends,
            bytes,
            from_start: self.from_start,
            lost,
            times,
        }
    }
}

impl Ends {
    fn reversed(self) -> Ends {
        Ends {
            src: self.dst,
            dst: self.src,
        }
    }
}

/// Puts the streams together.
pub fn reassemble(segments: &[Segment<'_>]) -> Vec<Connection> {
    let mut done: Vec<[Half; 2]> = Vec::new();
    // The newest connection between two ends, by the one that made it.
    let mut open: BTreeMap<Ends, usize> = BTreeMap::new();
    for s in segments {
        let back = s.ends.reversed();
        let first = s.seq.wrapping_add(u32::from(s.syn));
        let known = open.get(&s.ends).or_else(|| open.get(&back)).copied();
        let again = known.filter(|i| {
            // Not a new connection, unless a SYN says so.
            !s.syn
                || s.ack
                || done[*i]
                    .iter()
                    .any(|h| h.ends == s.ends && h.from_start && h.first == first)
        });
        let i = match again {
            Some(i) => i,
            None => {
                open.remove(&back);
                let opener = (s.syn && !s.ack) || s.ends.dst.port() == crate::PORT;
                let ends = if opener { s.ends } else { back };
                open.insert(ends, done.len());
                done.push([ends, ends.reversed()].map(|e| Half::new(e, 0, false)));
                done.len() - 1
            }
        };
        let Some(half) = done[i].iter_mut().find(|h| h.ends == s.ends) else {
            continue;
        };
        if s.syn {
            *half = Half::new(s.ends, first, true);
        } else if !s.data.is_empty() {
            if !half.from_start && half.pieces.is_empty() {
                half.first = s.seq;
            }
            half.add(s);
        }
    }
    done.into_iter()
        .map(|halves| Connection {
            streams: halves.map(Half::finish),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn segment(from: u16, to: u16, seq: u32, syn: bool, data: &[u8]) -> Segment<'_> {
        let end = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Segment {
            time: f64::from(seq),
            ends: Ends {
                src: end(from),
                dst: end(to),
            },
            seq,
            syn,
            ack: !syn || from == 988,
            data,
        }
    }

    #[test]
    fn disorder_and_repetition() {
        let all = [
            segment(1023, 988, u32::MAX - 2, true, b""),
            segment(988, 1023, 7, true, b""),
            segment(1023, 988, u32::MAX - 1, false, b"ab"),
            segment(1023, 988, 4, false, b"g"),
            segment(1023, 988, 0, false, b"cd"),
            segment(1023, 988, u32::MAX, false, b"bcde"),
            segment(1023, 988, 3, false, b"fg"),
            segment(988, 1023, 8, false, b"answer"),
            segment(1023, 988, 9, false, b"behind a hole"),
            segment(1023, 988, 100, true, b""),
            segment(1023, 988, 101, false, b"new"),
        ];
        let c = reassemble(&all);
        assert_eq!(c.len(), 2);
        assert_eq!(c[0].streams[0].bytes, b"abcdefg");
        assert_eq!(c[0].streams[0].lost, 13);
        assert!(c[0].streams[0].from_start);
        assert_eq!(c[0].streams[0].time(5), 3.0);
        assert_eq!(c[0].streams[1].bytes, b"answer");
        assert_eq!(c[1].streams[0].bytes, b"new");
    }

    #[test]
    fn from_the_middle() {
        let all = [
            segment(988, 1023, 50, false, b"cd"),
            segment(988, 1023, 48, false, b"ab"),
            segment(1023, 988, 9, false, b"x"),
        ];
        let c = reassemble(&all);
        assert_eq!(c.len(), 1);
        assert_eq!(c[0].streams[0].bytes, b"x");
        assert_eq!(c[0].streams[1].bytes, b"abcd");
        assert!(!c[0].streams[1].from_start);
    }
}
