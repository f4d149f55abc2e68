// SPDX-License-Identifier: GPL-2.0

//! What a device says of the target on it (`mgs-config.md` 3), against what the mount asks for.

use crate::options::{Options, Role};
use crate::text::Why;
use kapi::prelude::*;
use osd::Device;
use target::local;
use wire::disk::mountdata::{LddFlags, LustreDiskData, INDEX_UNASSIGNED, MOUNT_DATA_FILE};

/// The longest file that is read.
pub const FILE_MAX: usize = 64 << 10;

/// The file below the root of the device.
pub const FILE: &str = MOUNT_DATA_FILE;

/// Checks that the target on a device is the one that is asked for. `bytes` is the file.
///
/// # Errors
/// `ENODEV`: it is none, or damaged. `EINVAL`: it is another one.
pub fn check(bytes: &[u8], options: &Options, why: &mut Why) -> Result {
    let dev = &options.device;
    let Ok(data) = LustreDiskData::parse(bytes) else {
        return why.fail(
            ENODEV,
            format_args!("{dev}: {FILE} is damaged; write it anew with tunefs.lustre"),
        );
    };
    if data.ldd_feature_incompat.get() != 0 {
        let bits = data.ldd_feature_incompat.get();
        return why.fail(
            EINVAL,
            format_args!("{dev} has features {bits:#x} that this server does not know"),
        );
    }
    let flags = data.flags();
    let (kind, index) = match options.role {
        Role::Mdt(i) => (LddFlags::SV_TYPE_MDT, Some(i)),
        Role::Ost(i) => (LddFlags::SV_TYPE_OST, Some(i)),
        Role::Mgs => (LddFlags::SV_TYPE_MGS, None),
    };
    let fsname = wire::text::get(&data.ldd_fsname);
    let assigned = data.ldd_svindex.get();
    let right = flags.contains(kind)
        && flags.is_mgs() == options.mgs
        && (index.is_none() || *fsname == *options.fsname().as_bytes())
        && index.is_none_or(|i| i == assigned || assigned == INDEX_UNASSIGNED);
    if !right {
        let name = core::str::from_utf8(fsname).unwrap_or("?");
        let (svname, bits) = (&options.svname, flags.bits());
        return why.fail(
            EINVAL,
            format_args!(
                "{dev} is not {svname}: it belongs to '{name}', index {assigned}, type {bits:#x}; \
                 see 'tunefs.lustre --dryrun {dev}'"
            ),
        );
    }
    Ok(())
}

/// Where `ldd_flags` is.
const FLAGS_AT: u64 = 20;

/// The target is registered: what had to be told to the MGS has been.
///
/// # Errors
/// `EIO`, `ENOSPC`, `ENOMEM`.
pub(crate) fn registered(osd: &Arc<dyn Device>) -> Result {
    let mut file = local::root(osd)?;
    for name in FILE.split('/') {
        match local::find(osd, &file, name.as_bytes())? {
            Some(f) => file = f,
            None => return Ok(()),
        }
    }
    let mut flags = [0; 4];
    if file.read(FLAGS_AT, &mut flags)? != flags.len() {
        return Err(EINVAL);
    }
    let old = LddFlags::from_bits_retain(u32::from_le_bytes(flags));
    if !old.contains(LddFlags::UPDATE) {
        return Ok(());
    }
    let new = (old - LddFlags::UPDATE).bits().to_le_bytes();
    let mut plan = osd.plan()?;
    plan.write(&file, FLAGS_AT, new.len())?;
    let mut tx = plan.start()?;
    tx.write(&file, FLAGS_AT, &new)?;
    tx.stop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::disk::mountdata::LDD_MAGIC;
    use zerocopy::{FromZeros, IntoBytes};

    fn data(flags: u32, index: u32) -> Box<LustreDiskData> {
        let mut d = Box::new(LustreDiskData::new_zeroed());
        d.ldd_magic.set(LDD_MAGIC);
        d.ldd_flags.set(flags);
        d.ldd_svindex.set(index);
        d.ldd_fsname[..6].copy_from_slice(b"lustre");
        d
    }

    fn options(text: &str) -> Options {
        Options::parse(text, &mut Why::new()).unwrap()
    }

    #[test]
    fn which_target() {
        let o = options("mgsnode=10.0.0.1@tcp,svname=lustre-OST0003,device=/dev/x");
        let run = |d: &LustreDiskData| {
            let mut why = Why::new();
            let r = check(d.as_bytes(), &o, &mut why);
            (r.err(), why.as_str().to_string())
        };
        assert_eq!(run(&data(0x62, 3)).0, None);
        let (e, why) = run(&data(0x62, 4));
        assert_eq!(e, Some(EINVAL));
        assert!(
            why.contains("not lustre-OST0003") && why.contains("index 4"),
            "{why}"
        );
        assert_eq!(run(&data(0x61, 3)).0, Some(EINVAL));
        assert_eq!(run(&data(0x66, 3)).0, Some(EINVAL));
        let mut other = data(0x62, 3);
        other.ldd_fsname[0] = b'x';
        assert_eq!(run(&other).0, Some(EINVAL));
        let mut bad = data(0x62, 3);
        bad.ldd_magic.set(1);
        assert_eq!(run(&bad).0, Some(ENODEV));
        assert_eq!(check(b"", &o, &mut Why::new()).err(), Some(ENODEV));
        let o = options("mgs,svname=lustre-MDT0000,device=/dev/x");
        assert!(check(data(0x65, 0).as_bytes(), &o, &mut Why::new()).is_ok());
        let o = options("mgs,svname=MGS,device=/dev/x");
        assert!(check(data(0x24, 0xffff).as_bytes(), &o, &mut Why::new()).is_ok());
    }
}
