// SPDX-License-Identifier: Apache-2.0

//! What a call asks for, checked against what there is before anything is changed.

use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::{Area, Kind};
use crate::pages::Pages;
use crate::space::up;
use crate::{Backing, Errno, Place, Prot, Space};

impl<P: Pages + ?Sized> Space<P> {
    /// Whether so many bytes more of writable memory can ever be had.
    ///
    /// WebAssembly's `memory.grow` turns an error here into an answer that a guest understands;
    /// running out of memory at a later touch could only end the program.
    pub(crate) fn can_commit(&self, len: u64) -> bool {
        let taken = self.taken + self.areas.committed();
        taken.checked_add(len).is_some_and(|total| total <= self.ram_limit)
    }

    pub(crate) fn is_in_zone(&self, range: &Range<u64>) -> bool {
        self.zones.all.start <= range.start && range.end <= self.zones.all.end
    }

    /// Checks `mmap`; gives the length in pages' bytes, and the range if the place is fixed.
    pub(crate) fn check_map(
        &self,
        place: Place,
        len: u64,
        prot: Prot,
        backing: Backing,
    ) -> Result<(u64, Option<Range<u64>>), Errno> {
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = up(len, PAGE).ok_or(Errno::ENOMEM)?;
        self.areas.room()?;
        let fixed = match place {
            Place::Fixed(start) | Place::FixedNoReplace(start) => Some(start),
            Place::Anywhere | Place::Hint(_) => None,
        };
        let target = fixed.map(|start| range(start, len, Errno::ENOMEM)).transpose()?;
        if target.as_ref().is_some_and(|range| !self.is_in_zone(range)) {
            return Err(Errno::ENOMEM);
        }
        if let (Place::FixedNoReplace(_), Some(range)) = (place, &target)
            && self.areas.within(range.clone()).next().is_some()
        {
            return Err(Errno::EEXIST);
        }
        if let Backing::Object { object, offset } = backing {
            let end = offset.checked_add(len).ok_or(Errno::EINVAL)?;
            if !offset.is_multiple_of(PAGE) || end > up(object.len, CHUNK).ok_or(Errno::EINVAL)? {
                return Err(Errno::EINVAL);
            }
        }
        let executable = match backing {
            Backing::Anonymous => false,
            Backing::Object { object, .. } => object.executable && !self.exec_locked,
        };
        if prot.exec() && !executable {
            return Err(Errno::EACCES);
        }
        if backing == Backing::Anonymous && prot.write() {
            let replaced = target.clone().map_or(0, |range| self.areas.charge(range));
            if !self.can_commit(len.saturating_sub(replaced)) {
                return Err(Errno::ENOMEM);
            }
        }
        Ok((len, target))
    }

    /// Checks `mprotect`, all but whether pages have been written to; whether there is anything
    /// to do.
    pub(crate) fn check_protect(&self, range: &Range<u64>, prot: Prot) -> Result<bool, Errno> {
        if !self.areas.cover(range) {
            return Err(Errno::ENOMEM);
        }
        let mut within = self.areas.within(range.clone());
        if range.end <= self.zones.all.start || self.zones.all.end <= range.start {
            let fixed = |(_, area): (u64, Area)| prot != Prot::NONE && prot.within(area.prot);
            return if within.all(fixed) { Ok(false) } else { Err(Errno::EACCES) };
        }
        if !self.is_in_zone(range) {
            return Err(Errno::ENOMEM);
        }
        if within.all(|(_, area)| area.prot == prot) {
            return Ok(false);
        }
        let executable = |(_, area): (u64, Area)| match area.kind {
            Kind::Object { object, shared, .. } => {
                shared && object.executable && (area.prot.exec() || !self.exec_locked)
            }
            _ => false,
        };
        if prot.exec() && !self.areas.within(range.clone()).all(executable) {
            return Err(Errno::EACCES);
        }
        if prot.write() {
            let anonymous = |(start, area): (u64, Area)| match area.kind {
                Kind::Anonymous if !area.prot.write() => area.end - start,
                _ => 0,
            };
            if !self.can_commit(self.areas.within(range.clone()).map(anonymous).sum()) {
                return Err(Errno::ENOMEM);
            }
        }
        self.areas.room()?;
        Ok(true)
    }
}

/// The area of a new mapping that begins at `start`. `fixed`: the caller has chosen its place.
pub(crate) fn area(start: u64, len: u64, prot: Prot, backing: Backing, fixed: bool) -> Area {
    let kind = match backing {
        Backing::Anonymous => Kind::Anonymous,
        Backing::Object { object, offset } => Kind::Object {
            object,
            shift: (object.phys + offset).wrapping_sub(start),
            // Wasmtime maps an artifact writable, but does not write to it; it maps the initial
            // content of memory over a reservation, and that is written to.
            shared: !prot.write() || (object.executable && !fixed),
        },
    };
    Area { end: start + len, prot, kind }
}

/// The pages of a call's range; `too_long` is the error if they reach over the end of all
/// addresses.
pub(crate) fn range(address: u64, len: u64, too_long: Errno) -> Result<Range<u64>, Errno> {
    if !address.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = up(len, PAGE).and_then(|len| address.checked_add(len)).ok_or(too_long)?;
    Ok(address..end)
}
