// SPDX-License-Identifier: Apache-2.0

//! What a component may do on the network: nothing but what Enarx.toml names.
//!
//! A component asks with addresses where the file speaks of names. So the Keep remembers which name
//! an address was resolved from, and a connection to that address is one to that name: with the
//! settings of its entry, and a certificate for it. Who answers the DNS can therefore send a
//! component to the wrong machine, but that machine cannot pretend to be the right one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use enarx_config::{Config, File, Listen, Peer, Prot};

/// Addresses whose name is remembered; the oldest are forgotten first.
const MAX_LEARNED: usize = 1024;

/// The network policy of one workload.
#[derive(Debug, Default)]
pub struct Policy {
    peers: Vec<Peer>,
    listens: Vec<Listen>,
    /// Names with an address that each was resolved to, the latest last.
    learned: Mutex<VecDeque<(String, IpAddr)>>,
}

impl Policy {
    /// The policy of a configuration: its entries of `files`, and `[network]`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut policy = Self::default();
        for file in &config.files {
            match file {
                File::Connect(connect) => policy.peers.push(connect.peer.clone()),
                File::Listen(listen) => policy.listens.push(listen.clone()),
                _ => {}
            }
        }
        policy.peers.extend(config.network.allow_connect.iter().cloned());
        policy.listens.extend(config.network.allow_listen.iter().cloned());
        policy
    }

    /// The name as the file writes it, if it may be resolved.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&str> {
        self.peers.iter().map(|peer| peer.host.as_str()).find(|host| same_name(host, name))
    }

    /// Remembers what a name was resolved to.
    pub fn learn(&self, name: &str, addresses: &[IpAddr]) {
        let mut learned = self.learned();
        for address in addresses {
            let address = address.to_canonical();
            learned.retain(|(known, at)| *at != address || !same_name(known, name));
            if learned.len() >= MAX_LEARNED {
                learned.pop_front();
            }
            learned.push_back((name.to_owned(), address));
        }
    }

    /// Who is meant by an address. Of several names that lead there, the one resolved last.
    #[must_use]
    pub fn peer_at(&self, to: SocketAddr) -> Option<&Peer> {
        let address = to.ip().to_canonical();
        let on_port = || self.peers.iter().filter(|peer| peer.port == to.port());
        let literal = on_port().find(|peer| {
            peer.host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical() == address)
        });
        literal.or_else(|| {
            let learned = self.learned();
            let names = learned.iter().rev().filter(|(_, at)| *at == address);
            names.into_iter().find_map(|(name, _)| on_port().find(|p| same_name(&p.host, name)))
        })
    }

    /// Who is meant by a name and a port, over this protocol.
    #[must_use]
    pub fn peer_named(&self, host: &str, port: u16, prot: Prot) -> Option<&Peer> {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let same = |peer: &&Peer| match (peer.host.parse::<IpAddr>(), host.parse::<IpAddr>()) {
            (Ok(one), Ok(other)) => one.to_canonical() == other.to_canonical(),
            _ => same_name(&peer.host, host),
        };
        self.peers.iter().filter(|peer| peer.port == port && peer.prot == prot).find(same)
    }

    /// The entry for an address to listen at, with the address that is to be bound: never more than
    /// the entry has, and less if the component asks for less.
    #[must_use]
    pub fn listen_at(&self, local: SocketAddr) -> Option<Listen> {
        let asked = local.ip();
        let entries = self.listens.iter().filter(|entry| entry.port == local.port());
        entries
            .filter_map(|entry| {
                let addr = narrower(entry.addr, asked)?;
                Some(Listen { addr, ..entry.clone() })
            })
            .next()
    }

    /// The entry of `files` or of `allow_listen` with this name, or the only one there is.
    ///
    /// # Errors
    ///
    /// What is wrong, for a person.
    pub fn listen_named(&self, name: Option<&str>) -> Result<&Listen, String> {
        match (name, self.listens.as_slice()) {
            (Some(name), listens) => listens
                .iter()
                .find(|listen| listen.name == name)
                .ok_or_else(|| format!("`[http]` names `{name}`, which is no `listen` entry")),
            (None, [listen]) => Ok(listen),
            (None, []) => Err("a component that handles HTTP requests needs a `listen` entry in \
                               Enarx.toml to be served on"
                .into()),
            (None, _) => Err("there are several `listen` entries: name the one that serves HTTP \
                              with `[http] listen = \"…\"`"
                .into()),
        }
    }

    fn learned(&self) -> MutexGuard<'_, VecDeque<(String, IpAddr)>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names are compared as DNS does, RFC 4343; a dot at the end says only that the name is complete.
fn same_name(one: &str, other: &str) -> bool {
    let bare = |name| str::strip_suffix(name, ".").unwrap_or(name);
    bare(one).eq_ignore_ascii_case(bare(other))
}

