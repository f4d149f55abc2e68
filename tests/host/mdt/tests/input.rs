// SPDX-License-Identifier: GPL-2.0

//! Requests that are wrong: each is refused with the right error, and the server goes on.

mod common;

use common::World;
use kapi::prelude::*;
use lustre_client::rpc;
use proptest::prelude::*;
use ptlrpc::message::Msg;
use wire::fid::Fid;
use wire::ldlm::{IntentOp, LdlmIntent};
use wire::mdt::{LayoutIntent, MdtBody, MdtIoepoch, OpenFlags};
use wire::msg::{DLM_VERSION, MDS_VERSION};
use wire::obdo::ObdMd;
use wire::opcode::{self as op, portal};
use wire::reint::*;
use wire::seq::LuSeqRange;
use zerocopy::IntoBytes;

/// A request as its buffers.
#[derive(Clone, Debug)]
struct Template {
    what: &'static str,
    opc: u32,
    portal: u32,
    bufs: Vec<Vec<u8>>,
    /// Buffers without which it is none, and those that may not be shorter.
    needed: usize,
}

fn body(fid: Fid, valid: ObdMd) -> MdtBody {
    let mut b = MdtBody {
        mbo_fid1: fid.into(),
        mbo_fid2: fid.into(),
        ..MdtBody::default()
    };
    b.set_valid(valid);
    b.mbo_capability.set(u32::MAX);
    b.mbo_eadatasize.set(4096);
    b
}

fn rec<T>(op: ReintOp, fill: impl FnOnce(&mut T)) -> Vec<u8>
where
    T: IntoBytes + zerocopy::Immutable + Default,
{
    let mut r = T::default();
    fill(&mut r);
    let mut v = r.as_bytes().to_vec();
    v[..4].copy_from_slice(&(op as u32).to_le_bytes());
    v[4..8].fill(0xff);
    v[24..28].fill(0xff);
    v[32..36].fill(0xff);
    v
}

/// A lock request for bits of an object.
fn dlm(fid: Fid, mode: u32, bits: u64, handle: u64) -> Vec<u8> {
    let mut v = vec![0; 104];
    v[0..4].copy_from_slice(&0x1000_u32.to_le_bytes());
    v[4..8].copy_from_slice(&1_u32.to_le_bytes());
    v[8..12].copy_from_slice(&13_u32.to_le_bytes());
    for (i, w) in fid.to_res_name().iter().enumerate() {
        v[16 + 8 * i..24 + 8 * i].copy_from_slice(&w.to_le_bytes());
    }
    v[48..52].copy_from_slice(&mode.to_le_bytes());
    v[56..64].copy_from_slice(&bits.to_le_bytes());
    v[88..96].copy_from_slice(&handle.to_le_bytes());
    v
}

fn intent(op: IntentOp) -> Vec<u8> {
    LdlmIntent {
        opc: op.bits().into(),
    }
    .as_bytes()
    .to_vec()
}

