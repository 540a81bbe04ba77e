// SPDX-License-Identifier: Apache-2.0

//! The service as a client meets it: each path, each kind of refusal, each limit.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Answer, Home, Service, head, run, show, tool, vector};

const PKCS10: (&str, &str) = ("content-type", "application/pkcs10");
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn certificates_come_in_each_form() {
    let home = Home::new();
    let service = home.start(&["--public-url", "https://steward.example.com/"]);
    let nonce = service.get("/v1/nonce").json()["nonce"].as_str().unwrap().to_owned();
    assert_eq!(hex(&nonce).len(), 56);
    let csr = home.request(
        "request",
        &["--workload", DIGEST, "--slug", "example/hello:1.0.0", "--nonce", &nonce],
    );

    let answer = service.certify(&csr, "");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let json = answer.json();
    let claims = &json["claims"];
    assert_eq!(claims["platform"], "development");
    assert_eq!(claims["fresh"], true);
    assert_eq!(claims["workload"]["digest"], DIGEST);
    assert_eq!(claims["workload"]["slug"], "example/hello:1.0.0");
    let policy = claims["policy"].as_str().unwrap();
    assert_eq!(claims["policy_url"], format!("https://steward.example.com/v1/policy/{policy}"));
    assert_eq!(json["serial"].as_str().unwrap().len(), 32);
    assert_eq!(json["certificate"].as_str().unwrap().matches("BEGIN CERT").count(), 1);
    assert_eq!(json["chain"].as_str().unwrap().matches("BEGIN CERT").count(), 1);

    let pem = service.certify(&csr, "application/pem-certificate-chain");
    assert_eq!(pem.text().matches("-----BEGIN CERTIFICATE-----").count(), 2);
    fs::write(home.path("chain.pem"), &pem.body).unwrap();
    let path = service.certify(&csr, "application/pkix-pkipath");
    assert_eq!(path.header("content-type"), "application/pkix-pkipath");
    // As published: at the root path, whatever is accepted.
    let published = service.ask("POST", "/", &[PKCS10], &csr);
    assert_eq!(published.header("content-type"), "application/pkix-pkipath");
    for answer in [&path, &published] {
        let list = evidence_pki::certificates(&answer.body).unwrap();
        assert_eq!(list.len(), 2);
        let [issuer, leaf] =
            [&list[0], &list[1]].map(|der| evidence_pki::Certificate::parse(der).unwrap());
        leaf.check_issued_by(&evidence_crypto::AwsLc, &issuer).unwrap();
        let request = evidence_pki::Request::parse(&csr).unwrap();
        assert_eq!(leaf.spki, request.spki);
    }
    // The policy that the certificate names can be had, and is that one.
    let text = service.get(&format!("/v1/policy/{policy}"));
    assert_eq!(text.body, fs::read(home.path("dev/policy.toml")).unwrap());
    assert!(text.header("cache-control").contains("immutable"));
    service.stop();
}

#[test]
fn bundles_come_all_or_nothing() {
    let home = Home::new();
    let service = home.start(&[]);
    let csrs: Vec<_> = ["a", "b"].map(|name| home.request(name, &["--published"])).into();
    let sequence = |parts: &[&[u8]]| {
        let content = parts.concat();
        let length = (content.len() as u16).to_be_bytes();
        [&[0x30, 0x82, length[0], length[1]][..], &content].concat()
    };
    let bundle = [("content-type", "application/vnd.steward.pkcs10-bundle.v1")];
    for path in ["/", "/v1/certificates"] {
        let answer = service.ask("POST", path, &bundle, &sequence(&[&csrs[0], &csrs[1]]));
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut output = evidence_pki::Cursor::whole(&answer.body, 0x30, "output").unwrap();
        let mut count = || {
            let mut list = output.enter(0x30).unwrap();
            let mut count = 0;
            while !list.is_done() {
                evidence_pki::Certificate::parse(list.expect(0x30).unwrap().raw).unwrap();
                count += 1;
            }
            count
        };
        assert_eq!((count(), count()), (1, 2));
    }
    let broken = service.ask("POST", "/", &bundle, &sequence(&[&csrs[0], &[0x30, 0]]));
    assert_eq!((broken.status, broken.problem().as_str()), (400, "csr.malformed"));
    let none = service.ask("POST", "/", &bundle, &[0x30, 0]);
    assert_eq!((none.status, none.problem().as_str()), (400, "csr.bundle-count"));
    let log = service.stop();
    let issued = log.iter().filter(|line| line["outcome"] == "issued").count();
    assert_eq!(issued, 4);
}

