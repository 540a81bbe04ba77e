// SPDX-License-Identifier: Apache-2.0

//! Sends back what arrives on the socket `echo`, for any number of connections, until it is told
//! `end` on a line of its own at the start of a connection.

use std::io;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

async fn echo(mut stream: TcpStream, end: &Notify) -> io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&bytes[..count]).await?;
        if bytes[..count] == *b"end\n" {
            end.notify_one();
        }
    }
}

async fn serve() -> io::Result<()> {
    let listener = network::listener("echo")?;
    let end = Rc::new(Notify::new());
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = end.notified() => return Ok(()),
        };
        let end = Rc::clone(&end);
        tokio::task::spawn_local(async move {
            if let Err(error) = echo(stream, &end).await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

fn main() -> io::Result<()> {
    network::run(LocalSet::new().run_until(serve()))
}
