// SPDX-License-Identifier: Apache-2.0

//! Memory of a virtual machine: the host gives more of it, and processors remember where it was.

use keep_kernel::kernel::Kernel;
use keep_layout::{IMAGE_PHYS, SHARED_PHYS, TABLES_VIRT};
use keep_mm::Machine;

use super::{Keep, Own, snp};

/// How much memory there is.
#[derive(Debug)]
pub(super) struct Given {
    /// Bytes that are in the direct map or belong to the image.
    pub(super) mapped: u64,
    /// Bytes that the host has given so far.
    pub(super) ram: u64,
    /// The most it may give.
    pub(super) limit: u64,
}

impl Machine for Own<Given> {
    fn grow(&mut self, len: u64) -> Option<(u64, u64)> {
        let Given { ram: have, limit, mapped } = self.platform;
        // What was given at the start is there without asking.
        if mapped < have {
            self.platform.mapped = have;
            return Some((IMAGE_PHYS + mapped, IMAGE_PHYS + have));
        }
        let given = Kernel::<Keep>::ask("memory", |port| port.grow(have, len, limit));
        let total = given.ok()?;
        (self.platform.ram, self.platform.mapped) = (total, total);
        Some((IMAGE_PHYS + have, IMAGE_PHYS + total))
    }

    fn adopt(&mut self, start: u64, end: u64) {
        if let Some(snp) = snp::get() {
            snp.acquire(start..end);
        }
    }

    fn flush(&mut self) {
        super::forget();
        crate::processors::forget();
    }
}

/// The bit of page tables' entries that makes memory private, as a mask; 0 if there is none. It is
/// what the measured image has in the entries of its top-level table, beside an address of a Keep.
pub(crate) fn c_bit(root: u64) -> u64 {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    // SAFETY: the image's tables are where they are seen, and nobody writes to them yet; the first entry
    // leads to the image.
    let first = unsafe { ((TABLES_VIRT + root) as *const u64).read_volatile() };
    first & ADDRESS & !(2 * SHARED_PHYS - 1)
}