#[test]
fn refusals_are_problem_documents() {
    let home = Home::new();
    let policy = home.policy("require_workload = true\nrequire_nonce = true", "");
    let service = home.start_with(&policy, &[]);
    let csr = home.request("good", &["--workload", DIGEST]);

    let cases: Vec<(Answer, u16, &str)> = vec![
        (service.get("/nothing"), 404, "http.not-found"),
        (service.get("/v1/policy/00"), 404, "http.unknown-policy"),
        (service.ask("PUT", "/v1/ca", &[], b""), 405, "http.method"),
        (service.ask("GET", "/v1/certificates", &[], b""), 405, "http.method"),
        (service.ask("GET", "/v1/ca", &[("accept", "text/html")], b""), 406, "http.not-acceptable"),
        (service.certify(&csr, "text/html"), 406, "http.not-acceptable"),
        (service.ask("POST", "/", &[], &csr), 415, "http.content-type"),
        (
            service.ask("POST", "/", &[("content-type", "text/plain")], &csr),
            415,
            "http.content-type",
        ),
        (service.ask("POST", "/", &[PKCS10], &vec![0; (1 << 20) + 1]), 413, "http.body-too-large"),
        (service.certify(b"garbage", ""), 400, "csr.malformed"),
        (service.certify(b"", ""), 400, "csr.malformed"),
        (service.certify(&tampered(&csr), ""), 400, "csr.signature"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{answer:?}");
    }
    let not_allowed = service.ask("DELETE", "/v1/ca", &[], b"");
    assert_eq!(not_allowed.header("allow"), "GET,HEAD");

    // Genuine, but not welcome: each reason is told.
    let answer = service.certify(&home.request("bare", &[]), "");
    assert_eq!((answer.status, &answer.problem()[..7]), (403, "policy."));
    let violations = answer.json()["violations"].as_array().unwrap().clone();
    assert_eq!(violations.len(), 2, "{violations:?}");
    for violation in &violations {
        for member in ["code", "detail", "remedy", "reference"] {
            assert!(violation[member].as_str().is_some_and(|text| !text.is_empty()), "{violation}");
        }
    }
    // A nonce of somebody else.
    let csr = home.request("nonce", &["--workload", DIGEST, "--nonce", &"00".repeat(56)]);
    assert_eq!(service.certify(&csr, "").problem(), "csr.nonce-unknown");

    // Each decision is one line; nothing of a request is in it.
    let log = service.stop();
    let decisions: Vec<_> =
        log.iter().filter(|line| line["target"] == "steward::decision").collect();
    assert_eq!(decisions.len(), 5, "{decisions:?}");
    for decision in &decisions {
        assert_eq!(decision["outcome"], "refused");
        assert!(decision["code"].is_string() && decision["duration_us"].is_u64(), "{decision}");
    }
    assert_eq!(decisions[3]["platform"], "development");
}

/// A request whose signature does not verify: one bit of it is changed.
fn tampered(csr: &[u8]) -> Vec<u8> {
    let mut csr = csr.to_vec();
    *csr.last_mut().unwrap() ^= 1;
    csr
}

#[test]
fn a_certificate_request_without_evidence_is_refused_as_published() {
    let home = Home::new();
    if !common::has("openssl") {
        return;
    }
    let service = home.start(&[]);
    tool(
        "openssl",
        &[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:secp384r1",
            "-sha384",
            "-nodes",
            "-keyout",
            "k",
            "-outform",
            "DER",
            "-out",
            "plain.der",
            "-subj",
            "/CN=x",
        ],
        home.root(),
    );
    let answer = service.certify(&fs::read(home.path("plain.der")).unwrap(), "");
    assert_eq!((answer.status, answer.problem().as_str()), (401, "csr.no-evidence"));
}

#[test]
fn recorded_evidence_is_refused_for_its_age() {
    let home = Home::new();
    let service = home.start(&[]);
    for (name, area) in
        [("enarx/milan-snp.csr.der", "snp."), ("enarx/icelake-sgx-xeon.csr.der", "")]
    {
        let Some(path) = vector(name) else { return };
        let answer = service.ask("POST", "/", &[PKCS10], &fs::read(path).unwrap());
        assert_eq!(answer.status, 400);
        assert!(answer.problem().starts_with(area), "{answer:?}");
    }
}

#[test]
fn the_service_tells_about_itself() {
    let home = Home::new();
    fs::create_dir(home.path("collateral")).unwrap();
    fs::write(home.path("collateral/crl.der"), [0x30, 0]).unwrap();
    fs::write(home.path("collateral/notes.txt"), "").unwrap();
    let service = home.start(&["--collateral", &home.text("collateral")]);
    let root = service.get("/");
    assert_eq!((root.status, root.body.len()), (200, 0));
    let health = service.get("/healthz").json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["platforms"], serde_json::json!(["development"]));
    assert_eq!(health["development"], true);
    assert!(health["warning"].as_str().unwrap().starts_with("DEVELOPMENT"));

    let pem = service.get("/v1/ca");
    assert_eq!(pem.body, fs::read(home.path("ca/steward.crt")).unwrap());
    let der = service.ask("GET", "/v1/ca", &[("accept", "application/pkix-cert")], b"");
    assert_eq!(fs::read_to_string(home.path("ca/root.crt")).unwrap(), steward_core::pem(&der.body));
    let path = service.ask("GET", "/v1/ca", &[("accept", "application/pkix-pkipath")], b"");
    assert_eq!(evidence_pki::certificates(&path.body).unwrap()[0], der.body);

    service.certify(&home.request("r", &[]), "");
    service.certify(b"x", "");
    let metrics = service.get("/metrics");
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in [
        r#"steward_decisions_total{outcome="issued",platform="development",code=""} 1"#,
        r#"steward_decisions_total{outcome="refused",platform="",code="csr.malformed"} 1"#,
        r#"steward_http_requests_total{route="/v1/certificates",method="POST",status="400"} 1"#,
        "steward_decision_duration_seconds_count 2",
        "steward_requests_in_flight 1",
    ] {
        assert!(metrics.text().contains(line), "{line}\n{}", metrics.text());
    }
    // Warnings are lines of the log like all others.
    let log = service.stop();
    let warnings: Vec<_> = log.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0]["message"].as_str().unwrap().contains("notes.txt"), "{warnings:?}");
    assert!(warnings[1]["message"].as_str().unwrap().starts_with("DEVELOPMENT"), "{warnings:?}");
}

