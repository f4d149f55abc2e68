// SPDX-License-Identifier: GPL-2.0

//! Failures with an errno: tools end with it as their status (spec `admin.md` §6.1).

use std::fmt;

/// An error with its exit status.
#[derive(Debug)]
pub struct Failure {
    /// The errno, positive.
    pub errno: i32,
    /// What is wrong and what to do.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// An error with this errno.
pub fn fail(errno: i32, text: impl Into<String>) -> anyhow::Error {
    Failure {
        errno,
        text: text.into(),
    }
    .into()
}

/// Whoever reads what a program prints may go away before its end: then the program ends.
pub fn end_with_reader() {
    // SAFETY: nothing else runs yet that could set or await signals.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Ends the program `name` as `result` says: errors go to stderr.
pub fn finish(name: &str, result: anyhow::Result<()>) -> std::process::ExitCode {
    let Err(e) = result else {
        return std::process::ExitCode::SUCCESS;
    };
    let errno = e
        .downcast_ref::<Failure>()
        .map(|f| f.errno)
        .or_else(|| {
            e.downcast_ref::<std::io::Error>()
                .and_then(|e| e.raw_os_error())
        })
        .unwrap_or(1);
    eprintln!("\n{name} FATAL: {e:#}");
    eprintln!(
        "{name}: exiting with {errno} ({})",
        std::io::Error::from_raw_os_error(errno)
    );
    std::process::ExitCode::from(
        u8::try_from(errno & 0xff)
            .ok()
            .filter(|c| *c != 0)
            .unwrap_or(1),
    )
}
