// SPDX-License-Identifier: GPL-2.0

//! The devices of a node, as `lctl dl` lists them (`admin.md` 8.1): names for the parts of targets
//! that administrators and scripts know.

use crate::text::Text;
use core::fmt;
use kapi::prelude::*;

/// How a device is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Set up.
    Up,
    /// Stopping.
    Stopping,
}

struct Device {
    status: Status,
    kind: &'static str,
    name: Text,
    uuid: Text,
    /// How many have it: those of a node are shared by its targets.
    users: u32,
}

/// The devices, by their numbers.
#[pin_data]
pub struct Devices {
    #[pin]
    all: Mutex<KVec<Option<Device>>>,
}

/// Devices at the most.
const MAX: usize = 8192;

impl Devices {
    /// None yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Devices>> {
        Arc::pin_init(
            pin_init!(Devices {
                all <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds one, or counts one more user if there is one of that name.
    ///
    /// # Errors
    /// `EOVERFLOW`: too many. `ENOMEM`.
    pub fn add(
        self: &Arc<Self>,
        kind: &'static str,
        name: fmt::Arguments<'_>,
        uuid: fmt::Arguments<'_>,
    ) -> Result<DeviceEntry> {
        let (name, uuid) = (Text::format(name)?, Text::format(uuid)?);
        let mut all = self.all.lock();
        let same = |d: &Option<Device>| {
            d.as_ref()
                .is_some_and(|d| d.kind == kind && d.name.as_str() == name.as_str())
        };
        let found = all.iter().position(same);
        if let Some((number, Some(d))) = found.and_then(|n| Some((n, all.get_mut(n)?.as_mut()))) {
            d.users += 1;
            return Ok(DeviceEntry {
                devices: self.clone(),
                number,
            });
        }
        let device = Device {
            status: Status::Up,
            kind,
            name,
            uuid,
            users: 1,
        };
        let number = match all.iter().position(|d| d.is_none()) {
            Some(n) => n,
            None if all.len() >= MAX => return Err(EOVERFLOW),
            None => {
                all.push(None, GFP_KERNEL)?;
                all.len() - 1
            }
        };
        if let Some(place) = all.get_mut(number) {
            *place = Some(device);
        }
        Ok(DeviceEntry {
            devices: self.clone(),
            number,
        })
    }

    /// The number of the device with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let all = self.all.lock();
        all.iter().position(|d| {
            d.as_ref()
                .is_some_and(|d| d.name.as_str() == name || d.uuid.as_str() == name)
        })
    }

    /// Prints the line of device `number`, without its end.
    ///
    /// # Errors
    /// `ENOENT`: there is none. `ENOMEM`.
    pub fn show_one(&self, number: usize, out: &mut dyn fmt::Write) -> Result {
        let all = self.all.lock();
        let d = all.get(number).and_then(|d| d.as_ref()).ok_or(ENOENT)?;
        print(number, d, out)
    }

    /// Prints all of them, a line each.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn show(&self, out: &mut dyn fmt::Write) -> Result {
        let all = self.all.lock();
        for (i, d) in all.iter().enumerate() {
            if let Some(d) = d {
                print(i, d, out)?;
                out.write_char('\n').map_err(|_| ENOMEM)?;
            }
        }
        Ok(())
    }
}

fn print(number: usize, d: &Device, out: &mut dyn fmt::Write) -> Result {
    let status = match d.status {
        Status::Up => "UP",
        Status::Stopping => "ST",
    };
    write!(
        out,
        "{number:3} {status} {} {} {} {}",
        d.kind,
        d.name,
        d.uuid,
        d.users + 1
    )
    .map_err(|_| ENOMEM)
}

/// A device in the list, or a share in it. Dropped, it goes.
pub struct DeviceEntry {
    devices: Arc<Devices>,
    number: usize,
}

impl DeviceEntry {
    /// It is stopping.
    pub fn stopping(&self) {
        let mut all = self.devices.all.lock();
        if let Some(Some(d)) = all.get_mut(self.number) {
            if d.users == 1 {
                d.status = Status::Stopping;
            }
        }
    }
}

impl Drop for DeviceEntry {
    fn drop(&mut self) {
        let mut all = self.devices.all.lock();
        let Some(place) = all.get_mut(self.number) else {
            return;
        };
        let gone = match place {
            Some(d) if d.users > 1 => {
                d.users -= 1;
                None
            }
            _ => place.take(),
        };
        drop(all);
        drop(gone);
    }
}

/// The devices that somebody has.
pub(crate) struct Entries(KVec<DeviceEntry>);

impl Entries {
    /// None.
    pub(crate) const fn new() -> Entries {
        Entries(KVec::new())
    }

    /// Adds one; see [`Devices::add`].
    pub(crate) fn add(
        &mut self,
        devices: &Arc<Devices>,
        kind: &'static str,
        name: fmt::Arguments<'_>,
        uuid: fmt::Arguments<'_>,
    ) -> Result {
        let d = devices.add(kind, name, uuid)?;
        Ok(self.0.push(d, GFP_KERNEL)?)
    }

    /// All of them are about to stop.
    pub(crate) fn stopping(&self) {
        for d in self.0.iter() {
            d.stopping();
        }
    }

    /// Gives them up.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list() -> Result {
        let all = Devices::new()?;
        let show = || {
            let mut s = String::new();
            all.show(&mut s).unwrap();
            s
        };
        assert_eq!(show(), "");
        let a = all.add("mds", format_args!("MDS"), format_args!("MDS_uuid"))?;
        let b = all.add(
            "mdt",
            format_args!("l-MDT0000"),
            format_args!("l-MDT0000_UUID"),
        )?;
        let again = all.add("mds", format_args!("MDS"), format_args!("MDS_uuid"))?;
        b.stopping();
        a.stopping();
        assert_eq!(
            show(),
            "  0 UP mds MDS MDS_uuid 3\n  1 ST mdt l-MDT0000 l-MDT0000_UUID 2\n"
        );
        assert_eq!(all.find("l-MDT0000_UUID"), Some(1));
        drop(again);
        drop(a);
        assert_eq!(all.find("MDS"), None);
        // Numbers stay, and are used again.
        let c = all.add("lod", format_args!("x"), format_args!("y"))?;
        assert_eq!(all.find("x"), Some(0));
        drop((b, c));
        assert_eq!(show(), "");
        Ok(())
    }
}
