// SPDX-License-Identifier: GPL-2.0

//! An OST's light connection to MDT0000, which may become known only later.

use crate::devices::{DeviceEntry, Devices};
use crate::text::Text;
use kapi::prelude::*;
use osp::{Lwp, LwpConfig};
use ptlrpc::export::ClientUuid;
use ptlrpc::node::Node;
use target::fld::RangeSource;
use target::seq::SuperSource;
use wire::nid::Nid;
use wire::seq::SeqRange;

/// The connection, once it is there.
enum State {
    /// Not yet.
    None,
    Up(Arc<Lwp>, DeviceEntry),
    /// Not any more.
    Closed,
}

/// The connection of an OST to MDT0000.
#[pin_data]
pub(crate) struct Link {
    fsname: Text,
    index: u32,
    #[pin]
    state: Mutex<State>,
}

impl Link {
    /// One that is not there yet, for the OST with this index.
    pub(crate) fn new(fsname: &str, index: u32) -> Result<Arc<Link>> {
        let fsname = Text::copy(fsname)?;
        Arc::pin_init(
            pin_init!(Link {
                fsname,
                index,
                state <- new_mutex!(State::None),
            }),
            GFP_KERNEL,
        )
    }

    /// MDT0000 is at one of these NIDs: connects, if that was not known.
    pub(crate) fn connect(
        &self,
        node: &Arc<Node>,
        devices: &Arc<Devices>,
        peers: KVec<Nid>,
    ) -> Result {
        if !matches!(*self.state.lock(), State::None) {
            return Ok(());
        }
        let (fs, i) = (&self.fsname, self.index);
        let name = Text::format(format_args!("{fs}-MDT0000-lwp-OST{i:04x}"))?;
        let uuid = Text::format(format_args!("{name}_UUID"))?;
        let target = Text::format(format_args!("{fs}-MDT0000_UUID"))?;
        let entry = devices.add("lwp", format_args!("{name}"), format_args!("{uuid}"))?;
        let config = LwpConfig {
            name: name.to_bytes()?,
            target_uuid: ClientUuid::new(target.as_str().as_bytes())?,
            client_uuid: ClientUuid::new(uuid.as_str().as_bytes())?,
            peers,
            is_mdt: false,
        };
        let lwp = Lwp::new(node, config)?;
        let mut state = self.state.lock();
        if matches!(*state, State::None) {
            *state = State::Up(lwp, entry);
            return Ok(());
        }
        drop(state);
        lwp.stop();
        Ok(())
    }

    /// Disconnects; it stays so.
    pub(crate) fn close(&self) {
        let old = core::mem::replace(&mut *self.state.lock(), State::Closed);
        if let State::Up(lwp, entry) = old {
            lwp.stop();
            drop(entry);
        }
    }

    fn lwp(&self) -> Result<Arc<Lwp>> {
        match &*self.state.lock() {
            State::Up(lwp, _) => Ok(lwp.clone()),
            // MDT0000 has not registered yet: who asks may do so again.
            State::None => Err(EINPROGRESS),
            State::Closed => Err(ENOTCONN),
        }
    }
}

/// What an OST asks MDT0000 for.
pub(crate) struct Ask(pub(crate) Arc<Link>);

impl SuperSource for Ask {
    fn alloc_super(&self) -> Result<SeqRange> {
        self.0.lwp()?.alloc_super(self.0.index, true)
    }
}

impl RangeSource for Ask {
    fn lookup(&self, seq: u64, kind: u32) -> Result<SeqRange> {
        self.0.lwp()?.fld_lookup(seq, kind)
    }
}