/// One request of each kind, that would be served.
fn templates(w: &World, handle: &mut u64) -> Vec<Template> {
    let mut all = Vec::new();
    let root = Fid::ROOT;
    let mut add = |what, opc, portal, needed, bufs: Vec<Vec<u8>>| {
        all.push(Template {
            what,
            opc,
            portal,
            bufs,
            needed,
        });
    };
    let plain = body(root, ObdMd::FLID).as_bytes().to_vec();
    let (mds, rdpg) = (portal::MDS_REQUEST, portal::MDS_READPAGE);
    let n = || b"name\0".to_vec();
    let none = Vec::new;
    add(
        "getattr",
        op::MDS_GETATTR,
        rdpg,
        1,
        vec![plain.clone(), none()],
    );
    add(
        "getattr name",
        op::MDS_GETATTR_NAME,
        mds,
        3,
        vec![plain.clone(), none(), n()],
    );
    add("get root", op::MDS_GET_ROOT, mds, 1, vec![plain.clone()]);
    add("statfs", op::MDS_STATFS, mds, 0, vec![]);
    add("sync", op::MDS_SYNC, mds, 1, vec![plain.clone(), none()]);
    add(
        "readpage",
        op::MDS_READPAGE,
        rdpg,
        1,
        vec![plain.clone(), none()],
    );
    let list = body(root, ObdMd::FLID | ObdMd::FLXATTRLS)
        .as_bytes()
        .to_vec();
    add("list xattrs", op::MDS_GETXATTR, rdpg, 1, vec![list, none()]);
    let get = body(root, ObdMd::FLID | ObdMd::FLXATTR).as_bytes().to_vec();
    let x = || b"user.x\0".to_vec();
    add(
        "get xattr",
        op::MDS_GETXATTR,
        rdpg,
        3,
        vec![get, none(), x(), none(), none()],
    );
    let mut f2p = b"fid2path\0\0\0\0\0\0\0\0".to_vec();
    f2p.extend_from_slice(wire::fid::LuFid::from(root).as_bytes());
    f2p.extend_from_slice(&[0xff; 8]);
    f2p.extend_from_slice(&0_u32.to_le_bytes());
    f2p.extend_from_slice(&4096_u32.to_le_bytes());
    f2p.extend_from_slice(wire::fid::LuFid::from(root).as_bytes());
    let len = 4128_u32.to_le_bytes().to_vec();
    add("fid2path", op::MDS_GET_INFO, mds, 2, vec![f2p, len]);
    let b = vec![plain.clone(), none()];
    add("hsm state get", op::MDS_HSM_STATE_GET, mds, 1, b);
    let change = wire::mdt::HsmStateSet::default().as_bytes().to_vec();
    let b = vec![plain.clone(), none(), change];
    add("hsm state set", op::MDS_HSM_STATE_SET, mds, 3, b);
    let (k, v) = (b"read-only\0".to_vec(), vec![0; 4]);
    add("set info", op::MDS_SET_INFO, mds, 2, vec![k, v]);
    let epoch = MdtIoepoch::default().as_bytes().to_vec();
    let close = rec::<RecSetattr>(ReintOp::Setattr, |_| {});
    add("close", op::MDS_CLOSE, rdpg, 2, vec![epoch, close, none()]);
    let r = rec::<RecSetattr>(ReintOp::Setattr, |r| {
        r.sa_fid = root.into();
        r.sa_valid.set(MdsAttr::MTIME.bits());
    });
    let e = none();
    add(
        "setattr",
        op::MDS_REINT,
        mds,
        1,
        vec![r, none(), none(), e, none(), none()],
    );
    let r = rec::<RecCreate>(ReintOp::Create, |r| {
        r.cr_fid1 = root.into();
        r.cr_fid2 = w.c.mdc.new_fid().unwrap().into();
        r.cr_mode.set(0o040755);
    });
    add(
        "mkdir",
        op::MDS_REINT,
        mds,
        3,
        vec![r, none(), n(), none(), none()],
    );
    let r = rec::<RecCreate>(ReintOp::Create, |r| {
        r.cr_fid1 = root.into();
        r.cr_fid2 = w.c.mdc.new_fid().unwrap().into();
        r.cr_mode.set(0o120777);
    });
    let sym = b"link\0".to_vec();
    add(
        "symlink",
        op::MDS_REINT,
        mds,
        4,
        vec![r, none(), sym, n(), none()],
    );
    let r = rec::<RecLink>(ReintOp::Link, |r| {
        r.lk_fid1 = root.into();
        r.lk_fid2 = root.into();
    });
    add(
        "link",
        op::MDS_REINT,
        mds,
        4,
        vec![r, none(), none(), n(), none()],
    );
    let r = rec::<RecUnlink>(ReintOp::Unlink, |r| r.ul_fid1 = root.into());
    add(
        "unlink",
        op::MDS_REINT,
        mds,
        3,
        vec![r, none(), n(), none()],
    );
    let r = rec::<RecRename>(ReintOp::Rename, |r| {
        r.rn_fid1 = root.into();
        r.rn_fid2 = root.into();
    });
    let to = b"other\0".to_vec();
    add(
        "rename",
        op::MDS_REINT,
        mds,
        5,
        vec![r, none(), none(), n(), to, none()],
    );
    let r = rec::<RecSetxattr>(ReintOp::Setxattr, |r| {
        r.sx_fid = root.into();
        r.sx_valid.set(ObdMd::FLXATTR.bits());
    });
    add(
        "setxattr",
        op::MDS_REINT,
        mds,
        3,
        vec![r, none(), x(), b"v".to_vec(), none()],
    );
    let mut handle = || {
        *handle += 1;
        *handle
    };
    let enq = op::LDLM_ENQUEUE;
    let b = body(root, ObdMd::FLGETATTR | ObdMd::FLEASIZE)
        .as_bytes()
        .to_vec();
    let bufs = vec![
        dlm(root, 16, 2, handle()),
        intent(IntentOp::GETATTR),
        b,
        none(),
        vec![0],
    ];
    add("intent getattr", enq, mds, 5, bufs);
    let r = rec::<RecCreate>(ReintOp::Open, |r| {
        r.cr_fid1 = root.into();
        r.cr_fid2 = w.c.mdc.new_fid().unwrap().into();
        r.cr_mode.set(0o100644);
        r.set_open_flags(OpenFlags::FMODE_READ | OpenFlags::CREAT);
    });
    let (d, i) = (
        dlm(root, 8, 2, handle()),
        intent(IntentOp::OPEN | IntentOp::CREAT),
    );
    add(
        "intent open",
        enq,
        mds,
        6,
        vec![d, i, r, none(), none(), b"file\0".to_vec(), none()],
    );
    let b = body(root, ObdMd::FLID | ObdMd::FLXATTRALL)
        .as_bytes()
        .to_vec();
    let (d, i) = (dlm(root, 4, 0x20, handle()), intent(IntentOp::GETXATTR));
    add(
        "intent getxattr",
        enq,
        mds,
        3,
        vec![d, i, b, none(), none()],
    );
    let l = LayoutIntent::default().as_bytes().to_vec();
    let (d, i) = (dlm(root, 16, 8, handle()), intent(IntentOp::LAYOUT));
    add("intent layout", enq, mds, 3, vec![d, i, l, none()]);
    let q = LuSeqRange::default().as_bytes().to_vec();
    let one = 1_u32.to_le_bytes().to_vec();
    add(
        "seq query",
        op::SEQ_QUERY,
        portal::SEQ_METADATA,
        2,
        vec![one, q.clone()],
    );
    let two = 2_u32.to_le_bytes().to_vec();
    add(
        "fld query",
        op::FLD_QUERY,
        portal::FLD_REQUEST,
        2,
        vec![two, q],
    );
    all
}

