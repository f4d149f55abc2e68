// SPDX-License-Identifier: GPL-2.0

//! Parameters: the tree that `lctl get_param` and `set_param` read and write. In the kernel it
//! is a directory of debugfs; here a registry that tests can read.

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

type Tree = BTreeMap<String, std::sync::Arc<dyn Param>>;
static TREE: std::sync::Mutex<Tree> = std::sync::Mutex::new(BTreeMap::new());

struct Forward(Arc<dyn Param>);
impl Param for Forward {
    fn show(&self, out: &mut dyn fmt::Write) -> Result {
        self.0.show(out)
    }
    fn store(&self, value: &str) -> Result {
        self.0.store(value)
    }
    fn writable(&self) -> bool {
        self.0.writable()
    }
}

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
        t.insert(path, std::sync::Arc::new(Forward(param)));
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
