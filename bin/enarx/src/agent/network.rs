// SPDX-License-Identifier: Apache-2.0

//! What a Keep is told of the network around it, and whom it is to trust there.
//!
//! Resolvers and fixed names come from the host's own files. They only lead somewhere: who answers
//! there has to prove by TLS that it is the one that was meant. The roots come from the
//! administrator's options.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use command_line::files;
use keep_launch::Network;

use crate::cli::TrustArgs;
use crate::exit::Failure;

/// More servers than the C library asks help nobody.
const MAX_RESOLVERS: usize = 3;
/// Long lists of names block advertisements, and have no business in a Keep.
const MAX_HOSTS: usize = 64;
/// Longest file of the host that is read, in bytes.
const MAX_FILE: usize = 64 << 10;
/// Most sockets of a Keep at a time.
const MAX_SOCKETS: u32 = keep_backend::NetworkLimits::MAX_SOCKETS;

/// The network of this host, with the roots of the options.
pub(crate) fn network(trust: &TrustArgs) -> Result<Network, Failure> {
    Ok(Network {
        system_roots: true,
        roots: trust.ca_bundle.as_deref().map(certificates).transpose()?.unwrap_or_default(),
        steward_roots: trust
            .steward_ca
            .as_deref()
            .map(certificates)
            .transpose()?
            .unwrap_or_default(),
        resolvers: resolvers(&read("/etc/resolv.conf")),
        hosts: hosts(&read("/etc/hosts")),
        max_sockets: MAX_SOCKETS,
    })
}

/// The certificates in a file, DER.
pub(crate) fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    files::read_certificates(path)
}

/// A file of the host; nothing if it is not there, as on machines without a network.
fn read(path: &str) -> String {
    let text = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(text.get(..MAX_FILE).unwrap_or(&text)).into_owned()
}

/// DNS servers in the form of resolv.conf(5); without any, the one of this machine, as the C library
/// has it.
fn resolvers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = lines(text)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            if words.next() != Some("nameserver") {
                return None;
            }
            let address: IpAddr = words.next()?.parse().ok()?;
            Some(std::net::SocketAddr::new(address, 53).to_string())
        })
        .take(MAX_RESOLVERS)
        .collect();
    if found.is_empty() {
        found.push("127.0.0.1:53".into());
    }
    found
}

/// Names with fixed addresses in the form of hosts(5).
fn hosts(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in lines(text) {
        let mut words = line.split_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        found.extend(words.map(|name| (name.to_ascii_lowercase(), address.to_string())));
        if found.len() >= MAX_HOSTS {
            break;
        }
    }
    found.truncate(MAX_HOSTS);
    found
}

/// Lines without what follows a `#` or `;`.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_of_the_file() {
        let text = "# x\nsearch example.com\nnameserver 10.0.0.1 # near\nnameserver fe80::1\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver 10.0.0.2\n\
                    nameserver 10.0.0.3\n";
        assert_eq!(resolvers(text), ["10.0.0.1:53", "[fe80::1]:53", "10.0.0.2:53"]);
        assert_eq!(resolvers(""), ["127.0.0.1:53"]);
    }

    #[test]
    fn hosts_are_names_with_addresses() {
        let text = "127.0.0.1 localhost Box # here\n::1 localhost\nnonsense x\n\n";
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(
            hosts(text),
            [pair("localhost", "127.0.0.1"), pair("box", "127.0.0.1"), pair("localhost", "::1")]
        );
        let many: String = (0..1000).map(|n| format!("10.0.0.1 host{n}\n")).collect();
        assert_eq!(hosts(&many).len(), MAX_HOSTS);
    }
}
