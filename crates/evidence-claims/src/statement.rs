// SPDX-License-Identifier: Apache-2.0

//! Types of evidence in certificate requests: the names by which formats are found.

use der::asn1::ObjectIdentifier as Oid;

/// Development evidence; the published Enarx used it, with an empty value, for KVM.
pub const DEVELOPMENT: Oid = Oid::new_unwrap("1.3.6.1.4.1.58270.1.1");
/// An SGX quote, as published by Enarx.
pub const SGX: Oid = Oid::new_unwrap("1.3.6.1.4.1.58270.1.2");
/// An SNP report, as published by Enarx.
pub const SNP: Oid = Oid::new_unwrap("1.3.6.1.4.1.58270.1.3");
/// A TDX quote.
pub const TDX: Oid = Oid::new_unwrap("1.3.6.1.4.1.58270.1.4");
/// Evidence of one of the types above, or of [`DEVELOPMENT_SGX`], with its endorsements, bound to key, workload and nonce.
pub const BOUND: Oid = Oid::new_unwrap("1.3.6.1.4.1.58270.1.16");
/// A quote of a stand-in of SGX, under a development root; in bound statements only.
pub const DEVELOPMENT_SGX: Oid = Oid::new_unwrap("1.3.6.1.4.1.58270.1.17");
