// SPDX-License-Identifier: GPL-2.0

//! What we say of ourselves to those who ping, and how we ask others (spec `lnet.md` §12).

use crate::event::{Event, EventHandler, ProcessId, Sink};
use crate::node::{Lnet, PutArgs};
use crate::portal::Target;
use kapi::pages::Pages;
use kapi::prelude::*;
use wire::lnet::{PingFeatures, PingInfo, PingNi};
use wire::lnet::{NI_STATUS_UP, PID_LUSTRE, PING_MAGIC, PING_MATCHBITS, RESERVED_PORTAL};
use wire::nid::Nid;
use zerocopy::IntoBytes;

/// The part of our ping information that a GET asks for.
///
/// # Errors
/// `ENOMEM`. `EINVAL`: a NID that has no place in it.
pub(crate) fn info(nids: &[Nid], offset: u32, length: u32) -> Result<KVVec<u8>> {
    let features = PingFeatures::NI_STATUS
        | PingFeatures::RTE_DISABLED
        | PingFeatures::MULTI_RAIL
        | PingFeatures::DISCOVERY;
    let head = PingInfo {
        magic: PING_MAGIC.into(),
        features: features.bits().into(),
        pid: PID_LUSTRE.into(),
        nnis: u32::try_from(nids.len() + 1)?.into(),
    };
    let mut all: KVVec<u8> = KVVec::new();
    all.extend_from_slice(head.as_bytes(), GFP_KERNEL)?;
    // The loopback is first; its status is the sequence number, which never changes here.
    for nid in core::iter::once(&Nid::LO).chain(nids) {
        let e = PingNi {
            nid: nid.to_nid4().ok_or(EINVAL)?.into(),
            status: NI_STATUS_UP.into(),
            msg_size: 0.into(),
        };
        all.extend_from_slice(e.as_bytes(), GFP_KERNEL)?;
    }
    let from = (offset as usize).min(all.len());
    let to = from.saturating_add(length as usize).min(all.len());
    let mut out: KVVec<u8> = KVVec::new();
    out.extend_from_slice(all.get(from..to).unwrap_or(&[]), GFP_KERNEL)?;
    Ok(out)
}

/// The answer to a ping of ours.
type Answer = Option<Result<(Sink, usize)>>;

/// A ping of ours that is under way.
#[pin_data]
struct Ping {
    #[pin]
    answer: Mutex<Answer>,
    #[pin]
    answered: CondVar,
}

impl EventHandler for Ping {
    fn event(&self, _cookie: u64, event: Event) {
        let answer = match event {
            Event::Filled { sink, len } => Ok((sink, len)),
            Event::Failed { error, .. } => Err(error),
            _ => return,
        };
        *self.answer.lock() = Some(answer);
        self.answered.notify_all();
    }
}

impl Lnet {
    /// Asks a node for its NIDs, the loopback among them.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `EHOSTUNREACH`, `ENETUNREACH` and what the network says. `EPROTO`: what it
    /// answers is no ping information.
    pub fn ping(&self, nid: Nid, timeout: Duration) -> Result<KVec<Nid>> {
        let ping = Arc::pin_init(
            pin_init!(Ping {
                answer <- new_mutex!(None),
                answered <- new_condvar!(),
            }),
            GFP_KERNEL,
        )?;
        let args = PutArgs {
            source: None,
            target: ProcessId {
                nid,
                pid: PID_LUSTRE,
            },
            portal: RESERVED_PORTAL,
            match_bits: PING_MATCHBITS,
            offset: 0,
            hdr_data: 0,
        };
        let target = Target {
            handler: ping.clone(),
            cookie: 0,
        };
        let handle = self.get(&args, Sink::new(Pages::new(1)?), target)?;
        let deadline = Instant::now() + timeout;
        let mut answer = ping.answer.lock();
        let (sink, len) = loop {
            if let Some(a) = answer.take() {
                break a?;
            }
            let left = deadline.duration_since(Instant::now());
            if left.is_zero() {
                drop(answer);
                // The sink, unless the answer is being received now.
                drop(self.cancel(handle));
                return Err(ETIMEDOUT);
            }
            answer = ping.answered.wait_timeout(answer, left).0;
        };
        drop(answer);
        let mut bytes = KVVec::new();
        bytes.resize(len, 0u8, GFP_KERNEL)?;
        sink.pages.copy_out(0, &mut bytes)?;
        let (_, nis) = wire::lnet::parse_ping(&bytes).ok_or(EPROTO)?;
        let mut nids = KVec::new();
        for ni in nis {
            nids.push(Nid::from_nid4(ni.nid.get()), GFP_KERNEL)?;
        }
        Ok(nids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_demand() -> Result {
        let nid = Nid::parse("10.0.0.1@tcp").unwrap();
        let all = info(&[nid], 0, 272)?;
        let (features, nis) = wire::lnet::parse_ping(&all).unwrap();
        assert_eq!(features.bits(), 0x1e);
        assert_eq!(nis.len(), 2);
        assert_eq!(Some(nis[1].nid.get()), nid.to_nid4());
        assert_eq!(all.len(), 48);
        assert_eq!(info(&[nid], 0, 20)?.len(), 20);
        assert_eq!(info(&[nid], 40, 272)?.len(), 8);
        assert_eq!(info(&[nid], u32::MAX, u32::MAX)?.len(), 0);
        Ok(())
    }
}
