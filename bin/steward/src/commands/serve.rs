// SPDX-License-Identifier: Apache-2.0

//! `steward serve`: reads what the service is made of, and starts it.
//!
//! Everything is read and tried at the start, so that a service that is up can issue certificates.

use std::thread::available_parallelism;

use command_line::{OrExit, files, hex, unhex};
use evidence_claims::Endorsements;
use steward_core::{PemKey, Signer};
use steward_service::{
    DEVELOPMENT_WARNING, Limits, Listening, Service, Setup, SetupError, TlsError, serve,
    server_config, until_signal,
};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::cli::ServeArgs;
use crate::collateral;
use crate::commands::policy;
use crate::exit::{Code, Failure};

pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let policy = policy::read(&args.policy)?;
    let Keys { signer, nonce_key } = keys(args)?;
    let limits = Limits {
        requests: args.limits.max_requests as usize,
        connections: args.limits.max_connections as usize,
        timeout: std::time::Duration::from_secs(args.limits.timeout.into()),
    };
    let setup = Setup {
        chain: files::read_certificates(&args.crt)?,
        signer,
        nonce_key,
        policy,
        public_url: args.public_url.clone(),
        endorsements: match &args.collateral {
            Some(folder) => collateral::folder(folder)?,
            None => Endorsements::new(),
        },
        development: args.development,
        limits,
    };
    let service = Service::new(setup).map_err(|error| match error {
        SetupError::DevelopmentUnannounced | SetupError::DevelopmentUnfounded => {
            let error = anyhow::Error::new(error);
            Failure::new(
                Code::Unsound,
                error.context(format!("cannot use {}", args.policy.display())),
            )
        }
        error => Failure::new(Code::Unsound, error),
    })?;
    let authority = service.authority();
    let tls = match (&args.listen.tls_cert, &args.listen.tls_key) {
        (Some(chain), Some(key)) => {
            let (chain_pem, key_pem) = (files::read(chain)?, files::read_secret(key)?);
            let config = server_config(&chain_pem, &key_pem).map_err(|error| {
                let code = match &error {
                    TlsError::Unfit(_) => Code::Unsound,
                    _ => Code::Input,
                };
                let context = format!("cannot use {} and {}", chain.display(), key.display());
                Failure::new(code, anyhow::Error::new(error).context(context))
            })?;
            Some(config)
        }
        _ => None,
    };
    let threads = match usize::from(args.limits.threads) {
        0 => available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    info!(
        policy = hex(&authority.policy_digest()),
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
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        // Those that decide: they compute only, so more than processors would be of no use.
        .max_blocking_threads(threads)
        .enable_all()
        .build()
        .or_exit_with(Code::Failed, || "cannot start threads")?
        .block_on(async {
            let listening = Listening::new(args.listen.addr, args.listen.port);
            let context =
                || format!("cannot listen at {} port {}", args.listen.addr, args.listen.port);
            let listening = listening.or_exit_with(Code::Failed, context)?;
            let address = listening.address().or_exit_with(Code::Failed, context)?;
            if let Some(path) = &args.listen.addr_file {
                files::publish(path, &format!("{address}\n"))?;
            }
            info!(%address, "listening");
            let stop = until_signal().or_exit_with(Code::Failed, context)?;
            serve(service, listening, tls, stop).await.or_exit_with(Code::Failed, context)
        })
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
    let signer = PemKey::from_pem(&pem).or_exit_with(Code::Input, context)?;
    let nonce_key = match nonce_key {
        Some(key) => key,
        None => {
            let blocks = evidence_pki::pem_blocks(&pem, "PRIVATE KEY");
            let blocks = Zeroizing::new(blocks.or_exit_with(Code::Input, context)?);
            steward_service::nonce_key(blocks.first().map_or(&[], Vec::as_slice))
        }
    };
    Ok(Keys { signer: Box::new(signer), nonce_key })
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
    let bytes = unhex(text.trim()).map(Zeroizing::new);
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
    fn nonce_keys_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nonce.key");
        std::fs::write(&path, "0a".repeat(32) + "\n").unwrap();
        assert_eq!(*read_nonce_key(&path).unwrap(), [10; 32]);
        std::fs::write(&path, "0a".repeat(31)).unwrap();
        assert!(read_nonce_key(&path).is_err());
    }
}
