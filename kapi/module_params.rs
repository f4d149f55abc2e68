// SPDX-License-Identifier: GPL-2.0

//! What the module is loaded with: `modprobe lustre networks=tcp(eth0)`.

use crate::error::Result;
use crate::ffi;
use kernel::str::{CStr, CStrExt};

/// The parameters, as the administrator gave them.
#[derive(Clone, Copy, Debug)]
pub struct ModuleParams {
    /// The local networks.
    pub networks: &'static str,
    /// The local networks by address.
    pub ip2nets: &'static str,
    /// "secure", "all", "none".
    pub accept: &'static str,
    /// The TCP port of all nodes.
    pub accept_port: u16,
    /// After how many seconds without progress a connection is given up.
    pub sock_timeout: u32,
    /// Connections for bulk to a peer, each way.
    pub conns_per_peer: u32,
}

/// Reads them.
///
/// # Errors
/// `EINVAL`: a text that is not UTF-8.
pub fn module_params() -> Result<ModuleParams> {
    let mut p = ffi::lustre_kapi_module_params {
        networks: core::ptr::null(),
        ip2nets: core::ptr::null(),
        accept: core::ptr::null(),
        accept_port: 0,
        sock_timeout: 0,
        conns_per_peer: 0,
    };
    // SAFETY: `p` is a valid place for the answer.
    unsafe { ffi::lustre_kapi_module_params(&mut p) };
    let text = |c| {
        // SAFETY: the helper sets all of them to strings, which never change and are there as long
        // as the module is.
        let c: &'static CStr = unsafe { CStr::from_char_ptr(c) };
        Ok::<_, crate::error::Error>(c.to_str()?)
    };
    Ok(ModuleParams {
        networks: text(p.networks)?,
        ip2nets: text(p.ip2nets)?,
        accept: text(p.accept)?,
        accept_port: p.accept_port,
        sock_timeout: p.sock_timeout,
        conns_per_peer: p.conns_per_peer,
    })
}
