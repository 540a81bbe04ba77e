// SPDX-License-Identifier: Apache-2.0

//! From names to addresses, by asking the servers that the launch names.
//!
//! Nothing here is trusted: host, network and server may all lie, and the worst that a lie does is
//! to lead to a peer that then cannot prove itself by TLS. What is done against strangers off the
//! way is what every stub resolver does (RFC 5452): random identifiers, sockets that take answers
//! only from the server that was asked, and nothing is believed that was not asked for.

mod wire;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keep_launch::Network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use self::wire::{Answer, Kind, Name};
use crate::NetError;

/// How long a server has for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often each server is asked.
const ROUNDS: u32 = 2;
/// Servers that are asked.
const MAX_SERVERS: usize = 3;
/// Longest answer by UDP that is taken, in bytes. Without EDNS servers send 512.
const MAX_UDP: usize = 4096;
/// Longest answer by TCP that is taken, in bytes.
const MAX_TCP: u16 = 16 << 10;
/// Further names that are asked for when a server leaves that to us.
const MAX_ALIASES: u32 = 8;
/// Names that are remembered.
const MAX_CACHED: usize = 64;
/// Longest time that a name is remembered, whatever the answer says.
const MAX_TTL: u32 = 300;
/// Addresses of a name that are kept.
const MAX_ADDRESSES: usize = 16;

/// Resolves names.
#[derive(Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    hosts: Vec<(String, IpAddr)>,
    cache: Mutex<HashMap<String, (Vec<IpAddr>, Instant)>>,
}

impl Resolver {
    /// With what the launch says; what of it cannot be read is left out.
    pub(crate) fn new(network: &Network) -> Self {
        let server = |text: &String| {
            text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 53)))
        };
        let host = |(name, ip): &(String, String)| Some((normal(name), ip.parse().ok()?));
        Self {
            servers: network.resolvers.iter().filter_map(server).take(MAX_SERVERS).collect(),
            hosts: network.hosts.iter().filter_map(host).collect(),
            cache: Mutex::default(),
        }
    }

    /// The addresses of a name, at least one, those of IPv6 first.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        let refused = |why| NetError::Resolve { name: name.to_owned(), why };
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        let name = normal(name);
        let fixed: Vec<IpAddr> =
            self.hosts.iter().filter(|(host, _)| *host == name).map(|(_, ip)| *ip).collect();
        if !fixed.is_empty() {
            return Ok(fixed);
        }
        if name == "localhost" || name.ends_with(".localhost") {
            // RFC 6761 §6.3: no server is asked for these.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(found) = self.cached(&name) {
            return Ok(found);
        }
        let wire = Name::parse(&name).ok_or_else(|| refused("it is not a DNS name"))?;
        if self.servers.is_empty() {
            return Err(refused("there is no DNS server"));
        }
        let mut why = "no DNS server answers";
        for _ in 0..ROUNDS {
            for server in &self.servers {
                match ask(*server, &wire).await {
                    Ok(Found::Addresses(list, ttl)) => {
                        self.remember(&name, &list, ttl);
                        return Ok(list);
                    }
                    Ok(Found::Nothing) => return Err(refused("it has no address")),
                    Ok(Found::NoSuchName) => return Err(refused("there is no such name")),
                    Ok(Found::Failed) => why = "the DNS server fails",
                    Err(_) => {}
                }
            }
        }
        Err(refused(why))
    }

    fn cached(&self, name: &str) -> Option<Vec<IpAddr>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, until) = cache.get(name)?;
        (Instant::now() < *until).then(|| list.clone())
    }

    fn remember(&self, name: &str, list: &[IpAddr], ttl: u32) {
        if ttl == 0 {
            return;
        }
        let now = Instant::now();
        let until = now + Duration::from_secs(ttl.min(MAX_TTL).into());
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, (_, until)| now < *until);
        if cache.len() < MAX_CACHED {
            cache.insert(name.to_owned(), (list.to_vec(), until));
        }
    }
}

