// SPDX-License-Identifier: Apache-2.0

//! The claims of a certificate, and their DER.

use evidence_pki::{Cursor, Item, PkiError, Time, encode, hex, tag};

use crate::{Workload, WorkloadError};

/// What a Steward verified before it issued a certificate.
///
/// Plain data, which may be outside of what the extension can say; [`CertificateClaims::to_der`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateClaims {
    /// The kind of environment: `snp`, `sgx`, `tdx`, or `development`, which protects nothing.
    /// Lower-case letters, digits and `-`, at most 32 bytes; the list is open.
    pub platform: String,
    /// The vendor's name for the processor, at most 64 bytes.
    pub product: String,
    /// The launch measurement, 32 or 48 bytes: `MRENCLAVE`, SNP `MEASUREMENT`, `MRTD`.
    pub measurement: Vec<u8>,
    /// Who signed what was launched, 32 or 48 bytes: `MRSIGNER`, digest of the SNP author key.
    pub signer: Option<Vec<u8>>,
    /// The vendor's word on the platform, in Intel's spelling; `None` where the vendor says none.
    pub tcb_status: Option<String>,
    /// The vendor's advisories that concern the platform; at most 128, of at most 64 bytes.
    pub advisories: Vec<String>,
    /// Security version numbers by name; at most 64, names of at most 64 bytes.
    pub svns: Vec<(String, u64)>,
    /// Whether the host may look into the Keep. There is no encoding for `true`.
    pub debug: bool,
    /// What the Keep runs, if that was bound to the evidence.
    pub workload: Option<Workload>,
    /// SHA-256 of the text of the policy that let the Keep in.
    pub policy: [u8; 32],
    /// Where that text can be had, at most 512 bytes.
    pub policy_url: Option<String>,
    /// The lowest `tcbEvaluationDataNumber` of Intel's collateral.
    pub evaluation_number: Option<u32>,
    /// The time for which the evidence was verified.
    pub verified_at: Time,
    /// Whether the evidence was made for a nonce of the Steward, thus shortly before.
    pub fresh: bool,
}

const WHAT: &str = "claims extension";

impl CertificateClaims {
    /// The version that is written, and the only one that is read.
    pub const VERSION: u64 = 1;
    /// No value of the extension may be larger: 16 KiB.
    pub const MAX_SIZE: usize = 16 << 10;

    const MAX_PLATFORM: usize = 32;
    const MAX_TEXT: usize = 64;
    const MAX_URL: usize = 512;
    const MAX_SVNS: usize = 64;
    const MAX_ADVISORIES: usize = 128;

    /// The extension's value.
    ///
    /// # Errors
    ///
    /// [`ClaimsError::Debug`], [`ClaimsError::Field`], [`ClaimsError::TooLarge`]: claims that no certificate
    /// may carry.
    pub fn to_der(&self) -> Result<Vec<u8>, ClaimsError> {
        self.check()?;
        let svns: Vec<_> = self
            .svns
            .iter()
            .map(|(name, value)| {
                encode::sequence(&[&encode::text(name), &encode::integer(&value.to_be_bytes())])
            })
            .collect();
        let advisories: Vec<_> = self.advisories.iter().map(|text| encode::text(text)).collect();
        let mut parts = vec![
            encode::integer(&Self::VERSION.to_be_bytes()),
            encode::text(&self.platform),
            encode::text(&self.product),
            encode::octets(&self.measurement),
            encode::unsigned(tag::ENUMERATED, &[0]),
            encode::boolean(self.fresh),
            encode::generalized_time(self.verified_at),
            encode::octets(&self.policy),
            encode::sequence_of(&svns),
            encode::sequence_of(&advisories),
        ];
        let optional = |number, value: &[u8]| encode::element(tag::context(number), &[value]);
        parts.extend(self.signer.as_ref().map(|signer| optional(0, signer)));
        parts.extend(self.tcb_status.as_ref().map(|status| optional(1, status.as_bytes())));
        parts.extend(self.workload.as_ref().map(|workload| {
            let digest = encode::text(workload.digest());
            let slug = workload.slug().map(|slug| optional(0, slug.as_bytes()));
            let parts = [digest.as_slice(), slug.as_deref().unwrap_or_default()];
            encode::element(tag::context_constructed(2), &parts)
        }));
        parts.extend(self.policy_url.as_ref().map(|url| optional(3, url.as_bytes())));
        parts.extend(
            self.evaluation_number
                .map(|number| encode::unsigned(tag::context(4), &number.to_be_bytes())),
        );
        let der = encode::sequence_of(&parts);
        if der.len() > Self::MAX_SIZE { Err(ClaimsError::TooLarge) } else { Ok(der) }
    }

