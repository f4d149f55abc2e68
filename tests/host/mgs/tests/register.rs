// SPDX-License-Identifier: GPL-2.0

//! Targets register, and logs are written: as an existing MGS wrote them for the same targets.

mod common;

use common::*;
use kapi::prelude::*;
use osd::{Create, Device};
use osd_memory::MemoryDevice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use target::local;
use wire::fid::{oid, seq, Fid};
use wire::llog::LlogLogHdr;
use wire::opcode::LLOG_ORIGIN_HANDLE_NEXT_BLOCK;

const MDS: &[&str] = &["192.168.77.1@tcp"];
const OSS: &[&str] = &["192.168.77.3@tcp"];

/// The file system of the captures and images.
fn observed_fs(w: &World) -> Peer {
    let p = Peer::new(w, 2);
    let m = p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", MDS));
    assert_eq!(m.mti_flags.get(), 0x1002_0081);
    assert_eq!(string(&m.mti_uuid), "lustre-MDT0000_UUID");
    for i in 0..2 {
        let name = format!("lustre-OST{i:04x}");
        let m = p.must_register(&Reg::new(VIRGIN_OST, i, &name, OSS));
        assert_eq!(
            (m.mti_flags.get(), m.mti_stripe_index.get()),
            (0x1002_0082, i)
        );
        assert_eq!(string(&m.mti_svname), name);
        assert_eq!(string(&m.mti_uuid), format!("{name}_UUID"));
    }
    p
}

/// The chunks of logs that a capture has, without those that came twice.
fn captured_chunks(name: &str) -> Option<Vec<Vec<u8>>> {
    let files = pcap_reader::captures()?;
    let file = files
        .iter()
        .find(|f| f.to_string_lossy().contains(name))
        .unwrap();
    let items = pcap_reader::Capture::open(file).unwrap().items().unwrap();
    let mut out: Vec<Vec<u8>> = Vec::new();
    for i in items {
        let pcap_reader::Kind::Lnet(l) = &i.kind else {
            continue;
        };
        let Ok(m) = wire::msg::Message::parse(&l.payload) else {
            continue;
        };
        let opc = m.body().map_or(0, |b| b.pb_opc.get());
        if opc == LLOG_ORIGIN_HANDLE_NEXT_BLOCK && m.count() == 3 {
            let chunk = m.buf(2).unwrap().to_vec();
            if !out.contains(&chunk) {
                out.push(chunk);
            }
        }
    }
    Some(out)
}

fn first_chunk(log: &[u8]) -> Vec<u8> {
    let mut chunk = log[8192..].to_vec();
    chunk.resize(8192, 0);
    timeless_chunk(&mut chunk);
    chunk
}

#[test]
fn logs_of_the_captures() {
    let w = World::new(1);
    let _p = observed_fs(&w);
    for (capture, logs) in [
        (
            "01-servers-start",
            &["lustre-OST0000", "lustre-OST0001"][..],
        ),
        ("02-client-mount", &["lustre-client"]),
    ] {
        let Some(mut chunks) = captured_chunks(capture) else {
            return;
        };
        for c in &mut chunks {
            timeless_chunk(c);
        }
        for name in logs {
            assert!(chunks.contains(&first_chunk(&w.bytes(name))), "{name}");
        }
    }
}

fn dump(image: &str, paths: &[&str]) -> Option<Vec<Vec<u8>>> {
    let shared = std::env::var_os("LUSTRE_SHARED").map_or_else(|| "/shared".into(), PathBuf::from);
    let from = shared.join("images").join(format!("{image}.img.zst"));
    if !from.exists() {
        eprintln!("skipped: no {}", from.display());
        return None;
    }
    // Tests run side by side.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = format!("mgs-{}-{n}", std::process::id());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(dir);
    std::fs::create_dir_all(&dir).unwrap();
    let run = |c: &mut std::process::Command| assert!(c.output().unwrap().status.success());
    let img = dir.join("img");
    run(std::process::Command::new("zstd")
        .args(["-q", "-d", "-f", "--sparse"])
        .arg(&from)
        .arg("-o")
        .arg(&img));
    let out = dir.join("out");
    let mut all = Vec::new();
    for p in paths {
        let c = format!("dump {p} {}", out.display());
        run(std::process::Command::new("debugfs")
            .args(["-R", &c])
            .arg(&img));
        all.push(std::fs::read(&out).unwrap());
    }
    std::fs::remove_dir_all(&dir).unwrap();
    Some(all)
}

