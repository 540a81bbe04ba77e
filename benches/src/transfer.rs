// SPDX-License-Identifier: Apache-2.0

//! Large bodies to and from a server, by one client or many.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Result, tls};

/// What goes both ways.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Sends each of the requests whose heads are in a file on a connection of its own, all at once, with a
/// file's content as the body if there is one. Connecting does not count. Prints the bytes of all bodies
/// per second: of those that are sent, or else of the answers.
pub(crate) async fn transfer(
    address: SocketAddr,
    is_tls: bool,
    heads: &Path,
    body: Option<&Path>,
) -> Result {
    let text = std::fs::read_to_string(heads)?;
    let body: Arc<[u8]> = body.map(std::fs::read).transpose()?.unwrap_or_default().into();
    let connector = tls::connector()?;
    let mut open: Vec<(Box<dyn Stream>, String)> = Vec::new();
    for head in text.split_inclusive("\r\n\r\n") {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = if is_tls {
            Box::new(connector.connect(ServerName::try_from("localhost")?, stream).await?)
        } else {
            Box::new(stream)
        };
        open.push((stream, head.to_owned()));
    }
    let start = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .map(|(stream, head)| tokio::spawn(one(stream, head, Arc::clone(&body))))
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    println!("{:.1}", count as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

async fn one(mut stream: Box<dyn Stream>, head: String, body: Arc<[u8]>) -> Result<u64> {
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.flush().await?;
    let mut buffer = vec![0; 256 << 10];
    let mut have = 0;
    let (end, length) = loop {
        match stream.read(&mut buffer[have..]).await? {
            0 => return Err("the server closed the connection".into()),
            count => have += count,
        }
        if let Some(end) = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            if !head.starts_with("http/1.1 20") {
                return Err(format!("the server answered {head}").into());
            }
            let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
            break (end + 4, length.map_or(Ok(0), |length| length.trim().parse::<u64>())?);
        }
    };
    let mut rest = length.saturating_sub((have - end) as u64);
    while rest > 0 {
        match stream.read(&mut buffer).await? {
            0 => return Err("the server closed the connection early".into()),
            count => rest = rest.saturating_sub(count as u64),
        }
    }
    Ok(if body.is_empty() { length } else { body.len() as u64 })
}
