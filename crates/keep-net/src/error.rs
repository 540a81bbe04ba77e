// SPDX-License-Identifier: Apache-2.0

//! What can go wrong on the network.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

/// What went wrong on the network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetError {
    /// The processor, or what the host shows of it, lacks what TLS is computed with.
    #[error("TLS needs a processor with {missing}")]
    Cpu {
        /// The features that are missing, by the names that the vendors use.
        missing: String,
    },
    /// There is no certificate to show yet.
    #[error("the Keep has no certificate yet")]
    NoIdentity,
    /// The Keep's own certificate and key do not fit TLS.
    #[error("the Keep's own certificate cannot be used: {0}")]
    Identity(rustls::Error),
    /// Roots that are needed are not there, or cannot be read.
    #[error("roots of `{which}`: {why}")]
    Roots {
        /// As Enarx.toml calls them.
        which: String,
        /// What is wrong, for a person.
        why: String,
    },
    /// A setting that TLS does not take.
    #[error("{0}")]
    Setting(String),
    /// A name leads to no address.
    #[error("the name `{name}` cannot be resolved: {why}")]
    Resolve {
        /// The name.
        name: String,
        /// What is wrong, for a person.
        why: &'static str,
    },
    /// No address of a peer accepts a connection.
    #[error("cannot connect to `{peer}`: {source}")]
    Connect {
        /// `host:port`.
        peer: String,
        /// Of the last address.
        source: io::Error,
    },
    /// Both do not agree, or one does not like the other's certificate.
    #[error("TLS with `{peer}` failed: {source}")]
    Handshake {
        /// `host:port`.
        peer: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("`{peer}` took too long: {what}")]
    Timeout {
        /// `host:port`.
        peer: String,
        /// What was waited for.
        what: &'static str,
    },
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// As many sockets are open as may be.
    #[error("as many sockets are open as may be")]
    TooManySockets,
    /// A URL that is none, or not one of `https`.
    #[error("`{url}` is not a URL that can be used: {why}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong, for a person.
        why: &'static str,
    },
    /// A peer does not keep to HTTP/1.1, or the connection ended early.
    #[error("HTTP with `{peer}`: {why}")]
    Http {
        /// `host:port`.
        peer: String,
        /// For a person.
        why: String,
    },
    /// An answer is longer than was asked for.
    #[error("the answer of `{peer}` is longer than {max} bytes")]
    TooLong {
        /// `host:port`.
        peer: String,
        /// The bound in bytes.
        max: u64,
    },
}

impl NetError {
    /// The stable name of the error, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cpu { .. } => "net.cpu",
            Self::NoIdentity => "net.no-identity",
            Self::Identity(_) => "net.identity",
            Self::Roots { .. } => "net.roots",
            Self::Setting(_) => "net.setting",
            Self::Resolve { .. } => "net.resolve",
            Self::Connect { .. } => "net.connect",
            Self::Handshake { .. } => "net.handshake",
            Self::Timeout { .. } => "net.timeout",
            Self::Bind { .. } => "net.bind",
            Self::TooManySockets => "net.too-many-sockets",
            Self::Url { .. } => "net.url",
            Self::Http { .. } => "net.http",
            Self::TooLong { .. } => "net.too-long",
        }
    }

    /// Whether the same may go well a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Connect { .. }
                | Self::Timeout { .. }
                | Self::Http { .. }
                | Self::TooManySockets
        )
    }
}
