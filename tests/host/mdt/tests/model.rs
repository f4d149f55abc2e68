// SPDX-License-Identifier: GPL-2.0

//! Random operations of two clients: one after another against a model in memory, and all at once.

mod common;

use common::World;
use kapi::prelude::*;
use lustre_client::attr::{S_IFDIR, S_IFLNK, S_IFREG};
use lustre_client::cred::Cred;
use lustre_client::mdc::{Handle, Looked, NewNode, OpenWish};
use proptest::prelude::*;
use stack::TestClient;
use std::collections::BTreeMap;
use wire::fid::Fid;
use wire::mdt::OpenFlags;
use wire::obdo::ObdMd;

const NAMES: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

/// A step: numbers choose among the directories and files that there are.
#[derive(Clone, Debug)]
enum Step {
    Mkdir(usize, usize),
    Symlink(usize, usize),
    Create(usize, usize),
    Open(usize, usize),
    Close(usize),
    Link(usize, usize, usize),
    Unlink(usize, usize),
    Rmdir(usize, usize),
    Rename(usize, usize, usize, usize),
    Look(usize, usize),
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (d, n) = (0..4usize, 0..NAMES.len());
    prop_oneof![
        (d.clone(), n.clone()).prop_map(|(d, n)| Step::Mkdir(d, n)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Step::Symlink(d, n)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Step::Create(d, n)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Step::Open(d, n)),
        (0..8usize).prop_map(Step::Close),
        (0..8usize, d.clone(), n.clone()).prop_map(|(f, d, n)| Step::Link(f, d, n)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Step::Unlink(d, n)),
        (d.clone(), n.clone()).prop_map(|(d, n)| Step::Rmdir(d, n)),
        (d.clone(), n.clone(), d.clone(), n.clone())
            .prop_map(|(a, b, c, d)| Step::Rename(a, b, c, d)),
        (d.clone(), n).prop_map(|(d, n)| Step::Look(d, n)),
        d.prop_map(Step::Read),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Dir(BTreeMap<&'static [u8], Fid>),
    File,
    Link,
}

struct Node {
    kind: Kind,
    nlink: u32,
    opens: u32,
}

/// What there should be.
struct Model {
    nodes: BTreeMap<Fid, Node>,
    top: Fid,
    open: Vec<(usize, Handle, Fid)>,
}

type Outcome = Result<(), Error>;

impl Model {
    fn new(top: Fid) -> Model {
        let mut nodes = BTreeMap::new();
        nodes.insert(
            top,
            Node {
                kind: Kind::Dir(BTreeMap::new()),
                nlink: 2,
                opens: 0,
            },
        );
        Model {
            nodes,
            top,
            open: Vec::new(),
        }
    }

    fn dirs(&self) -> Vec<Fid> {
        let linked = |n: &&(_, &Node)| n.1.nlink > 0;
        let all = self.nodes.iter().map(|(f, n)| (*f, n));
        let is_dir = |n: &&(Fid, &Node)| matches!(n.1.kind, Kind::Dir(_));
        let all: Vec<_> = all.collect();
        all.iter()
            .filter(is_dir)
            .filter(linked)
            .map(|n| n.0)
            .collect()
    }

    fn dir(&self, n: usize) -> Fid {
        let all = self.dirs();
        all[n % all.len()]
    }

    fn files(&self) -> Vec<Fid> {
        let linked = |n: &Node| n.nlink > 0 && !matches!(n.kind, Kind::Dir(_));
        self.nodes
            .iter()
            .filter(|(_, n)| linked(n))
            .map(|(f, _)| *f)
            .collect()
    }

    fn entries(&mut self, d: Fid) -> &mut BTreeMap<&'static [u8], Fid> {
        match &mut self.nodes.get_mut(&d).unwrap().kind {
            Kind::Dir(e) => e,
            _ => panic!(),
        }
    }

    fn find(&mut self, d: Fid, n: usize) -> Option<Fid> {
        self.entries(d).get(NAMES[n]).copied()
    }

    fn is_dir(&self, f: Fid) -> bool {
        matches!(self.nodes[&f].kind, Kind::Dir(_))
    }

    fn add(&mut self, d: Fid, n: usize, f: Fid, kind: Kind) {
        let is_dir = matches!(kind, Kind::Dir(_));
        self.entries(d).insert(NAMES[n], f);
        let nlink = 1 + u32::from(is_dir);
        let node = Node {
            kind,
            nlink,
            opens: 0,
        };
        self.nodes.insert(f, node);
        if is_dir {
            self.nodes.get_mut(&d).unwrap().nlink += 1;
        }
    }

    /// The name goes, and the object with its last one.
    fn drop_name(&mut self, d: Fid, n: usize) {
        let f = self.entries(d).remove(NAMES[n]).unwrap();
        let node = self.nodes.get_mut(&f).unwrap();
        let is_dir = matches!(node.kind, Kind::Dir(_));
        node.nlink = if is_dir { 0 } else { node.nlink - 1 };
        if node.nlink == 0 && node.opens == 0 {
            self.nodes.remove(&f);
        }
        if is_dir {
            self.nodes.get_mut(&d).unwrap().nlink -= 1;
        }
    }

    /// Whether `above` is `f` or above it.
    fn is_above(&self, above: Fid, f: Fid) -> bool {
        if above == f {
            return true;
        }
        match &self.nodes[&above].kind {
            Kind::Dir(e) => e.values().any(|c| self.is_above(*c, f)),
            _ => false,
        }
    }

    fn unlink(&mut self, d: Fid, n: usize, dir: bool) -> Outcome {
        let f = self.find(d, n).ok_or(ENOENT)?;
        match (self.is_dir(f), dir) {
            (true, false) => return Err(EISDIR),
            (false, true) => return Err(ENOTDIR),
            (true, true) if !self.entries(f).is_empty() => return Err(ENOTEMPTY),
            _ => {}
        }
        self.drop_name(d, n);
        Ok(())
    }

    fn rename(&mut self, from: (Fid, usize), to: (Fid, usize)) -> Outcome {
        let f = self.find(from.0, from.1).ok_or(ENOENT)?;
        let victim = self.find(to.0, to.1);
        if victim == Some(f) {
            return Ok(());
        }
        let is_dir = self.is_dir(f);
        for d in [from.0, to.0] {
            if f == d || victim == Some(d) {
                return Err(EINVAL);
            }
        }
        if is_dir && self.is_above(f, to.0) {
            return Err(EINVAL);
        }
        if let Some(v) = victim {
            if from.0 != to.0 && self.is_dir(v) && self.is_above(v, from.0) {
                return Err(ENOTEMPTY);
            }
            match (is_dir, self.is_dir(v)) {
                (true, false) => return Err(ENOTDIR),
                (false, true) => return Err(EISDIR),
                (true, true) if !self.entries(v).is_empty() => return Err(ENOTEMPTY),
                _ => {}
            }
            self.drop_name(to.0, to.1);
        }
        self.entries(from.0).remove(NAMES[from.1]);
        self.entries(to.0).insert(NAMES[to.1], f);
        if is_dir {
            self.nodes.get_mut(&from.0).unwrap().nlink -= 1;
            self.nodes.get_mut(&to.0).unwrap().nlink += 1;
        }
        Ok(())
    }
}

fn node(parent: Fid, n: usize, mode: u32, target: &'static [u8]) -> NewNode<'static> {
    NewNode {
        parent,
        name: NAMES[n],
        mode,
        rdev: 0,
        umask: 0,
        target,
        group: None,
    }
}

fn wish(c: &TestClient, parent: Fid, n: usize, flags: OpenFlags) -> OpenWish<'static> {
    OpenWish {
        parent,
        name: NAMES[n],
        fid: c.mdc.new_fid().unwrap(),
        flags,
        mode: S_IFREG | 0o644,
        umask: 0,
        layout: &[],
        group: None,
    }
}

/// Names and objects of a directory, without its own.
fn read(c: &TestClient, d: Fid) -> Result<BTreeMap<Vec<u8>, Fid>, Error> {
    let (mut out, mut start) = (BTreeMap::new(), 0);
    loop {
        let (some, next) = c.mdc.read_dir(d, start, &Cred::root())?;
        for e in some {
            if e.name != b"." && e.name != b".." {
                assert_eq!(out.insert(e.name, e.fid), None);
            }
        }
        match next {
            Some(n) => start = n,
            None => return Ok(out),
        }
    }
}

fn compare(m: &mut Model, c: &TestClient) {
    for d in m.dirs() {
        let want: BTreeMap<Vec<u8>, Fid> =
            m.entries(d).iter().map(|(n, f)| (n.to_vec(), *f)).collect();
        assert_eq!(read(c, d).unwrap(), want);
    }
    for (f, n) in &m.nodes {
        let valid = ObdMd::FLGETATTR;
        let got = c.mdc.getattr(*f, valid, 0, &Cred::root()).unwrap().attr;
        assert_eq!(got.nlink, n.nlink, "{f}");
        assert_eq!(got.is_dir(), matches!(n.kind, Kind::Dir(_)));
    }
}

fn run(m: &mut Model, c: &TestClient, who: usize, s: &Step) {
    let cred = Cred::root();
    let mdc = &c.mdc;
    match *s {
        Step::Mkdir(d, n) | Step::Symlink(d, n) => {
            let d = m.dir(d);
            let is_dir = matches!(s, Step::Mkdir(..));
            let what = match is_dir {
                true => node(d, n, S_IFDIR | 0o755, b""),
                false => node(d, n, S_IFLNK | 0o777, b"target"),
            };
            let got = mdc.create(&what, &cred);
            match m.find(d, n) {
                Some(_) => assert_eq!(got, Err(EEXIST)),
                None => {
                    let kind = match is_dir {
                        true => Kind::Dir(BTreeMap::new()),
                        false => Kind::Link,
                    };
                    m.add(d, n, got.unwrap().fid, kind);
                }
            }
        }
        Step::Create(d, n) | Step::Open(d, n) => {
            let d = m.dir(d);
            let mut flags = OpenFlags::FMODE_READ;
            flags.set(OpenFlags::CREAT, matches!(s, Step::Create(..)));
            let got = mdc.open(&wish(c, d, n, flags), &cred);
            match m.find(d, n) {
                None if flags.contains(OpenFlags::CREAT) => {
                    let o = got.unwrap();
                    assert!(o.created);
                    m.add(d, n, o.found.attr.fid, Kind::File);
                    opened(m, who, o.handle, o.found.attr.fid);
                }
                None => assert_eq!(got.err(), Some(ENOENT)),
                Some(f) if m.is_dir(f) && flags.contains(OpenFlags::CREAT) => {
                    assert_eq!(got.err(), Some(EISDIR));
                }
                Some(f) => {
                    let o = got.unwrap();
                    assert!(!o.created && o.found.attr.fid == f);
                    opened(m, who, o.handle, f);
                }
            }
        }
        Step::Close(i) => {
            if m.open.is_empty() {
                return;
            }
            let i = i % m.open.len();
            if m.open[i].0 != who {
                return;
            }
            let (_, h, f) = m.open.remove(i);
            mdc.close(h, None, &f);
            let node = m.nodes.get_mut(&f).unwrap();
            node.opens -= 1;
            if node.nlink == 0 && node.opens == 0 {
                m.nodes.remove(&f);
            }
        }
        Step::Link(f, d, n) => {
            let files = m.files();
            if files.is_empty() {
                return;
            }
            let (f, d) = (files[f % files.len()], m.dir(d));
            let got = mdc.link(f, d, NAMES[n], (None, None), &cred);
            match m.find(d, n) {
                Some(_) => assert_eq!(got, Err(EEXIST)),
                None => {
                    got.unwrap();
                    m.entries(d).insert(NAMES[n], f);
                    m.nodes.get_mut(&f).unwrap().nlink += 1;
                }
            }
        }
        Step::Unlink(d, n) | Step::Rmdir(d, n) => {
            let d = m.dir(d);
            let dir = matches!(s, Step::Rmdir(..));
            let before = m.find(d, n);
            let got = mdc.unlink(d, NAMES[n], Fid::ZERO, dir, None, &cred);
            let want = m.unlink(d, n, dir);
            match got {
                Ok(left) => {
                    let left = left.unwrap();
                    assert_eq!(Some(left.fid), before);
                    assert_eq!(left.nlink, m.nodes.get(&left.fid).map_or(0, |n| n.nlink));
                    want.unwrap();
                }
                Err(e) => assert_eq!(want, Err(e)),
            }
        }
        Step::Rename(d1, n1, d2, n2) => {
            let (d1, d2) = (m.dir(d1), m.dir(d2));
            let (old, new) = ((d1, NAMES[n1], None), (d2, NAMES[n2], None));
            let got = mdc.rename(old, new, (None, None), &cred).map(drop);
            assert_eq!(got, m.rename((d1, n1), (d2, n2)));
        }
        Step::Look(d, n) => {
            let d = m.dir(d);
            let got = match mdc.look_up((d, None), NAMES[n], Fid::ZERO, &cred).unwrap() {
                Looked::Found(f) => Some(f.attr.fid),
                Looked::Absent => None,
            };
            assert_eq!(got, m.find(d, n));
        }
        Step::Read(d) => {
            let d = m.dir(d);
            assert_eq!(read(c, d).unwrap().len(), m.entries(d).len());
        }
    }
}

fn opened(m: &mut Model, who: usize, handle: Option<Handle>, f: Fid) {
    if let Some(h) = handle {
        m.nodes.get_mut(&f).unwrap().opens += 1;
        m.open.push((who, h, f));
    }
}

/// Two clients of one MDT.
struct Two {
    w: World,
    b: TestClient,
}

impl Two {
    fn new() -> Two {
        let w = World::new();
        let b = TestClient::connect(&w.node);
        Two { w, b }
    }