/// Names are equal whatever the case of their letters, and with or without a final dot.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What a server knows of both kinds of address.
enum Found {
    Addresses(Vec<IpAddr>, u32),
    Nothing,
    NoSuchName,
    Failed,
}

/// Asks a server for both kinds of address.
async fn ask(server: SocketAddr, name: &Name) -> io::Result<Found> {
    let mut found = Vec::new();
    let mut ttl = u32::MAX;
    let (mut missing, mut failed, mut error) = (false, false, None);
    let (six, four) = both(follow(server, name, Kind::Aaaa), follow(server, name, Kind::A)).await;
    for answer in [six, four] {
        match answer {
            Ok(Answer::Addresses(list, time)) => {
                if !list.is_empty() {
                    ttl = ttl.min(time);
                }
                found.extend(list);
            }
            Ok(Answer::NoSuchName) => missing = true,
            Ok(Answer::Failed | Answer::Alias(_) | Answer::Truncated) => failed = true,
            Err(cause) => error = Some(cause),
        }
    }
    found.truncate(MAX_ADDRESSES);
    match error {
        // One kind is enough to go on with, but not to be remembered.
        _ if !found.is_empty() => {
            Ok(Found::Addresses(found, if error.is_some() || failed { 0 } else { ttl }))
        }
        Some(error) => Err(error),
        None if failed => Ok(Found::Failed),
        None if missing => Ok(Found::NoSuchName),
        None => Ok(Found::Nothing),
    }
}

/// Both at once.
async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|cx| {
        if first.is_none()
            && let std::task::Poll::Ready(value) = one.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let std::task::Poll::Ready(value) = other.as_mut().poll(cx)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => std::task::Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                std::task::Poll::Pending
            }
        }
    })
    .await
}

/// Asks for one kind of address, of the name and of those it is another name for.
async fn follow(server: SocketAddr, name: &Name, kind: Kind) -> io::Result<Answer> {
    let mut name = name.clone();
    for _ in 0..=MAX_ALIASES {
        let answer = match by_udp(server, &name, kind).await? {
            Answer::Truncated => by_tcp(server, &name, kind).await?,
            answer => answer,
        };
        match answer {
            Answer::Alias(target) => name = target,
            answer => return Ok(answer),
        }
    }
    Ok(Answer::Failed)
}

fn silent() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

/// An identifier that strangers cannot guess.
fn identifier() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}

async fn by_udp(server: SocketAddr, name: &Name, kind: Kind) -> io::Result<Answer> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    // A socket of its own for each question, and so a port of its own.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    let id = identifier()?;
    socket.send(&wire::question(id, name, kind)).await?;
    let wait = async {
        let mut message = [0; MAX_UDP];
        loop {
            let count = socket.recv(&mut message).await?;
            // What does not answer the question is dropped, and the right answer waited for.
            let message = message.get(..count).unwrap_or_default();
            if let Some(answer) = wire::answer(message, id, name, kind) {
                return Ok(answer);
            }
        }
    };
    timeout(PATIENCE, wait).await.map_err(|_| silent())?
}

async fn by_tcp(server: SocketAddr, name: &Name, kind: Kind) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let id = identifier()?;
        let question = wire::question(id, name, kind);
        let len = u16::try_from(question.len()).unwrap_or_default();
        stream.write_all(&[&len.to_be_bytes()[..], &question].concat()).await?;
        let mut len = [0; 2];
        stream.read_exact(&mut len).await?;
        let len = u16::from_be_bytes(len);
        if len > MAX_TCP {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = vec![0; len.into()];
        stream.read_exact(&mut message).await?;
        match wire::answer(&message, id, name, kind) {
            None | Some(Answer::Truncated) => Err(io::ErrorKind::InvalidData.into()),
            Some(answer) => Ok(answer),
        }
    };
    timeout(PATIENCE, exchange).await.map_err(|_| silent())?
}
