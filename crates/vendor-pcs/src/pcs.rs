// SPDX-License-Identifier: Apache-2.0

//! Intel's Provisioning Certification Service, and caching services (PCCS) that stand for it: "Intel SGX
//! and TDX Provisioning Certification Service", API version 4.
//!
//! Documents come in a body, and the certificates of who signed them in a header, percent-encoded.

use evidence_dcap::PckCa;
use evidence_pki::{Certificate, Crl, hex, to_pem, unhex};
use vendor_fetch::{Answer, Fetcher, Url};

use crate::PcsError;
use crate::platform::PlatformId;
use crate::store::Piece;

/// Intel's own.
pub const DEFAULT_URL: &str = "https://api.trustedservices.intel.com/";
/// Where Intel publishes the root's revocation list: not at the service.
pub const DEFAULT_ROOT_LIST_URL: &str =
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// No document of Intel's has a reason to be larger.
const MAX_DOCUMENT: usize = 512 << 10;
/// The chain of a document: two certificates.
const TCB_INFO_CHAIN: [&str; 2] = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
const QE_IDENTITY_CHAIN: [&str; 1] = ["SGX-Enclave-Identity-Issuer-Chain"];
const PCK_LIST_CHAIN: [&str; 1] = ["SGX-PCK-CRL-Issuer-Chain"];
const PCK_CHAIN: [&str; 1] = ["SGX-PCK-Certificate-Issuer-Chain"];

/// A service. What it answers is not believed.
#[derive(Debug, Clone)]
pub struct Pcs {
    fetcher: Fetcher,
    base: Url,
    /// Where the root's list is; `None` for a caching service, which has it.
    root_list: Option<(Fetcher, Url)>,
}

impl Pcs {
    /// Intel's service at `base`, and the root's revocation list at a URL of its own.
    #[must_use]
    pub fn intel(fetcher: Fetcher, base: Url, root_list: (Fetcher, Url)) -> Self {
        Self { fetcher, base, root_list: Some(root_list) }
    }

    /// A caching service.
    #[must_use]
    pub fn caching(fetcher: Fetcher, base: Url) -> Self {
        Self { fetcher, base, root_list: None }
    }

    /// The root's revocation list.
    ///
    /// # Errors
    ///
    /// [`PcsError::Fetch`], [`PcsError::Body`].
    pub async fn root_list(&self) -> Result<Piece, PcsError> {
        let answer = match &self.root_list {
            Some((fetcher, url)) => fetcher.get(url, 2 * Crl::MAX_SIZE).await?,
            None => self.fetcher.get(&self.url("rootcacrl", &[]), 2 * Crl::MAX_SIZE).await?,
        };
        Ok(Piece::RootList(binary(answer)?))
    }

    /// The revocation list of an authority that issues PCK certificates.
    ///
    /// # Errors
    ///
    /// [`PcsError::Fetch`], [`PcsError::Header`], [`PcsError::Body`].
    pub async fn pck_list(&self, ca: PckCa) -> Result<Piece, PcsError> {
        let url = self.url("pckcrl", &[("ca", ca.as_str()), ("encoding", "der")]);
        let answer = self.fetcher.get(&url, 2 * Crl::MAX_SIZE).await?;
        let chain = chain(&answer, &PCK_LIST_CHAIN)?;
        Ok(Piece::PckList { ca, list: binary(answer)?, chain })
    }

    /// TCB information for SGX on a kind of platform.
    ///
    /// # Errors
    ///
    /// [`PcsError::Fetch`], [`PcsError::Header`].
    pub async fn tcb_info(&self, fmspc: [u8; 6]) -> Result<Piece, PcsError> {
        let url = self.url("tcb", &[("fmspc", &hex(&fmspc))]);
        let answer = self.fetcher.get(&url, MAX_DOCUMENT).await?;
        let chain = chain(&answer, &TCB_INFO_CHAIN)?;
        Ok(Piece::TcbInfo { fmspc, body: answer.body, chain })
    }

    /// The identity of Intel's quoting enclave for SGX.
    ///
    /// # Errors
    ///
    /// [`PcsError::Fetch`], [`PcsError::Header`].
    pub async fn qe_identity(&self) -> Result<Piece, PcsError> {
        let answer = self.fetcher.get(&self.url("qe/identity", &[]), MAX_DOCUMENT).await?;
        let chain = chain(&answer, &QE_IDENTITY_CHAIN)?;
        Ok(Piece::QeIdentity { body: answer.body, chain })
    }

