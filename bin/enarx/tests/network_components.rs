// SPDX-License-Identifier: Apache-2.0

//! Components with a network: served by `wasi:http`, and reaching out by `wasi:http` and
//! `wasi:sockets` as far as Enarx.toml allows.

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/network.rs"]
mod network;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Output;
use std::thread;

use common::Scratch;
use network::{Keep, Server, answer, ask, client_config, free_port, get, tcp, tls};

const STREAMS: &str = r#"{ kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" }"#;

/// A configuration with the streams, these entries, and what follows.
fn config(scratch: &Scratch, entries: &str, rest: &str) -> PathBuf {
    scratch.file("Enarx.toml", format!("files = [{STREAMS}{entries}]\n{rest}\n"))
}

/// Starts the component that handles requests; its port and the Keep.
fn proxy(backend: &str, scratch: &Scratch, rest: &str) -> Option<(u16, Keep)> {
    proxy_on(backend, scratch, rest, "1")
}

/// The same on several processors.
fn proxy_on(backend: &str, scratch: &Scratch, rest: &str, processors: &str) -> Option<(u16, Keep)> {
    let module = guests::guest("proxy.component.wasm")?;
    let port = free_port();
    let entry =
        format!(r#", {{ kind = "listen", name = "web", addr = "127.0.0.1", port = {port} }}"#);
    let config = config(scratch, &entry, rest);
    let mut command = network::run(backend, &config, &module);
    Some((port, Keep::start(command.args(["--processors", processors]), 1)))
}

/// Runs a component to its end.
fn run(
    backend: &str,
    scratch: &Scratch,
    module: &str,
    rest: &str,
    args: &[&str],
) -> Option<Output> {
    let module = guests::guest(module)?;
    let config = config(scratch, "", rest);
    let mut command = network::run(backend, &config, &module);
    Some(command.arg("--").args(args).output().expect("enarx starts"))
}

common::on_every_backend! {
    fn requests_are_handled_side_by_side(backend) {
        let scratch = Scratch::new();
        let Some((port, _keep)) = proxy(backend, &scratch, "") else { return };
        let config = client_config();
        let mut client = tls(&config, port).expect("a handshake");
        // Each request has an instance of its own, also on one connection.
        for _ in 0..5 {
            assert_eq!(get(&mut client, "/"), (200, "hello from a component, request 1\n".into()));
        }
        let mut waiting: Vec<_> = (0..20).map(|_| {
            let mut client = tls(&config, port).expect("a handshake");
            ask(&mut client, "GET", "/wait/2000", b"").expect("sent");
            client
        }).collect();
        assert_eq!(get(&mut client, "/").0, 200, "those that wait hold nobody up");
        for client in &mut waiting {
            assert_eq!(answer(client).expect("an answer"), (200, b"hello, at last\n".to_vec()));
        }
        assert_eq!(get(&mut client, "/nothing").0, 404);
    }

    fn several_processors_serve_many_clients(backend) {
        let scratch = Scratch::new();
        let Some((port, _keep)) = proxy_on(backend, &scratch, "", "4") else { return };
        let clients: Vec<_> = (0..6_u8).map(|number| thread::spawn(move || {
            let mut client = tls(&client_config(), port).expect("a handshake");
            for round in 0..10_u8 {
                let sent = vec![number.wrapping_mul(37).wrapping_add(round); 20_000];
                ask(&mut client, "POST", "/echo", &sent).expect("sent");
                assert_eq!(answer(&mut client).expect("an answer"), (200, sent));
            }
        })).collect();
        clients.into_iter().for_each(|client| client.join().expect("served"));
        let mut client = tls(&client_config(), port).expect("a handshake");
        assert_eq!(get(&mut client, "/trap").0, 500);
        assert_eq!(get(&mut client, "/").0, 200);
    }

    fn bodies_of_any_size_pass(backend) {
        let scratch = Scratch::new();
        let Some((port, _keep)) = proxy(backend, &scratch, "") else { return };
        let mut client = tls(&client_config(), port).expect("a handshake");
        let (status, body) = get(&mut client, "/bytes/3000000");
        assert_eq!((status, body.len()), (200, 3_000_000));
        let sent: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        ask(&mut client, "POST", "/echo", &sent).expect("sent");
        assert_eq!(answer(&mut client).expect("an answer"), (200, sent));
    }

    fn a_handler_that_fails_fails_alone(backend) {
        let scratch = Scratch::new();
        let Some((port, keep)) = proxy(backend, &scratch, "") else { return };
        let config = client_config();
        let mut other = tls(&config, port).expect("a handshake");
        ask(&mut other, "GET", "/wait/1000", b"").expect("sent");
        for path in ["/trap", "/silent"] {
            let mut client = tls(&config, port).expect("a handshake");
            assert_eq!(get(&mut client, path), (500, "Internal Server Error\n".into()));
            assert_eq!(get(&mut client, "/").0, 200, "the connection lives on");
        }
        assert_eq!(answer(&mut other).expect("an answer").0, 200);
        keep.wait_until_said("unreachable");
        keep.wait_until_said("without an answer");
        // A request that names no host, and bytes that are no request.
        let mut client = tls(&config, port).expect("a handshake");
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        assert_eq!(answer(&mut client).expect("an answer").0, 400);
        let mut client = tls(&config, port).expect("a handshake");
        client.write_all(b"\0\0\0\0\r\n\r\n").expect("sent");
        assert_eq!(answer(&mut client).expect("an answer").0, 400);
        // A head that never ends.
        let mut client = tls(&config, port).expect("a handshake");
        client.write_all(b"GET / HTTP/1.1\r\nX: ").expect("sent");
        let long = vec![b'x'; 256 << 10];
        let _ = client.write_all(&long);
        let _ = client.flush();
        let mut first = [0; 12];
        if client.read_exact(&mut first).is_ok() {
            assert_eq!(&first, b"HTTP/1.1 431");
        }
        assert_eq!(get(&mut tls(&config, port).expect("a handshake"), "/").0, 200);
    }

    fn silent_clients_do_no_harm(backend) {
        let scratch = Scratch::new();
        let Some((port, _keep)) = proxy(backend, &scratch, "") else { return };
        let config = client_config();
        let _silent: Vec<_> = (0..100).map(|_| tcp(port)).collect();
        let _slow: Vec<_> = (0..50).map(|_| {
            let mut client = tls(&config, port).expect("a handshake");
            client.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc").expect("sent");
            client
        }).collect();
        for _ in 0..20 {
            assert_eq!(get(&mut tls(&config, port).expect("a handshake"), "/").0, 200);
        }
    }

    fn a_handler_asks_only_whom_it_may(backend) {
        let scratch = Scratch::new();
        if !network::certificates(scratch.path()) {
            return;
        }
        let (allowed, plain, other) =
            (Server::http(Some(scratch.path())), Server::http(None), Server::http(Some(scratch.path())));
        let rest = format!(
            "[network]\nallow_connect = [{{ host = \"localhost\", port = {}, trust = [\"ca.pem\"] }}, \
             {{ host = \"127.0.0.1\", port = {}, prot = \"tcp\" }}]",
            allowed.port, plain.port
        );
        let Some((port, keep)) = proxy(backend, &scratch, &rest) else { return };
        let mut client = tls(&client_config(), port).expect("a handshake");
        let mut fetch = |url: String| get(&mut client, &format!("/fetch/{url}"));
        assert_eq!(fetch(format!("https://localhost:{}/a?b=c", allowed.port)), (200, "/a?b=c".into()));
        assert_eq!(fetch(format!("http://127.0.0.1:{}/plain", plain.port)), (200, "/plain".into()));
        for url in [
            format!("https://localhost:{}/", other.port),
            // An entry with TLS is not one without, nor the other way around.
            format!("http://localhost:{}/", allowed.port),
            format!("https://127.0.0.1:{}/", plain.port),
            // The name counts, not where it leads.
            format!("https://127.0.0.1:{}/", allowed.port),
        ] {
            let (status, body) = fetch(url.clone());
            assert_eq!(status, 502, "{url}");
            assert!(body.contains("HttpRequestDenied"), "{url}: {body}");
        }
        assert_eq!(other.connections(), 0);
        keep.wait_until_said("Enarx.toml does not name it");
    }

    fn a_program_asks_only_whom_it_may(backend) {
        let scratch = Scratch::new();
        if !network::certificates(scratch.path()) {
            return;
        }
        let server = Server::http(Some(scratch.path()));
        let (module, port) = ("fetch.component.wasm", server.port);
        let url = format!("https://localhost:{port}/there");
        let rest = |trust: &str| {
            format!("[network]\nallow_connect = [{{ host = \"localhost\", port = {port}{trust} }}]")
        };
        let Some(out) = run(backend, &scratch, module, &rest(", trust = [\"ca.pem\"]"), &[&url]) else {
            return;
        };
        assert_eq!(common::text(&out.stdout), format!("200 {url}\n/there"), "{}", common::show(&out));
        let out = run(backend, &scratch, module, &rest(""), &[&url]).expect("it is there");
        let stdout = common::text(&out.stdout);
        assert!(stdout.contains("TlsProtocolError"), "{}", common::show(&out));
        // Without any network, it is refused as well.
        let before = server.connections();
        let out = run(backend, &scratch, module, "", &[&url]).expect("it is there");
        assert!(common::text(&out.stdout).contains("HttpRequestDenied"), "{}", common::show(&out));
        assert_eq!(server.connections(), before);
    }

    fn sockets_lead_only_where_they_may(backend) {
        let scratch = Scratch::new();
        if !network::certificates(scratch.path()) {
            return;
        }
        let (server, other) = (Server::echo(Some(scratch.path())), Server::echo(None));
        let module = "tcp.component.wasm";
        let rest = format!(
            "[network]\nallow_connect = [{{ host = \"localhost\", port = {}, trust = [\"ca.pem\"] }}]",
            server.port
        );
        let call = |host: &str, port: u16, text: &str, times: usize| {
            let args = ["call", host, &port.to_string(), text, &times.to_string()];
            run(backend, &scratch, module, &rest, &args).map(|out| (common::text(&out.stdout), common::show(&out)))
        };
        let text = "what was said ";
        let Some((said, shown)) = call("localhost", server.port, text, 20_000) else { return };
        assert!(said == text.repeat(20_000), "{} bytes came back: {shown}", said.len());
        assert_eq!(server.seen.lock().expect("no panic")[0][0], 22, "the first byte is one of TLS");
        for (host, port, refusal) in [
            ("localhost", other.port, "connect: "),
            ("127.0.0.1", server.port, "connect: "),
            ("example.com", server.port, "resolve: "),
        ] {
            let (said, shown) = call(host, port, "x", 1).expect("it is there");
            assert!(said.contains(refusal) && said.contains("access-denied"), "{host}:{port}: {shown}");
        }
        assert_eq!(other.connections(), 0);
        let out = run(backend, &scratch, module, &rest, &["udp"]).expect("it is there");
        assert!(common::text(&out.stdout).contains("access-denied"), "{}", common::show(&out));
    }

    fn a_program_listens_where_it_may(backend) {
        let Some(module) = guests::guest("tcp.component.wasm") else { return };
        let scratch = Scratch::new();
        let (port, other) = (free_port(), free_port());
        let config = config(&scratch, "", &format!("[network]\nallow_listen = [{port}]"));
        let mut command = network::run(backend, &config, &module);
        let keep = Keep::start(command.args(["--", "serve", "127.0.0.1", &port.to_string(), "8"]), 1);
        let client = client_config();
        thread::scope(|scope| {
            for index in 0..8_u8 {
                let client = client.clone();
                scope.spawn(move || {
                    let mut stream = tls(&client, port).expect("a handshake");
                    for round in 1..10 {
                        let sent = vec![b'a' + index; round * 100];
                        stream.write_all(&sent).expect("sent");
                        let mut came = vec![0; sent.len()];
                        stream.read_exact(&mut came).expect("echoed");
                        assert_eq!(came, sent);
                    }
                    stream.conn.send_close_notify();
                    stream.flush().expect("sent");
                });
            }
        });
        let (status, _, stderr) = keep.wait();
        assert!(status.success(), "{stderr}");
        let mut command = network::run(backend, &config, &module);
        let out = command.args(["--", "serve", "127.0.0.1", &other.to_string(), "1"]).output();
        let out = out.expect("enarx starts");
        let stdout = common::text(&out.stdout);
        assert!(stdout.contains("bind: ") && stdout.contains("access-denied"), "{}", common::show(&out));
    }

    fn a_handler_needs_a_socket(backend) {
        let Some(module) = guests::guest("proxy.component.wasm") else { return };
        let scratch = Scratch::new();
        let out = network::run(backend, &config(&scratch, "", ""), &module).output();
        let out = out.expect("enarx starts");
        assert!(!out.status.success());
        assert!(common::text(&out.stderr).contains("`listen` entry"), "{}", common::show(&out));
    }
}
