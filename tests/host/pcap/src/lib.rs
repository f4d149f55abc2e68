// SPDX-License-Identifier: GPL-2.0

//! Recorded Lustre traffic for tests: a capture of TCP port 988 becomes the connection requests,
//! HELLOs and frames that went over each connection.
//!
//! The reader cuts the streams by the few length fields it needs and looks at nothing else, so
//! what the crates under test make of the bytes is not judged by their own code.

mod lnet;
mod packet;
mod tcp;

use std::io::Read;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

pub use lnet::{Item, Kind, Lnet};
pub use tcp::{Connection, Stream};

/// The port of the servers.
pub const PORT: u16 = 988;

/// A capture.
pub struct Capture {
    /// The file's name up to the first dot.
    pub name: String,
    /// TCP connections in the order of their first packets.
    pub connections: Vec<Connection>,
}

impl Capture {
    /// Reads a file in pcap format, compressed by zstd or not.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(path: &Path) -> Result<Capture, String> {
        let about = |what: String| format!("{}: {what}", path.display());
        let mut bytes = std::fs::read(path).map_err(|e| about(e.to_string()))?;
        if path.extension().is_some_and(|e| e == "zst") {
            let mut plain = Vec::new();
            ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())
                .map_err(|e| about(e.to_string()))?
                .read_to_end(&mut plain)
                .map_err(|e| about(e.to_string()))?;
            bytes = plain;
        }
        let packets = packet::read(&bytes).map_err(about)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Capture {
            name: name.split('.').next().unwrap_or_default().to_owned(),
            connections: tcp::reassemble(&packets),
        })
    }

    /// All that went over the connections, in order of time.
    ///
    /// # Errors
    /// Bytes that are not in the form of the protocol, or that the capture lacks.
    pub fn items(&self) -> Result<Vec<Item>, String> {
        let mut all = Vec::new();
        for (i, c) in self.connections.iter().enumerate() {
            lnet::split(i, c, &mut all).map_err(|e| format!("{}: {e}", self.name))?;
        }
        all.sort_by(|a, b| a.time.total_cmp(&b.time));
        Ok(all)
    }
}

/// The captures of this machine, in order of their names; says so and returns `None` where there
/// are none. They are in `captures/` under the directory that `LUSTRE_SHARED` names, or `/shared`.
pub fn captures() -> Option<Vec<PathBuf>> {
    let top = std::env::var_os("LUSTRE_SHARED").unwrap_or_else(|| "/shared".into());
    let dir = Path::new(&top).join("captures");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.to_string_lossy().ends_with(".pcap.zst"))
        .collect();
    found.sort();
    if found.is_empty() {
        eprintln!("skipped: no captures in {}", dir.display());
        return None;
    }
    Some(found)
}

/// The two ends of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ends {
    /// Who sends.
    pub src: SocketAddrV4,
    /// Who receives.
    pub dst: SocketAddrV4,
}
