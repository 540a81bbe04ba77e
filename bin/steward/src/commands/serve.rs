// SPDX-License-Identifier: Apache-2.0

//! `steward serve`: puts the parts together, and refuses if they do not fit.
//!
//! Everything is read and tried at the start, so that a service that is up can issue certificates. What it
//! was given stays as it is until the process ends; a new policy is a restart, which a load balancer does
//! not notice and after which nobody has to guess what was in force when.

use std::sync::Arc;
use std::thread::available_parallelism;

use aws_lc_rs::hmac;
use evidence_claims::Endorsements;
use evidence_crypto::{AwsLc, Crypto};
use evidence_snp::Development;
use evidence_verifier::Verifier;
use steward_core::{Authority, PemKey, Setup, Signer};
use steward_policy::Policy;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::cli::ServeArgs;
use crate::commands::policy;
use crate::exit::{Code, Failure, OrExit};
use crate::service::{self, Limits, Listening, Service};
use crate::{collateral, files};

/// What is said wherever development evidence is accepted.
pub(crate) const DEVELOPMENT_WARNING: &str = "DEVELOPMENT: certificates are issued for evidence that \
     anybody with the development root's key can make; they prove nothing";

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let policy = policy::read(&args.policy)?;
    check_development(args, &policy)?;
    let Keys { signer, nonce_key } = keys(args)?;
    let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
    let authority = Authority::new(Setup {
        verifier: verifier(&crypto, policy.development_roots()),
        crypto,
        chain: files::read_certificates(&args.crt)?,
        signer,
        policy_url: policy_url(args, &policy),
        policy,
        nonce_key: Some(nonce_key),
        endorsements: match &args.collateral {
            Some(folder) => collateral::folder(folder)?,
            None => Endorsements::new(),
        },
    })
    .or_exit(Code::Unsound, || "key and chain make no certificate authority")?;
    let tls = match (&args.listen.tls_cert, &args.listen.tls_key) {
        (Some(chain), Some(key)) => Some(service::server_config(chain, key)?),
        _ => None,
    };
    let limits = Limits {
        requests: args.limits.max_requests as usize,
        connections: args.limits.max_connections as usize,
        timeout: std::time::Duration::from_secs(args.limits.timeout.into()),
    };
    let threads = match usize::from(args.limits.threads) {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    info!(
        policy = files::hex(&authority.policy_digest()),
        not_after = %authority.not_after(),
        threads,
        tls = tls.is_some(),
        "starting"
    );
    if authority.policy().platforms().is_empty() {
        warn!("the policy has a section for no platform, so every request will be refused");
    }
    if args.development {
        warn!("{DEVELOPMENT_WARNING}");
    }
    let service = Service::new(authority, limits, args.development);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        // Those that decide: they compute only, so more than processors would be of no use.
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .or_exit(Code::Failed, || "cannot start threads")?
        .block_on(async {
            let listening = Listening::new(args.listen.addr, args.listen.port);
            let context =
                || format!("cannot listen at {} port {}", args.listen.addr, args.listen.port);
            let listening = listening.or_exit(Code::Failed, context)?;
            let address = listening.address().or_exit(Code::Failed, context)?;
            if let Some(path) = &args.listen.addr_file {
                // Renamed into its place, so that nobody reads half of it.
                let part = path.with_extension("part");
                std::fs::write(&part, format!("{address}\n"))
                    .and_then(|()| std::fs::rename(&part, path))
                    .or_exit(Code::Input, || format!("cannot write {}", path.display()))?;
            }
            info!(%address, "listening");
            service::serve(service, listening, tls).await.or_exit(Code::Failed, context)
        })
}

/// All formats: those of hardware, and development evidence if there are roots for it.
pub(crate) fn verifier(crypto: &Arc<dyn Crypto>, development_roots: &[Vec<u8>]) -> Verifier {
    let verifier = Verifier::new(Arc::clone(crypto));
    if development_roots.is_empty() {
        return verifier;
    }
    verifier.with(Box::new(Development::new(Arc::clone(crypto), development_roots.to_vec())))
}

