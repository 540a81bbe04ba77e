// SPDX-License-Identifier: Apache-2.0

//! Steps 5 to 8: from a fresh key to a certificate that this Keep believes itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use enarx_config::Peer;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request as HttpRequest};
use keep_identity::{Binding, Identity, Key, MAX_ANSWER, Request, Time, self_signed};
use keep_launch::{Event, Evidence};
use keep_net::{Body, Http, Net, Response, Url};
use serde::Deserialize;

use crate::error::Problem;
use crate::{DeployError, Host};

/// How long a Steward has for a nonce and a certificate together.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest accepted nonce in bytes.
const MAX_NONCE: usize = 256;

/// As whom a Keep is known, and to whom.
#[derive(Debug, Clone, Default)]
pub struct Who {
    /// URL of the Steward; without one the Keep signs for itself.
    pub steward: Option<String>,
    /// The name under which the workload was asked for.
    pub slug: Option<String>,
    /// The digest of the workload, if it is to stand in the certificate.
    pub workload: Option<String>,
    /// Roots of the Steward, DER.
    pub roots: Vec<Vec<u8>>,
    /// For a self-signed certificate: names in the DNS.
    pub names: Vec<String>,
    /// For a self-signed certificate: addresses.
    pub addresses: Vec<IpAddr>,
}

/// Makes a key and gets a certificate for it.
///
/// # Errors
///
/// [`DeployError`].
pub async fn identify(net: &Net, host: &dyn Host, who: &Who) -> Result<Identity, DeployError> {
    // Before anything is computed: what the key's library itself asks for is not all that it uses.
    keep_net::check_cpu().map_err(DeployError::Network)?;
    let key = Arc::new(Key::generate().map_err(DeployError::Evidence)?);
    match &who.steward {
        Some(url) => match tokio::time::timeout(PATIENCE, ask(net, host, who, url, key)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(DeployError::StewardSlow { url: url.clone(), seconds: PATIENCE.as_secs() })
            }
        },
        None => {
            self_signed(key, &who.names, &who.addresses, host.now()).map_err(DeployError::Evidence)
        }
    }
}

/// Tells the host of a new certificate.
pub fn announce(host: &dyn Host, identity: &Identity) {
    host.event(Event::Certificate {
        chain: identity.chain().to_vec(),
        not_after: identity.not_after().unix(),
    });
}

pub(crate) fn step(host: &dyn Host, number: u8, detail: impl Into<String>) {
    host.event(Event::Step { number, detail: detail.into() });
}

async fn ask(
    net: &Net,
    host: &dyn Host,
    who: &Who,
    url: &str,
    key: Arc<Key>,
) -> Result<Identity, DeployError> {
    let silent = |source| DeployError::StewardSilent { url: url.to_owned(), source };
    let address = Url::parse(url).map_err(silent)?;
    let base = address.path.trim_end_matches('/');
    let mut http = net.http(&Peer::new(&address.host, address.port)).await.map_err(silent)?;

    let nonce = nonce(&mut http, base, url).await?;
    let binding = Binding {
        slug: who.slug.as_deref(),
        workload: who.workload.as_deref(),
        nonce: Some(&nonce),
    };
    let request = Request::new(key, &binding).map_err(DeployError::Evidence)?;
    let evidence = host.evidence(&request.report_data()).map_err(DeployError::NoPlatform)?;
    let csr = request.csr(&evidence).map_err(DeployError::Evidence)?;
    let Evidence::Made { platform, evidence, .. } = evidence else {
        return Err(DeployError::NoPlatform("it refused".to_owned()));
    };
    let bound = who.workload.as_deref().unwrap_or("no workload");
    step(
        host,
        5,
        format!(
            "evidence of {platform:?}, {} bytes, binds a fresh key, {bound} and the Steward's nonce",
            evidence.len()
        ),
    );
    step(host, 6, format!("certificate request, {} bytes", csr.len()));

    let certificates = HttpRequest::builder()
        .method(Method::POST)
        .uri(format!("{base}/v1/certificates"))
        .header(CONTENT_TYPE, keep_identity::CONTENT_TYPE)
        .header(ACCEPT, "application/pkix-pkipath")
        .body(Body::new(Bytes::from(csr)))
        .map_err(|_| DeployError::StewardForm { url: url.to_owned(), why: "its URL" })?;
    let answer = http.send(certificates).await.map_err(silent)?;
    let answer = granted(answer, url, MAX_ANSWER).await?;
    step(host, 7, format!("the Steward at {url} answered with {} bytes", answer.len()));

    let roots: Vec<&[u8]> = who.roots.iter().map(Vec::as_slice).collect();
    let identity = request
        .check(&answer, platform, &roots, host.now())
        .map_err(|source| DeployError::StewardAnswer { url: url.to_owned(), source })?;
    step(
        host,
        8,
        format!(
            "the certificate is ours, leads to the Steward's root and ends at {}",
            identity.not_after()
        ),
    );
    Ok(identity)
}

/// What `GET /v1/nonce` answers.
#[derive(Deserialize)]
struct NonceAnswer {
    nonce: String,
}

async fn nonce(http: &mut Http, base: &str, url: &str) -> Result<Vec<u8>, DeployError> {
    let form = |why| DeployError::StewardForm { url: url.to_owned(), why };
    let request = HttpRequest::builder()
        .uri(format!("{base}/v1/nonce"))
        .header(ACCEPT, "application/json")
        .body(Body::default())
        .map_err(|_| form("its URL"))?;
    let answer = http
        .send(request)
        .await
        .map_err(|source| DeployError::StewardSilent { url: url.to_owned(), source })?;
    let body = granted(answer, url, 4096).await?;
    let answer: NonceAnswer =
        serde_json::from_slice(&body).map_err(|_| form("there is no nonce in it"))?;
    hex(&answer.nonce).ok_or_else(|| form("the nonce is no hexadecimal number"))
}

/// The body of an answer that is no refusal.
async fn granted(answer: Response, url: &str, max: usize) -> Result<Vec<u8>, DeployError> {
    let status = answer.status();
    let silent = |source| DeployError::StewardSilent { url: url.to_owned(), source };
    if status.is_success() {
        return answer.bytes(max).await.map_err(silent);
    }
    // A refusal that cannot be read is still one.
    let body = answer.bytes(Problem::MAX).await.unwrap_or_default();
    let problem = Box::new(Problem::read(status.as_u16(), &body));
    Err(DeployError::StewardRefused { url: url.to_owned(), problem })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.is_empty() || text.len() > 2 * MAX_NONCE || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Seconds from one time to a later one; 0 if it is not later.
pub(crate) fn seconds_until(now: Time, then: Time) -> u64 {
    then.unix().saturating_sub(now.unix())
}
