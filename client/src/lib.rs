// SPDX-License-Identifier: GPL-2.0
//! A Lustre client in userspace.
