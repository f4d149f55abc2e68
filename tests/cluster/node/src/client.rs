// SPDX-License-Identifier: GPL-2.0

//! The end that asks.

use crate::frame::{receive, send, Kind};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

fn pass_input(mut to: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    let mut from = io::stdin().lock();
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        if send(&mut to, Kind::Input, &buffer[..n]).is_err() {
            return;
        }
    }
    // The command may be over by now.
    let _ = send(&mut to, Kind::InputEnd, &[]);
}

/// A node whose power is cut says nothing, so its process is watched.
fn watch(pid: u32) {
    let process = PathBuf::from(format!("/proc/{pid}"));
    while process.exists() {
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("the node went down");
    exit(crate::NO_NODE.into());
}

/// Runs a command on the node at `at`, whose process is `pid`; returns its exit code.
pub fn exec(at: SocketAddr, pid: u32, command: &[&str]) -> Result<u8, String> {
    let lost = |e: io::Error| format!("{at}: {e}");
    let mut node = TcpStream::connect_timeout(&at, CONNECT_TIMEOUT).map_err(lost)?;
    node.set_nodelay(true).map_err(lost)?;
    let mut words = command.join("\0").into_bytes();
    words.push(0);
    send(&mut node, Kind::Command, &words).map_err(lost)?;
    let input = node.try_clone().map_err(lost)?;
    thread::spawn(move || pass_input(input));
    thread::spawn(move || watch(pid));
    loop {
        let Some((kind, data)) = receive(&mut node).map_err(lost)? else {
            return Err(format!("{at}: the connection was closed"));
        };
        match kind {
            Kind::Output => io::stdout().write_all(&data).map_err(lost)?,
            Kind::Error => io::stderr().write_all(&data).map_err(lost)?,
            Kind::Exit => {
                io::stdout().flush().map_err(lost)?;
                return Ok(data.first().copied().unwrap_or(crate::NO_NODE));
            }
            _ => return Err(format!("{at}: an answer out of place")),
        }
    }
}

/// Waits until every node takes commands.
pub fn wait(limit: Duration, nodes: &[SocketAddr]) -> Result<(), String> {
    let end = Instant::now() + limit;
    for at in nodes {
        while TcpStream::connect_timeout(at, Duration::from_millis(200)).is_err() {
            if Instant::now() >= end {
                return Err(format!("{at} does not answer"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
