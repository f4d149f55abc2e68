// SPDX-License-Identifier: GPL-2.0

//! Parameters: the tree that `lctl get_param` and `set_param` read and write. In the kernel it
//! is a directory of debugfs; here a registry that tests can read.

use crate::alloc::{flags::GFP_KERNEL, KVec};
use crate::error::{code::*, Result};
use crate::sync::Arc;
use core::fmt;
use std::collections::BTreeMap;

/// One parameter.
pub trait Param: Send + Sync {
    /// Prints the value, ending in a newline.
    fn show(&self, out: &mut dyn fmt::Write) -> Result;
    /// Takes a new value, without the newline.
    ///
    /// # Errors
    /// `EPERM` for what cannot be written, `EINVAL` for what makes no sense.
    fn store(&self, value: &str) -> Result {
        let _ = value;
        Err(EPERM)
    }
    /// Whether [`Param::store`] does anything.
    fn writable(&self) -> bool {
        false
    }
}

type Tree = BTreeMap<String, Arc<dyn Param>>;
static TREE: std::sync::Mutex<Tree> = std::sync::Mutex::new(BTreeMap::new());

/// A directory of parameters, removed with all that is in it when dropped.
pub struct ParamDir {
    path: String,
}

impl ParamDir {
    /// A directory `path` ("osd-ldiskfs/lustre-OST0000") below the root of the tree; parents are
    /// made as needed.
    pub fn new(path: fmt::Arguments<'_>) -> Result<ParamDir> {
        Ok(ParamDir {
            path: path.to_string(),
        })
    }
    /// Adds a parameter. A name may contain `/`.
    pub fn add(&self, name: &str, param: Arc<dyn Param>) -> Result {
        let path = format!("{}/{name}", self.path);
        let mut t = TREE.lock().unwrap_or_else(|e| e.into_inner());
        if t.contains_key(&path) {
            return Err(EEXIST);
        }
        t.insert(path, param);
        Ok(())
    }
}

impl Drop for ParamDir {
    fn drop(&mut self) {
        let prefix = format!("{}/", self.path);
        let mut t = TREE.lock().unwrap_or_else(|e| e.into_inner());
        t.retain(|k, _| !k.starts_with(&prefix));
    }
}

/// The parameters whose path ("osd-ldiskfs/lustre-OST0000/uuid") is wanted. What is found may be
/// on its way out.
///
/// # Errors
/// `ENOMEM`.
pub fn find(wanted: &dyn Fn(&str) -> bool) -> Result<KVec<Arc<dyn Param>>> {
    let mut found = KVec::new();
    for (path, param) in TREE.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        if wanted(path.strip_prefix('/').unwrap_or(path)) {
            found.push(param.clone(), GFP_KERNEL)?;
        }
    }
    Ok(found)
}

/// For tests: the value of a parameter.
pub fn read(path: &str) -> Result<String> {
    let p = TREE
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .get(path)
        .cloned()
        .ok_or(ENOENT)?;
    let mut s = String::new();
    p.show(&mut s)?;
    Ok(s)
}
/// For tests: sets a parameter.
pub fn write(path: &str, value: &str) -> Result {
    let p = TREE
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .get(path)
        .cloned()
        .ok_or(ENOENT)?;
    p.store(value)
}
/// For tests: all names.
pub fn list() -> std::vec::Vec<String> {
    TREE.lock()
        .unwrap_or_else(|e| e.into_inner())
        .keys()
        .cloned()
        .collect()
}
