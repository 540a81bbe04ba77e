// SPDX-License-Identifier: Apache-2.0

//! Who compiled it: what a runtime Keep and a compiler Keep say to each other over mutual TLS.
//!
//! Both have certificates of the Steward that state the same workload, and each demands that of the other;
//! the runtime also demands the measurement that Enarx.toml names. So the module goes to a Keep that the
//! tenant accepts, and native code comes from one.
//!
//! | from | what |
//! |---|---|
//! | runtime | [`MAGIC`], SHA-256 of the module (32 bytes), its length (8 bytes, little endian), the module |
//! | compiler | a frame (length in 4 bytes, little endian, and encoding) with a [`Report`] |
//! | compiler | if that is [`Report::Compiled`]: the artifact, as many bytes as it says |
//!
//! The artifact is signed like any other, by a key that nobody knows; what vouches for it is the connection.

use std::net::SocketAddr;
use std::time::Duration;

use enarx_config::{ClientAuth, CompilerPolicy, Listen, Peer, Root, Timeouts, Trust};
use keep_launch::{CompileService, Event, MAX_REPORT, Refusal, Report};
use keep_net::{IdentityHandle, Net, Stream};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::deploy::become_somebody;
use crate::package::{MAX_ARTIFACT, MAX_WASM, Pin};
use crate::steward::{Who, announce};
use crate::{DeployError, Host, Loader, Memory};

/// The first bytes of a request.
pub const MAGIC: [u8; 8] = *b"enx-cmp1";
/// Magic, digest and length.
const HEAD: usize = 48;
/// How long a compilation may take; large modules take a minute.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How long a peer may be silent in the middle of a transfer.
const SILENCE: Duration = Duration::from_secs(60);
/// How much is read at a time.
const PIECE: usize = 64 << 10;

/// What is to be compiled, and by whom.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// `address:port`.
    pub address: &'a str,
    /// The digest that the compiler's certificate has to state.
    pub workload: &'a str,
    /// Which compilers are accepted.
    pub policy: &'a CompilerPolicy,
    /// The module.
    pub module: &'a [u8],
    /// Its SHA-256.
    pub digest: [u8; 32],
}

/// Has a module compiled; the artifact arrives whole but unchecked.
///
/// # Errors
///
/// [`DeployError::Compiler`], [`DeployError::CompilerForm`], [`DeployError::NotCompiled`].
pub async fn ask<L: Loader>(
    net: &Net,
    wanted: &Wanted<'_>,
    loader: &L,
) -> Result<L::Memory, DeployError> {
    let address = wanted.address;
    let broken = |why: &str| DeployError::CompilerForm { address: address.into(), why: why.into() };
    let (host, port) = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
        .ok_or_else(|| DeployError::Launch(format!("`{address}` is no address of a compiler")))?;
    let mut peer = Peer::new(host, port);
    peer.trust = Trust {
        roots: vec![Root::Steward],
        measurements: wanted.policy.measurements.clone(),
        workloads: vec![wanted.workload.to_owned()],
        allow_development: wanted.policy.allow_development,
    };
    // The host agent starts that Keep when somebody knocks.
    peer.timeouts = Timeouts { handshake: SILENCE, connect: SILENCE, idle: None };
    let unusable = |source| DeployError::Compiler { address: address.to_owned(), source };
    let mut stream = net.connect(&peer).await.map_err(unusable)?;

    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&wanted.digest);
    head.extend_from_slice(&(wanted.module.len() as u64).to_le_bytes());
    let send = async {
        stream.write_all(&head).await?;
        stream.write_all(wanted.module).await?;
        stream.flush().await
    };
    timely(PATIENCE, send).await.map_err(|why| broken(&why))?;

    let mut len = [0; 4];
    timely(PATIENCE, stream.read_exact(&mut len)).await.map_err(|why| broken(&why))?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > MAX_REPORT {
        return Err(broken("its report is too long"));
    }
    let mut report = vec![0; len];
    timely(SILENCE, stream.read_exact(&mut report)).await.map_err(|why| broken(&why))?;
    let len = match Report::decode(&report) {
        Ok(Report::Compiled { len }) if len <= MAX_ARTIFACT => len,
        Ok(Report::Compiled { .. }) => return Err(broken("its artifact is too long")),
        Ok(Report::Refused { reason, message }) => {
            return Err(DeployError::NotCompiled { reason, message });
        }
        _ => return Err(broken("its report is none")),
    };
    let mut memory = loader.memory(len).map_err(|error| broken(&error.to_string()))?;
    let mut left = len;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..most).unwrap_or_default();
        let count = timely(SILENCE, stream.read(room)).await.map_err(|why| broken(&why))?;
        if count == 0 {
            return Err(broken("the artifact ends early"));
        }
        let part = piece.get(..count).unwrap_or_default();
        memory.write(part).map_err(|error| broken(&error.to_string()))?;
        left = left.saturating_sub(count as u64);
    }
    Ok(memory)
}

