// SPDX-License-Identifier: Apache-2.0

//! SIGSTRUCT: the signed description of an enclave (Intel SDM, volume 3D, "Enclave Signature Structure"), 1808
//! bytes.
//!
//! | offset | bytes | field | signed |
//! |---|---|---|---|
//! | 0 | 16 | HEADER | yes |
//! | 16 | 4 | VENDOR | yes |
//! | 20 | 4 | DATE | yes |
//! | 24 | 16 | HEADER2 | yes |
//! | 40 | 4 | SWDEFINED | yes |
//! | 44 | 84 | reserved | yes |
//! | 128 | 384 | MODULUS | no |
//! | 512 | 4 | EXPONENT | no |
//! | 516 | 384 | SIGNATURE | no |
//! | 900 | 4, 4 | MISCSELECT, MISCMASK | yes |
//! | 908 | 1, 1, 2 | CET_ATTRIBUTES, its mask, reserved | yes |
//! | 912 | 16 | ISVFAMILYID | yes |
//! | 928 | 16, 16 | ATTRIBUTES, ATTRIBUTEMASK | yes |
//! | 960 | 32, 16 | ENCLAVEHASH, reserved | yes |
//! | 1008 | 16 | ISVEXTPRODID | yes |
//! | 1024 | 2, 2 | ISVPRODID, ISVSVN | yes |
//! | 1028 | 12 | reserved | no |
//! | 1040 | 384, 384 | Q1, Q2 | no |
//!
//! The processor verifies the signature without dividing: Q1 and Q2 are the quotients that it would need, and
//! it only checks that they are. [`Sigstruct::verify`] does the same, so that what it accepts is what a
//! processor accepts.

use aws_lc_rs::digest::{SHA256, digest};
use rsa::BoxedUint;

use crate::KeyError;

/// Bytes of a SIGSTRUCT.
pub const SIGSTRUCT: usize = 1808;
/// Bits of the modulus.
pub(crate) const BITS: u32 = 3072;
/// Bytes of the modulus.
const BYTES: usize = BITS as usize / 8;
/// HEADER.
const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
/// HEADER2.
const HEADER2: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];
/// VENDOR of Intel's own enclaves.
pub const INTEL: u32 = 0x8086;
/// `DigestInfo` of SHA-256 without the digest (RFC 8017, 9.2, note 1).
pub(crate) const SHA256_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// What is signed of an enclave, as in SIGSTRUCT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enclave {
    /// `ENCLAVEHASH`: MRENCLAVE.
    pub measurement: [u8; 32],
    /// `DATE` as `0xyyyymmdd` in binary-coded decimals.
    pub date: u32,
    /// `SWDEFINED`: for whoever signs.
    pub software: u32,
    /// `MISCSELECT` and `MISCMASK`.
    pub misc: (u32, u32),
    /// `CET_ATTRIBUTES` and `CET_ATTRIBUTES_MASK`.
    pub cet: (u8, u8),
    /// `ATTRIBUTES` and `ATTRIBUTEMASK`: flags and XFRM, little-endian each.
    pub attributes: ([u8; 16], [u8; 16]),
    /// `ISVPRODID`.
    pub product: u16,
    /// `ISVSVN`.
    pub version: u16,
    /// `ISVFAMILYID`; zero for an enclave without KSS.
    pub family: [u8; 16],
    /// `ISVEXTPRODID`.
    pub ext_product: [u8; 16],
}

impl Enclave {
    /// The first part of what is signed, 128 bytes.
    pub(crate) fn head(&self) -> Vec<u8> {
        let bytes = [
            &HEADER[..],
            // VENDOR: not Intel.
            &[0; 4],
            &self.date.to_le_bytes(),
            &HEADER2,
            &self.software.to_le_bytes(),
            &[0; 84],
        ]
        .concat();
        debug_assert_eq!(bytes.len(), 128);
        bytes
    }

    /// The second part, 128 bytes.
    pub(crate) fn body(&self) -> Vec<u8> {
        let bytes = [
            &self.misc.0.to_le_bytes()[..],
            &self.misc.1.to_le_bytes(),
            &[self.cet.0, self.cet.1, 0, 0],
            &self.family,
            &self.attributes.0,
            &self.attributes.1,
            &self.measurement,
            &[0; 16],
            &self.ext_product,
            &self.product.to_le_bytes(),
            &self.version.to_le_bytes(),
        ]
        .concat();
        debug_assert_eq!(bytes.len(), 128);
        bytes
    }
}

/// A date as a SIGSTRUCT has it; none if there is no such day.
#[must_use]
pub fn sigstruct_date(year: u16, month: u8, day: u8) -> Option<u32> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        _ => return None,
    };
    if !(1..=days).contains(&day) || year > 9999 {
        return None;
    }
    let bcd =
        |number: u32| (0..4).map(|at| (number / 10_u32.pow(at) % 10) << (4 * at)).sum::<u32>();
    Some(bcd(year.into()) << 16 | bcd(month.into()) << 8 | bcd(day.into()))
}

/// A SIGSTRUCT, read but not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sigstruct {
    raw: [u8; SIGSTRUCT],
}

