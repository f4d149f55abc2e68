// SPDX-License-Identifier: GPL-2.0

//! Reads the files and xattrs of disks that existing servers wrote, and writes the same bytes.
//!
//! The images are in `$LUSTRE_SHARED/images` (default `/shared`); without them, or without
//! `debugfs` and `zstd`, the tests pass with a message.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wire::cfg::{Cfg, CfgSpec, LcfgCommand};
use wire::disk::filter_fid::FilterFid;
use wire::disk::iam;
use wire::disk::last_rcvd::{
    LrCompat, LrIncompat, LrRoCompat, LrServerData, LsdClientData, LR_CLIENT_START,
};
use wire::disk::linkea::{Link, LinkEa, LinkEaBuf, MAX_LINKEA_SIZE};
use wire::disk::lma::{LmaCompat, LmaIncompat, LustreMdtAttrs};
use wire::disk::mountdata::{LddFlags, LustreDiskData, LDD_MAGIC};
use wire::disk::names;
use wire::disk::oi::{self, OsdInodeId};
use wire::disk::reply_data::{LsdReplyData, LsdReplyHeader, ReplyVersion};
use wire::disk::scrub::ScrubFile;
use wire::disk::som::{LustreSomAttrs, SomFlags};
use wire::fid::{Fid, LuFidBe};
use wire::llog::{self, LlogCatid, LlogLogHdr, Records};
use wire::lmv::LmvUserMdV1;
use wire::lov::{LovMd, PlainSpec};
use wire::ostid::{LlogLogid, OidSeq};
use wire::seq::{LuSeqRange, LuSeqRangeBe};
use wire::text;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// An image in a directory of its own.
struct Image {
    dir: PathBuf,
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn shared() -> PathBuf {
    std::env::var_os("LUSTRE_SHARED").map_or_else(|| "/shared".into(), PathBuf::from)
}

impl Image {
    fn open(name: &str, user: &str) -> Option<Image> {
        let from = shared().join("images").join(format!("{name}.img.zst"));
        if !from.exists() {
            eprintln!("skipped: no {}", from.display());
            return None;
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}-{user}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let image = Image { dir };
        let done = Command::new("zstd")
            .args(["-q", "-d", "-f", "--sparse"])
            .arg(&from)
            .arg("-o")
            .arg(image.dir.join("img"))
            .status();
        match done {
            Ok(s) if s.success() => Some(image),
            other => {
                eprintln!("skipped: zstd: {other:?}");
                None
            }
        }
    }

