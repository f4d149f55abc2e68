// SPDX-License-Identifier: GPL-2.0

//! `last_rcvd`: the target's own record and one of each client (`ondisk.md` 9).

use kapi::prelude::*;
use osd::{Create, Device, ObjectRef, Plan, Transaction};
use ptlrpc::export::ClientUuid;
use wire::disk::last_rcvd::{
    LrCompat, LrIncompat, LrServerData, LsdClientData, LR_CLIENT_SIZE, LR_MAX_CLIENTS,
    LR_SERVER_SIZE,
};
use wire::fid::{oid, Fid};
use zerocopy::{FromZeros, IntoBytes};

/// Which slots are taken.
struct Slots {
    /// A bit each.
    taken: KVVec<u64>,
}

impl Slots {
    fn take(&mut self) -> Result<u32> {
        for (i, w) in self.taken.iter_mut().enumerate() {
            if *w != u64::MAX {
                let bit = (!*w).trailing_zeros();
                let slot = u32::try_from(i)? * 64 + bit;
                if slot >= LR_MAX_CLIENTS {
                    return Err(EOVERFLOW);
                }
                *w |= 1 << bit;
                return Ok(slot);
            }
        }
        let slot = u32::try_from(self.taken.len())? * 64;
        if slot >= LR_MAX_CLIENTS {
            return Err(EOVERFLOW);
        }
        self.taken.push(1, GFP_KERNEL)?;
        Ok(slot)
    }

    fn give(&mut self, slot: u32) {
        if let Some(w) = self.taken.get_mut(slot as usize / 64) {
            *w &= !(1 << (slot % 64));
        }
    }
}

/// The file.
#[pin_data]
pub(crate) struct LastRcvd {
    file: ObjectRef,
    client_start: u64,
    client_size: u64,
    /// How often the target was mounted, this time among them.
    pub(crate) mount_count: u64,
    /// The highest transaction number found at the start.
    pub(crate) last_transno: u64,
    /// Clients of the last life that were forgotten.
    pub(crate) forgotten: u32,
    #[pin]
    header: Mutex<KBox<LrServerData>>,
    #[pin]
    slots: SpinLock<Slots>,
}

/// What the header of the file said.
struct Found {
    header: KBox<LrServerData>,
    last_transno: u64,
    /// Slots that hold a client.
    clients: KVVec<u32>,
}

fn read_header(file: &ObjectRef) -> Result<Option<KBox<LrServerData>>> {
    let mut header = KBox::new(LrServerData::new_zeroed(), GFP_KERNEL)?;
    match file.read(0, header.as_mut_bytes())? {
        0 => Ok(None),
        n if n == size_of::<LrServerData>() => Ok(Some(header)),
        _ => Err(EINVAL),
    }
}

fn scan(file: &ObjectRef, header: KBox<LrServerData>) -> Result<Found> {
    let mut last_transno = header.lsd_last_transno.get();
    let mut clients = KVVec::new();
    let mut one = KBox::new(LsdClientData::new_zeroed(), GFP_KERNEL)?;
    for slot in 0..LR_MAX_CLIENTS {
        if file.read(header.client_offset(slot), one.as_mut_bytes())? < size_of::<LsdClientData>() {
            break;
        }
        if !one.is_free() {
            last_transno = last_transno.max(one.last_transno());
            clients.push(slot, GFP_KERNEL)?;
        }
    }
    Ok(Found {
        header,
        last_transno,
        clients,
    })
}

