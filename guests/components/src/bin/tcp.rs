// SPDX-License-Identifier: Apache-2.0

//! TCP by `wasi:sockets`.
//!
//! - `tcp call HOST PORT TEXT TIMES`: connects, sends the text so many times, ends its half, and writes
//!   what comes back;
//! - `tcp serve ADDRESS PORT COUNT`: answers so many connections at a time with what they send, until
//!   so many have ended;
//! - `tcp udp`: tries to make a socket for datagrams.
//!
//! What fails is written as the step and its code.

use std::net::Ipv4Addr;
use std::process::exit;

use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;
use wasip2::sockets::udp_create_socket::create_udp_socket;

fn or_exit<T>(step: &str, result: Result<T, ErrorCode>) -> T {
    result.unwrap_or_else(|code| {
        println!("{step}: {code:?}");
        exit(1)
    })
}

/// Waits as long as a call would block.
fn wait<T>(socket: &TcpSocket, mut call: impl FnMut() -> Result<T, ErrorCode>) -> Result<T, ErrorCode> {
    let pollable = socket.subscribe();
    loop {
        match call() {
            Err(ErrorCode::WouldBlock) => pollable.block(),
            result => return result,
        }
    }
}

fn address(ip: IpAddress, port: u16) -> (IpAddressFamily, IpSocketAddress) {
    match ip {
        IpAddress::Ipv4(address) => {
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }))
        }
        IpAddress::Ipv6(address) => (
            IpAddressFamily::Ipv6,
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 }),
        ),
    }
}

fn resolve(name: &str) -> Result<IpAddress, ErrorCode> {
    let addresses = resolve_addresses(&instance_network(), name)?;
    loop {
        match addresses.resolve_next_address() {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => return Err(ErrorCode::NameUnresolvable),
            Err(ErrorCode::WouldBlock) => addresses.subscribe().block(),
            Err(code) => return Err(code),
        }
    }
}

fn call(host: &str, port: u16, text: &str) {
    let (family, remote) = address(or_exit("resolve", resolve(host)), port);
    let socket = or_exit("create", create_tcp_socket(family));
    or_exit("connect", socket.start_connect(&instance_network(), remote));
    let (input, output) = or_exit("connect", wait(&socket, || socket.finish_connect()));
    for piece in text.as_bytes().chunks(4096) {
        output.blocking_write_and_flush(piece).expect("the peer takes it");
    }
    or_exit("shutdown", socket.shutdown(ShutdownType::Send));
    loop {
        match input.blocking_read(4096) {
            Ok(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                println!("read: {}", error.to_debug_string());
                exit(1)
            }
        }
    }
}

/// Sends back what there is; whether the connection lives on.
fn echo(input: &InputStream, output: &OutputStream) -> bool {
    match input.read(4096) {
        Ok(bytes) => output.blocking_write_and_flush(&bytes).is_ok(),
        Err(_) => false,
    }
}

fn serve(ip: Ipv4Addr, port: u16, count: usize) {
    let [a, b, c, d] = ip.octets();
    let (family, local) = address(IpAddress::Ipv4((a, b, c, d)), port);
    let socket = or_exit("create", create_tcp_socket(family));
    or_exit("bind", socket.start_bind(&instance_network(), local));
    or_exit("bind", socket.finish_bind());
    or_exit("listen", socket.start_listen());
    or_exit("listen", socket.finish_listen());
    println!("listening");
    let listening = socket.subscribe();
    let mut connections: Vec<(Pollable, InputStream, OutputStream, TcpSocket)> = Vec::new();
    let mut ended = 0;
    while ended < count {
        let mut pollables = vec![&listening];
        pollables.extend(connections.iter().map(|(pollable, ..)| pollable));
        let mut ready = poll(&pollables);
        // They come in any order; from the last to the first, an end moves only those behind it.
        ready.sort_unstable();
        for index in ready.into_iter().rev() {
            let Some(index) = index.checked_sub(1) else {
                match socket.accept() {
                    Ok((client, input, output)) => {
                        connections.push((input.subscribe(), input, output, client));
                    }
                    Err(ErrorCode::WouldBlock) => {}
                    Err(code) => or_exit("accept", Err(code)),
                }
                continue;
            };
            let (_, input, output, _) = &connections[index as usize];
            if !echo(input, output) {
                let (pollable, input, output, client) = connections.swap_remove(index as usize);
                drop((pollable, input));
                drop(output);
                drop(client);
                ended += 1;
            }
        }
    }
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["call", host, port, text, times] => {
            let text = text.repeat(times.parse().expect("a number"));
            call(host, port.parse().expect("a port"), &text);
        }
        ["serve", ip, port, count] => serve(
            ip.parse().expect("an address"),
            port.parse().expect("a port"),
            count.parse().expect("a number"),
        ),
        ["udp"] => {
            or_exit("udp", create_udp_socket(IpAddressFamily::Ipv4));
        }
        _ => panic!("see the source"),
    }
}
