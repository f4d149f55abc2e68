// SPDX-License-Identifier: GPL-2.0

//! Parameters of common kinds (`admin.md` 7): what is only read, numbers that are set, triggers.

use core::fmt;
use kapi::params::{Param, ParamDir};
use kapi::prelude::*;

/// A parameter that is read: `F` prints it.
struct Show<F>(F);

impl<F> Param for Show<F>
where
    F: Fn(&mut dyn fmt::Write) -> Result + Send + Sync,
{
    fn show(&self, out: &mut dyn fmt::Write) -> Result {
        (self.0)(out)
    }
}

/// A parameter that is read and set.
struct Tune<F, S> {
    show: F,
    store: S,
}

impl<F, S> Param for Tune<F, S>
where
    F: Fn(&mut dyn fmt::Write) -> Result + Send + Sync,
    S: Fn(&str) -> Result + Send + Sync,
{
    fn show(&self, out: &mut dyn fmt::Write) -> Result {
        (self.show)(out)
    }

    fn store(&self, value: &str) -> Result {
        (self.store)(value)
    }

    fn writable(&self) -> bool {
        true
    }
}

/// Prints a line.
///
/// # Errors
/// `ENOMEM`.
pub fn line(out: &mut dyn fmt::Write, args: fmt::Arguments<'_>) -> Result {
    out.write_fmt(args)
        .and_then(|()| out.write_char('\n'))
        .map_err(|_| ENOMEM)
}

/// Reads a number, decimal or 0x-hexadecimal.
///
/// # Errors
/// `EINVAL`: it is none.
pub fn number(text: &str) -> Result<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| EINVAL),
        None => text.parse().map_err(|_| EINVAL),
    }
}

/// Adds a parameter that is read.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub fn show<F>(dir: &ParamDir, name: &str, f: F) -> Result
where
    F: Fn(&mut dyn fmt::Write) -> Result + Send + Sync + 'static,
{
    dir.add(name, Arc::new(Show(f), GFP_KERNEL)?)
}

/// Adds a number that is read.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub fn show_number<F>(dir: &ParamDir, name: &str, f: F) -> Result
where
    F: Fn() -> Result<u64> + Send + Sync + 'static,
{
    show(dir, name, move |out| line(out, format_args!("{}", f()?)))
}

/// Adds a parameter that is read and set.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub fn tune<F, S>(dir: &ParamDir, name: &str, show: F, store: S) -> Result
where
    F: Fn(&mut dyn fmt::Write) -> Result + Send + Sync + 'static,
    S: Fn(&str) -> Result + Send + Sync + 'static,
{
    dir.add(name, Arc::new(Tune { show, store }, GFP_KERNEL)?)
}

/// Adds a number that is read and set.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub fn tune_number<F, S>(dir: &ParamDir, name: &str, get: F, set: S) -> Result
where
    F: Fn() -> u64 + Send + Sync + 'static,
    S: Fn(u64) -> Result + Send + Sync + 'static,
{
    tune(
        dir,
        name,
        move |out| line(out, format_args!("{}", get())),
        move |text| set(number(text)?),
    )
}

/// Adds a parameter that makes something happen when it is written to.
///
/// # Errors
/// `EEXIST`, `ENOMEM`.
pub fn trigger<S>(dir: &ParamDir, name: &str, f: S) -> Result
where
    S: Fn(&str) -> Result + Send + Sync + 'static,
{
    tune(dir, name, |_| Ok(()), f)
}
