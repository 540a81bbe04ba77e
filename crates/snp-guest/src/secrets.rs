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

use zeroize::{Zeroize as _, Zeroizing};

use crate::PAGE;
use crate::bytes;

/// Bytes of a key of a channel.
pub const KEY: usize = 32;

pub(crate) const KEYS: core::ops::Range<usize> = 0x20..0xa0;

reasons! {
    /// Why the page cannot be used.
    SecretsError:
    /// It is of a version that is too old, or of none.
    Version(version: u32) = "a secrets page of version {version}";
    /// The guest came from a migration image: nobody measured that.
    MigrationImage = "the Keep came from a migration image";
    /// There is no key for this privilege level: the page is not the firmware's, or the key was
    /// taken before.
    NoKey = "the secrets page has no key";
}

/// Takes the key of the channel of privilege level 0 out of the page and wipes all keys there: whoever
/// reads the page later finds none. A Keep runs at that level, and nothing runs at others.
///
/// # Errors
///
/// [`SecretsError`]; the keys are wiped then, too.
pub fn take_key(page: &mut [u8; PAGE]) -> Result<Zeroizing<[u8; KEY]>, SecretsError> {
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
    if bytes::is_zero(&key[..]) { Err(SecretsError::NoKey) } else { Ok(key) }
}
