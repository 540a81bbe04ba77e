// SPDX-License-Identifier: Apache-2.0

//! Where the pages are that only SEV-SNP has. They have their place on each platform, so that an
//! image is the same everywhere.

use crate::{PAGE, PROCESSORS, SHARED_PHYS, SHARED_SIZE, TABLES_PHYS, TABLES_SIZE};

/// The CPUID page: the last page of the window of page tables, so it is mapped there.
pub const CPUID_PHYS: u64 = TABLES_PHYS + TABLES_SIZE - PAGE;
/// The secrets page: the one before.
pub const SECRETS_PHYS: u64 = CPUID_PHYS - PAGE;
/// The GHCB of the first processor, in the part of the shared block that the protocol of host calls
/// does not use; those of others follow.
pub const GHCB_PHYS: u64 = SHARED_PHYS + 0x7000;
/// A page for messages to the firmware, and behind it one for its answers.
pub const MESSAGES_PHYS: u64 = GHCB_PHYS + PROCESSORS * PAGE;

const _: () = assert!(MESSAGES_PHYS + 2 * PAGE <= SHARED_PHYS + SHARED_SIZE);
const _: () = assert!(GHCB_PHYS.is_multiple_of(PAGE));
