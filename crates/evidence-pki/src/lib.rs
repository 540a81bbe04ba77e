// SPDX-License-Identifier: Apache-2.0

//! X.509 certificates, revocation lists and certificate requests, read strictly and checked at a given
//! time; and what it takes to write and sign their like ([`encode`], [`Signer`]).
//!
//! A general library for TLS is of little use here: AMD's certificates have the serial number zero and
//! RSASSA-PSS signatures with parameters that are not canonical DER, Intel's chains are no chains for a
//! server, and both want their own rules about which certificate may sign what. So this crate reads the
//! structure (with the `der` crate for the encoding itself), keeps the signed bytes as they came, and
//! offers the few checks of which the formats of evidence make their rules.
//!
//! Whatever is read borrows from the input; nothing here panics, and the size of the input bounds the work.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod certificate;
mod crl;
mod cursor;
mod digits;
pub mod encode;
mod error;
mod key;
pub mod oid;
mod pem;
mod request;
mod signer;
mod time;

pub use certificate::{BasicConstraints, Certificate, Extension, KeyUsage};
pub use crl::Crl;
pub use cursor::{Cursor, Item, tag};
pub use der::asn1::ObjectIdentifier;
pub use digits::{hex, unhex};
pub use error::PkiError;
pub use key::{PublicKey, Signature, SignatureAlgorithm};
pub use pem::{certificates, pem_blocks, to_pem};
pub use request::{Attribute, Request};
pub use signer::{NotAPoint, SignError, Signer, SigningAlgorithm};
pub use time::Time;
