// SPDX-License-Identifier: Apache-2.0

//! The CPUID page that a launch hands to the firmware.

use snp_guest::cpuid::{CpuidError, ENTRIES, Entry, Table};

use crate::PAGE;

/// Why there is no such page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuidPageError {
    /// There are more entries than a page has room for.
    #[error("{0} answers of CPUID; a page has room for {ENTRIES}")]
    TooMany(usize),
    /// A Keep would not read it.
    #[error(transparent)]
    Unreadable(CpuidError),
}

/// A page with these answers, in a stable order.
///
/// Those of the hypervisor's own range are left out: the firmware does not check them, so a Keep
/// refuses them. So are those that are all zero, which is what a Keep answers by itself; that
/// makes room.
///
/// # Errors
///
/// [`CpuidPageError`].
pub fn cpuid_page(
    entries: impl IntoIterator<Item = Entry>,
) -> Result<Box<[u8; PAGE]>, CpuidPageError> {
    let own = |entry: &Entry| (0x4000_0000..0x5000_0000).contains(&entry.function);
    let said = |entry: &Entry| entry.answer != Default::default();
    let mut entries: Vec<Entry> =
        entries.into_iter().filter(|entry| !own(entry) && said(entry)).collect();
    entries.sort_by_key(|entry| (entry.function, entry.index, entry.xcr0, entry.xss));
    if entries.len() > ENTRIES {
        return Err(CpuidPageError::TooMany(entries.len()));
    }
    let mut page = Box::new([0; PAGE]);
    Table::write(&entries, &mut page).map_err(CpuidPageError::Unreadable)?;
    Ok(page)
}
