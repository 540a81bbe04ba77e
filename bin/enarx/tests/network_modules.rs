// SPDX-License-Identifier: Apache-2.0

//! Modules with sockets: servers that real clients reach over TLS, and clients of native servers.

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/network.rs"]
mod network;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::Scratch;
use network::{Keep, Server, answer, ask, client_config, free_port, get, tcp, tls};

/// A configuration with the streams and this entry as descriptor 3.
fn config(scratch: &Scratch, entry: &str) -> PathBuf {
    let streams = r#"{ kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" }"#;
    scratch.file("Enarx.toml", format!("files = [{streams}, {entry}]\n"))
}

/// Starts a server guest; its port and the Keep.
fn server(backend: &str, scratch: &Scratch, module: &Path, keys: &str) -> (u16, Keep) {
    let port = free_port();
    let entry =
        format!(r#"{{ kind = "listen", name = "web", addr = "127.0.0.1", port = {port}{keys} }}"#);
    let config = config(scratch, &entry);
    (port, Keep::start(&mut network::run(backend, &config, module), 1))
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web/web.wat")
}

common::on_every_backend! {
    fn the_example_answers_over_tls(backend) {
        let scratch = Scratch::new();
        let (port, keep) = server(backend, &scratch, &example(), "");
        let told = keep.stderr().matches("signs its own certificate").count();
        assert_eq!(told, 1, "of the certificate: {}", keep.stderr());
        let config = client_config();
        let mut client = tls(&config, port).expect("a handshake");
        for _ in 0..3 {
            let (status, body) = get(&mut client, "/");
            assert_eq!(status, 200);
            assert!(body.contains("Hello from a Keep"), "{body}");
        }
        // Pipelined, in one piece.
        client.write_all(&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20)).expect("written");
        for _ in 0..20 {
            assert_eq!(answer(&mut client).expect("an answer").0, 200);
        }
        ask(&mut client, "DELETE", "/", b"").expect("sent");
        assert_eq!(answer(&mut client).expect("an answer").0, 405);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("a proper end of TLS");
        assert!(rest.is_empty());
    }

    fn a_server_of_tokio_and_hyper_serves(backend) {
        let Some(module) = guests::guest("http-server.wasm") else { return };
        let scratch = Scratch::new();
        let (port, keep) = server(backend, &scratch, &module, "");
        let config = client_config();
        let mut client = tls(&config, port).expect("a handshake");
        assert_eq!(get(&mut client, "/"), (200, "hello from a Keep\n".into()));
        assert_eq!(get(&mut client, "/nothing").0, 404);
        // While one waits, another is answered.
        let mut other = tls(&config, port).expect("a handshake");
        ask(&mut client, "GET", "/slow/1500", b"").expect("sent");
        assert_eq!(get(&mut other, "/").0, 200);
        assert_eq!(answer(&mut client).expect("an answer").1, b"hello, at last\n");
        // More than any buffer holds, in both directions.
        let (status, body) = {
            ask(&mut client, "GET", "/bytes/8000000", b"").expect("sent");
            answer(&mut client).expect("an answer")
        };
        assert_eq!((status, body.len()), (200, 8_000_000));
        assert!(body.iter().all(|byte| *byte == b'k'));
        let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut echo, upload) = (tls(&config, port).expect("a handshake"), sent.clone());
        // Room for what comes back while it is sent is in the sockets' buffers and the guest.
        let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", sent.len());
        echo.write_all(head.as_bytes()).expect("sent");
        for piece in upload.chunks(64 << 10) {
            echo.write_all(piece).expect("sent");
        }
        assert_eq!(answer(&mut echo).expect("an answer"), (200, sent));
        assert_eq!(get(&mut client, "/end").0, 200);
        let (status, _, stderr) = keep.wait();
        assert!(status.success(), "{stderr}");
    }

    fn five_hundred_connections_at_once(backend) {
        let Some(module) = guests::guest("http-server.wasm") else { return };
        let scratch = Scratch::new();
        let (port, _keep) = server(backend, &scratch, &module, "");
        let config = client_config();
        let mut clients: Vec<_> =
            (0..500).map(|_| tls(&config, port).expect("a handshake")).collect();
        for _ in 0..2 {
            for client in &mut clients {
                ask(client, "GET", "/", b"").expect("sent");
            }
            for client in &mut clients {
                assert_eq!(answer(client).expect("an answer").1, b"hello from a Keep\n");
            }
        }
    }

    fn slow_and_silent_clients_do_no_harm(backend) {
        let Some(module) = guests::guest("http-server.wasm") else { return };
        let scratch = Scratch::new();
        let keys = r#", handshake_timeout = "2s", idle_timeout = "30s""#;
        let (port, _keep) = server(backend, &scratch, &module, keys);
        let config = client_config();
        // Connected, and nothing more; half of a TLS record; a record that is none; half of a request.
        let silent: Vec<_> = (0..40).map(|_| tcp(port)).collect();
        let half: Vec<_> = (0..40).map(|_| {
            let mut stream = tcp(port);
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1]).expect("sent");
            stream
        }).collect();
        let mut garbage = tcp(port);
        garbage.write_all(&[b'x'; 4096]).expect("sent");
        let mut slow: Vec<_> = (0..40).map(|_| {
            let mut client = tls(&config, port).expect("a handshake");
            client.write_all(b"GET / HTTP/1.1\r\nHo").expect("sent");
            client
        }).collect();
        for _ in 0..20 {
            let mut client = tls(&config, port).expect("a handshake");
            assert_eq!(get(&mut client, "/").0, 200);
        }
        // A slow request is a request.
        for client in &mut slow {
            client.write_all(b"st: x\r\n\r\n").expect("sent");
            assert_eq!(answer(client).expect("an answer").0, 200);
        }
        // Who does not shake hands is gone after a while.
        for mut stream in silent.into_iter().chain(half) {
            let mut rest = Vec::new();
            // A reset is an end as well.
            let _ = stream.read_to_end(&mut rest);
        }
        let mut client = tls(&config, port).expect("a handshake");
        assert_eq!(get(&mut client, "/").0, 200);
    }

    fn common_clients_reach_it(backend) {
        let scratch = Scratch::new();
        let (port, _keep) = server(backend, &scratch, &example(), "");
        let url = format!("https://127.0.0.1:{port}/");
        let python = "import requests, sys, warnings; warnings.simplefilter('ignore'); \
            s = requests.Session(); \
            print([s.get(sys.argv[1], verify=False, timeout=60).text for _ in range(3)][2])";
        let clients: [(&str, &[&str]); 2] = [
            ("curl", &["--silent", "--show-error", "--insecure", "--max-time", "60", &url, &url]),
            ("python3", &["-c", python, &url]),
        ];
        for (program, args) in clients {
            match Command::new(program).args(args).output() {
                Err(error) => eprintln!("skipped: {program}: {error}"),
                Ok(out) if common::text(&out.stderr).contains("No module named") => {
                    eprintln!("skipped: {program}: {}", common::text(&out.stderr));
                }
                Ok(out) => {
                    assert!(common::text(&out.stdout).contains("Hello from a Keep"),
                        "{program}: {}", common::show(&out));
                }
            }
        }
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-ign_eof", "-tls1_3", "-connect", &format!("127.0.0.1:{port}")]);
        // The last request ends the connection.
        let input = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nBYE / HTTP/1.1\r\n\r\n";
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: openssl is not there");
            return;
        }
        let out = common::with_input(&mut openssl, input);
        assert!(common::text(&out.stdout).contains("Hello from a Keep"), "{}", common::show(&out));
        // What a Keep does not speak.
        let old = Command::new("openssl")
            .args(["s_client", "-tls1_2", "-connect", &format!("127.0.0.1:{port}")])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl starts");
        assert!(!old.status.success(), "TLS 1.2 was accepted: {}", common::show(&old));
    }

    fn plain_tcp_is_written_out_and_warned_of_once(backend) {
        let scratch = Scratch::new();
        let (port, keep) = server(backend, &scratch, &example(), r#", prot = "tcp""#);
        for _ in 0..3 {
            let (status, body) = get(&mut tcp(port), "/");
            assert_eq!(status, 200);
            assert!(body.contains("Hello from a Keep"));
        }
        let stderr = keep.stderr();
        assert_eq!(stderr.matches("without TLS").count(), 1, "{stderr}");
    }

    fn clients_of_native_servers(backend) {
        let Some(module) = guests::guest("http-client.wasm") else { return };
        let scratch = Scratch::new();
        if !network::certificates(scratch.path()) {
            return;
        }
        let server = Server::http(Some(scratch.path()));
        let entry = |keys: &str| {
            let port = server.port;
            format!(r#"{{ kind = "connect", name = "server", host = "localhost", port = {port}{keys} }}"#)
        };
        let run = |entry: &str| {
            let config = config(&scratch, entry);
            network::run(backend, &config, &module).args(["--", "/one", "/two"]).output().expect("enarx starts")
        };
        let out = run(&entry(r#", trust = ["ca.pem"]"#));
        assert!(out.status.success(), "{}", common::show(&out));
        assert_eq!(common::text(&out.stdout), "200 /one\n/one200 /two\n/two");
        assert_eq!(server.seen.lock().expect("no panic")[0][0], 22, "the first byte is one of TLS");
        // An authority that the file does not name, and a name that the certificate does not have.
        for keys in ["", r#", trust = ["ca.pem"], server_name = "example.com""#] {
            let out = run(&entry(keys));
            assert!(!out.status.success(), "{keys}: {}", common::show(&out));
            let stderr = common::text(&out.stderr);
            assert!(stderr.contains("localhost") && stderr.contains("certificate"), "{stderr}");
        }
        // Nobody there.
        let port = free_port();
        let out = run(&format!(r#"{{ kind = "connect", name = "server", host = "127.0.0.1", port = {port} }}"#));
        assert!(!out.status.success());
        assert!(common::text(&out.stderr).contains("127.0.0.1"), "{}", common::show(&out));
        // Bare TCP, if it is written out.
        let bare = Server::http(None);
        let port = bare.port;
        let out = run(&format!(
            r#"{{ kind = "connect", name = "server", prot = "tcp", host = "127.0.0.1", port = {port} }}"#
        ));
        assert!(out.status.success(), "{}", common::show(&out));
        assert!(bare.seen.lock().expect("no panic")[0].starts_with(b"GET /one"));
    }

    fn an_echo_of_many(backend) {
        let Some(module) = guests::guest("echo-server.wasm") else { return };
        let scratch = Scratch::new();
        let port = free_port();
        let entry = format!(r#"{{ kind = "listen", name = "echo", addr = "127.0.0.1", port = {port} }}"#);
        let config = config(&scratch, &entry);
        let keep = Keep::start(&mut network::run(backend, &config, &module), 1);
        let client = client_config();
        thread::scope(|scope| {
            for index in 0..8_u8 {
                let client = client.clone();
                scope.spawn(move || {
                    let mut stream = tls(&client, port).expect("a handshake");
                    for round in 0..20_usize {
                        let sent = vec![index; 1 + round * 997];
                        stream.write_all(&sent).expect("sent");
                        let mut came = vec![0; sent.len()];
                        stream.read_exact(&mut came).expect("echoed");
                        assert_eq!(came, sent);
                    }
                });
            }
        });
        let mut last = tls(&client, port).expect("a handshake");
        last.write_all(b"end\n").expect("sent");
        let (status, _, stderr) = keep.wait();
        assert!(status.success(), "{stderr}");
        thread::sleep(Duration::ZERO);
    }
}