impl LastRcvd {
    /// Opens the file of a target, or makes it. Clients of the last life are forgotten: there is
    /// no recovery yet, they will be told so when they come back.
    ///
    /// # Errors
    /// `EINVAL`: it is damaged, or another target's; the log says which. `EIO`, `ENOSPC`.
    pub(crate) fn open(
        osd: &Arc<dyn Device>,
        name: &str,
        uuid: ClientUuid,
        index: u32,
        is_mdt: bool,
    ) -> Result<Arc<LastRcvd>> {
        let file = osd.object(&Fid::local(oid::LAST_RCVD))?;
        if !file.exists() {
            let what = Create::file(0o644);
            let mut plan = osd.plan()?;
            plan.create(&file, &what, None)?;
            let mut tx = plan.start()?;
            tx.create(&file, &what, None)?;
            tx.stop()?;
        }
        let found = match read_header(&file)? {
            Some(h) => {
                let (supported, kind) = match is_mdt {
                    true => (LrIncompat::MDT_SUPPORTED, "an MDT"),
                    false => (LrIncompat::OST_SUPPORTED, "an OST"),
                };
                if LrServerData::parse(h.as_bytes()).is_err() {
                    pr_err!(
                        "{}: last_rcvd is damaged: its sizes are not possible\n",
                        name
                    );
                    return Err(EINVAL);
                }
                let unknown = h.incompat().difference(supported);
                if !unknown.is_empty() {
                    let bits = unknown.bits();
                    pr_err!(
                        "{}: last_rcvd has features {:#x}, not those of {}\n",
                        name,
                        bits,
                        kind
                    );
                    return Err(EINVAL);
                }
                if h.lsd_uuid != *uuid.padded() && h.lsd_uuid.first() != Some(&0) {
                    pr_err!("{}: last_rcvd is of another target\n", name);
                    return Err(EINVAL);
                }
                scan(&file, h)?
            }
            None => {
                let mut h = KBox::new(LrServerData::new_zeroed(), GFP_KERNEL)?;
                h.init(uuid.as_str().as_bytes(), index)
                    .map_err(|_| EINVAL)?;
                let (compat, incompat) = match is_mdt {
                    true => (LrCompat::MDT, LrIncompat::MDT_FRESH),
                    false => (LrCompat::OST, LrIncompat::OST_FRESH),
                };
                h.lsd_feature_compat.set(compat.bits());
                h.lsd_feature_incompat.set(incompat.bits());
                Found {
                    header: h,
                    last_transno: 0,
                    clients: KVVec::new(),
                }
            }
        };
        Self::begin(osd, file, found)
    }

    fn begin(osd: &Arc<dyn Device>, file: ObjectRef, found: Found) -> Result<Arc<LastRcvd>> {
        let mut header = found.header;
        let mount_count = header.lsd_mount_count.get().wrapping_add(1);
        header.lsd_mount_count.set(mount_count);
        // The lower half of numbers before was handed out, if not committed: a life of its own
        // begins with numbers that no client can have seen.
        let epoch = u32::try_from(found.last_transno >> 32)?
            .checked_add(1)
            .ok_or(EOVERFLOW)?;
        let last_transno = u64::from(epoch) << 32;
        header.lsd_start_epoch.set(epoch);
        header.lsd_last_transno.set(last_transno);
        let (client_start, client_size) = (header.client_offset(0), LR_CLIENT_SIZE.into());
        let zero = [0u8; LR_CLIENT_SIZE as usize];
        // The numbers that are kept in the slots are in the header before the slots go.
        let mut plan = osd.plan()?;
        plan.write(&file, 0, LR_SERVER_SIZE as usize)?;
        let mut tx = plan.start()?;
        tx.write(&file, 0, header.as_bytes())?;
        tx.set_sync();
        tx.stop()?;
        for slots in found.clients.chunks(64) {
            let mut plan = osd.plan()?;
            for s in slots {
                plan.write(&file, header.client_offset(*s), zero.len())?;
            }
            let mut tx = plan.start()?;
            for s in slots {
                tx.write(&file, header.client_offset(*s), &zero)?;
            }
            tx.stop()?;
        }
        let forgotten = u32::try_from(found.clients.len())?;
        Arc::pin_init(
            pin_init!(LastRcvd {
                file,
                client_start,
                client_size,
                mount_count,
                last_transno,
                forgotten,
                header <- new_mutex!(header),
                slots <- new_spinlock!(Slots { taken: KVVec::new() }),
            }),
            GFP_KERNEL,
        )
    }