/// All bytes of the files, headers too.
#[test]
fn logs_of_the_image() {
    let w = World::new(2);
    let _p = observed_fs(&w);
    let names = [
        "lustre-client",
        "lustre-MDT0000",
        "lustre-OST0000",
        "lustre-OST0001",
        "params",
    ];
    let paths: Vec<_> = names.iter().map(|n| format!("CONFIGS/{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let Some(files) = dump("2.17-nodirdata-mdt0", &paths) else {
        return;
    };
    for (name, theirs) in names.iter().zip(files) {
        let ours = w.bytes(name);
        if theirs.is_empty() || *name == "params" {
            assert_eq!(ours.len(), theirs.len(), "{name}");
            continue;
        }
        let (a, b) = (timeless(ours.clone()), timeless(theirs.clone()));
        assert_eq!(log_text(&ours), log_text(&theirs), "{name}");
        assert!(
            a == b,
            "{name}: bytes differ at {:?}",
            a.iter().zip(&b).position(|(a, b)| a != b)
        );
    }
    // The numbers of their files, in the order in which they were made.
    let oid = |n: &str| w.file(n).unwrap().fid().oid;
    assert_eq!(
        (oid("params"), oid("lustre-client"), oid("lustre-MDT0000")),
        (2, 3, 4)
    );
}

#[test]
fn a_log_over_several_chunks() {
    let w = World::new(3);
    let p = Peer::new(&w, 2);
    p.must_register(&Reg::new(VIRGIN_MDT, 0, "lustre-MDT0000", MDS));
    for i in 0..40 {
        let name = format!("lustre-OST{i:04x}");
        p.must_register(&Reg::new(VIRGIN_OST, i, &name, OSS));
    }
    let log = w.bytes("lustre-client");
    let head = LlogLogHdr::parse(&log).unwrap();
    assert_eq!(log_text(&log).len(), 17 + 40 * 6);
    assert_eq!(head.llh_count.get(), 1 + 17 + 40 * 6);
    assert!(log.len() > 5 * 8192 && head.last_index() > 17 + 40 * 6);
}

/// An MGS of ours takes over the store of an existing one.
#[test]
fn logs_of_an_existing_server_go_on() {
    let names = [
        "params",
        "lustre-client",
        "lustre-MDT0000",
        "lustre-OST0000",
        "lustre-OST0001",
    ];
    let paths: Vec<_> = names.iter().map(|n| format!("CONFIGS/{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let Some(files) = dump("2.17-nodirdata-mdt0", &paths) else {
        return;
    };
    let osd: Arc<dyn Device> = MemoryDevice::new();
    let root = local::root(&osd).unwrap();
    let (what, fid) = (Create::dir(0o755), Fid::local(oid::MGS_CONFIGS));
    let dir = local::find_or_create_fixed(&osd, &root, b"CONFIGS", &what, &fid).unwrap();
    for (name, bytes) in names.iter().zip(&files) {
        let what = Create::file(0o644);
        let file =
            local::find_or_create(&osd, &dir, name.as_bytes(), &what, seq::LLOG_NAME).unwrap();
        let mut plan = osd.plan().unwrap();
        plan.write(&file, 0, bytes.len()).unwrap();
        let mut tx = plan.start().unwrap();
        tx.write(&file, 0, bytes).unwrap();
        tx.stop().unwrap();
    }
    let w = World::on(4, osd);
    let p = Peer::new(&w, 2);
    // They are known, and nothing is written for them.
    p.must_register(&Reg::new(0x1002_0001, 0, "lustre-MDT0000", MDS));
    for i in 0..2 {
        p.must_register(&Reg::new(
            RESTART_OST,
            i,
            &format!("lustre-OST{i:04x}"),
            OSS,
        ));
    }
    for (name, bytes) in names.iter().zip(&files) {
        assert!(w.bytes(name) == *bytes, "{name}");
    }
    let (status, _) = p.register(&Reg::new(VIRGIN_OST, 1, "lustre-OST0001", OSS));
    assert_eq!(status, EADDRINUSE.to_errno());
    // A new one is written behind what there is, with steps that go on.
    p.must_register(&Reg::new(VIRGIN_OST, 2, "lustre-OST0002", OSS));
    let (old, new) = (&files[1], w.bytes("lustre-client"));
    assert!(new[8192..old.len()] == old[8192..]);
    assert_eq!(log_text(&new).len(), log_text(old).len() + 6);
    assert_eq!(
        log_text(&w.bytes("lustre-MDT0000")).len(),
        log_text(&files[2]).len() + 6
    );
    let steps = steps(&new);
    assert!(steps.windows(2).all(|s| s[0] <= s[1]), "{steps:?}");
    assert_eq!(steps.last(), Some(&16));
}
