// SPDX-License-Identifier: Apache-2.0

//! The protocol of one word: what can be said to the hypervisor without a shared page.
//!
//! The word goes into the MSR `0xc001_0130`; after `VMGEXIT` the answer is there. Its lowest twelve
//! bits say what it is (GHCB specification, "GHCB MSR protocol"), so that the answer to one question
//! cannot be taken for the answer to another.
//!
//! A Keep cannot say more in one word than that it wants to end: an error is the word's reason.

/// The version of the GHCB protocol that this crate speaks.
pub const VERSION: u16 = 2;

/// Features of the hypervisor that a Keep needs (GHCB specification, "Hypervisor features"): SEV-SNP.
const FEATURES: u64 = 1;

/// Codes in the low twelve bits.
pub(crate) mod code {
    pub(crate) const SEV_INFO_ANSWER: u64 = 0x001;
    pub(crate) const SEV_INFO: u64 = 0x002;
    pub(crate) const REGISTER: u64 = 0x012;
    pub(crate) const REGISTER_ANSWER: u64 = 0x013;
    pub(crate) const FEATURES: u64 = 0x080;
    pub(crate) const FEATURES_ANSWER: u64 = 0x081;
    pub(crate) const TERMINATE: u64 = 0x100;
}

/// Asks for the guest's end, for a reason of the specification's own (set 0). There is no answer: the
/// hypervisor need not obey, so a Keep that said this stops by itself, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminate(u8);

impl Terminate {
    /// For any reason.
    pub const GENERAL: Self = Self(0);
    /// There is no common version of the protocol.
    pub const VERSION: Self = Self(1);
    /// The hypervisor lacks features of SEV-SNP.
    pub const SNP: Self = Self(2);

    /// The word to write.
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.0) << 16 | code::TERMINATE
    }
}

/// Settles with the hypervisor how to speak: by [`VERSION`], with its features, and with the mask
/// `c_bit` of the image's page tables, of which the CPUID page says later what it is worth.
///
/// `exit` writes a word to the MSR, executes `VMGEXIT` and reads the MSR.
///
/// # Errors
///
/// [`Terminate`]: the reason for which the Keep has to end.
pub fn negotiate(c_bit: u64, exit: impl Fn(u64) -> u64) -> Result<(), Terminate> {
    let answer = exit(code::SEV_INFO);
    let (max, min, theirs) = ((answer >> 48) as u16, (answer >> 32) as u16, (answer >> 24) as u8);
    if answer & 0xfff != code::SEV_INFO_ANSWER {
        return Err(Terminate::GENERAL);
    }
    if !(min..=max).contains(&VERSION) {
        return Err(Terminate::VERSION);
    }
    if 1_u64.checked_shl(theirs.into()) != Some(c_bit) {
        return Err(Terminate::GENERAL);
    }
    let answer = exit(code::FEATURES);
    if answer & 0xfff != code::FEATURES_ANSWER {
        return Err(Terminate::GENERAL);
    }
    if answer >> 12 & FEATURES == FEATURES { Ok(()) } else { Err(Terminate::SNP) }
}

/// Registers the page at a physical address, a multiple of its size, as the GHCB of this processor.
///
/// `exit` as in [`negotiate`].
///
/// # Errors
///
/// As there.
pub fn register(ghcb: u64, exit: impl Fn(u64) -> u64) -> Result<(), Terminate> {
    let registered = exit(ghcb | code::REGISTER) == ghcb | code::REGISTER_ANSWER;
    if registered { Ok(()) } else { Err(Terminate::GENERAL) }
}
