// SPDX-License-Identifier: Apache-2.0

//! What asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Result, tls};

pub(crate) type Connection = TlsStream<TcpStream>;

/// Opens a connection, whoever the server is.
pub(crate) async fn connect(connector: &TlsConnector, address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(connector.connect(ServerName::try_from("localhost")?, stream).await?)
}

/// One request and its whole answer; how long the body was.
pub(crate) async fn ask(
    connection: &mut Connection,
    request: &[u8],
    buffer: &mut [u8],
) -> Result<u64> {
    connection.write_all(request).await?;
    let mut have = 0;
    let mut is_chunked = false;
    let (end, length) = loop {
        let count = connection.read(&mut buffer[have..]).await?;
        if count == 0 {
            return Err("the server closed the connection".into());
        }
        have += count;
        if let Some(end) = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") {
                return Err(format!("the server answered {head}").into());
            }
            if head.contains("transfer-encoding: chunked") {
                is_chunked = true;
                break (end + 4, 0);
            }
            let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
            break (end + 4, length.ok_or("no content-length")?.trim().parse::<u64>()?);
        }
    };
    if is_chunked {
        // Small answers only: all of it fits into the buffer.
        while !buffer[end..have].ends_with(b"0\r\n\r\n") {
            match connection.read(&mut buffer[have..]).await? {
                0 => return Err("the server closed the connection early".into()),
                count => have += count,
            }
        }
        return Ok((have - end) as u64);
    }
    let mut rest = length.saturating_sub((have - end) as u64);
    while rest > 0 {
        match connection.read(buffer).await? {
            0 => return Err("the server closed the connection early".into()),
            count => rest = rest.saturating_sub(count as u64),
        }
    }
    Ok(length)
}

/// A request for a path.
pub(crate) fn request(path: &str) -> Arc<[u8]> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes().into()
}

/// Requests on connections that stay.
pub(crate) async fn requests(
    address: SocketAddr,
    connections: usize,
    span: Duration,
    path: String,
) -> Result {
    let (connector, request) = (tls::connector()?, request(&path));
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(connect(&connector, address).await?);
    }
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (request, count) = (request.clone(), count.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while start.elapsed() < span {
                    ask(&mut connection, &request, &mut buffer).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    report(&count, start);
    Ok(())
}

/// A connection for each request.
pub(crate) async fn handshakes(
    address: SocketAddr,
    at_once: usize,
    span: Duration,
    path: String,
) -> Result {
    let (connector, request) = (tls::connector()?, request(&path));
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (connector, request, count) = (connector.clone(), request.clone(), count.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while start.elapsed() < span {
                    let mut connection = connect(&connector, address).await?;
                    ask(&mut connection, &request, &mut buffer).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    report(&count, start);
    Ok(())
}

/// One long answer, in bytes per second.
pub(crate) async fn download(address: SocketAddr, path: String) -> Result {
    let mut connection = connect(&tls::connector()?, address).await?;
    let mut buffer = vec![0; 256 << 10];
    let start = Instant::now();
    let count = ask(&mut connection, &request(&path), &mut buffer).await?;
    report(&AtomicU64::new(count), start);
    Ok(())
}

/// Connections that stay open, of which each asks once a second.
pub(crate) async fn idle(address: SocketAddr, connections: usize, span: Duration) -> Result {
    let (connector, request) = (tls::connector()?, request("/"));
    let (start, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let mut connection = connect(&connector, address).await?;
        let (request, count) = (request.clone(), count.clone());
        tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; 4 << 10];
            while start.elapsed() < span {
                ask(&mut connection, &request, &mut buffer).await?;
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    report(&count, start);
    Ok(())
}

fn report(count: &AtomicU64, start: Instant) {
    println!("{:.1}", count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64());
}