#[test]
fn each_path_answers_as_the_description_says() {
    let home = Home::new();
    let service = home.start(&[]);
    let description = service.get("/v1/openapi.json").json();
    let policy = service.get("/healthz").json()["policy"].as_str().unwrap().to_owned();
    let csr = home.request("r", &[]);
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let place = path.replace("{digest}", &policy);
            let answer = match method.as_str() {
                "post" => service.ask("POST", &place, &[PKCS10], &csr),
                "get" => service.get(&place),
                other => panic!("{other}"),
            };
            assert_eq!(answer.status, 200, "{method} {path}");
            let described = &operation["responses"]["200"]["content"];
            let kind = answer.header("content-type").split(';').next().unwrap();
            assert!(kind.is_empty() || described[kind].is_object(), "{method} {path}: {kind}");
        }
    }
}

#[test]
fn slow_clients_are_left() {
    let home = Home::new();
    let service = home.start(&["--timeout", "1"]);
    // A head that never ends.
    let mut stream = service.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: te").unwrap();
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    // A body that never ends.
    let mut stream = service.connect();
    stream.write_all(&head("POST", "/", &[PKCS10], Some(1000))).unwrap();
    stream.write_all(b"0").unwrap();
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, answer.problem().as_str()), (408, "http.body-slow"));
    // A body without a length, which ends too early.
    let mut stream = service.connect();
    stream
        .write_all(&head("POST", "/", &[PKCS10, ("transfer-encoding", "chunked")], None))
        .unwrap();
    stream.write_all(b"5\r\nab").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut rest);
    // And a body without a length that is too long.
    let mut stream = service.connect();
    stream
        .write_all(&head("POST", "/", &[PKCS10, ("transfer-encoding", "chunked")], None))
        .unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
    for _ in 0..17 {
        if stream.write_all(&chunk).is_err() {
            break;
        }
    }
    assert_eq!(Answer::read(&mut stream).problem(), "http.body-too-large");
    assert_eq!(service.get("/healthz").status, 200);
}