    fn client(&self, n: usize) -> &TestClient {
        [&self.w.c, &self.b][n]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Whoever asks, all see the same.
    #[test]
    fn one_after_another(steps in prop::collection::vec((0..2usize, step()), 1..120)) {
        std::thread_local!(static TWO: Two = Two::new());
        TWO.with(|two| {
            let name = format!("{:x}", kapi::rand::u64());
            let top = two.w.mkdir(Fid::ROOT, &name).unwrap().fid;
            let mut m = Model::new(top);
            for (who, s) in &steps {
                run(&mut m, two.client(*who), *who, s);
            }
            for (who, h, f) in std::mem::take(&mut m.open) {
                two.client(who).mdc.close(h, None, &f);
                m.nodes.get_mut(&f).unwrap().opens -= 1;
            }
            m.nodes.retain(|_, n| n.nlink > 0);
            let top = m.top;
            compare(&mut m, two.client(0));
            compare(&mut m, two.client(1));
            assert!(m.nodes.contains_key(&top));
        });
    }
}

/// Links of all objects below a directory, counted from the names.
fn count(c: &TestClient, d: Fid, links: &mut BTreeMap<Fid, u32>) {
    for f in read(c, d).unwrap().into_values() {
        let a = c
            .mdc
            .getattr(f, ObdMd::FLGETATTR, 0, &Cred::root())
            .unwrap()
            .attr;
        if a.is_dir() {
            *links.entry(d).or_default() += 1;
            *links.entry(f).or_default() += 2;
            count(c, f, links);
        } else {
            *links.entry(f).or_default() += 1;
        }
    }
}

/// Many at once: nobody waits for ever, and what is left is in order.
#[test]
fn all_at_once() {
    let two = Two::new();
    let top = two.w.mkdir(Fid::ROOT, "top").unwrap().fid;
    let dirs: Vec<Fid> = (0..3)
        .map(|i| two.w.mkdir(top, &format!("dir{i}")).unwrap().fid)
        .collect();
    std::thread::scope(|s| {
        for t in 0..6usize {
            let (two, dirs) = (&two, &dirs);
            s.spawn(move || {
                let c = two.client(t % 2);
                let (cred, mdc) = (Cred::root(), &c.mdc);
                let mut seed = 0x9e37_79b9_7f4a_7c15_u64 ^ ((t as u64) << 32);
                let mut next = |n: usize| {
                    seed = seed
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (seed >> 33) as usize % n
                };
                for _ in 0..300 {
                    let (d, e) = (dirs[next(3)], dirs[next(3)]);
                    let (n, k) = (next(4), next(4));
                    // Whatever comes of it.
                    match next(8) {
                        0 => drop(mdc.create(&node(d, n, S_IFDIR | 0o755, b""), &cred)),
                        1 | 2 => {
                            let f = OpenFlags::FMODE_READ | OpenFlags::CREAT;
                            if let Ok(o) = mdc.open(&wish(c, d, n, f), &cred) {
                                let fid = o.found.attr.fid;
                                if let Some(h) = o.handle {
                                    drop(o.found);
                                    mdc.close(h, None, &fid);
                                }
                            }
                        }
                        3 => drop(mdc.unlink(d, NAMES[n], Fid::ZERO, false, None, &cred)),
                        4 => drop(mdc.unlink(d, NAMES[n], Fid::ZERO, true, None, &cred)),
                        5 | 6 => {
                            let (old, new) = ((d, NAMES[n], None), (e, NAMES[k], None));
                            let _ = mdc.rename(old, new, (None, None), &cred);
                        }
                        _ => {
                            if let Ok(Looked::Found(f)) =
                                mdc.look_up((d, None), NAMES[n], Fid::ZERO, &cred)
                            {
                                let fid = f.attr.fid;
                                drop(f);
                                let _ = mdc.link(fid, e, NAMES[k], (None, None), &cred);
                            }
                        }
                    }
                }
            });
        }
    });
    let mut links = BTreeMap::new();
    links.insert(top, 2);
    count(&two.b, top, &mut links);
    for (f, n) in links {
        let a = two
            .w
            .c
            .mdc
            .getattr(f, ObdMd::FLGETATTR, 0, &Cred::root())
            .unwrap()
            .attr;
        assert_eq!(a.nlink, n, "{f}");
    }
    two.b.stop();
    two.w.stop();
}