/// Development evidence is wanted twice or not at all: in the policy, and on the command line, where it
/// cannot get by a copied file.
fn check_development(args: &ServeArgs, policy: &Policy) -> Result<(), Failure> {
    match (args.development, policy::is_development(policy)) {
        (false, true) => Err(Failure::msg(
            Code::Unsound,
            format!(
                "the policy {} names a development root, under which anybody who has its key gets \
                 certificates; if that is what you want, say so with --development, otherwise remove \
                 the section [development]",
                args.policy.display()
            ),
        )),
        (true, false) => Err(Failure::msg(
            Code::Unsound,
            format!(
                "--development is given, but the policy {} names no development root; add a section \
                 [development], or leave out the option",
                args.policy.display()
            ),
        )),
        _ => Ok(()),
    }
}

fn policy_url(args: &ServeArgs, policy: &Policy) -> Option<String> {
    let base = args.public_url.as_ref()?;
    Some(format!("{base}/v1/policy/{}", files::hex(&policy.digest(&AwsLc))))
}

/// The key that signs certificates, and the one that makes nonces.
struct Keys {
    signer: Box<dyn Signer>,
    nonce_key: Zeroizing<[u8; 32]>,
}

fn keys(args: &ServeArgs) -> Result<Keys, Failure> {
    let nonce_key = args.nonce_key.as_deref().map(read_nonce_key).transpose()?;
    #[cfg(feature = "pkcs11")]
    if let Some(signer) = crate::pkcs11::Pkcs11Key::open(&args.pkcs11)? {
        let nonce_key = match nonce_key {
            Some(key) => key,
            None => random_nonce_key()?,
        };
        return Ok(Keys { signer: Box::new(signer), nonce_key });
    }
    let Some(path) = &args.key else {
        return Err(Failure::msg(Code::Usage, "there is no --key"));
    };
    let pem = files::read_secret(path)?;
    let context = || format!("cannot use the key in {}", path.display());
    let signer = PemKey::from_pem(&pem).or_exit(Code::Input, context)?;
    let nonce_key = match nonce_key {
        Some(key) => key,
        None => {
            let blocks = evidence_pki::pem_blocks(&pem, "PRIVATE KEY");
            let blocks = Zeroizing::new(blocks.or_exit(Code::Input, context)?);
            derive_nonce_key(blocks.first().map_or(&[], Vec::as_slice))
        }
    };
    Ok(Keys { signer: Box::new(signer), nonce_key })
}

/// One step of HKDF (RFC 5869, 2.3) with the private key as the key material: nobody gets from a nonce key
/// back to it.
fn derive_nonce_key(secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let tag =
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"enarx steward nonce key v1\x01");
    let mut key = Zeroizing::new([0; 32]);
    key.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    key
}

#[cfg(feature = "pkcs11")]
fn random_nonce_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    random().map(Zeroizing::new)
}

/// Random bytes of the system.
pub(crate) fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Failure> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::msg(Code::Failed, "the system has no random numbers"))?;
    Ok(bytes)
}

fn read_nonce_key(path: &std::path::Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let text = files::read_secret_text(path)?;
    let bytes = files::unhex(text.trim()).map(Zeroizing::new);
    bytes
        .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
        .map(Zeroizing::new)
        .ok_or_else(|| {
            Failure::msg(
                Code::Input,
                format!("{} has not 64 hexadecimal digits in it", path.display()),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_keys_depend_on_the_private_key() {
        assert_ne!(derive_nonce_key(b"a"), derive_nonce_key(b"b"));
        assert_eq!(derive_nonce_key(b"a"), derive_nonce_key(b"a"));
    }

    #[test]
    fn nonce_keys_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nonce.key");
        std::fs::write(&path, "0a".repeat(32) + "\n").unwrap();
        assert_eq!(*read_nonce_key(&path).unwrap(), [10; 32]);
        std::fs::write(&path, "0a".repeat(31)).unwrap();
        assert!(read_nonce_key(&path).is_err());
    }
}