    /// Reads the extension's value.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`]. Whatever is read comes out of [`CertificateClaims::to_der`] again, byte for byte.
    pub fn from_der(der: &[u8]) -> Result<Self, ClaimsError> {
        if der.len() > Self::MAX_SIZE {
            return Err(ClaimsError::TooLarge);
        }
        let claims = Self::read(Cursor::whole(der, tag::SEQUENCE, WHAT)?)?;
        // The walk above is strict already. That there is no second encoding is worth a second look: who
        // compares or hashes extensions relies on it.
        if claims.to_der()? == der { Ok(claims) } else { Err(ClaimsError::Malformed) }
    }

    fn read(mut parts: Cursor<'_>) -> Result<Self, ClaimsError> {
        let version = parts.unsigned()?;
        if version != Self::VERSION {
            return Err(ClaimsError::Version(version));
        }
        let platform = text(parts.expect(tag::UTF8_STRING)?)?;
        let product = text(parts.expect(tag::UTF8_STRING)?)?;
        let measurement = parts.expect(tag::OCTET_STRING)?.value.to_vec();
        if parts.expect(tag::ENUMERATED)?.value != [0] {
            return Err(ClaimsError::Debug);
        }
        let fresh = parts.boolean()?;
        let verified_at = parts.time()?;
        let policy = parts.expect(tag::OCTET_STRING)?.value;
        let policy = policy.try_into().map_err(|_| ClaimsError::Field("policy"))?;
        let mut svns = Vec::new();
        let mut list = parts.enter(tag::SEQUENCE)?;
        while !list.is_done() {
            let mut svn = list.enter(tag::SEQUENCE)?;
            svns.push((text(svn.expect(tag::UTF8_STRING)?)?, svn.unsigned()?));
            svn.finish()?;
        }
        let mut advisories = Vec::new();
        let mut list = parts.enter(tag::SEQUENCE)?;
        while !list.is_done() {
            advisories.push(text(list.expect(tag::UTF8_STRING)?)?);
        }
        let signer = parts.optional(tag::context(0))?.map(|item| item.value.to_vec());
        let tcb_status = parts.optional(tag::context(1))?.map(text).transpose()?;
        let workload = match parts.optional(tag::context_constructed(2))? {
            Some(item) => {
                let mut parts = Cursor::new(item.value, WHAT);
                let digest = text(parts.expect(tag::UTF8_STRING)?)?;
                let slug = parts.optional(tag::context(0))?.map(text).transpose()?;
                parts.finish()?;
                Some(Workload::new(slug.as_deref(), &digest)?)
            }
            None => None,
        };
        let policy_url = parts.optional(tag::context(3))?.map(text).transpose()?;
        let evaluation_number = parts.optional(tag::context(4))?.map(small_number).transpose()?;
        parts.finish()?;
        Ok(Self {
            platform,
            product,
            measurement,
            signer,
            tcb_status,
            advisories,
            svns,
            debug: false,
            workload,
            policy,
            policy_url,
            evaluation_number,
            verified_at,
            fresh,
        })
    }

