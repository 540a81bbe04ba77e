// SPDX-License-Identifier: Apache-2.0

//! What asking AMD and asking Intel have in common: requests within bounds ([`Fetcher`]), and a cache whose
//! contents change all at once or not at all ([`Cache`]).
//!
//! The services of both vendors limit how often they may be asked, are slow at times, and stand behind
//! proxies that cut answers short. What they say is signed, so nothing here decides whether an answer is
//! true. It only sees to it that there is one, that it has a size, and that whoever looks at the cache, at
//! whatever moment and after whatever accident, finds either what was there before or what came after.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cache;
mod fetch;
mod pause;

pub use cache::{Cache, CacheError, Generation, Stored, Update};
pub use fetch::{Answer, Event, FetchError, Fetcher, Observer, Patience};
pub use url::Url;
