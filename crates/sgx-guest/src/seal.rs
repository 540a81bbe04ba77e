// SPDX-License-Identifier: Apache-2.0

//! The one key that a Keep asks its processor for (SDM, "KEYREQUEST" and `EGETKEY`): the one that it seals
//! with.
//!
//! Only the bytes are here, made from the enclave's own report; what they mean, and all other keys, `key` has
//! for hosts and stand-ins. A test holds the two against each other.

use crate::bytes::{get, put};
use crate::report::REPORT;

/// Bytes of a `KEYREQUEST`, which is aligned to them.
pub const REQUEST: usize = 512;
/// Bytes of a key.
pub const KEY: usize = 16;

/// `KEYNAME` of a sealing key.
const SEAL: u16 = 4;
/// `KEYPOLICY`: MRENCLAVE and `CONFIGID`, the workload. Not MRSIGNER: a launch without a signature that
/// somebody keeps has one by a key of the moment.
const POLICY: u16 = 1 << 0 | 1 << 3;

/// Asks for the sealing key with this number, of the enclave whose own report this is, at the versions that it
/// runs with now.
///
/// It depends on what is in [`POLICY`] and on every attribute, DEBUG among them. `CPUSVN` is the processor's
/// own: another one could be asked for, but a key that old microcode can have is one for who gets hold of a
/// processor with old microcode. So **an update of the microcode makes it another key**, and so does signing
/// the enclave with another `ISVSVN`.
#[must_use]
pub fn request(own: &[u8; REPORT], number: u8) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    put::<0, 2, REQUEST>(&mut bytes, SEAL.to_le_bytes());
    put::<2, 2, REQUEST>(&mut bytes, POLICY.to_le_bytes());
    // ISVSVN and CPUSVN.
    put::<4, 2, REQUEST>(&mut bytes, get::<258, 2, REPORT>(own));
    put::<8, 16, REQUEST>(&mut bytes, get::<0, 16, REPORT>(own));
    // ATTRIBUTEMASK, KEYID, MISCMASK, CONFIGSVN.
    put::<24, 16, REQUEST>(&mut bytes, [0xff; 16]);
    put::<40, 1, REQUEST>(&mut bytes, [number]);
    put::<72, 4, REQUEST>(&mut bytes, [0xff; 4]);
    put::<76, 2, REQUEST>(&mut bytes, get::<260, 2, REPORT>(own));
    bytes
}
