// SPDX-License-Identifier: GPL-2.0

//! The end in the node.

use crate::frame::{bad, receive, send, Kind};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long output is waited for after the command's end: a daemon that it started may keep it open.
const LINGER: Duration = Duration::from_millis(500);

type Shared = Arc<Mutex<TcpStream>>;

/// Takes commands, for ever.
pub fn serve(at: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(at)?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        thread::Builder::new().spawn(move || {
            if let Err(e) = serve_one(stream) {
                eprintln!("cluster-node: {e}");
            }
        })?;
    }
    Ok(())
}

fn say(to: &Shared, kind: Kind, data: &[u8]) -> io::Result<()> {
    let mut stream = to.lock().map_err(|_| bad("a thread panicked"))?;
    send(&mut *stream, kind, data)
}

fn pass_output(mut from: impl Read, kind: Kind, to: &Shared, done: &Sender<()>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            break;
        }
        // With nobody to listen it is still read: the command is not to be stopped by that.
        let _ = say(to, kind, &buffer[..n]);
    }
    let _ = done.send(());
}

/// Passes input; when the other end goes away before the command is `over`, the command and its
/// children end.
fn pass_input(mut from: TcpStream, to: ChildStdin, group: u32, over: &AtomicBool) {
    let mut to = Some(to);
    loop {
        match receive(&mut from) {
            Ok(Some((Kind::Input, data))) => {
                if let Some(pipe) = &mut to {
                    if pipe.write_all(&data).is_err() {
                        to = None;
                    }
                }
            }
            Ok(Some((Kind::InputEnd, _))) => to = None,
            _ if over.load(Ordering::Acquire) => return,
            _ => {
                let _ = Command::new("kill")
                    .args(["-KILL", "--", &format!("-{group}")])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                return;
            }
        }
    }
}

fn start(words: &[u8]) -> io::Result<Child> {
    let text = String::from_utf8_lossy(words);
    let mut words = text.split_terminator('\0');
    let program = words.next().ok_or_else(|| bad("no command"))?;
    Command::new(program)
        .args(words)
        .current_dir("/root")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))
}

/// The code as a shell gives it.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

fn serve_one(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let words = match receive(&mut stream)? {
        Some((Kind::Command, words)) => words,
        Some(_) => return Err(bad("no command")),
        None => return Ok(()),
    };
    let to: Shared = Arc::new(Mutex::new(stream.try_clone()?));
    let mut child = match start(&words) {
        Ok(child) => child,
        Err(e) => {
            say(&to, Kind::Error, format!("{e}\n").as_bytes())?;
            let code = if e.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            return say(&to, Kind::Exit, &[code]);
        }
    };
    let over = Arc::new(AtomicBool::new(false));
    let (done, ended) = channel();
    if let Some(pipe) = child.stdout.take() {
        let (to, done) = (to.clone(), done.clone());
        thread::spawn(move || pass_output(pipe, Kind::Output, &to, &done));
    }
    if let Some(pipe) = child.stderr.take() {
        let (to, done) = (to.clone(), done.clone());
        thread::spawn(move || pass_output(pipe, Kind::Error, &to, &done));
    }
    if let Some(pipe) = child.stdin.take() {
        let (from, group, over) = (stream.try_clone()?, child.id(), over.clone());
        thread::spawn(move || pass_input(from, pipe, group, &over));
    }
    let status = child.wait()?;
    over.store(true, Ordering::Release);
    for _ in 0..2 {
        if ended.recv_timeout(LINGER).is_err() {
            break;
        }
    }
    say(&to, Kind::Exit, &[code(status)])?;
    Ok(())
}
