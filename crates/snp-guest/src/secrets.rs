// SPDX-License-Identifier: Apache-2.0

//! The secrets page: what the firmware puts into a guest's private memory at its launch.
//!
//! Its content is not measured, and the hypervisor cannot see or choose it (firmware ABI,
//! `PAGE_TYPE_SECRETS` of SNP_LAUNCH_UPDATE):
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0x000 | 4 | `VERSION` |
//! | 0x004 | 4 | bit 0 `IMI_EN`: the guest came from a migration image |
//! | 0x008 | 4 | `FMS`, the processor's family, model and stepping |
//! | 0x010 | 16 | `GOSVW` |
//! | 0x020 | 4 × 32 | `VMPCK0` to `VMPCK3`, the keys of the channels to the firmware |
//! | 0x0a0 | 96 | for the guest's own use |
//! | 0x160 | 4 | `TSC_FACTOR`, from version 3 |
//! | 0x168 | 8 | `LAUNCH_MIT_VECTOR`, from version 4 |

use core::fmt;

use zeroize::{Zeroize as _, Zeroizing};

use crate::PAGE;
use crate::bytes;

/// Bytes of a key of a channel.
pub const KEY: usize = 32;

pub(crate) const KEYS: core::ops::Range<usize> = 0x20..0xa0;

/// Why the page cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretsError {
    /// It is of a version that is too old, or of none.
    Version(u32),
    /// The guest came from a migration image: nobody measured that.
    MigrationImage,
    /// There is no key for this privilege level: the page is not the firmware's, or the key was
    /// taken before.
    NoKey,
}

impl fmt::Display for SecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "a secrets page of version {version}"),
            Self::MigrationImage => f.write_str("the Keep came from a migration image"),
            Self::NoKey => f.write_str("the secrets page has no key"),
        }
    }
}

impl core::error::Error for SecretsError {}

/// What a Keep wants of the page.
pub struct Secrets {
    /// The page's version.
    pub version: u32,
    /// The processor's family, model and stepping, as `CPUID` function 1 has them in `EAX`.
    pub signature: u32,
    /// `LAUNCH_MIT_VECTOR`, from version 4.
    pub mitigations: Option<u64>,
    /// The key of the channel of privilege level 0.
    pub key: Zeroizing<[u8; KEY]>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Takes the key of privilege level 0 out of the page and wipes all keys there: whoever reads
    /// the page later finds none. A Keep runs at that level, and nothing runs at others.
    ///
    /// # Errors
    ///
    /// [`SecretsError`]; the keys are wiped then, too.
    pub fn take(page: &mut [u8; PAGE]) -> Result<Self, SecretsError> {
        let key = Zeroizing::new(bytes::get(page, KEYS.start));
        if let Some(keys) = page.get_mut(KEYS) {
            keys.zeroize();
        }
        let version = bytes::u32(page, 0);
        if version < 2 {
            return Err(SecretsError::Version(version));
        }
        if bytes::u32(page, 4) & 1 != 0 {
            return Err(SecretsError::MigrationImage);
        }
        if bytes::is_zero(&key[..]) {
            return Err(SecretsError::NoKey);
        }
        let mitigations = (version >= 4).then(|| bytes::u64(page, 0x168));
        Ok(Self { version, signature: bytes::u32(page, 8), mitigations, key })
    }
}
