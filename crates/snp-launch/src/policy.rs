// SPDX-License-Identifier: Apache-2.0

//! The guest policy: what the firmware lets the host do with a guest (AMD 56860, section 4.3).
//!
//! This is the one place that says what a Keep's policy is.

use evidence_snp::policy_bits as bits;

/// A guest policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy(u64);

/// Why a policy is none for a Keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The host could read and write the Keep's memory.
    #[error("the policy lets the host debug the guest")]
    Debug,
    /// A migration agent could take the Keep's memory elsewhere.
    #[error("the policy lets a migration agent move the guest")]
    MigrationAgent,
    /// Bit 17 has to be set, and those that mean nothing must not be.
    #[error("the policy {0:#x} has reserved bits that are wrong")]
    Reserved(u64),
    /// The firmware's ABI would be allowed to be older than a Keep can use.
    #[error("the policy allows firmware of ABI {0}.{1}; a Keep needs 1.51")]
    Abi(u8, u8),
}

impl Policy {
    /// A Keep's: firmware of ABI 1.51 or later, which is the first that Linux launches guests on;
    /// simultaneous multithreading allowed; no debugging, no migration agent.
    pub const KEEP: Self = Self(bits::RESERVED_ONE | bits::SMT | 1 << 8 | 51);

    /// From its number.
    #[must_use]
    pub fn new(policy: u64) -> Self {
        Self(policy)
    }

    /// Its number.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The same without simultaneous multithreading: no other guest runs on the core's other half.
    #[must_use]
    pub fn without_smt(self) -> Self {
        Self(self.0 & !bits::SMT)
    }

    /// Lowest version of the firmware's ABI: major, minor.
    #[must_use]
    pub fn abi(self) -> (u8, u8) {
        ((self.0 >> 8) as u8, self.0 as u8)
    }

    /// Whether a Keep may be launched with it. More than [`Policy::KEEP`] asks for may be asked.
    ///
    /// # Errors
    ///
    /// [`PolicyError`].
    pub fn check(self) -> Result<(), PolicyError> {
        let known = bits::NAMES.iter().fold(0xffff | bits::RESERVED_ONE, |all, (bit, _)| all | bit);
        if self.0 & bits::DEBUG != 0 {
            return Err(PolicyError::Debug);
        }
        if self.0 & bits::MIGRATE_MA != 0 {
            return Err(PolicyError::MigrationAgent);
        }
        if self.0 & bits::RESERVED_ONE == 0 || self.0 & !known != 0 {
            return Err(PolicyError::Reserved(self.0));
        }
        let (major, minor) = self.abi();
        if self.abi() < Self::KEEP.abi() {
            return Err(PolicyError::Abi(major, minor));
        }
        Ok(())
    }
}
