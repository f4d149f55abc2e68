// SPDX-License-Identifier: GPL-2.0

//! What is in xattrs, files and logs, on disks and in buffers of messages.

use wire::cfg::Cfg;
use wire::dirent::DirPage;
use wire::disk::filter_fid::FilterFid;
use wire::disk::last_rcvd::LrServerData;
use wire::disk::linkea::{LinkEa, LinkEaBuf};
use wire::disk::lma::LustreMdtAttrs;
use wire::disk::mountdata::LustreDiskData;
use wire::disk::scrub::ScrubFile;
use wire::ldlm::Request;
use wire::llog::{LlogLogHdr, Records};
use wire::lmv::LmvMdsMdV1;
use wire::lov::{Component, LovMd};
use wire::lvb::OstLvb;
use wire::out::{reply_result, Updates};
use wire::{mgs, text};

fn layout(md: &LovMd<'_>) {
    assert!(md.size() > 0);
    let _ = md.layout_gen();
    match md {
        LovMd::Plain(p) => {
            assert!(p.pool_name().is_none_or(|n| n.len() <= 16));
            let _ = (p.pattern(), p.is_specific(), p.stripes().len());
        }
        LovMd::Composite(c) => {
            let _ = c.mirrors();
            for e in c.entries {
                match c.blob(e) {
                    Ok(Component::Plain(p)) => {
                        let _ = (p.size(), p.stripes().len());
                    }
                    Ok(Component::Foreign(_, value)) => assert!(value.len() <= c.size()),
                    Err(e) => panic!("a component that was looked at: {e:?}"),
                }
            }
        }
        LovMd::Foreign(_, value) => assert!(value.len() <= md.size()),
    }
}

fn layouts(b: &[u8]) {
    if let Ok(md) = LovMd::parse(b) {
        assert!(md.size() <= b.len());
        layout(&md);
    }
    if let Ok(md) = LovMd::parse_user(b) {
        layout(&md);
    }
}

fn links(b: &[u8]) {
    let Ok(ea) = LinkEa::parse(b) else { return };
    assert_eq!(ea.links().count(), ea.count() as usize);
    for link in ea.links() {
        assert!(ea.contains(&link));
    }
    // What can be read can be changed, if there is room.
    let mut room = vec![0; b.len() + 4096];
    room[..b.len()].copy_from_slice(b);
    if let (Ok(mut buf), Some(link)) = (LinkEaBuf::load(&mut room, b.len()), ea.links().next()) {
        let _ = buf.remove(&link);
        let _ = LinkEa::parse(buf.as_bytes());
    }
}

fn log(b: &[u8]) {
    if let Ok(h) = LlogLogHdr::parse(b) {
        let _ = (h.flags(), h.last_index(), h.is_set(u32::MAX), h.is_set(0));
    }
    for rec in Records::new(b).flatten() {
        let _ = (rec.index(), rec.kind(), rec.is_pad());
        config(rec.payload);
    }
}

fn config(b: &[u8]) {
    let Ok(cfg) = Cfg::parse(b) else { return };
    let _ = (cfg.command(), cfg.is_required(), cfg.marker().is_some());
    for i in 0..=cfg.bufcount() {
        assert_eq!(cfg.buf(i).is_some(), i < cfg.bufcount());
        let _ = cfg.text(i);
    }
}

fn updates(b: &[u8]) {
    for u in Updates::new(b).into_iter().flatten().flatten() {
        let _ = u.op();
        for i in 0..usize::from(u.head.ou_params_count.get()).min(64) {
            let _ = u.param(i);
        }
    }
    for i in 0..16 {
        let _ = reply_result(b, i);
    }
}

fn structs(b: &[u8]) {
    if let Ok(ff) = FilterFid::parse(b) {
        let _ = (ff.parent(), ff.stripe_index(), FilterFid::old_self_id(b));
    }
    if let Ok(lma) = LustreMdtAttrs::parse(b) {
        let _ = (lma.fid(), lma.compat(), lma.incompat());
    }
    if let Ok(d) = LrServerData::parse(b) {
        let _ = (d.compat(), d.rocompat(), d.incompat());
        let _ = d.client_offset(u32::MAX);
    }
    if let Ok(s) = ScrubFile::parse(b) {
        let _ = s.flags();
    }
    if let Ok(d) = LustreDiskData::parse(b) {
        let _ = d.flags();
    }
    let _ = OstLvb::parse(b);
    if let Ok((_, fids)) = LmvMdsMdV1::parse(b) {
        assert!(size_of_val(fids) <= b.len());
    }
    let _ = (text::get(b), text::terminated(b));
    let _ = mgs::nid_strings(b, u32::MAX).count();
}

fn directory(b: &[u8]) {
    if let Ok(page) = DirPage::parse(b) {
        for e in page.entries().flatten() {
            assert!(!e.name.is_empty());
        }
    }
}

fn locks(b: &[u8]) {
    if let Ok(r) = Request::parse(b) {
        let _ = (r.handles().len(), r.handle(0), r.handle(usize::MAX));
        assert!(r.count() >= r.handles().len());
    }
}

/// The first byte says what the others are.
pub fn blobs(bytes: &[u8]) {
    let Some((kind, b)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => layouts(b),
        1 => links(b),
        2 => log(b),
        3 => config(b),
        4 => updates(b),
        5 => structs(b),
        6 => directory(b),
        _ => locks(b),
    }
}