/// The address to bind, if what is asked for lies within what is allowed.
fn narrower(allowed: IpAddr, asked: IpAddr) -> Option<IpAddr> {
    if allowed == asked {
        return Some(asked);
    }
    let covers = match allowed {
        // With every interface goes IPv4, too.
        IpAddr::V6(address) => address.is_unspecified(),
        IpAddr::V4(address) => address.is_unspecified() && asked.is_ipv4(),
    };
    if covers {
        return Some(asked);
    }
    // A program that asks for everything gets what there is; most cannot ask for less.
    let all = asked.is_unspecified() && allowed.is_ipv4() == asked.is_ipv4();
    all.then_some(allowed)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::new(&Config::parse(text, "Enarx.toml").expect("a sound configuration"))
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    const TEXT: &str = r#"
        files = [
            { kind = "connect", name = "db", host = "db.example.com", port = 5432 },
            { kind = "listen", name = "web", addr = "127.0.0.1", port = 8443 },
            { kind = "listen", name = "all", port = 9443 },
        ]
        [network]
        allow_connect = ["cdn.example.com:5432", "192.0.2.7:443"]
    "#;

    #[test]
    fn nothing_is_allowed_by_default() {
        let policy = policy("");
        assert_eq!(policy.name("example.com"), None);
        assert_eq!(policy.peer_at(at("192.0.2.1:443")), None);
        assert_eq!(policy.peer_named("example.com", 443, Prot::Tls), None);
        assert_eq!(policy.listen_at(at("127.0.0.1:443")), None);
        assert!(policy.listen_named(None).is_err());
    }

    #[test]
    fn addresses_are_known_by_the_name_they_came_from() {
        let policy = policy(TEXT);
        let address = at("198.51.100.1:5432");
        assert_eq!(policy.peer_at(address), None, "never resolved");
        policy.learn("db.example.com", &[address.ip()]);
        assert_eq!(policy.peer_at(address).map(|p| p.host.as_str()), Some("db.example.com"));
        assert_eq!(policy.peer_at(at("198.51.100.1:5433")), None, "another port");
        assert_eq!(policy.peer_at(at("198.51.100.2:5432")), None, "another address");
        let mapped = at("[::ffff:198.51.100.1]:5432");
        assert!(policy.peer_at(mapped).is_some(), "the same address in the clothes of IPv6");
        policy.learn("CDN.example.com.", &[address.ip()]);
        assert_eq!(policy.peer_at(address).map(|p| p.host.as_str()), Some("cdn.example.com"));
        assert!(policy.peer_at(at("192.0.2.7:443")).is_some(), "an address in the file");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let policy = policy(TEXT);
        for n in 0..2 * MAX_LEARNED {
            let n = u32::try_from(n).expect("small");
            policy.learn("db.example.com", &[IpAddr::V4(Ipv4Addr::from_bits(n))]);
        }
        assert_eq!(policy.learned().len(), MAX_LEARNED);
        assert_eq!(policy.peer_at(at("0.0.0.1:5432")), None, "the oldest is forgotten");
    }

    #[test]
    fn names_and_protocols() {
        let policy = policy(TEXT);
        assert_eq!(policy.name("DB.example.com."), Some("db.example.com"));
        assert_eq!(policy.name("evil.example.com"), None);
        assert!(policy.peer_named("db.example.com", 5432, Prot::Tls).is_some());
        assert!(policy.peer_named("db.example.com", 5432, Prot::Tcp).is_none());
        assert!(policy.peer_named("db.example.com", 443, Prot::Tls).is_none());
    }

    #[test]
    fn no_more_is_bound_than_the_entry_has() {
        let policy = policy(TEXT);
        let bound = |text| policy.listen_at(at(text)).map(|listen| listen.addr.to_string());
        assert_eq!(bound("127.0.0.1:8443").as_deref(), Some("127.0.0.1"));
        assert_eq!(bound("0.0.0.0:8443").as_deref(), Some("127.0.0.1"));
        assert_eq!(bound("127.0.0.2:8443"), None);
        assert_eq!(bound("[::]:8443"), None);
        assert_eq!(bound("0.0.0.0:9443").as_deref(), Some("0.0.0.0"));
        assert_eq!(bound("[::1]:9443").as_deref(), Some("::1"));
        assert_eq!(bound("0.0.0.0:80"), None);
    }

    #[test]
    fn which_entry_serves_http() {
        let policy = policy(TEXT);
        assert!(policy.listen_named(None).is_err_and(|why| why.contains("several")));
        assert_eq!(policy.listen_named(Some("web")).map(|listen| listen.port), Ok(8443));
        assert!(policy.listen_named(Some("db")).is_err_and(|why| why.contains("db")));
    }
}
