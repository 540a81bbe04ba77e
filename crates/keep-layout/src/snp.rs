// SPDX-License-Identifier: Apache-2.0

//! Where the pages are that only SEV-SNP has. They have their place on each platform, so that an
//! image is the same everywhere.

use crate::{PAGE, SHARED_PHYS, TABLES_PHYS, TABLES_SIZE};

/// The CPUID page: the last page of the window of page tables, so it is mapped there.
pub const CPUID_PHYS: u64 = TABLES_PHYS + TABLES_SIZE - PAGE;
/// The secrets page: the one before.
pub const SECRETS_PHYS: u64 = CPUID_PHYS - PAGE;
/// The GHCB of the first processor, in the part of the shared block that the protocol of host calls
/// does not use; those of others follow.
pub const GHCB_PHYS: u64 = SHARED_PHYS + 0x7000;
/// How many processors have a GHCB there.
pub const GHCBS: u64 = crate::PROCESSORS;
/// A page for messages to the firmware.
pub const REQUEST_PHYS: u64 = GHCB_PHYS + GHCBS * PAGE;
/// A page for the firmware's answers.
pub const ANSWER_PHYS: u64 = REQUEST_PHYS + PAGE;