fn send(w: &World, t: &Template) -> Result<i32> {
    let version = match t.opc {
        op::LDLM_ENQUEUE => DLM_VERSION,
        _ => MDS_VERSION,
    };
    let bufs: Vec<&[u8]> = t.bufs.iter().map(|b| &b[..]).collect();
    let m: Msg = rpc::request(t.opc, version, &bufs)?;
    Ok(w.c.raw(m, Some(t.portal))?.status)
}

fn is_alive(w: &World) {
    assert_eq!(w.c.mdc.root(None).unwrap(), Fid::ROOT);
}

/// Whatever is missing or too short is noticed.
#[test]
fn short() {
    let w = World::new();
    let mut handle = 1;
    for t in templates(&w, &mut handle) {
        if t.opc == op::MDS_READPAGE {
            // Nobody waits for the pages here.
            continue;
        }
        for n in 0..t.needed {
            if t.opc == op::LDLM_ENQUEUE && n == 1 {
                // Without an intent it is a lock like others.
                continue;
            }
            let mut cut = t.clone();
            cut.bufs.truncate(n);
            let status = send(&w, &cut).unwrap();
            assert!(status < 0, "{} with {n} buffers: {status}", t.what);
            let len = t.bufs[n].len();
            for keep in [0, len / 2, len.saturating_sub(1)] {
                // Of a path's question the root may be missing, of a key its NUL, ...
                let enough = match t.what {
                    "fid2path" => n == 0 && keep >= 48,
                    "set info" => n == 0 && keep >= 9,
                    // The slot of a second handle.
                    _ if t.opc == op::LDLM_ENQUEUE => n == 0 && keep >= 96,
                    _ => false,
                };
                if keep >= len || enough {
                    continue;
                }
                let mut cut = t.clone();
                cut.bufs[n].truncate(keep);
                let status = send(&w, &cut).unwrap();
                assert!(status < 0, "{} {n} cut to {keep}: {status}", t.what);
            }
        }
    }
    is_alive(&w);
    w.stop();
}

/// And the same requests whole are served, or fail for what they ask for.
#[test]
fn whole() {
    let w = World::new();
    let mut handle = 1;
    for t in templates(&w, &mut handle) {
        let want = match t.what {
            "readpage" => EFAULT.to_errno(),
            "close" => ESTALE.to_errno(),
            "getattr name" | "fld query" => ENOENT.to_errno(),
            "get xattr" => ENODATA.to_errno(),
            "link" => EPERM.to_errno(),
            // The directory that was made before.
            "unlink" => EISDIR.to_errno(),
            _ => 0,
        };
        assert_eq!(send(&w, &t).unwrap(), want, "{}", t.what);
    }
    is_alive(&w);
    w.stop();
}

/// What is not done here says so.
#[test]
fn unsupported() {
    let w = World::new();
    for opc in [
        op::MDS_QUOTACTL,
        op::MDS_HSM_ACTION,
        op::MDS_SWAP_LAYOUTS,
        op::MDS_RMFID,
        op::MDS_BATCH,
    ] {
        let m = rpc::request(opc, MDS_VERSION, &[&[0; 216], &[0; 216]]).unwrap();
        let status = w.c.raw(m, Some(portal::MDS_REQUEST)).unwrap().status;
        assert_eq!(status, EOPNOTSUPP.to_errno(), "{opc}");
    }
    for (reint, want) in [
        (0_u32, EFAULT),
        (6, EOPNOTSUPP),
        (8, EOPNOTSUPP),
        (9, EOPNOTSUPP),
        (10, EOPNOTSUPP),
        (11, EFAULT),
        (u32::MAX, EFAULT),
    ] {
        let mut r = [0; 136];
        r[..4].copy_from_slice(&reint.to_le_bytes());
        let m = rpc::request(op::MDS_REINT, MDS_VERSION, &[&r]).unwrap();
        let status = w.c.raw(m, None).unwrap().status;
        assert_eq!(status, want.to_errno(), "{reint}");
    }
    is_alive(&w);
    w.stop();
}

