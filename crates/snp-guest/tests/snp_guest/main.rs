// SPDX-License-Identifier: Apache-2.0

//! The Keep's words to hypervisor and firmware, against both sides' words.

mod channel;
mod cpuid;
mod firmware;
mod ghcb;
mod msr;
mod pages;
mod reports;
mod vmsa;

use proptest::prelude::*;

/// A page that both sides see.
type Page = snp_guest::host::HostPage;

proptest! {
    /// What the fuzz target of the same name does for longer.
    #[test]
    fn a_hostile_hypervisor_gets_nowhere(input in prop::collection::vec(any::<u8>(), 0..600)) {
        snp_guest::host::hostile(&input);
    }
}