    /// The contents that these commands of debugfs write to a file, which `{}` stands for; `None`
    /// where they write none.
    fn debugfs(&self, commands: &[String]) -> Vec<Option<Vec<u8>>> {
        let out = |i: usize| self.dir.join(format!("out{i}"));
        let script: String = commands
            .iter()
            .enumerate()
            .map(|(i, c)| c.replace("{}", &out(i).to_string_lossy()) + "\n")
            .collect();
        fs::write(self.dir.join("script"), script).unwrap();
        let done = Command::new("debugfs")
            .arg("-f")
            .arg(self.dir.join("script"))
            .arg(self.dir.join("img"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("debugfs");
        assert!(done.success());
        (0..commands.len())
            .map(|i| {
                let bytes = fs::read(out(i)).ok();
                let _ = fs::remove_file(out(i));
                bytes
            })
            .collect()
    }

    fn files(&self, paths: &[&str]) -> Vec<Vec<u8>> {
        let commands: Vec<_> = paths.iter().map(|p| format!("dump {p} {{}}")).collect();
        self.debugfs(&commands)
            .into_iter()
            .zip(paths)
            .map(|(b, p)| b.unwrap_or_else(|| panic!("no {p}")))
            .collect()
    }

    fn file(&self, path: &str) -> Vec<u8> {
        self.files(&[path]).remove(0)
    }

    fn xattrs<P: AsRef<str>>(&self, paths: &[P], name: &str) -> Vec<Option<Vec<u8>>> {
        let commands: Vec<_> = paths
            .iter()
            .map(|p| format!("ea_get -f {{}} {} {name}", p.as_ref()))
            .collect();
        // One that is not there leaves an empty file.
        self.debugfs(&commands)
            .into_iter()
            .map(|b| b.filter(|b| !b.is_empty()))
            .collect()
    }
}

const MDT: &str = "2.17-nodirdata-mdt0";
const OSTS: [&str; 2] = ["2.17-nodirdata-ost0", "2.17-nodirdata-ost1"];

#[test]
fn mountdata() {
    for (name, flags, index) in [
        (MDT, 0x25, 0),
        (OSTS[0], 0x22, 0),
        (OSTS[1], 0x22, 1),
        ("2.17-ost1", 0x22, 1),
    ] {
        let Some(image) = Image::open(name, "mountdata") else {
            return;
        };
        let bytes = image.file("/CONFIGS/mountdata");
        let ldd = LustreDiskData::parse(&bytes).unwrap();
        assert_eq!(ldd.flags(), LddFlags::from_bits_retain(flags));
        assert_eq!(ldd.ldd_svindex.get(), index);
        assert_eq!(text::get(&ldd.ldd_fsname), b"lustre");
        let mut new = LustreDiskData::new_zeroed();
        new.ldd_magic.set(LDD_MAGIC);
        new.ldd_config_ver.set(1);
        new.ldd_flags.set(ldd.flags().bits());
        new.ldd_svindex.set(index);
        new.ldd_mount_type.set(1);
        text::set(&mut new.ldd_fsname, b"lustre").unwrap();
        text::set(&mut new.ldd_svname, text::get(&ldd.ldd_svname)).unwrap();
        text::set(&mut new.ldd_mount_opts, text::get(&ldd.ldd_mount_opts)).unwrap();
        text::set(&mut new.ldd_params, text::get(&ldd.ldd_params)).unwrap();
        assert!(new.as_bytes() == bytes, "{name}");
    }
}

/// Every record of a configuration log, built again from what was read, has the same bytes.
fn check_config_log(name: &str, bytes: &[u8]) -> Vec<LcfgCommand> {
    let h = LlogLogHdr::parse(bytes).unwrap();
    let mut new = LlogLogHdr::new_zeroed();
    new.init(h.flags(), h.llh_timestamp.get(), llog::CONFIG_UUID)
        .unwrap();
    let mut commands = Vec::new();
    let mut last = 0;
    let mut smallest = u32::MAX;
    for chunk in bytes[llog::LLOG_MIN_CHUNK_SIZE..].chunks(llog::LLOG_MIN_CHUNK_SIZE) {
        for rec in Records::new(chunk) {
            let rec = rec.unwrap();
            assert!(rec.index() > last);
            last = rec.index();
            if rec.is_pad() {
                assert!(!h.is_set(last));
                continue;
            }
            let cfg = Cfg::parse(rec.payload).unwrap();
            let bufs: Vec<_> = (0..cfg.bufcount()).map(|i| cfg.buf(i).unwrap()).collect();
            let spec = CfgSpec {
                num: cfg.head.lcfg_num.get(),
                flags: cfg.head.lcfg_flags.get(),
                nid: cfg.head.lcfg_nid.get(),
                ..CfgSpec::new(cfg.command().unwrap(), &bufs)
            };
            let mut out = vec![0xff; spec.rec_size()];
            spec.write_rec(rec.index(), &mut out).unwrap();
            assert_eq!(out, rec.bytes, "{name} {last}");
            if spec.command == LcfgCommand::Marker {
                assert_eq!(cfg.marker().unwrap().cm_vers.get(), 0x0211_3900);
            }
            commands.push(spec.command);
            smallest = smallest.min(rec.bytes.len() as u32);
            assert!(new.set_bit(last));
            new.llh_count += 1;
        }
    }
    new.llh_size.set(smallest);
    new.llh_tail.lrt_index.set(last);
    assert!(new.as_bytes() == &bytes[..8192], "header of {name}");
    commands
}

#[test]
fn config_logs() {
    let Some(image) = Image::open(MDT, "logs") else {
        return;
    };
    let names = [
        "lustre-client",
        "lustre-MDT0000",
        "lustre-OST0000",
        "lustre-OST0001",
    ];
    let paths: Vec<_> = names.iter().map(|n| format!("/CONFIGS/{n}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let logs: BTreeMap<_, _> = names
        .into_iter()
        .zip(image.files(&paths))
        .map(|(n, bytes)| (n, check_config_log(n, &bytes)))
        .collect();
    // `spec/mgs-config.md` 11.
    assert_eq!(logs["lustre-client"].len(), 29);
    assert_eq!(logs["lustre-MDT0000"].len(), 21);
    use LcfgCommand::{Attach, Marker, Setup};
    assert_eq!(logs["lustre-OST0000"], [Marker, Attach, Setup, Marker]);

    let Some(ost) = Image::open(OSTS[0], "logs") else {
        return;
    };
    let copies = ost.files(&["/CONFIGS/lustre-client", "/CONFIGS/lustre-OST0000"]);
    for (name, bytes) in ["lustre-client", "lustre-OST0000"].into_iter().zip(copies) {
        assert_eq!(check_config_log(name, &bytes), logs[name]);
    }
}

#[test]
fn last_rcvd_and_reply_data() {
    let Some(image) = Image::open(MDT, "lastrcvd") else {
        return;
    };
    let [last, replies] = <[_; 2]>::try_from(image.files(&["/last_rcvd", "/reply_data"])).unwrap();
    let lsd = LrServerData::parse(&last).unwrap();
    let mut new = LrServerData::new_zeroed();
    new.init(b"lustre-MDT0000_UUID", 0).unwrap();
    new.lsd_last_transno = lsd.lsd_last_transno;
    new.lsd_mount_count = lsd.lsd_mount_count;
    new.lsd_max_clients = lsd.lsd_max_clients;
    new.lsd_start_epoch
        .set((lsd.lsd_last_transno.get() >> 32) as u32);
    new.lsd_feature_compat.set(LrCompat::V20.bits());
    new.lsd_feature_rocompat.set(LrRoCompat::LOVOBJID.bits());
    let incompat = LrIncompat::MDT_FRESH | LrIncompat::FID;
    new.lsd_feature_incompat.set(incompat.bits());
    assert_eq!(&new, lsd);
    assert_eq!(
        lsd.incompat() - LrIncompat::MDT_SUPPORTED,
        LrIncompat::empty()
    );

    let mut generations = Vec::new();
    let mut slot = 0;
    while lsd.client_offset(slot) < last.len() as u64 {
        let at = lsd.client_offset(slot) as usize;
        let c = LsdClientData::read_from_prefix(&last[at..]).unwrap().0;
        generations.push(c.lcd_generation.get());
        slot += 1;
    }
    assert!(slot > 0 && lsd.client_offset(0) == u64::from(LR_CLIENT_START));

    let h = LsdReplyHeader::read_from_prefix(&replies).unwrap().0;
    assert_eq!(h.version(), Ok(ReplyVersion::V1));
    assert_eq!(h, LsdReplyHeader::new());
    let mut i = 0;
    while ReplyVersion::V1.offset(i) < replies.len() as u64 {
        let at = ReplyVersion::V1.offset(i) as usize;
        let r = LsdReplyData::read_from_prefix(&replies[at..]).unwrap().0;
        assert!(generations.contains(&r.lrd_client_gen.get()));
        assert!(r.lrd_transno.get() <= lsd.lsd_last_transno.get());
        assert_eq!(
            r.lrd_transno.get() >> 32,
            u64::from(lsd.lsd_start_epoch.get())
        );
        i += 1;
    }
    assert!(i > 0);

    for (n, name) in OSTS.iter().enumerate() {
        let Some(ost) = Image::open(name, "lastrcvd") else {
            return;
        };
        let bytes = ost.file("/last_rcvd");
        let lsd = LrServerData::parse(&bytes).unwrap();
        let uuid = format!("lustre-OST{n:04x}_UUID");
        assert_eq!(text::get(&lsd.lsd_uuid), uuid.as_bytes());
        assert_eq!(lsd.lsd_osd_index.get(), n as u32);
        assert_eq!(lsd.compat(), LrCompat::OST);
        assert_eq!(lsd.rocompat(), LrRoCompat::IDX_IN_IDIF);
        assert_eq!(lsd.incompat(), LrIncompat::OST_FRESH);
        let mdt = LsdClientData::read_from_prefix(&bytes[8192..]).unwrap().0;
        if !mdt.is_free() {
            assert_eq!(text::get(&mdt.lcd_uuid), b"lustre-MDT0000-mdtlov_UUID");
        }
    }
}

#[test]
fn server_files() {
    let Some(image) = Image::open(MDT, "files") else {
        return;
    };
    let files = image.files(&[
        "/OI_scrub",
        "/seq_ctl",
        "/seq_srv",
        "/fld",
        "/lov_objid",
        "/lov_objseq",
        "/CATALOGS",
        "/update_log",
        "/oi.16.1",
        "/O/1/LAST_ID",
    ]);
    let [scrub, seq_ctl, seq_srv, fld, objid, objseq, catalogs, update_log, oi, last_id] =
        <[_; 10]>::try_from(files).unwrap();

    let sf = ScrubFile::parse(&scrub).unwrap();
    let mut new = ScrubFile::new_zeroed();
    new.init(&sf.sf_uuid, 64);
    assert_eq!(&new, sf);

    let ctl = LuSeqRange::read_from_bytes(&seq_ctl).unwrap().get();
    assert_eq!((ctl.start, ctl.end), (0x2_c000_0400, u64::MAX));
    let srv = LuSeqRange::read_from_bytes(&seq_srv).unwrap().get();
    assert_eq!((srv.end, srv.is_mdt()), (0x2_4000_0400, true));

    // `spec/ondisk.md` 20.3: the leaf of the FLDB after its dummy record.
    let root = iam::IamLfixRoot::read_from_prefix(&fld).unwrap().0;
    assert_eq!(root.ilr_magic.get(), iam::IAM_LFIX_ROOT_MAGIC);
    assert_eq!((root.ilr_keysize.get(), root.ilr_recsize.get()), (8, 24));
    let limit = iam::IamRootCountLimit::read_from_prefix(&fld[16..])
        .unwrap()
        .0;
    assert_eq!(usize::from(limit.dx.limit.get()), iam::root_limit(4096, 8));
    let leaf = iam::IamLeafHead::read_from_prefix(&fld[4096..]).unwrap().0;
    assert_eq!(leaf.ill_magic.get(), iam::IAM_LEAF_HEADER_MAGIC);
    let ranges: Vec<_> = fld[4100..]
        .chunks(32)
        .take(leaf.ill_count.get().into())
        .map(|rec| {
            let r = LuSeqRangeBe::read_from_bytes(&rec[8..]).unwrap();
            assert_eq!(rec[..8], r.get().start.to_be_bytes());
            assert_eq!(LuSeqRangeBe::from(r.get()).as_bytes(), &rec[8..]);
            r.get()
        })
        .filter(|r| !r.is_empty())
        .map(|r| (r.start, r.end, r.index, r.flags))
        .collect();
    assert_eq!(
        ranges,
        [
            (0xc, 0x1_0000_0000, 0, 0),
            (0x2_0000_0002, 0x2_0000_0003, 0, 0),
            (0x2_0000_0007, 0x2_0000_0008, 0, 0),
            (0x2_0000_0400, 0x2_4000_0400, 0, 0),
            (0x2_4000_0400, 0x2_8000_0400, 0, 1),
            (0x2_8000_0400, 0x2_c000_0400, 1, 1),
        ]
    );

    let words = |b: &[u8]| -> Vec<u64> {
        b.chunks(8)
            .map(|w| u64::from_le_bytes(w.try_into().unwrap()))
            .collect()
    };
    assert_eq!(words(&objseq), [0x2_4000_0400, 0x2_8000_0400]);
    assert_eq!(words(&objid).len(), 2);
    assert!(words(&last_id)[0] >= 2);

    for (bytes, seq) in [(&catalogs, 1), (&update_log, 0x2_0000_0400)] {
        for cat in bytes.chunks(32) {
            let cat = LlogCatid::read_from_bytes(cat).unwrap();
            let fid = cat.lci_logid.to_fid().unwrap();
            assert_eq!(fid.seq, seq);
            assert_eq!(LlogLogid::from_fid(fid), cat.lci_logid);
        }
    }

    // The FIDs of local files, in the leaf that the root's first slot points to.
    let slot1 = &oi[16 + iam::entry_size(16)..];
    let leaf_at = 4096 * u32::from_le_bytes(slot1[16..20].try_into().unwrap()) as usize;
    let leaf = iam::IamLeafHead::read_from_prefix(&oi[leaf_at..])
        .unwrap()
        .0;
    assert_eq!(leaf.ill_magic.get(), iam::IAM_LEAF_HEADER_MAGIC);
    let mut known = 0;
    for rec in oi[leaf_at + 4..]
        .chunks(24)
        .take(leaf.ill_count.get().into())
    {
        let fid = LuFidBe::read_from_bytes(&rec[..16]).unwrap().get();
        let ino = OsdInodeId::read_from_bytes(&rec[16..]).unwrap();
        if !fid.is_zero() {
            assert!(
                oi::container(&fid, 64) == 1 && ino.oii_ino.get() >= 11,
                "{fid}"
            );
            let fixed = fid.is_local_file() && names::local_file_name(fid.oid).is_some();
            known += u32::from(fixed);
        }
    }
    assert!(known >= 9, "{known}");

    let dmv = image.xattrs(&["/ROOT"], "trusted.dmv").remove(0).unwrap();
    assert_eq!(dmv, LmvUserMdV1::root_default().as_bytes());
}

/// A line of the manifest.
struct Entry {
    path: String,
    fid: Fid,
    size: u64,
    is_file: bool,
    /// OST index and object.
    stripes: Vec<(u32, Fid)>,
}

/// The objects whose names need no quotes.
fn manifest() -> Vec<Entry> {
    let text = fs::read(shared().join("images/manifest-2.17-nodirdata.tsv")).unwrap();
    let text = String::from_utf8_lossy(&text);
    let mut list = Vec::new();
    for line in text.lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/+@:,=-".contains(c);
        if !columns[0].starts_with('.') || !columns[0].chars().all(plain) {
            continue;
        }
        let stat: Vec<_> = columns[1].split('|').collect();
        let stripes = columns
            .iter()
            .find_map(|c| c.strip_prefix("stripes="))
            .map(|s| {
                s.split(',')
                    .filter_map(|o| o.strip_prefix("ost"))
                    .map(|o| {
                        let (index, fid) = o.split_at(1);
                        (index.parse().unwrap(), fid.parse().unwrap())
                    })
                    .collect()
            });
        list.push(Entry {
            path: format!("/ROOT{}", &columns[0][1..]),
            fid: columns[2].parse().unwrap(),
            size: stat[5].parse().unwrap(),
            is_file: stat[0].starts_with("regular"),
            stripes: stripes.unwrap_or_default(),
        });
    }
    list
}

#[test]
fn xattrs_of_the_namespace() {
    let Some(image) = Image::open(MDT, "xattrs") else {
        return;
    };
    let list = manifest();
    assert!(list.len() > 400);
    let paths: Vec<_> = list.iter().map(|e| e.path.as_str()).collect();
    let fids: BTreeMap<_, _> = list.iter().map(|e| (e.path.as_str(), e.fid)).collect();

    let lma = image.xattrs(&paths, "trusted.lma");
    for (e, bytes) in list.iter().zip(lma) {
        let bytes = bytes.unwrap();
        let lma = LustreMdtAttrs::parse(&bytes).unwrap();
        assert_eq!(lma.fid(), e.fid, "{}", e.path);
        let new = LustreMdtAttrs::new(e.fid, LmaCompat::empty(), LmaIncompat::empty());
        assert_eq!(new.as_bytes(), bytes);
    }

    let links = image.xattrs(&paths, "trusted.link");
    for (e, bytes) in list.iter().zip(links) {
        let Some(bytes) = bytes else {
            assert_eq!(e.fid, Fid::ROOT, "{}", e.path);
            continue;
        };
        let ea = LinkEa::parse(&bytes).unwrap();
        let (dir, name) = e.path.rsplit_once('/').unwrap();
        let link = Link {
            parent: fids[dir],
            name: name.as_bytes(),
        };
        assert!(ea.contains(&link), "{}", e.path);
        let mut buf = vec![0; MAX_LINKEA_SIZE];
        let mut new = LinkEaBuf::new(&mut buf).unwrap();
        for link in ea.links() {
            assert_eq!(new.add(&link, 1), Ok(true));
        }
        assert_eq!(new.as_bytes(), bytes);
    }

    let lov = image.xattrs(&paths, "trusted.lov");
    let mut layouts = 0;
    for (e, bytes) in list.iter().zip(lov) {
        let Some(bytes) = bytes else {
            assert!(e.stripes.is_empty(), "{}", e.path);
            continue;
        };
        let LovMd::Plain(p) = LovMd::parse(&bytes).unwrap() else {
            panic!("{}", e.path);
        };
        assert_eq!(p.md.lmm_oi, OidSeq::from_fid(e.fid));
        let got: Vec<_> = p
            .stripes()
            .iter()
            .map(|o| (o.l_ost_idx.get(), o.fid().unwrap()))
            .collect();
        assert_eq!(got, e.stripes, "{}", e.path);
        let spec = PlainSpec {
            pattern: p.pattern(),
            fid: e.fid,
            stripe_size: p.md.lmm_stripe_size.get(),
            stripe_count: p.md.lmm_stripe_count.get(),
            layout_gen: p.md.lmm_layout_gen.get(),
            pool: p.pool_name(),
        };
        let mut buf = vec![0xff; spec.size(p.objects.len())];
        assert_eq!(spec.write(p.objects, &mut buf), Ok(bytes.len()));
        assert_eq!(buf, bytes);
        layouts += 1;
    }
    assert!(layouts > 300, "{layouts}");

    let som = image.xattrs(&paths, "trusted.som");
    let mut sizes = 0;
    for (e, bytes) in list.iter().zip(som).filter(|(e, _)| e.is_file) {
        let Some(bytes) = bytes else { continue };
        let som = LustreSomAttrs::read_from_bytes(&bytes).unwrap();
        assert_eq!(som.lsa_valid.get(), SomFlags::LAZY.bits());
        assert_eq!(som.lsa_size.get(), e.size, "{}", e.path);
        sizes += 1;
    }
    assert!(sizes > 300, "{sizes}");
}

#[test]
fn objects_of_the_osts() {
    let list = if shared().exists() {
        manifest()
    } else {
        Vec::new()
    };
    for (index, name) in OSTS.iter().enumerate() {
        let Some(image) = Image::open(name, "objects") else {
            return;
        };
        let mut want = Vec::new();
        for e in &list {
            for (stripe, (ost, object)) in e.stripes.iter().enumerate() {
                if *ost as usize == index {
                    want.push((e, stripe as u32, *object));
                }
            }
        }
        let paths: Vec<_> = want
            .iter()
            .map(|(_, _, o)| {
                format!(
                    "/O/{}/{}/{}",
                    names::seq_dir(o.seq).unwrap().as_str(),
                    names::object_subdir(o, 32).unwrap().as_str(),
                    names::object_name(o).unwrap().as_str()
                )
            })
            .collect();
        assert!(paths.len() > 100);
        let lma = image.xattrs(&paths, "trusted.lma");
        let fid = image.xattrs(&paths, "trusted.fid");
        let mut written = 0;
        for (((e, stripe, object), lma), fid) in want.iter().zip(lma).zip(fid) {
            let lma = lma.unwrap_or_else(|| panic!("no {object} of {}", e.path));
            let new = LustreMdtAttrs::new(*object, LmaCompat::FID_ON_OST, LmaIncompat::empty());
            assert_eq!(new.as_bytes(), lma);
            let Some(fid) = fid else { continue };
            let ff = FilterFid::parse(&fid).unwrap();
            assert_eq!((ff.parent(), ff.stripe_index()), (e.fid, *stripe));
            assert_eq!(ff.ff_layout.ol_stripe_count.get() as usize, e.stripes.len());
            assert_eq!(ff.as_bytes(), fid);
            written += 1;
        }
        assert!(written > 40, "{written}");
    }
}
