// SPDX-License-Identifier: Apache-2.0

//! Everything at once, for as long as it is wanted: clients that are busy, clients that are open and silent,
//! clients that say a letter a second, and clients that never finish their handshake.
//!
//! Nobody gives up at the first error, and each kind has its own demand: busy ones that each request is
//! answered; silent ones that they are still served at the end; slow ones that a request is one however
//! slowly it came; and of those in the middle of a handshake, that the server lets go of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::load::{ask, connect, request};
use crate::{Result, tls};

/// Connections that are busy.
const BUSY: usize = 16;
/// Connections that are open and silent.
const SILENT: usize = 500;
/// Clients that say a letter a second.
const SLOW: usize = 40;
/// Clients in the middle of a handshake.
const HALF: usize = 40;
/// More than any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Before the next try of whoever could not connect.
const PAUSE: Duration = Duration::from_millis(100);

/// The begin of a record with a ClientHello that never comes.
const HALF_A_HELLO: [u8; 8] = [22, 3, 1, 2, 0, 1, 0, 1];

/// What happened.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    errors: AtomicU64,
    slow: AtomicU64,
    slow_errors: AtomicU64,
    dropped: AtomicU64,
    not_dropped: AtomicU64,
}

fn count(one: &AtomicU64) {
    one.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone)]
struct Siege {
    connector: TlsConnector,
    address: SocketAddr,
    end: Instant,
    seen: Arc<Seen>,
}

/// Prints one line: requests and their errors, silent connections that were still served at the end, slow
/// requests and their errors, half handshakes that were let go of and that were not.
pub(crate) async fn lay(address: SocketAddr, span: Duration) -> Result {
    let siege = Siege {
        connector: tls::connector()?,
        address,
        end: Instant::now() + span,
        seen: Arc::default(),
    };
    let mut silent = Vec::new();
    let (mut buffer, hello) = (vec![0; 4 << 10], request("/"));
    for _ in 0..SILENT {
        let mut connection = connect(&siege.connector, address).await?;
        ask(&mut connection, &hello, &mut buffer).await?;
        silent.push(connection);
    }
    // Whoever started this may look at the server now.
    println!("begins");
    let mut tasks = Vec::new();
    tasks.extend((0..BUSY).map(|_| tokio::spawn(siege.clone().busy())));
    tasks.extend((0..SLOW).map(|_| tokio::spawn(siege.clone().slow())));
    tasks.extend((0..HALF).map(|_| tokio::spawn(siege.clone().half())));
    for task in tasks {
        task.await?;
    }
    let mut alive = 0;
    for mut connection in silent {
        let served = timeout(PATIENCE, ask(&mut connection, &hello, &mut buffer)).await;
        alive += usize::from(matches!(served, Ok(Ok(_))));
    }
    let Seen { requests, errors, slow, slow_errors, dropped, not_dropped } = &*siege.seen;
    let read = |one: &AtomicU64| one.load(Ordering::Relaxed);
    println!(
        "{} {} {alive} {} {} {} {}",
        read(requests),
        read(errors),
        read(slow),
        read(slow_errors),
        read(dropped),
        read(not_dropped)
    );
    Ok(())
}

impl Siege {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// One request after the other; after an error on a new connection.
    async fn busy(self) {
        let (mut buffer, request) = (vec![0; 16 << 10], request("/"));
        while !self.is_over() {
            let Ok(Ok(mut connection)) =
                timeout(PATIENCE, connect(&self.connector, self.address)).await
            else {
                count(&self.seen.errors);
                sleep(PAUSE).await;
                continue;
            };
            while !self.is_over() {
                let asked = ask(&mut connection, &request, &mut buffer);
                if !matches!(timeout(PATIENCE, asked).await, Ok(Ok(_))) {
                    count(&self.seen.errors);
                    break;
                }
                count(&self.seen.requests);
            }
        }
    }

    /// A request letter by letter. What is not complete at the end was no request.
    async fn slow(self) {
        let mut buffer = vec![0; 4 << 10];
        let request = request("/");
        while !self.is_over() {
            let Ok(Ok(mut connection)) =
                timeout(PATIENCE, connect(&self.connector, self.address)).await
            else {
                count(&self.seen.slow_errors);
                sleep(PAUSE).await;
                continue;
            };
            let (last, first) = request.split_last().unwrap_or((&b'\n', &[]));
            let mut is_broken = false;
            for letter in first {
                is_broken |= connection.write_all(&[*letter]).await.is_err();
                is_broken |= connection.flush().await.is_err();
                if is_broken || self.is_over() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            if is_broken {
                count(&self.seen.slow_errors);
            } else if !self.is_over() {
                match timeout(PATIENCE, ask(&mut connection, &[*last], &mut buffer)).await {
                    Ok(Ok(_)) => count(&self.seen.slow),
                    _ => count(&self.seen.slow_errors),
                }
            }
        }
    }

    /// The begin of a handshake, and then nothing until the server has had enough.
    async fn half(self) {
        while !self.is_over() {
            let Ok(mut stream) = TcpStream::connect(self.address).await else {
                count(&self.seen.not_dropped);
                sleep(PAUSE).await;
                continue;
            };
            // A reset is an end as well.
            let _ = stream.write_all(&HALF_A_HELLO).await;
            let mut rest = Vec::new();
            match timeout(PATIENCE, stream.read_to_end(&mut rest)).await {
                Ok(_) => count(&self.seen.dropped),
                Err(_) => count(&self.seen.not_dropped),
            }
        }
    }
}
