// SPDX-License-Identifier: Apache-2.0

//! Makes development evidence: what a Keep would show, without a processor that could vouch for it.
//!
//! A [`Root`] is made locally, by anybody. It certifies [`Attester`]s, which sign reports in the format of
//! SEV-SNP about whatever they are told, and [`SgxPlatform`]s, which quote whatever enclave they are told. For
//! Keeps whose platform says nothing the host uses an attester; stand-ins, which play a processor, have one of
//! their own or a platform. So Keep, request, policy and certificate can be tried on each
//! machine; and nothing is proved by it. A Steward accepts such evidence only under a root that its policy
//! names, and its certificates say `development`. AMD's roots never have a part in it: keys are on P-384
//! where AMD's are RSA, there is no intermediate, and the product is `Development`. Nor have Intel's: no name
//! in a chain, no vendor and no signer of a quoting enclave is theirs.
//!
//! ```
//! use core::time::Duration;
//! use evidence_development::{Binding, Curve, Guest, Key, Root};
//! use evidence_pki::Time;
//!
//! # fn main() -> Result<(), evidence_development::DevelopmentError> {
//! let now = Time::from_unix(1_800_000_000);
//! let root = Root::create(now, Duration::from_secs(86_400))?;
//! let key = Key::generate(Curve::P384)?;
//! let binding = Binding { slug: Some("example/hello"), ..Binding::default() };
//! let request = root.attester(now)?.request(&key, &Guest::default(), &binding)?;
//! # assert!(request.len() > 1184);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attester;
mod binding;
mod certificate;
mod error;
mod key;
mod root;
mod sgx;

pub use attested_request::Binding;
pub use attester::{
    Attester, BOUND_STATEMENT, Guest, PRODUCT_NAME, REPORT_SIZE, SNP_STAND_IN_NAME, STAND_IN_TCB,
    STATEMENT,
};
pub use binding::{published_report_data, report_data};
pub use error::DevelopmentError;
pub use key::{Curve, Key};
pub use root::{ROOT_NAME, Root};
pub use sgx::{SGX_ROOT_NAME, SgxPlatform};
