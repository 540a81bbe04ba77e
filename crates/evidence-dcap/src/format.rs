// SPDX-License-Identifier: Apache-2.0

//! How the two formats join the verifier. They differ in a name, a number and a body.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{Check, Claims, Endorsements, Field, Format, Refusal, Time};
use evidence_crypto::Crypto;

use crate::collateral::Collateral;
use crate::trace::Account;
use crate::verify::Verifier;
use crate::{DcapRefusal, Quote, Tee, fields, what};

/// Writes one of the two.
macro_rules! format {
    ($(#[$doc:meta])* $name:ident, $oid:literal, $text:literal, $checks:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Verifier);

        impl $name {
            /// Under Intel's root. Remembers genuine collateral, see [`Self::forgetful`].
            #[must_use]
            pub fn new(crypto: Arc<dyn Crypto>) -> Self {
                Self(Verifier::new(crypto, Tee::$name))
            }

            /// Under another root, in DER: for tests.
            ///
            /// # Errors
            ///
            /// [`DcapRefusal::Certificate`], [`DcapRefusal::CertificateRole`].
            pub fn with_root(crypto: Arc<dyn Crypto>, root: &[u8]) -> Result<Self, DcapRefusal> {
                Verifier::with_root(crypto, Tee::$name, root).map(Self)
            }

            /// Does not remember collateral. The verdicts are the same, only slower.
            #[must_use]
            pub fn forgetful(self) -> Self {
                Self(self.0.forgetful())
            }

            /// Verifies a quote at the time `now`.
            ///
            /// # Errors
            ///
            /// The first check that fails.
            pub fn verify_quote(
                &self,
                quote: &[u8],
                endorsements: &Endorsements<'_>,
                now: Time,
            ) -> Result<Claims, DcapRefusal> {
                self.0.verify(quote, &Collateral::new(endorsements), now)
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

            fn examine(
                &self,
                evidence: &[u8],
                endorsements: &Endorsements<'_>,
                now: Time,
            ) -> Vec<Check> {
                let mut account = Account::default();
                let collateral = Collateral::new(endorsements);
                // Whether it is genuine is for `verify` to say; here the account is what is wanted.
                drop(self.0.run(evidence, &collateral, now, None, &mut account));
                account.finish($checks)
            }

            fn fields(&self, evidence: &[u8]) -> Result<Vec<Field>, Refusal> {
                Ok(fields::of(&Quote::parse(evidence)?))
            }
        }
    };
}

format!(
    /// Verifies quotes of SGX enclaves: versions 3, 4 and 5.
    Sgx,
    "1.3.6.1.4.1.58270.1.2",
    "Intel SGX",
    what::SGX
);
format!(
    /// Verifies quotes of TDX trust domains: versions 4 and 5.
    Tdx,
    "1.3.6.1.4.1.58270.1.4",
    "Intel TDX",
    what::TDX
);