    /// The PCK certificate of a platform, with its authority and the root.
    ///
    /// # Errors
    ///
    /// [`PcsError::Fetch`], [`PcsError::Header`], [`PcsError::Body`].
    pub async fn pck(&self, platform: &PlatformId) -> Result<Piece, PcsError> {
        let (ppid, cpu_svn) = (hex(&platform.encrypted_ppid), hex(&platform.cpu_svn));
        let (pce_svn, pce_id) = (hex(&platform.pce_svn.to_le_bytes()), hex(&platform.pce_id));
        let qe_id = hex(&platform.qe_id);
        let mut query = vec![("encrypted_ppid", ppid.as_str())];
        query.extend([("cpusvn", &*cpu_svn), ("pcesvn", &*pce_svn), ("pceid", &*pce_id)]);
        if self.root_list.is_none() {
            query.push(("qeid", &qe_id));
        }
        query.retain(|(_, value)| !value.is_empty());
        let url = self.url("pckcert", &query);
        let answer = self.fetcher.get(&url, Certificate::MAX_SIZE).await?;
        let issuers = chain(&answer, &PCK_CHAIN)?;
        let wrong = || PcsError::Body { url: without_query(&url), what: "a certificate" };
        let leaf = evidence_pki::certificates(&answer.body).map_err(|_| wrong())?;
        let [leaf] = leaf.as_slice() else { return Err(wrong()) };
        let mut chain = to_pem("CERTIFICATE", leaf).into_bytes();
        chain.extend_from_slice(&issuers);
        Ok(Piece::Pck { platform: Some(platform.clone()), chain })
    }

    /// Registers a platform of several packages; returns its provisioning id (PPID), as Intel writes it.
    ///
    /// # Errors
    ///
    /// [`PcsError::Fetch`], [`PcsError::Body`].
    pub async fn register(&self, manifest: &[u8]) -> Result<String, PcsError> {
        let mut url = self.base.clone();
        add_path(&mut url, "sgx/registration/v1/platform");
        let answer = self.fetcher.post(&url, manifest, 4096).await?;
        let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
        match unhex(&text) {
            Some(bytes) if bytes.len() == 16 => Ok(text),
            _ => Err(PcsError::Body { url: url.to_string(), what: "a platform's id" }),
        }
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        add_path(&mut url, "sgx/certification/v4");
        add_path(&mut url, path);
        url.set_query(None);
        if !query.is_empty() {
            // Names and values are ASCII letters and digits.
            let query: Vec<String> =
                query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            url.set_query(Some(&query.join("&")));
        }
        url
    }
}

fn add_path(url: &mut Url, path: &str) {
    // Only a URL that cannot be a base has no path, and `https` ones can.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
}

/// What names a platform is nothing for a message.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// Intel answers in DER; caching services in hexadecimal digits, whatever they are asked for.
fn binary(answer: Answer) -> Result<Vec<u8>, PcsError> {
    if answer.body.first() == Some(&0x30) && answer.body.get(1).is_some_and(|byte| *byte >= 0x80) {
        return Ok(answer.body);
    }
    let text = std::str::from_utf8(&answer.body).ok().and_then(|text| unhex(text.trim()));
    let wrong = || PcsError::Body { url: answer.url.to_string(), what: "a revocation list" };
    text.filter(|bytes| !bytes.is_empty()).ok_or_else(wrong)
}

/// The certificates in a header, PEM.
fn chain(answer: &Answer, names: &[&'static str]) -> Result<Vec<u8>, PcsError> {
    let value = names.iter().find_map(|name| answer.header(name));
    let wrong = || PcsError::Header {
        url: without_query(&answer.url),
        header: names.first().copied().unwrap_or_default(),
    };
    let mut pem = percent_decoded(value.ok_or_else(wrong)?).ok_or_else(wrong)?;
    if !pem.starts_with(b"-----BEGIN CERTIFICATE-----") {
        return Err(wrong());
    }
    if !pem.ends_with(b"\n") {
        pem.push(b'\n');
    }
    Ok(pem)
}

/// RFC 3986, 2.1. A plus sign is one: these are no forms.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        let (digits, after) = after.split_at_checked(2)?;
        out.extend_from_slice(before.as_bytes());
        out.append(&mut unhex(digits)?);
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percents_are_read() {
        assert_eq!(percent_decoded("a%20b%2B+%0A").as_deref(), Some(&b"a b++\n"[..]));
        for bad in ["%", "%2", "%zz", "%+1", "%é"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_survived(text in "[%0-9a-zé]{0,80}") {
            let _ = percent_decoded(&text);
        }
    }
}
