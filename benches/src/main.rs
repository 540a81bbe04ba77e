// SPDX-License-Identifier: Apache-2.0

//! Load for HTTPS servers, and the native servers that a Keep is compared with.
//!
//! ```text
//! network-peers serve ADDRESS             a native HTTPS server, one thread
//! network-peers proxy ADDRESS BACKEND     a native TLS proxy before a plain server
//! network-peers requests ADDRESS CONNECTIONS SECONDS [PATH]
//! network-peers handshakes ADDRESS AT-ONCE SECONDS [PATH]
//! network-peers download ADDRESS PATH
//! network-peers idle ADDRESS CONNECTIONS SECONDS
//! network-peers siege ADDRESS SECONDS     clients of all kinds at once
//! network-peers transfer ADDRESS plain|tls HEADS [BODY]    the files: heads of requests, their body
//! network-peers issuer AUDIENCE SUBJECT   an OpenID Connect issuer; prints its URL and a token
//! network-peers certificate FOLDER        writes cert.pem and key.pem of `localhost`
//! ```
//!
//! Both sides speak TLS 1.3 by rustls with aws-lc-rs; the load trusts every certificate, since it
//! measures speed and nothing else. Each measurement prints one number: requests, connections or
//! bytes per second. `GET /bytes/N` of the server answers with N bytes, everything else with a page of
//! 13 bytes.

mod issuer;
mod load;
mod server;
mod siege;
mod tls;
mod transfer;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Errors are for the person who measures.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |index: usize| -> Result<&str> {
        Ok(args.get(index).ok_or("too few arguments: see the head of src/main.rs")?.as_str())
    };
    match arg(0)? {
        "issuer" => return single()?.block_on(issuer::serve(arg(1)?, arg(2)?)),
        "certificate" => return issuer::certificate(Path::new(arg(1)?)),
        _ => {}
    }
    let address: SocketAddr = arg(1)?.parse()?;
    let seconds = || -> Result<Duration> { Ok(Duration::from_secs_f64(arg(3)?.parse()?)) };
    let path = |index: usize| args.get(index).map_or("/", String::as_str).to_owned();
    match arg(0)? {
        "serve" => single()?.block_on(server::serve(address)),
        "proxy" => many()?.block_on(server::proxy(address, arg(2)?.parse()?)),
        "requests" => {
            many()?.block_on(load::requests(address, arg(2)?.parse()?, seconds()?, path(4)))
        }
        "handshakes" => {
            many()?.block_on(load::handshakes(address, arg(2)?.parse()?, seconds()?, path(4)))
        }
        "download" => single()?.block_on(load::download(address, path(2))),
        "idle" => many()?.block_on(load::idle(address, arg(2)?.parse()?, seconds()?)),
        "siege" => many()?.block_on(siege::lay(address, Duration::from_secs(arg(2)?.parse()?))),
        "transfer" => {
            let body = args.get(4).map(Path::new);
            let is_tls = arg(2)? == "tls";
            many()?.block_on(transfer::transfer(address, is_tls, Path::new(arg(3)?), body))
        }
        other => Err(format!("`{other}` is not one of the commands").into()),
    }
}

fn single() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn many() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
