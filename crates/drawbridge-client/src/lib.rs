// SPDX-License-Identifier: Apache-2.0

//! Talks to a Drawbridge for a person: users, repositories, packages, with progress and checks of every
//! digest.
//!
//! What a Drawbridge says is believed as far as digests prove it, and no further: [`Client::fetch`] knows
//! the digest of everything before it asks for it, beginning with the one in the slug where there is one.
//! [`Package`] reckons the same digest from files, without a network.
//!
//! ```no_run
//! use drawbridge_client::{Client, Package};
//!
//! # async fn run(token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("store.example.com").token(token).build()?;
//! let package = Package::from_path("shop".as_ref())?;
//! let slug = "store.example.com/alice/shop:1.2.3".parse()?;
//! client.publish(&slug, &package, &Default::default(), &()).await?;
//! println!("published {slug}, {}", package.digest());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod client;
mod error;
mod fetch;
mod package;
mod progress;
mod publish;
mod release;
mod transport;

pub use client::{Builder, Client};
pub use error::Error;
pub use fetch::{Fetch, Fetched};
pub use package::{Package, PackageError, PackageFile};
pub use progress::Progress;
pub use publish::{Publish, Published};
pub use release::{ReleaseError, read_release};
