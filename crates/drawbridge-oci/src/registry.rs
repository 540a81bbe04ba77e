// SPDX-License-Identifier: Apache-2.0

//! A registry: how to reach it, and as whom.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde::Deserialize;

use crate::OciError;

/// Longest time for a connection, and between two parts of a transfer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// As whom to ask.
#[derive(Clone, Default)]
pub enum Auth {
    /// As nobody.
    #[default]
    Anonymous,
    /// User and password, or whatever token a registry takes for it.
    Basic(String, String),
}

/// What matters of Docker's `config.json`.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    /// Base64 of `user:password`; absent if a credential helper has it.
    auth: Option<String>,
}

impl Auth {
    /// What `docker login`, `podman login` or `wkg` left for that host in `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`. Credential helpers are not asked.
    ///
    /// # Errors
    ///
    /// [`OciError::Setup`] if the file is there and cannot be read.
    pub fn of_docker(host: &str) -> Result<Self, OciError> {
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(|| {
            let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
            Some(PathBuf::from(home).join(".docker"))
        });
        let Some(path) = folder.map(|folder| folder.join("config.json")) else {
            return Ok(Self::Anonymous);
        };
        match std::fs::read(&path) {
            Ok(text) => Self::from_docker(&text, host).ok_or_else(|| {
                OciError::Setup(format!("{} is no configuration of Docker", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::Anonymous),
            Err(error) => Err(OciError::file("read", &path)(error)),
        }
    }

    fn from_docker(text: &[u8], host: &str) -> Option<Self> {
        let config: DockerConfig = serde_json::from_slice(text).ok()?;
        let Some(found) = config.auths.get(host).and_then(|one| one.auth.as_deref()) else {
            return Some(Self::Anonymous);
        };
        let pair = String::from_utf8(Base64::decode_vec(found).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some(Self::Basic(user.to_owned(), password.to_owned()))
    }
}

// Not derived: there is a password in it.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic(user, _) => f.debug_tuple("Basic").field(user).finish_non_exhaustive(),
        }
    }
}

/// How to reach registries.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The only certificate authorities to trust, PEM; empty: those of the system.
    pub ca_bundle: Vec<u8>,
    /// Registries (`host:port`) that speak HTTP without TLS.
    pub plain_http: Vec<String>,
    /// As whom.
    pub auth: Auth,
}

/// A client of registries.
pub struct Registry {
    pub(crate) client: Client,
    pub(crate) auth: RegistryAuth,
}

// Not derived: there is a password in it.
impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`OciError::Setup`].
    pub fn new(options: &Options) -> Result<Self, OciError> {
        let pem = std::str::from_utf8(&options.ca_bundle)
            .map_err(|_| OciError::Setup("the CA bundle is no text".into()))?;
        // The library takes one certificate at a time.
        let roots: Vec<Certificate> = pem
            .split_inclusive("-----END CERTIFICATE-----")
            .filter(|part| part.contains("-----BEGIN CERTIFICATE-----"))
            .map(|part| Certificate {
                encoding: CertificateEncoding::Pem,
                data: part.trim_start().as_bytes().to_vec(),
            })
            .collect();
        if roots.is_empty() && !options.ca_bundle.is_empty() {
            return Err(OciError::Setup("the CA bundle has no certificates in it".into()));
        }
        let config = ClientConfig {
            protocol: match options.plain_http.as_slice() {
                [] => ClientProtocol::Https,
                hosts => ClientProtocol::HttpsExcept(hosts.to_vec()),
            },
            tls_certs_only: roots,
            // An index names artifacts for several platforms; a workload is the same for all.
            platform_resolver: None,
            read_timeout: Some(TIMEOUT),
            connect_timeout: Some(TIMEOUT),
            user_agent: concat!("enarx/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client =
            Client::try_from(config).map_err(|error| OciError::Setup(error.to_string()))?;
        let auth = match &options.auth {
            Auth::Anonymous => RegistryAuth::Anonymous,
            Auth::Basic(user, password) => RegistryAuth::Basic(user.clone(), password.clone()),
        };
        Ok(Self { client, auth })
    }
}

/// Reads `registry/repository[:tag][@digest]`; the registry has to be named.
pub(crate) fn reference(text: &str) -> Result<Reference, OciError> {
    let fault = |why: String| OciError::Reference { text: text.to_owned(), why };
    let reference: Reference = text.parse().map_err(|error| fault(format!("{error}")))?;
    let host = text.split('/').next().unwrap_or_default();
    // Tools for containers would silently take a host of their choice.
    if host == text || !(host.contains(['.', ':']) || host == "localhost") {
        return Err(fault("it has to begin with the host of the registry".into()));
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_docker_are_found_by_host() {
        let text = br#"{"auths":{"one.example.com":{"auth":"YWxpY2U6aHVudGVyOjI="},
            "two.example.com":{}},"credsStore":"desktop"}"#;
        let Some(Auth::Basic(user, password)) = Auth::from_docker(text, "one.example.com") else {
            panic!();
        };
        assert_eq!((user.as_str(), password.as_str()), ("alice", "hunter:2"));
        for host in ["two.example.com", "three.example.com"] {
            assert!(matches!(Auth::from_docker(text, host), Some(Auth::Anonymous)), "{host}");
        }
        for bad in
            [&b"1"[..], br#"{"auths":{"h":{"auth":"*"}}}"#, br#"{"auths":{"h":{"auth":"YQ=="}}}"#]
        {
            assert!(Auth::from_docker(bad, "h").is_none());
        }
    }
}
