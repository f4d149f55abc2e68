// SPDX-License-Identifier: GPL-2.0

//! Random steps, each of a client that is chosen at random, and compared with the model at once.

mod attrs;
mod data;
mod names;

use crate::model::{Id, Kind, Model, Node, LOCKED, ROOT};
use crate::rng::{seeds, Rng};
use kapi::prelude::ENOENT;
use lustre_client::attr::{now, Attr, S_IFDIR, S_IFLNK, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::fs::{File, FileLock, Known, LockKind, Make};
use lustre_client::mount::MountOptions;
use stack::{Cluster, Mounted};
use std::collections::VecDeque;
use wire::fid::Fid;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Depth of the deepest directory.
const DEPTH: usize = 3;
/// Open files.
const OPENS: usize = 8;
/// Steps of a seed.
const STEPS: usize = 3000;

/// An open file of a client.
struct Open {
    client: usize,
    id: Id,
    file: File,
}

struct Run<'a> {
    clients: &'a [Mounted],
    model: Model,
    opens: Vec<Open>,
    /// What has ended: no client may know it as anything that lives.
    gone: VecDeque<Fid>,
    rng: Rng,
    seed: u64,
    step: usize,
    /// The last steps, for whoever looks for the cause of a failure.
    log: VecDeque<String>,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for l in &self.log {
                eprintln!("{l}");
            }
            eprintln!("step {} of SEED={} failed", self.step, self.seed);
        }
    }
}

fn content(rng: &mut Rng, n: usize) -> Vec<u8> {
    let (a, b) = (rng.below(256), rng.below(127) * 2 + 1);
    (0..n).map(|i| (a + i * b + i / 251) as u8).collect()
}

