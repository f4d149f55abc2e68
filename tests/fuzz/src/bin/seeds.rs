// SPDX-License-Identifier: GPL-2.0

//! Writes what fuzzing begins with: seeds DIRECTORY. The messages of the recorded traffic, where the
//! machine has it, one of every opcode, direction and size.
#![forbid(unsafe_code)]

use pcap_reader::{captures, Capture, Kind};
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use wire::msg::Message;

/// Enough for a few of each kind.
const PER_CAPTURE: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: seeds DIRECTORY")?;
    let dir = Path::new(&dir);
    for sub in ["message", "network", "blobs"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    fs::write(dir.join("network/nid"), "\x0210.9.0.1@tcp")?;
    fs::write(
        dir.join("network/networks"),
        "\x02tcp0(eth0),tcp1(10.0.0.1)",
    )?;
    let mut seen = BTreeSet::new();
    for path in captures().unwrap_or_default() {
        let mut left = PER_CAPTURE;
        for item in Capture::open(&path)?.items()? {
            let Kind::Lnet(frame) = &item.kind else {
                continue;
            };
            let Ok(m) = Message::parse(&frame.payload) else {
                continue;
            };
            let Ok(body) = m.body() else { continue };
            let kind = (body.pb_opc.get(), body.pb_type.get(), frame.payload.len());
            if left > 0 && seen.insert(kind) {
                left -= 1;
                let name = format!("{}-{}-{}", kind.0, kind.1, kind.2);
                fs::write(dir.join("message").join(&name), &frame.payload)?;
                // Buffers as they are, each as every kind of blob.
                for i in 1..m.count() {
                    let buf = m.buf(i).filter(|b| b.len() >= 24).unwrap_or(&[]);
                    if !buf.is_empty() && seen.len() < 64 {
                        for k in 0..8 {
                            let seed = [&[k], buf].concat();
                            fs::write(dir.join("blobs").join(format!("{name}-{i}-{k}")), seed)?;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
