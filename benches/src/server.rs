// SPDX-License-Identifier: Apache-2.0

//! The native side: a server, and a proxy that ends TLS before somebody else's server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::{Result, tls};

const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";

pub(crate) async fn serve(address: SocketAddr) -> Result {
    let (listener, acceptor) = (TcpListener::bind(address).await?, tls::acceptor()?);
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut stream = acceptor.accept(stream).await?;
            let mut buffer = vec![0; 16 << 10];
            let mut have = 0;
            loop {
                let count = stream.read(&mut buffer[have..]).await?;
                if count == 0 {
                    return Result::Ok(());
                }
                have += count;
                while let Some(end) =
                    buffer[..have].windows(4).position(|four| four == b"\r\n\r\n")
                {
                    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
                    buffer.copy_within(end + 4..have, 0);
                    have -= end + 4;
                    answer(&mut stream, &head).await?;
                }
            }
        });
    }
}

async fn answer(stream: &mut (impl AsyncWriteExt + Unpin), head: &str) -> Result {
    let bulk = head.split(' ').nth(1).and_then(|path| path.strip_prefix("/bytes/"));
    let Some(mut rest) = bulk.and_then(|count| count.parse::<usize>().ok()) else {
        stream.write_all(PAGE).await?;
        return Ok(stream.flush().await?);
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {rest}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let piece = vec![b'x'; 64 << 10];
    while rest > 0 {
        let count = rest.min(piece.len());
        stream.write_all(&piece[..count]).await?;
        rest -= count;
    }
    Ok(stream.flush().await?)
}

pub(crate) async fn proxy(address: SocketAddr, backend: SocketAddr) -> Result {
    let (listener, acceptor) = (TcpListener::bind(address).await?, tls::acceptor()?);
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let mut stream = acceptor.accept(stream).await?;
            let mut backend = TcpStream::connect(backend).await?;
            backend.set_nodelay(true)?;
            copy_bidirectional(&mut stream, &mut backend).await?;
            Result::Ok(())
        });
    }
}
