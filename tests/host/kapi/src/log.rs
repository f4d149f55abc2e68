// SPDX-License-Identifier: GPL-2.0

//! Messages to the log. Lines end in `\n`, as in the kernel.

use core::fmt;

#[path = "../../../../kapi/ratelimit.rs"]
mod ratelimit;
pub use ratelimit::RateLimit;

/// How urgent a message is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Something failed.
    Err,
    /// Something is odd.
    Warn,
    /// Something an administrator wants to see.
    Info,
    /// For developers; off unless `LUSTRE_DEBUG` is set.
    Debug,
}

#[doc(hidden)]
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    use std::sync::OnceLock;
    static DEBUG: OnceLock<bool> = OnceLock::new();
    if level < Level::Debug || *DEBUG.get_or_init(|| std::env::var_os("LUSTRE_DEBUG").is_some()) {
        eprint!("Lustre: {args}");
    }
}

/// Logs an error.
#[macro_export]
macro_rules! pr_err { ($($a:tt)*) => {
    $crate::log::print($crate::log::Level::Err, ::core::format_args!($($a)*)) } }
/// Logs a warning.
#[macro_export]
macro_rules! pr_warn { ($($a:tt)*) => {
    $crate::log::print($crate::log::Level::Warn, ::core::format_args!($($a)*)) } }
/// Logs information.
#[macro_export]
macro_rules! pr_info { ($($a:tt)*) => {
    $crate::log::print($crate::log::Level::Info, ::core::format_args!($($a)*)) } }
/// Logs for developers.
#[macro_export]
macro_rules! pr_debug { ($($a:tt)*) => {
    $crate::log::print($crate::log::Level::Debug, ::core::format_args!($($a)*)) } }
