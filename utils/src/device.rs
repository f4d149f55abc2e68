// SPDX-License-Identifier: GPL-2.0

//! The block device or file below a target.

use crate::failure::fail;
use crate::offline::ext4::{Fs, INCOMPAT_DIRDATA};
use crate::target::Target;
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use wire::disk::mountdata::{LustreDiskData, MOUNT_DATA_FILE as MOUNTDATA};
use zerocopy::{FromZeros, IntoBytes};

/// What is on a device.
pub enum Content {
    /// No ext4.
    Other,
    /// An ext4 with no trace of Lustre.
    Ext4,
    /// A target.
    Target(Box<Target>),
    /// `last_rcvd`, but no mountdata: a target of old.
    OldTarget,
}

/// Refuses what is neither a block device nor a regular file.
pub fn check(path: &str) -> Result<()> {
    let m = fs::metadata(path).map_err(|e| {
        let errno = e.raw_os_error().unwrap_or(libc::EIO);
        fail(errno, format!("{path}: {e}"))
    })?;
    if !m.file_type().is_block_device() && !m.is_file() {
        return Err(fail(
            libc::ENOTBLK,
            format!("{path} is neither a block device nor a file"),
        ));
    }
    Ok(())
}

/// Refuses a device that is in use.
pub fn check_unused(path: &str) -> Result<()> {
    let real = fs::canonicalize(path)?;
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let used = mounts
        .lines()
        .filter_map(|l| l.split(' ').next())
        .any(|d| fs::canonicalize(d).is_ok_and(|d| d == real));
    let busy = fs::metadata(&real)?.file_type().is_block_device()
        && OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL)
            .open(&real)
            .is_err_and(|e| e.raw_os_error() == Some(libc::EBUSY));
    if used || busy {
        return Err(fail(
            libc::EBUSY,
            format!("{path} is mounted or in use; unmount it first"),
        ));
    }
    Ok(())
}

/// Size in KiB.
pub fn size_kib(path: &str) -> Result<u64> {
    let mut f = File::open(path).with_context(|| path.to_string())?;
    Ok(std::io::Seek::seek(&mut f, std::io::SeekFrom::End(0))? / 1024)
}

fn tool(name: &str, args: &[&str]) -> Result<Output> {
    Command::new(name)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}: is e2fsprogs installed?"))
}

/// The label, if the device has an ext4.
pub fn label(path: &str) -> Result<Option<String>> {
    let mut f = File::open(path).with_context(|| path.to_string())?;
    let mut sb = [0u8; 2048];
    if f.read_exact(&mut sb).is_err() || sb[1024 + 0x38..1024 + 0x3a] != [0x53, 0xef] {
        return Ok(None);
    }
    let name = &sb[1024 + 0x78..1024 + 0x88];
    let n = name.iter().position(|c| *c == 0).unwrap_or(16);
    Ok(Some(String::from_utf8_lossy(&name[..n]).into_owned()))
}

/// Changes the label.
pub fn set_label(path: &str, label: &str) -> Result<()> {
    let out = tool("tune2fs", &["-L", label, path])?;
    if !out.status.success() {
        return Err(fail(
            libc::EIO,
            format!(
                "{path}: cannot set the label '{label}': {}",
                String::from_utf8_lossy(&out.stderr).trim()
            ),
        ));
    }
    Ok(())
}

/// A directory that goes away.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<TempDir> {
        let template = std::env::temp_dir().join("lustre.XXXXXX");
        let c = std::ffi::CString::new(template.into_os_string().into_encoded_bytes())?;
        let mut bytes = c.into_bytes_with_nul();
        // SAFETY: a NUL-terminated template that may be written to.
        let made = unsafe { libc::mkdtemp(bytes.as_mut_ptr().cast()) };
        if made.is_null() {
            return Err(std::io::Error::last_os_error()).context("temporary directory");
        }
        bytes.pop();
        Ok(TempDir(String::from_utf8(bytes)?.into()))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file of the device, read without mounting.