    /// Whether each field is within its bounds.
    fn check(&self) -> Result<(), ClaimsError> {
        if self.debug {
            return Err(ClaimsError::Debug);
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_hash = |hash: &Vec<u8>| matches!(hash.len(), 32 | 48);
        let is_text = |text: &String| is_printable(text, Self::MAX_TEXT);
        let platform =
            is_printable(&self.platform, Self::MAX_PLATFORM) && self.platform.bytes().all(is_name);
        let url = |url: &String| is_printable(url, Self::MAX_URL);
        let svns =
            self.svns.len() <= Self::MAX_SVNS && self.svns.iter().all(|(name, _)| is_text(name));
        let advisories =
            self.advisories.len() <= Self::MAX_ADVISORIES && self.advisories.iter().all(is_text);
        for (good, field) in [
            (platform, "platform"),
            (is_text(&self.product), "product"),
            (is_hash(&self.measurement), "measurement"),
            (self.signer.as_ref().is_none_or(is_hash), "signer"),
            (self.tcb_status.as_ref().is_none_or(is_text), "tcbStatus"),
            (self.policy_url.as_ref().is_none_or(url), "policyUrl"),
            (svns, "svns"),
            (advisories, "advisories"),
        ] {
            if !good {
                return Err(ClaimsError::Field(field));
            }
        }
        Ok(())
    }

    /// Each field with its name, for people, in the order in which one wants to read them.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let or = |text: Option<String>, absent: &str| text.unwrap_or_else(|| absent.to_owned());
        let mut out = vec![
            ("platform", self.platform.clone()),
            ("product", self.product.clone()),
            ("measurement", hex(&self.measurement)),
            ("signer", or(self.signer.as_deref().map(hex), "none")),
            ("TCB status", or(self.tcb_status.clone(), "none stated by the vendor")),
            ("advisories", or(joined(&self.advisories), "none")),
        ];
        let svns: Vec<_> =
            self.svns.iter().map(|(name, value)| format!("{name} {value}")).collect();
        out.push(("security versions", or(joined(&svns), "none")));
        out.push(("debug", if self.debug { "yes" } else { "no" }.to_owned()));
        match &self.workload {
            Some(workload) => {
                out.push(("workload", workload.digest().to_owned()));
                out.push(("workload slug", or(workload.slug().map(str::to_owned), "none")));
            }
            None => out.push(("workload", "not bound to the evidence".to_owned())),
        }
        out.push(("policy", format!("sha256:{}", hex(&self.policy))));
        out.push(("policy URL", or(self.policy_url.clone(), "none")));
        out.push((
            "collateral evaluation number",
            or(self.evaluation_number.map(|number| number.to_string()), "none"),
        ));
        out.push(("verified at", self.verified_at.to_string()));
        let fresh = if self.fresh { "made for a nonce of the Steward" } else { "not shown" };
        out.push(("freshness", fresh.to_owned()));
        out
    }
}

/// Claims that no certificate may carry, or bytes that are no claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// The bytes are not the DER that they should be.
    #[error("malformed claims")]
    Malformed,
    /// Claims of a version that is not known here.
    #[error("claims of version {0}, and version 1 is what is known")]
    Version(u64),
    /// The host may look into the environment.
    #[error("the claims are of an environment in debug mode, for which there are no certificates")]
    Debug,
    /// A field is outside of its bounds; its name as in the ASN.1 module.
    #[error("the claim `{0}` is empty, too long or not of its form")]
    Field(&'static str),
    /// More than [`CertificateClaims::MAX_SIZE`] bytes.
    #[error("the claims take more than {} bytes", CertificateClaims::MAX_SIZE)]
    TooLarge,
}

impl From<PkiError> for ClaimsError {
    fn from(_: PkiError) -> Self {
        Self::Malformed
    }
}

impl From<WorkloadError> for ClaimsError {
    fn from(_: WorkloadError) -> Self {
        Self::Field("workload")
    }
}

fn text(item: Item<'_>) -> Result<String, ClaimsError> {
    core::str::from_utf8(item.value).map(str::to_owned).map_err(|_| ClaimsError::Malformed)
}

/// The contents of an INTEGER from 0 to 2^32 - 1, under whatever tag.
fn small_number(item: Item<'_>) -> Result<u32, ClaimsError> {
    if item.value.is_empty() || item.value.len() > 5 {
        return Err(ClaimsError::Malformed);
    }
    let value = item.value.iter().fold(0u64, |sum, octet| (sum << 8) | u64::from(*octet));
    u32::try_from(value).map_err(|_| ClaimsError::Malformed)
}

fn is_printable(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn joined(parts: &[String]) -> Option<String> {
    if parts.is_empty() { None } else { Some(parts.join(", ")) }
}