/// Names and numbers that no object can have.
#[test]
fn nonsense() {
    let w = World::new();
    let mut handle = 1;
    let all = templates(&w, &mut handle);
    let find = |what: &str| all.iter().find(|t| t.what == what).unwrap().clone();
    let with = |what: &str, i: usize, b: &[u8]| {
        let mut t = find(what);
        t.bufs[i] = b.to_vec();
        send(&w, &t).unwrap()
    };
    let long = [&[b'n'; 256][..], b"\0"].concat();
    let cases: [(&[u8], Error); 5] = [
        (b"a/b\0", EPROTO),
        (b"a\0b\0", EPROTO),
        (b"a", EPROTO),
        (b"\0", EPROTO),
        (&long, ENAMETOOLONG),
    ];
    for (name, want) in cases {
        for (what, i) in [
            ("mkdir", 2),
            ("link", 3),
            ("unlink", 2),
            ("rename", 3),
            ("rename", 4),
        ] {
            let want = if what == "link" { EPERM } else { want };
            let got = with(what, i, name);
            let ok = got == want.to_errno() || (what == "link" && got < 0);
            assert!(ok, "{what} {name:?}: {got}");
        }
    }
    for name in [b".\0".to_vec(), b"..\0".to_vec()] {
        assert_eq!(with("mkdir", 2, &name), EEXIST.to_errno());
        assert_eq!(with("unlink", 2, &name), EINVAL.to_errno());
        assert_eq!(with("rename", 3, &name), EINVAL.to_errno());
        assert_eq!(with("rename", 4, &name), EINVAL.to_errno());
    }
    // FIDs.
    let zero = Fid::ZERO;
    let local = Fid::local(11);
    let absent = Fid::new(0x2_0000_0400, 0xffff_0000);
    for (fid, want) in [(zero, EINVAL), (local, EINVAL), (absent, ENOENT)] {
        let b = body(fid, ObdMd::FLID);
        assert_eq!(with("getattr", 0, b.as_bytes()), want.to_errno(), "{fid}");
        let mut t = find("mkdir");
        t.bufs[0][40..56].copy_from_slice(wire::fid::LuFid::from(fid).as_bytes());
        assert_eq!(send(&w, &t).unwrap(), want.to_errno(), "mkdir in {fid}");
    }
    // What is new has a FID of a sequence that was given away.
    for fid in [
        zero,
        Fid::ROOT,
        local,
        Fid::new(0x7_0000_0000, 1),
        Fid::new(0x2_0000_0400, 0),
    ] {
        let mut t = find("mkdir");
        t.bufs[0][56..72].copy_from_slice(wire::fid::LuFid::from(fid).as_bytes());
        assert_eq!(send(&w, &t).unwrap(), EINVAL.to_errno(), "{fid}");
    }
    // Without a FID.
    let b = body(Fid::ROOT, ObdMd::empty());
    assert_eq!(with("getattr", 0, b.as_bytes()), EPROTO.to_errno());
    is_alive(&w);
    w.stop();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Bytes are changed anywhere: the server answers, and goes on.
    #[test]
    fn changed(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..12), which: prop::sample::Index) {
        std::thread_local!(static WORLD: World = World::new());
        WORLD.with(|w| {
            let mut handle = u64::from(rand_u32()) << 8;
            let all = templates(w, &mut handle);
            let mut t = all[which.index(all.len())].clone();
            if t.opc == op::MDS_READPAGE || t.bufs.is_empty() {
                return;
            }
            for (b, at, v) in &edits {
                let n = t.bufs.len();
                let b = &mut t.bufs[b.index(n)];
                if !b.is_empty() {
                    let n = b.len();
                    b[at.index(n)] = *v;
                }
            }
            // Locks that are waited for would be called back by nobody.
            if t.opc == op::LDLM_ENQUEUE {
                t.bufs[0] = all.iter().find(|o| o.what == t.what).unwrap().bufs[0].clone();
            }
            send(w, &t).unwrap();
            is_alive(w);
        });
    }
}

fn rand_u32() -> u32 {
    kapi::rand::u64() as u32
}