/// Serves runtime Keeps, one after the other, for as long as the host lets it.
///
/// `compile` makes an artifact, its parts in order, of a module, or says why not. It is called on this
/// thread, and only with bytes that have the digest that was announced.
///
/// # Errors
///
/// [`DeployError`], if it cannot begin. What a client does wrong ends its connection alone.
pub async fn serve<C>(
    launch: &CompileService,
    host: &dyn Host,
    mut compile: C,
) -> Result<std::convert::Infallible, DeployError>
where
    C: FnMut(&[u8]) -> Result<Vec<Vec<u8>>, (Refusal, String)>,
{
    let pin = Pin::parse(&launch.digest)?;
    let net =
        Net::new(&launch.network, IdentityHandle::new(), &[]).map_err(DeployError::Network)?;
    if launch.steward.is_none() {
        return Err(DeployError::Launch(
            "a compiler Keep without a Steward is believed by nobody".to_owned(),
        ));
    }
    let who = Who {
        steward: launch.steward.clone(),
        slug: launch.slug.clone(),
        workload: Some(pin.text.clone()),
        roots: launch.network.steward_roots.clone(),
        ..Who::default()
    };
    let identity = become_somebody(&net, host, &who).await?;
    announce(host, &identity);

    let address: SocketAddr = launch.listen.parse().map_err(|_| {
        DeployError::Launch(format!("`{}` is no address to listen at", launch.listen))
    })?;
    let mut listen = Listen::new("compiler", address.ip(), address.port());
    listen.client_auth = ClientAuth::Required;
    listen.trust = Trust {
        roots: vec![Root::Steward],
        measurements: Vec::new(),
        workloads: vec![pin.text.clone()],
        // A Keep without protection serves its like, and no others.
        allow_development: identity.claims().is_some_and(|own| own.platform == "development"),
    };
    let mut listener = net.listen(&listen).await.map_err(DeployError::Network)?;
    let address = listener.local_addr().to_string();
    host.event(Event::Listening { name: "compiler".to_owned(), address });

    let serving = async {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    if let Err(message) = answer(stream, &mut compile).await {
                        host.event(Event::Warning { message });
                    }
                }
                Err(error) => {
                    host.event(Event::Warning { message: format!("cannot accept: {error}") });
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    let renewing = crate::renew(&net, host, &who, identity);
    let (serving, renewing) = (std::pin::pin!(serving), std::pin::pin!(renewing));
    Ok(either(serving, renewing).await)
}

/// One request and its answer.
async fn answer<C>(mut stream: Stream, compile: &mut C) -> Result<(), String>
where
    C: FnMut(&[u8]) -> Result<Vec<Vec<u8>>, (Refusal, String)>,
{
    let mut head = [0; HEAD];
    timely(SILENCE, stream.read_exact(&mut head)).await?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let (digest, len) = rest.split_at(32);
    let len = u64::from_le_bytes(len.try_into().unwrap_or([0xff; 8]));
    if magic != MAGIC || len > MAX_WASM {
        return Err("a client asked for something else than a compilation".to_owned());
    }
    // Grows with what arrives, not with what is announced.
    let mut module = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut left = len;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..most).unwrap_or_default();
        let count = timely(SILENCE, stream.read(room)).await?;
        if count == 0 {
            return Err("a client sent half a module".to_owned());
        }
        module.extend_from_slice(piece.get(..count).unwrap_or_default());
        left = left.saturating_sub(count as u64);
    }
    let made = if Sha256::digest(&module).as_slice() == digest {
        compile(&module)
    } else {
        Err((Refusal::Workload, "the module is not the one that was announced".to_owned()))
    };
    let (report, parts) = match made {
        Ok(parts) => {
            let len = parts.iter().map(|part| part.len() as u64).sum();
            (Report::Compiled { len }, parts)
        }
        Err((reason, mut message)) => {
            message.truncate(message.floor_char_boundary(MAX_REPORT / 2));
            (Report::Refused { reason, message }, Vec::new())
        }
    };
    timely(SILENCE, stream.write_all(&keep_launch::frame(&report.encode()))).await?;
    for part in &parts {
        // In pieces, so that a slow reader is told from one that is gone.
        for piece in part.chunks(1 << 20) {
            timely(SILENCE, stream.write_all(piece)).await?;
        }
    }
    timely(SILENCE, stream.shutdown()).await
}

/// Ends what takes too long, and says for a person what went wrong.
async fn timely<T>(
    patience: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing came or went for {} seconds", patience.as_secs())),
    }
}

/// Polls both; the first that ends.
async fn either<T>(
    mut one: std::pin::Pin<&mut impl Future<Output = T>>,
    mut other: std::pin::Pin<&mut impl Future<Output = T>>,
) -> T {
    std::future::poll_fn(|cx| match one.as_mut().poll(cx) {
        std::task::Poll::Pending => other.as_mut().poll(cx),
        ready => ready,
    })
    .await
}
