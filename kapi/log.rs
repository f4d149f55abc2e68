// SPDX-License-Identifier: GPL-2.0

//! Messages to the kernel's log. Lines end in `\n`.

use core::fmt;
use kernel::print::{call_printk, format_strings};
use kernel::sync::atomic::{Atomic, Relaxed};

#[path = "ratelimit.rs"]
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
    /// For developers; off unless [`set_debug`] has turned it on.
    Debug,
}

static DEBUG: Atomic<bool> = Atomic::<bool>::new(false);

/// Turns messages for developers on or off.
pub fn set_debug(on: bool) {
    DEBUG.store(on, Relaxed)
}

#[doc(hidden)]
pub fn print(level: Level, args: fmt::Arguments<'_>) {
    let format = match level {
        Level::Err => &format_strings::ERR,
        Level::Warn => &format_strings::WARNING,
        Level::Info => &format_strings::INFO,
        Level::Debug if !DEBUG.load(Relaxed) => return,
        Level::Debug => &format_strings::INFO,
    };
    // SAFETY: the format is one of the fixed ones, the name ends in a NUL.
    unsafe { call_printk(format, b"Lustre\0", args) }
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