impl Sigstruct {
    /// Any 1808 bytes: what they say is for [`Sigstruct::verify`] and for the launch.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] for another length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let raw =
            bytes.try_into().map_err(|_| KeyError::Malformed("a SIGSTRUCT has 1808 bytes"))?;
        Ok(Self { raw })
    }

    /// The 1808 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SIGSTRUCT] {
        &self.raw
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.raw.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn number(&self, at: usize) -> Result<BoxedUint, KeyError> {
        // Twice as wide, for products.
        BoxedUint::from_le_slice(&self.field::<BYTES>(at), 2 * BITS)
            .map_err(|_| KeyError::BadSignature)
    }

    fn is_zero(&self, at: usize, length: usize) -> bool {
        self.raw.iter().skip(at).take(length).all(|byte| *byte == 0)
    }

    /// `VENDOR`: 0, or [`INTEL`] for Intel's own.
    #[must_use]
    pub fn vendor(&self) -> u32 {
        u32::from_le_bytes(self.field(16))
    }

    /// What is signed.
    #[must_use]
    pub fn enclave(&self) -> Enclave {
        let [cet] = self.field(908);
        let [cet_mask] = self.field(909);
        Enclave {
            measurement: self.field(960),
            date: u32::from_le_bytes(self.field(20)),
            software: u32::from_le_bytes(self.field(40)),
            misc: (u32::from_le_bytes(self.field(900)), u32::from_le_bytes(self.field(904))),
            cet: (cet, cet_mask),
            attributes: (self.field(928), self.field(944)),
            product: u16::from_le_bytes(self.field(1024)),
            version: u16::from_le_bytes(self.field(1026)),
            family: self.field(912),
            ext_product: self.field(1008),
        }
    }

    /// MRSIGNER: SHA-256 of the modulus as it lies there.
    #[must_use]
    pub fn mrsigner(&self) -> [u8; 32] {
        sha256(&self.field::<BYTES>(128))
    }

    /// Whether fields that cannot have another value have theirs: headers, vendor, exponent, reserved bytes.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.field(0) == HEADER
            && matches!(self.vendor(), 0 | INTEL)
            && self.field(24) == HEADER2
            && u32::from_le_bytes(self.field(512)) == 3
            && [(44, 84), (910, 2), (992, 16), (1028, 12)]
                .into_iter()
                .all(|(at, length)| self.is_zero(at, length))
    }

    /// Whether the signature is by the key in it, as the processor verifies it: RSASSA-PKCS1-v1_5 with SHA-256,
    /// by Q1 and Q2.
    ///
    /// It says nothing about whose key that is: [`Sigstruct::mrsigner`] does.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadSignature`].
    pub fn verify(&self) -> Result<(), KeyError> {
        const BAD: KeyError = KeyError::BadSignature;
        let (m, s) = (self.number(128)?, self.number(516)?);
        let (q1, q2) = (self.number(1040)?, self.number(1424)?);
        if m.bits() != BITS || s >= m {
            return Err(BAD);
        }
        // No product is longer than the numbers are wide.
        let rest = |product: BoxedUint, quotient: &BoxedUint| {
            let times = quotient.wrapping_mul(&m);
            if times > product {
                return Err(BAD);
            }
            let rest = product.wrapping_sub(&times);
            if rest < m { Ok(rest) } else { Err(BAD) }
        };
        let square = rest(s.wrapping_mul(&s), &q1)?;
        let cube = rest(s.wrapping_mul(&square), &q2)?;
        let signed = self.raw.iter().take(128).chain(self.raw.iter().skip(900).take(128));
        let hash = sha256(&signed.copied().collect::<Vec<u8>>());
        let padding = vec![0xff; BYTES - 3 - SHA256_INFO.len() - hash.len()];
        let expected = [&[0, 1][..], &padding, &[0], &SHA256_INFO, &hash].concat();
        let found = cube.to_be_bytes();
        // The upper half is zero, for the rest is below the modulus.
        if found.get(BYTES..) == Some(&expected[..]) { Ok(()) } else { Err(BAD) }
    }
}

/// Q1 and Q2: `s² / m`, and `s · (s² mod m) / m`.
pub(crate) fn quotients(
    signature: &[u8],
    modulus: &BoxedUint,
) -> Result<(Vec<u8>, Vec<u8>), KeyError> {
    let wide =
        |bytes: &[u8]| BoxedUint::from_be_slice(bytes, 2 * BITS).map_err(|_| KeyError::Signing);
    let s = wide(signature)?;
    let m = wide(&modulus.to_be_bytes())?;
    let m = m.to_nz().into_option().ok_or(KeyError::Signing)?;
    let (q1, rest) = s.wrapping_mul(&s).div_rem_vartime(&m);
    let (q2, _) = s.wrapping_mul(&rest).div_rem_vartime(&m);
    Ok((little_endian(&q1), little_endian(&q2)))
}

/// 384 bytes, little-endian.
pub(crate) fn little_endian(number: &BoxedUint) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().into_vec();
    bytes.resize(BYTES, 0);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let hash = digest(&SHA256, bytes);
    out.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    out
}
