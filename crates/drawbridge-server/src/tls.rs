// SPDX-License-Identifier: Apache-2.0

//! The server's own TLS.
//!
//! Whoever offers a certificate has to prove here that it has the key to it, and that is all: whether the
//! chain leads to the Steward that the owner of a repository named, and whether it says what the owner
//! demands, is decided with each request, since each repository has a Steward and a policy of its own.

use std::error::Error;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use steward_relying_party::Possession;

use crate::{StartError, Tls};

pub(crate) fn config(tls: &Tls) -> Result<Arc<ServerConfig>, StartError> {
    let clients = Possession::new(Arc::new(aws_lc_rs::default_provider()));
    http_service::server_config(&tls.certificates, &tls.key, Some(Arc::new(clients))).map_err(
        |error| match error.source() {
            Some(source) => StartError::Tls(format!("{error}: {source}")),
            None => StartError::Tls(error.to_string()),
        },
    )
}
