// SPDX-License-Identifier: GPL-2.0

//! The client side: the cache of locks that a node holds at one target.
