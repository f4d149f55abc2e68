// SPDX-License-Identifier: GPL-2.0

//! The file format and the headers up to TCP.

use crate::Ends;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A TCP segment.
pub struct Segment<'a> {
    /// Seconds since the epoch.
    pub time: f64,
    pub ends: Ends,
    pub seq: u32,
    pub syn: bool,
    pub ack: bool,
    /// What the capture has of its bytes.
    pub data: &'a [u8],
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// The TCP segments of a pcap file. Other packets are passed over.
pub fn read(file: &[u8]) -> Result<Vec<Segment<'_>>, String> {
    let magic = be32(file, 0).ok_or("no pcap header")?;
    let (swapped, ticks) = match magic {
        0xa1b2_c3d4 => (false, 1e6),
        0xd4c3_b2a1 => (true, 1e6),
        0xa1b2_3c4d => (false, 1e9),
        0x4d3c_b2a1 => (true, 1e9),
        m => return Err(format!("no pcap file: magic {m:#x}")),
    };
    let word = |at: usize| be32(file, at).map(|w| if swapped { w.swap_bytes() } else { w });
    if word(20) != Some(1) {
        return Err(format!("link type {:?} is not Ethernet", word(20)));
    }
    let mut all = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let cut = || format!("cut off at byte {at}");
        let (sec, frac) = (word(at).ok_or_else(cut)?, word(at + 4).ok_or_else(cut)?);
        let len = word(at + 8).ok_or_else(cut)? as usize;
        let data = file.get(at + 16..at + 16 + len).ok_or_else(cut)?;
        at += 16 + len;
        all.extend(segment(f64::from(sec) + f64::from(frac) / ticks, data));
    }
    Ok(all)
}

fn segment(time: f64, frame: &[u8]) -> Option<Segment<'_>> {
    if be16(frame, 12)? != 0x0800 {
        return None;
    }
    let ip = frame.get(14..)?;
    let header = usize::from(ip.first()? & 0xf) * 4;
    if ip.get(9) != Some(&6) {
        return None;
    }
    // A segment that is larger than the field has 0 there.
    let total = match usize::from(be16(ip, 2)?) {
        0 => ip.len(),
        n => n,
    };
    let address = |at| Some(Ipv4Addr::from(be32(ip, at)?));
    let tcp = ip.get(header..total.min(ip.len()))?;
    let flags = *tcp.get(13)?;
    let offset = usize::from(tcp.get(12)? >> 4) * 4;
    Some(Segment {
        time,
        ends: Ends {
            src: SocketAddrV4::new(address(12)?, be16(tcp, 0)?),
            dst: SocketAddrV4::new(address(16)?, be16(tcp, 2)?),
        },
        seq: be32(tcp, 4)?,
        syn: flags & 0x02 != 0,
        ack: flags & 0x10 != 0,
        data: tcp.get(offset..)?,
    })
}