fn dump(device: &str, file: &str) -> Result<Option<Vec<u8>>> {
    let dir = TempDir::new()?;
    let to = dir.0.join("file");
    let request = format!("dump {file} {}", to.display());
    tool("debugfs", &["-c", "-R", &request, device])?;
    match fs::read(&to) {
        Ok(d) => Ok(Some(d)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// What is on the device.
pub fn content(path: &str) -> Result<Content> {
    let Some(label) = label(path)? else {
        return Ok(Content::Other);
    };
    if let Some(data) = dump(path, MOUNTDATA)?.filter(|d| !d.is_empty()) {
        let mut d = LustreDiskData::new_box();
        if data.len() < size_of_val(&*d) {
            return Err(fail(
                libc::EINVAL,
                format!("{path}: {MOUNTDATA} is too short ({} bytes)", data.len()),
            ));
        }
        d.as_mut_bytes()
            .copy_from_slice(&data[..size_of::<LustreDiskData>()]);
        let mut t = Target::from_disk(&d).with_context(|| path.to_string())?;
        t.apply_label(&label);
        return Ok(Content::Target(Box::new(t)));
    }
    Ok(match dump(path, "last_rcvd")? {
        Some(_) => Content::OldTarget,
        None => Content::Ext4,
    })
}

/// Refuses a file system with FIDs in directory entries, which stock ext4 does not mount.
fn check_dirdata(path: &str) -> Result<()> {
    let has = |f: File| Fs::open(&f).is_ok_and(|fs| fs.incompat() & INCOMPAT_DIRDATA != 0);
    if File::open(path).is_ok_and(has) {
        return Err(fail(
            libc::EINVAL,
            format!(
                "{path} has the feature dirdata: run 'tunefs.lustre --strip-dirdata {path}' first"
            ),
        ));
    }
    Ok(())
}

/// The target on a device.
pub fn target(path: &str) -> Result<Target> {
    check_dirdata(path)?;
    match content(path)? {
        Content::Target(t) => Ok(*t),
        Content::Other | Content::Ext4 | Content::OldTarget => Err(fail(
            libc::ENODEV,
            format!("Device {path} has not been formatted with mkfs.lustre"),
        )),
    }
}

/// Brings the accounting of a file system that was just written to offline up to date.
fn settle(device: &str) -> Result<()> {
    let out = tool("e2fsck", &["-f", "-p", device])?;
    // 1: something was put in order, which is what this is for.
    if !matches!(out.status.code(), Some(0 | 1)) {
        return Err(fail(
            libc::EIO,
            format!(
                "e2fsck of {device} failed: {}",
                String::from_utf8_lossy(&out.stdout).trim()
            ),
        ));
    }
    Ok(())
}

/// Formats a device, with mountdata in place.
pub fn format(device: &str, t: &Target, args: &[String], kib: u64) -> Result<()> {
    let dir = TempDir::new()?;
    let root = dir.0.join("root");
    fs::create_dir_all(root.join("CONFIGS"))?;
    for d in [root.clone(), root.join("CONFIGS")] {
        fs::set_permissions(d, Permissions::from_mode(0o755))?;
    }
    let file = root.join(MOUNTDATA);
    fs::write(&file, t.to_disk()?.as_bytes())?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))?;
    let mut args = args.to_vec();
    args.extend(["-d".to_string(), root.display().to_string()]);
    crate::mke2fs::run(&args, device, Some(kib))?;
    settle(device)
}

/// Writes mountdata to a device that is not mounted.
pub fn write_target(device: &str, t: &Target) -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.0.join("mountdata");
    let commands = dir.0.join("commands");
    fs::write(&file, t.to_disk()?.as_bytes())?;
    let script = format!(
        "rm {MOUNTDATA}\nwrite {} {MOUNTDATA}\nset_inode_field {MOUNTDATA} mode 0100644\n",
        file.display()
    );
    fs::write(&commands, script)?;
    settle(device)?;
    let out = tool(
        "debugfs",
        &["-w", "-f", &commands.display().to_string(), device],
    )?;
    settle(device)?;
    let written = dump(device, MOUNTDATA)?;
    if written.as_deref() != Some(t.to_disk()?.as_bytes()) {
        return Err(fail(
            libc::EIO,
            format!(
                "{device}: {MOUNTDATA} was not written: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            ),
        ));
    }
    Ok(())
}

/// A new mountdata, all zero but its magic. On the heap: it has 12 KiB.
pub trait NewBox {
    /// Makes it.
    fn new_box() -> Box<Self>;
}

impl NewBox for LustreDiskData {
    fn new_box() -> Box<Self> {
        let mut d = Box::new(LustreDiskData::new_zeroed());
        d.ldd_magic.set(wire::disk::mountdata::LDD_MAGIC);
        d
    }
}