#[test]
fn noise_does_no_harm() {
    let home = Home::new();
    let service = home.start(&["--timeout", "1"]);
    let csr = home.request("r", &[]);
    let heads: [&[u8]; 6] = [
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 18446744073709551616\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ];
    for head in heads {
        let mut stream = service.connect();
        let _ = stream.write_all(head);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{rest:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let mut stream = service.connect();
    let _ = stream.write_all(long.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
    // Whatever byte of a request is changed, there is an answer, and it is no fault of the Steward.
    let mut codes = std::collections::BTreeSet::new();
    for number in 0..400 {
        let mut noise = csr.clone();
        let at = number * 7919 % noise.len();
        noise[at] = noise[at].wrapping_add(1 + number as u8 % 250);
        let answer = service.certify(&noise, "");
        assert!((400..=403).contains(&answer.status), "{answer:?}");
        codes.insert(answer.problem());
    }
    assert!(codes.len() > 3, "{codes:?}");
    assert_eq!(service.certify(&csr, "").status, 200);
}

#[test]
fn too_many_requests_are_told_to_come_back() {
    let home = Home::new();
    let service = home.start(&["--max-requests", "2"]);
    let csr = home.request("r", &[]);
    let mut held: Vec<TcpStream> = (0..2).map(|_| service.connect()).collect();
    for stream in &mut held {
        stream.write_all(&head("POST", "/", &[PKCS10], Some(csr.len()))).unwrap();
    }
    // The service has to have seen them before somebody else takes their places.
    let start = Instant::now();
    while !service.get("/metrics").text().contains("steward_requests_in_flight 3") {
        assert!(start.elapsed() < Duration::from_secs(9), "the requests do not arrive");
    }
    let answer = service.certify(&csr, "");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "http.busy"));
    assert_eq!(answer.header("retry-after"), "1");
    // Only requests for certificates are limited.
    assert_eq!(service.get("/healthz").status, 200);
    // Who was let in is served.
    for stream in &mut held {
        stream.write_all(&csr).unwrap();
        assert_eq!(Answer::read(stream).status, 200);
    }
    assert_eq!(service.certify(&csr, "").status, 200);
}

#[test]
fn a_signal_ends_the_service_after_the_last_answer() {
    let home = Home::new();
    let service = home.start(&[]);
    let csr = home.request("r", &[]);
    let mut stream = service.connect();
    stream.write_all(&head("POST", "/", &[PKCS10], Some(csr.len()))).unwrap();
    stream.write_all(&csr[..100]).unwrap();
    // An idle connection does not keep it.
    let _idle = service.connect();
    std::thread::sleep(Duration::from_millis(200));
    let address = service.address;
    service.terminate();
    let start = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(5), "connections are still accepted");
        std::thread::sleep(Duration::from_millis(10));
    }
    stream.write_all(&csr[100..]).unwrap();
    assert_eq!(Answer::read(&mut stream).status, 200);
    let (code, log) = service.wait();
    assert_eq!(code, Some(0));
    assert!(log.iter().any(|line| line["message"] == "stopping" && line["signal"] == "SIGTERM"));
    assert!(start.elapsed() < Duration::from_secs(9));
}

