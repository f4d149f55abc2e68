// SPDX-License-Identifier: GPL-2.0

//! The distributed lock manager.
//!
//! - [`core`]: which lock is granted when, and whom to tell. A state machine without I/O, threads
//!   or clocks: one resource at a time, an event in, actions out.
//! - [`server`]: namespaces of a target. Runs the core under its locks, carries the actions out
//!   through the [`server::AstSender`] of each export, keeps the callback timers.
//! - [`client`]: the cache of locks that a client (or a server acting as one) holds.
//! - [`msg`]: the messages.
//!
//! Rules and formats: `spec/ldlm.md`.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod client;
pub mod core;
pub mod msg;
pub mod server;
