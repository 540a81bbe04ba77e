// SPDX-License-Identifier: Apache-2.0

//! `http-client PATH…`: fetches each path over the one connection `server`, and writes status and body.

use std::io::{self, Write as _};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use network::Io;
use tokio::task::LocalSet;

async fn fetch() -> io::Result<()> {
    let stream = network::connection("server")?;
    let (mut sender, connection) =
        http1::handshake(Io(stream)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection failed: {error}");
        }
    });
    for path in std::env::args().skip(1) {
        let request = Request::get(&path).header("host", "server").body(Empty::<Bytes>::new());
        let request = request.map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        println!("{} {path}", answer.status().as_u16());
        let body = answer.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        io::stdout().write_all(&body)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    network::run(LocalSet::new().run_until(fetch()))
}