#[test]
fn several_stewards_with_one_key_take_each_others_nonces() {
    let home = Home::new();
    let first = home.start(&[]);
    let nonce = first.get("/v1/nonce").json()["nonce"].as_str().unwrap().to_owned();
    first.stop();
    let csr = home.request("r", &["--nonce", &nonce]);
    let second = home.start(&[]);
    assert_eq!(second.certify(&csr, "").json()["claims"]["fresh"], true);
    second.stop();
    fs::write(home.path("nonce.key"), "5a".repeat(32)).unwrap();
    let third = home.start(&["--nonce-key", &home.text("nonce.key")]);
    assert_eq!(third.certify(&csr, "").problem(), "csr.nonce-unknown");
}

#[test]
fn what_does_not_fit_together_is_no_service() {
    let home = Home::new();
    let serve = |args: Vec<String>| run(["serve".to_owned()].into_iter().chain(args));
    let dev = home.text("dev/policy.toml");
    let strict = home.text("ca/policy.toml");
    // A development root needs the flag, and the flag needs a development root.
    let out = serve(home.serve(&dev));
    assert_eq!(out.status.code(), Some(4), "{}", show(&out));
    assert!(show(&out).contains("--development"), "{}", show(&out));
    let mut args = home.serve(&strict);
    args.push("--development".into());
    let out = serve(args);
    assert_eq!(out.status.code(), Some(4), "{}", show(&out));
    // Another key than that of the certificate.
    let mut args = home.serve(&strict);
    args[3] = home.text("ca/root.key");
    let out = serve(args);
    assert_eq!(out.status.code(), Some(4), "{}", show(&out));
    // Files that are not there, or no policy.
    let mut args = home.serve(&strict);
    args[3] = home.text("nothing");
    assert_eq!(serve(args).status.code(), Some(3));
    let mut args = home.serve(&strict);
    args[5] = home.text("ca/root.crt");
    assert_eq!(serve(args).status.code(), Some(2));
    // An address that is taken.
    let service = home.start(&[]);
    let mut args = home.serve(&strict);
    args.extend(["--addr".into(), "127.0.0.1".into(), "--port".into()]);
    args.push(service.address.port().to_string());
    assert_eq!(serve(args).status.code(), Some(5));
}

#[test]
fn a_root_that_signs_itself_is_no_development_mode() {
    let home = Home::new();
    // The root as the issuing certificate: a service like any other.
    let mut args = home.serve(&home.text("ca/policy.toml"));
    args[1] = home.text("ca/root.crt");
    args[3] = home.text("ca/root.key");
    let service = Service::start(&home, &args, &[]);
    let health = service.get("/healthz").json();
    assert_eq!(health["development"], false);
    assert!(health["warning"].is_null());
    let answer = service.certify(&home.request("r", &[]), "");
    assert_eq!((answer.status, answer.problem().as_str()), (400, "evidence.unknown-format"));
}

#[test]
fn many_at_once_are_all_answered() {
    let home = Home::new();
    let service = home.start(&[]);
    let csr = home.request("r", &[]);
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|number| {
                let (service, csr) = (&service, &csr);
                scope.spawn(move || match number % 8 {
                    0 => service.certify(&tampered(csr), "").status,
                    _ => service.certify(csr, "").status,
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 56);
    assert_eq!(codes.iter().filter(|code| **code == 400).count(), 8);
}
