// SPDX-License-Identifier: GPL-2.0

//! Tunables of a node, with the field's names and defaults (spec `ptlrpc.md` §8).

/// Adaptive time-outs, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct AdaptiveLimits {
    /// `at_min`
    pub min: u32,
    /// `at_max`
    pub max: u32,
    /// `at_history`
    pub history: u32,
    /// `at_early_margin`: how long before a deadline an early reply goes out.
    pub early_margin: u32,
    /// `at_extra`: how much an early reply asks for.
    pub extra: u32,
}

impl AdaptiveLimits {
    /// The defaults.
    pub const DEFAULT: AdaptiveLimits = AdaptiveLimits {
        min: 5,
        max: 600,
        history: 600,
        early_margin: 5,
        extra: 30,
    };
}

/// Everything that times a node's RPCs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Adaptive time-outs.
    pub at: AdaptiveLimits,
    /// `timeout` (obd_timeout), seconds.
    pub obd_timeout: u32,
    /// `ldlm_timeout`, seconds.
    pub ldlm_timeout: u32,
    /// `ldlm_enqueue_min`: the least time that a client has to give up a lock, seconds.
    pub enqueue_min: u32,
    /// The longest a bulk transfer may take, seconds.
    pub bulk_timeout: u32,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Limits = Limits {
        at: AdaptiveLimits::DEFAULT,
        obd_timeout: 100,
        ldlm_timeout: 20,
        enqueue_min: 100,
        bulk_timeout: 100,
    };

    /// Seconds between pings of an idle connection.
    pub fn ping_interval(&self) -> u32 {
        (self.obd_timeout / 4).max(1)
    }

    /// `INITIAL_CONNECT_TIMEOUT`: how long a connect may take, seconds.
    pub fn connect_timeout(&self) -> u32 {
        (self.obd_timeout / 20).max(5)
    }
}
