// SPDX-License-Identifier: Apache-2.0

//! Logs a person or a machine in by OpenID Connect, and keeps the tokens where they belong.
//!
//! - [`Login`] is an issuer seen by a client: the device flow for people (RFC 8628), client credentials
//!   for machines (RFC 6749, §4.4), and what comes after a login: refresh and revocation.
//! - [`TokenStore`] keeps the result: in a credential helper of the user's choice, in the keyring of the
//!   desktop, or, where neither is, in a private file.
//!
//! Tokens are [`Secret`]s, which no log and no message shows. What an issuer sends is shown to people only
//! after it was checked: a code has no control characters, a link is `https`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod credential;
mod device;
mod error;
mod login;
mod secret;
mod store;

pub use credential::Credential;
pub use device::DeviceFlow;
pub use error::LoginError;
pub use login::{Login, Options, SCOPES};
pub use oidc_discovery::{DiscoveryError, FetchError, Url, issuer_url};
pub use secret::Secret;
pub use store::{Key, Place, StoreError, TokenStore};

/// Asks for a token in the name of a machine: [`Login::new`] and [`Login::client_credentials`] in one.
///
/// # Errors
///
/// See [`LoginError`].
pub async fn client_credentials(options: Options) -> Result<Credential, LoginError> {
    Login::new(options).await?.client_credentials().await
}
