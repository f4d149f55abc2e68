// SPDX-License-Identifier: GPL-2.0

//! Telling the kernel what to forget.
//!
//! The kernel takes the lock of a directory to forget a name in it, and may hold it while it waits
//! for us: so that is done by a thread of its own, and who gives the lock back waits for it only so
//! long. Attributes are forgotten without such a lock.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a name that the kernel cannot forget now is waited for.
const PATIENCE: Duration = Duration::from_millis(300);
/// Names that wait to be forgotten at the most; more are forgotten by their time-outs.
const QUEUE_MAX: usize = 10_000;

const INVAL_INODE: i32 = 2;
const INVAL_ENTRY: i32 = 3;
/// The name may still be right: it is looked up again before it is used.
const EXPIRE_ONLY: u32 = 1;

enum Job {
    Entry(u64, Vec<u8>, Option<SyncSender<()>>),
    Pages(u64),
    Stop,
}

/// Tells the kernel.
pub struct Notifier {
    device: File,
    jobs: Mutex<Sender<Job>>,
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

/// A message: header, and what belongs to it.
fn message(code: i32, parts: &[&[u8]]) -> Vec<u8> {
    let len = 16 + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut m = Vec::with_capacity(len);
    m.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    m.extend_from_slice(&code.to_ne_bytes());
    m.extend_from_slice(&0_u64.to_ne_bytes());
    for p in parts {
        m.extend_from_slice(p);
    }
    m
}

fn inode_message(ino: u64, off: i64) -> Vec<u8> {
    let parts: [&[u8]; 3] = [&ino.to_ne_bytes(), &off.to_ne_bytes(), &0_i64.to_ne_bytes()];
    message(INVAL_INODE, &parts)
}

fn entry_message(parent: u64, name: &[u8]) -> Vec<u8> {
    let len = u32::try_from(name.len()).unwrap_or(0);
    let parts: [&[u8]; 5] = [
        &parent.to_ne_bytes(),
        &len.to_ne_bytes(),
        &EXPIRE_ONLY.to_ne_bytes(),
        name,
        &[0],
    ];
    message(INVAL_ENTRY, &parts)
}

impl Notifier {
    /// Starts one that tells by `device`.
    ///
    /// # Errors
    /// `EAGAIN`: no thread.
    pub fn start(device: OwnedFd) -> std::io::Result<Arc<Notifier>> {
        let (tx, rx) = channel();
        let n = Arc::new(Notifier {
            device: device.into(),
            jobs: Mutex::new(tx),
            waiting: Arc::default(),
        });
        let me = n.clone();
        std::thread::Builder::new()
            .name("notify".into())
            .spawn(move || me.work(&rx))?;
        Ok(n)
    }

    fn send(&self, m: &[u8]) {
        match (&self.device).write(m) {
            Ok(_) => {}
            // What the kernel does not know it need not forget.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => kapi::pr_warn!("the kernel does not forget: {}\n", e),
        }
    }

    fn work(&self, jobs: &Receiver<Job>) {
        // What others wait for should not wait for others. It is not essential.
        let me = rustix::thread::gettid();
        let _ = rustix::process::setpriority_process(Some(me), -20);
        while let Ok(j) = jobs.recv() {
            self.waiting
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            match j {
                Job::Entry(parent, name, done) => {
                    self.send(&entry_message(parent, &name));
                    if let Some(d) = done {
                        // Whoever waited may have given up.
                        let _ = d.try_send(());
                    }
                }
                Job::Pages(ino) => self.send(&inode_message(ino, 0)),
                Job::Stop => return,
            }
        }
    }

    fn queue(&self, j: Job) -> bool {
        use std::sync::atomic::Ordering;
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_MAX && !matches!(j, Job::Stop) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(j).is_ok()
    }

    /// Attributes are old.
    pub fn attr(&self, ino: u64) {
        self.send(&inode_message(ino, -1));
    }

    /// Pages are old (of files mapped into memory: nothing else is kept by the kernel).
    pub fn pages(&self, ino: u64) {
        self.queue(Job::Pages(ino));
    }

    /// A name is to be looked up again. With `wait`, that is so when this returns, unless the
    /// directory is in use for so long that it cannot be waited for.
    pub fn entry(&self, parent: u64, name: &[u8], wait: bool) {
        let (tx, rx) = sync_channel(1);
        let told = self.queue(Job::Entry(parent, name.to_vec(), wait.then_some(tx)));
        if wait && told {
            // The time-out is all there is to hear.
            let _ = rx.recv_timeout(PATIENCE);
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.queue(Job::Stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let m = entry_message(7, b"ab");
        assert_eq!(m.len(), 16 + 16 + 3);
        assert_eq!(m[..4], 35_u32.to_ne_bytes());
        assert_eq!(m[4..8], 3_i32.to_ne_bytes());
        assert_eq!(m[16..24], 7_u64.to_ne_bytes());
        assert_eq!(
            m[24..32],
            [2_u32.to_ne_bytes(), 1_u32.to_ne_bytes()].concat()
        );
        assert_eq!(&m[32..], b"ab\0");
        assert_eq!(inode_message(7, -1).len(), 40);
    }
}
