// SPDX-License-Identifier: Apache-2.0

//! How the two formats join the verifier.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{Check, Claims, Endorsements, Field, Format, Refusal, Time};
use evidence_crypto::Crypto;

use crate::DcapRefusal;

macro_rules! format {
    ($(#[$doc:meta])* $name:ident, $oid:literal, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            _crypto: Arc<dyn Crypto>,
        }

        impl $name {
            /// Under Intel's root.
            #[must_use]
            pub fn new(crypto: Arc<dyn Crypto>) -> Self {
                Self { _crypto: crypto }
            }

            /// Under another root, for tests.
            ///
            /// # Errors
            ///
            /// If it is no certificate.
            pub fn with_root(crypto: Arc<dyn Crypto>, _root: &[u8]) -> Result<Self, DcapRefusal> {
                Ok(Self::new(crypto))
            }

            /// Does not remember collateral that it has verified.
            #[must_use]
            pub fn forgetful(self) -> Self {
                self
            }

            /// Verifies a quote at the time `now`.
            ///
            /// # Errors
            ///
            /// The first check that fails.
            pub fn verify_quote(
                &self,
                _quote: &[u8],
                _endorsements: &Endorsements<'_>,
                _now: Time,
            ) -> Result<Claims, DcapRefusal> {
                Err(DcapRefusal::Malformed("quote"))
            }
        }

        impl Format for $name {
            fn statement_type(&self) -> ObjectIdentifier {
                ObjectIdentifier::new_unwrap($oid)
            }

            fn name(&self) -> &'static str {
                $text
            }

            fn verify(
                &self,
                evidence: &[u8],
                endorsements: &Endorsements<'_>,
                now: Time,
            ) -> Result<Claims, Refusal> {
                Ok(self.verify_quote(evidence, endorsements, now)?)
            }

            fn examine(&self, _: &[u8], _: &Endorsements<'_>, _: Time) -> Vec<Check> {
                Vec::new()
            }

            fn fields(&self, _: &[u8]) -> Result<Vec<Field>, Refusal> {
                Err(DcapRefusal::Malformed("quote").into())
            }
        }
    };
}

format!(
    /// Verifies quotes of SGX enclaves.
    Sgx,
    "1.3.6.1.4.1.58270.1.2",
    "Intel SGX"
);
format!(
    /// Verifies quotes of TDX trust domains.
    Tdx,
    "1.3.6.1.4.1.58270.1.4",
    "Intel TDX"
);
