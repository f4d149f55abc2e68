// SPDX-License-Identifier: GPL-2.0

//! Several clients, each with its caches, on the same files and directories: what one has done, all
//! others see with their next call.

mod model;
mod race;
mod random;
mod rng;