    fn offset(&self, slot: u32) -> u64 {
        self.client_start + u64::from(slot) * self.client_size
    }

    /// Takes a slot for a client and writes it; it is on disk when this returns.
    ///
    /// # Errors
    /// `EOVERFLOW`: all are taken. `EIO`, `ENOSPC`.
    pub(crate) fn add(&self, osd: &Arc<dyn Device>, client: &ClientUuid) -> Result<u32> {
        // The table may have to grow: not under the spin lock.
        let slot = loop {
            let len = {
                let mut s = self.slots.lock();
                if s.taken.iter().any(|w| *w != u64::MAX) {
                    break s.take()?;
                }
                s.taken.len()
            };
            let mut more = KVVec::with_capacity(len + 16, GFP_KERNEL)?;
            let mut s = self.slots.lock();
            if s.taken.len() == len {
                for w in s.taken.iter() {
                    more.push(*w, GFP_NOWAIT)?;
                }
                more.push(0, GFP_NOWAIT)?;
                core::mem::swap(&mut s.taken, &mut more);
            }
        };
        let write = || -> Result {
            let mut record = LsdClientData::new_zeroed();
            record.lcd_uuid = *client.padded();
            let mut plan = osd.plan()?;
            plan.write(&self.file, self.offset(slot), size_of::<LsdClientData>())?;
            let mut tx = plan.start()?;
            tx.write(&self.file, self.offset(slot), record.as_bytes())?;
            tx.stop()
        };
        if let Err(e) = write() {
            self.slots.lock().give(slot);
            return Err(e);
        }
        Ok(slot)
    }

    /// Frees the slot of a client that has left. Numbers of its transactions go to the header.
    pub(crate) fn remove(&self, osd: &Arc<dyn Device>, slot: u32, last_transno: u64) -> Result {
        let zero = [0u8; LR_CLIENT_SIZE as usize];
        let mut plan = osd.plan()?;
        plan.write(&self.file, self.offset(slot), zero.len())?;
        self.plan_header(&mut plan)?;
        let mut tx = plan.start()?;
        tx.write(&self.file, self.offset(slot), &zero)?;
        self.write_header(&mut tx, last_transno)?;
        tx.stop()?;
        self.slots.lock().give(slot);
        Ok(())
    }

    /// Plans for [`LastRcvd::record`].
    pub(crate) fn plan(&self, plan: &mut Plan, slot: Option<u32>) -> Result {
        match slot {
            Some(s) => plan.write(&self.file, self.offset(s), size_of::<LsdClientData>()),
            None => self.plan_header(plan),
        }
    }

    /// Writes what a transaction was for a client.
    pub(crate) fn record(
        &self,
        tx: &mut Transaction,
        slot: Option<u32>,
        record: &LsdClientData,
    ) -> Result {
        match slot {
            Some(s) => tx.write(&self.file, self.offset(s), record.as_bytes()),
            None => self.write_header(tx, record.last_transno()),
        }
    }

    fn plan_header(&self, plan: &mut Plan) -> Result {
        plan.write(&self.file, 0, LR_SERVER_SIZE as usize)
    }

    fn write_header(&self, tx: &mut Transaction, last_transno: u64) -> Result {
        let mut h = self.header.lock();
        let last = h.lsd_last_transno.get().max(last_transno);
        h.lsd_last_transno.set(last);
        tx.write(&self.file, 0, h.as_bytes())
    }

    /// Brings the highest transaction number to the header, at the end.
    pub(crate) fn close(&self, osd: &Arc<dyn Device>, last_transno: u64) -> Result {
        let mut plan = osd.plan()?;
        self.plan_header(&mut plan)?;
        let mut tx = plan.start()?;
        self.write_header(&mut tx, last_transno)?;
        tx.stop()
    }
}