impl<'a> Run<'a> {
    fn new(clients: &'a [Mounted], dir: Fid, seed: u64) -> Run<'a> {
        Run {
            clients,
            model: Model::new(dir),
            opens: Vec::new(),
            gone: VecDeque::new(),
            rng: Rng::new(seed),
            seed,
            step: 0,
            log: VecDeque::new(),
        }
    }

    fn tell(&mut self, client: usize, what: String) {
        if self.log.len() == 60 {
            self.log.pop_front();
        }
        self.log
            .push_back(format!("{} client {client}: {what}", self.step));
    }

    fn client(&mut self) -> usize {
        self.rng.below(self.clients.len())
    }

    fn fid(&self, id: Id) -> Fid {
        self.model.get(id).fid
    }

    /// Goes by names to where they lead.
    fn walk(&self, c: usize, path: &[&'static str]) {
        let mut at = ROOT;
        for name in path {
            let want = self.model.child(at, name);
            self.look(c, at, name, want);
            at = want.expect("a directory");
        }
    }

    fn look(&self, c: usize, dir: Id, name: &str, want: Option<Id>) -> Option<Known> {
        let fs = &self.clients[c].fs;
        let got = fs.lookup(self.fid(dir), name.as_bytes(), &Cred::root());
        let got = got.unwrap();
        let fids = (got.map(|k| k.attr.fid), want.map(|id| self.fid(id)));
        assert_eq!(fids.0, fids.1, "what {name} stands for");
        got
    }

    /// A directory that is not too deep for more to be made in it. Half of the time the client goes
    /// there by names; else it has been there before.
    fn dir(&mut self, c: usize) -> Id {
        let mut all = self.model.dirs();
        all.retain(|(_, p)| p.len() < DEPTH);
        let (id, path) = &all[self.rng.below(all.len())];
        if self.rng.once_in(2) {
            self.walk(c, path);
        }
        *id
    }

    /// Where something may be or not.
    fn place(&mut self, c: usize) -> (Id, &'static str) {
        (self.dir(c), self.rng.pick(&NAMES))
    }

    /// Something that has a name.
    fn any(&mut self, fit: impl Fn(&Node) -> bool) -> Option<Id> {
        let dirs = self.model.dirs();
        let entries = dirs
            .iter()
            .flat_map(|(d, _)| self.model.get(*d).entries().values());
        let all: Vec<Id> = entries
            .copied()
            .filter(|id| fit(self.model.get(*id)))
            .collect();
        (!all.is_empty()).then(|| self.rng.pick(&all))
    }

    /// An open file of that client: which one in the list.
    fn open_of(&mut self, c: usize) -> Option<usize> {
        let all: Vec<usize> = (0..self.opens.len())
            .filter(|i| self.opens[*i].client == c)
            .collect();
        (!all.is_empty()).then(|| self.rng.pick(&all))
    }

    /// Whether attributes are what they have to be.
    fn check(&self, id: Id, a: &Attr) {
        let n = self.model.get(id);
        let (kind, size) = match &n.kind {
            Kind::File(d) => (S_IFREG, Some(d.len())),
            Kind::Dir(_) => (S_IFDIR, None),
            Kind::Symlink(t) => (S_IFLNK, Some(t.len())),
        };
        assert_eq!(a.fid, n.fid, "the FID");
        assert_eq!(a.kind(), kind, "the type");
        assert_eq!(a.mode & 0o7777, n.mode, "the mode");
        assert_eq!((a.uid, a.gid), n.owner, "the owner");
        assert_eq!(a.nlink, n.nlink, "the links");
        if let Some(s) = size {
            assert_eq!(a.size, s as u64, "the size");
        }
        let (from, to) = n.mtime;
        assert!(
            (from..=to).contains(&a.mtime),
            "mtime {} not in {from}..={to}",
            a.mtime
        );
        assert!(
            (n.ctime..=now()).contains(&a.ctime),
            "ctime {} before {}",
            a.ctime,
            n.ctime
        );
    }

    fn stat(&self, c: usize, id: Id) {
        let k = self.clients[c].fs.stat(self.fid(id), &Cred::root());
        self.check(id, &k.unwrap().attr);
    }

    /// What was changed is looked at by any client.
    fn after(&mut self, id: Id) {
        let c = self.client();
        self.tell(c, format!("stat of {id} afterwards"));
        self.stat(c, id);
    }

    /// What ended by a change.
    fn ended(&mut self, fid: Option<Fid>) {
        self.gone.extend(fid);
        if self.gone.len() > 16 {
            self.gone.pop_front();
        }
    }

    fn keep_open(&mut self, client: usize, id: Id, file: File) {
        self.model.get_mut(id).opens += 1;
        self.opens.push(Open { client, id, file });
        if self.opens.len() > OPENS {
            let i = self.rng.below(self.opens.len());
            self.close(i);
        }
    }

    fn close(&mut self, i: usize) {
        let o = self.opens.swap_remove(i);
        self.tell(o.client, format!("close of {}", o.id));
        let fs = &self.clients[o.client].fs;
        fs.flush(&o.file).unwrap();
        // As the kernel does: locks do not outlast the opens.
        let last = |p: &Open| p.client != o.client || p.id != o.id;
        if self.opens.iter().all(last) {
            for owner in 1..=2 {
                let all = (0, LOCKED - 1);
                let n = self.model.get_mut(o.id);
                n.lock(all, (o.client, owner), LockKind::Unlock).unwrap();
                let l = file_lock(all, owner, LockKind::Unlock);
                fs.set_lock(n.fid, &l, false).unwrap();
            }
        }
        fs.close(&o.file);
        self.model.get_mut(o.id).opens -= 1;
        let fid = self.model.reap(o.id);
        self.ended(fid);
    }
}

fn file_lock(range: (usize, usize), owner: u64, kind: LockKind) -> FileLock {
    FileLock {
        start: range.0 as u64,
        end: range.1 as u64,
        owner,
        pid: owner as u32,
        kind,
    }
}

impl Run<'_> {
    fn one(&mut self) {
        let c = self.client();
        match self.rng.below(100) {
            0..=6 => self.create(c),
            7..=13 => self.make(c),
            14..=19 => self.remove(c),
            20..=27 => self.rename(c),
            28..=31 => self.link(c),
            32..=36 => self.look_up(c),
            37..=41 => self.list(c),
            42..=43 => self.read_link(c),
            44..=45 => self.ghost(c),
            46..=51 => self.look_at(c),
            52..=57 => self.set(c),
            58..=63 => self.xattr(c),
            64..=69 => self.lock(c),
            70..=72 => self.open(c),
            73..=80 => self.write(c),
            81..=88 => self.read(c),
            89..=92 => self.truncate(c),
            93..=95 => {
                if let Some(i) = self.open_of(c) {
                    self.close(i);
                }
            }
            96..=97 => {
                if let Some(id) = self.any(|n| n.is_file()) {
                    self.set_stripes(c, id);
                }
            }
            _ => self.settle(c),
        }
    }

    /// Each client sees the whole tree, with all data.
    fn check_all(&mut self) {
        for (id, _) in self.model.dirs() {
            for c in 0..self.clients.len() {
                self.tell(c, format!("all of {id}"));
                self.check_list(c, id, true);
            }
            let entries: Vec<Id> = self.model.get(id).entries().values().copied().collect();
            for f in entries {
                if self.model.get(f).is_file() {
                    (0..self.clients.len()).for_each(|c| self.check_file(c, f));
                }
            }
        }
    }

    /// Nothing stays.
    fn clear(&mut self) {
        while !self.opens.is_empty() {
            self.close(0);
        }
        // The deepest first.
        for (dir, _) in self.model.dirs().into_iter().rev() {
            let names: Vec<&str> = self.model.get(dir).entries().keys().copied().collect();
            for name in names {
                let c = self.client();
                let id = self.model.child(dir, name).ok_or(ENOENT).unwrap();
                let as_dir = self.model.get(id).is_dir();
                self.tell(c, format!("last remove of {name} in {dir}"));
                let fs = &self.clients[c].fs;
                let before = now();
                fs.remove(self.fid(dir), name.as_bytes(), as_dir, &Cred::root())
                    .unwrap();
                let when = (before, now());
                self.model.remove(dir, name, as_dir, when).unwrap();
            }
        }
        for c in 0..self.clients.len() {
            self.check_list(c, ROOT, false);
            self.stat(c, ROOT);
        }
    }
}

/// Two clients, or three of odd seeds.
#[test]
fn random_steps() {
    let w = Cluster::new(3, &MountOptions::default());
    for seed in seeds(4) {
        let clients = &w.clients[..2 + (seed % 2) as usize];
        let make = Make {
            mode: S_IFDIR | 0o755,
            rdev: 0,
            umask: 0,
            target: &[],
        };
        let name = format!("seed-{seed}");
        let made = clients[0]
            .fs
            .make(w.root, name.as_bytes(), &make, &Cred::root());
        let mut run = Run::new(clients, made.unwrap().attr.fid, seed);
        for step in 1..=STEPS {
            run.step = step;
            run.one();
        }
        run.check_all();
        run.clear();
    }
    w.stop();
}
