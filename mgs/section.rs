// SPDX-License-Identifier: GPL-2.0

//! Sections of configuration logs: records between two markers (`mgs-config.md` 10, 11).

use core::fmt;
use kapi::prelude::*;
use wire::cfg::{CfgMarker, CfgSpec, CmFlags, LcfgCommand, LmvDesc, LovDesc};
use wire::disk::names::Name;
use wire::llog::LlogRecHdr;
use wire::nid::Nid;
use zerocopy::IntoBytes;

/// What markers say about their writer.
pub(crate) const VERSION: u32 = wire::connect::version(2, 17, 0, 0);
/// Longest UUID of a node.
const NODE_UUID_MAX: usize = 39;

/// Text of a record, with its NUL.
pub(crate) fn text(args: fmt::Arguments<'_>) -> Result<Name> {
    Name::new(format_args!("{args}\0")).map_err(|_| ENAMETOOLONG)
}

/// The UUID of the node with this NID first: its text; of one too long the end.
pub(crate) fn node_uuid(nid: &Nid) -> Result<Name> {
    let name = text(format_args!("{nid}"))?;
    match name.as_bytes().len().checked_sub(NODE_UUID_MAX + 1) {
        None | Some(0) => Ok(name),
        Some(n) => text(format_args!(
            "{}",
            name.as_str().get(n..).unwrap_or("").trim_end_matches('\0')
        )),
    }
}

/// Records that belong to one log.
pub(crate) struct Records {
    all: KVec<KVVec<u8>>,
}

impl Records {
    /// None.
    pub(crate) const fn new() -> Records {
        Records { all: KVec::new() }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The records, each all of it; head and tail are still to be filled in.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut KVVec<u8>> {
        self.all.iter_mut()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.all.iter().fold(0, |n, r| n + r.len())
    }

    /// Adds one.
    pub(crate) fn push(&mut self, spec: &CfgSpec<'_>) -> Result {
        let mut rec = KVVec::from_elem(0u8, spec.rec_size(), GFP_KERNEL)?;
        let payload = rec.get_mut(size_of::<LlogRecHdr>()..).ok_or(EINVAL)?;
        spec.write(payload).map_err(|_| EINVAL)?;
        Ok(self.all.push(rec, GFP_KERNEL)?)
    }

    /// Adds a command with these buffers and nothing else.
    pub(crate) fn command(&mut self, command: LcfgCommand, bufs: &[&[u8]]) -> Result {
        self.push(&CfgSpec::new(command, bufs))
    }

    /// Begins a section; the step grows.
    pub(crate) fn start(
        &mut self,
        step: &mut u32,
        flags: CmFlags,
        target: &[u8],
        comment: &[u8],
    ) -> Result {
        *step = step.checked_add(1).ok_or(EOVERFLOW)?;
        self.marker(*step, flags | CmFlags::START, target, comment)
    }

    /// Ends it.
    pub(crate) fn end(
        &mut self,
        step: &u32,
        flags: CmFlags,
        target: &[u8],
        comment: &[u8],
    ) -> Result {
        self.marker(*step, flags | CmFlags::END, target, comment)
    }

    fn marker(&mut self, step: u32, flags: CmFlags, target: &[u8], comment: &[u8]) -> Result {
        let mut m = CfgMarker {
            cm_step: step.into(),
            cm_flags: flags.bits().into(),
            cm_vers: VERSION.into(),
            cm_padding: 0.into(),
            cm_createtime: kapi::time::real().as_secs().into(),
            cm_canceltime: 0.into(),
            cm_tgtname: [0; 64],
            cm_comment: [0; 64],
        };
        wire::text::set(&mut m.cm_tgtname, target).map_err(|_| ENAMETOOLONG)?;
        wire::text::set(&mut m.cm_comment, comment).map_err(|_| ENAMETOOLONG)?;
        self.command(LcfgCommand::Marker, &[b"", m.as_bytes()])
    }

    /// A NID of a node. What has no numeric form goes as text.
    pub(crate) fn add_uuid(&mut self, nid: &Nid, node: &Name) -> Result {
        match nid.to_nid4() {
            Some(nid4) => self.push(&CfgSpec {
                nid: nid4,
                ..CfgSpec::new(LcfgCommand::AddUuid, &[b"", node.as_bytes()])
            }),
            None => {
                let nid = text(format_args!("{nid}"))?;
                self.command(
                    LcfgCommand::AddUuid,
                    &[b"", node.as_bytes(), nid.as_bytes()],
                )
            }
        }
    }

    /// The section that sets up device `lov` with the defaults of striping.
    pub(crate) fn lov_setup(&mut self, step: &mut u32, lov: &str) -> Result {
        let (target, uuid) = (lov.as_bytes(), text(format_args!("{lov}_UUID"))?);
        let name = text(format_args!("{lov}"))?;
        let bare = wire::text::get(uuid.as_bytes());
        let desc = LovDesc::new(bare).map_err(|_| ENAMETOOLONG)?;
        self.start(step, CmFlags::empty(), target, b"lov setup")?;
        self.command(
            LcfgCommand::Attach,
            &[name.as_bytes(), b"lov\0", uuid.as_bytes()],
        )?;
        self.command(LcfgCommand::Setup, &[name.as_bytes(), desc.as_bytes()])?;
        self.end(step, CmFlags::empty(), target, b"lov setup")
    }

    /// The section that sets up device `lmv`.
    pub(crate) fn lmv_setup(&mut self, step: &mut u32, lmv: &str) -> Result {
        let (target, uuid) = (lmv.as_bytes(), text(format_args!("{lmv}_UUID"))?);
        let name = text(format_args!("{lmv}"))?;
        let bare = wire::text::get(uuid.as_bytes());
        let desc = LmvDesc::new(bare).map_err(|_| ENAMETOOLONG)?;
        self.start(step, CmFlags::empty(), target, b"lmv setup")?;
        self.command(
            LcfgCommand::Attach,
            &[name.as_bytes(), b"lmv\0", uuid.as_bytes()],
        )?;
        self.command(LcfgCommand::Setup, &[name.as_bytes(), desc.as_bytes()])?;
        self.end(step, CmFlags::empty(), target, b"lmv setup")
    }
}
