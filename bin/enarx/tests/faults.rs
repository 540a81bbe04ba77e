// SPDX-License-Identifier: Apache-2.0

//! What happens when a part of the flow fails, lies or is killed: an error that names it and says what
//! to do, nothing half-stored, nothing run that was not proven, and the next try works.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/stage.rs"]
mod stage;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use common::{Scratch, enarx_in, show, text, wait_until};
use drawbridge_types::{Access, Directory, Entry, Meta, Slug, TagRequest, Terms, file, media};
use evidence_claims::Endorsements;
use evidence_crypto::AwsLc;
use evidence_pki::{Request as Csr, encode};
use stage::{
    Act, Ca, Fault, LIMIT, Line, Request, Services, Workload, assert_ran, assert_refused,
    assert_silent, bundle, output, reply, serve, silent,
};
use steward_core::certificate::{Profile, Template, name};
use steward_policy::Policy;
use steward_service::{Limits, Service, Setup, clock, nonce_key};

/// How a Steward lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// Not at all.
    None,
    /// The certificate of whoever asked before.
    OtherKey,
    /// A certificate that ended an hour ago.
    Expired,
    /// A certificate that begins tomorrow.
    Early,
    /// A certificate that states another workload.
    OtherWorkload,
    /// Bytes that are no certificate.
    Garbage,
    /// An answer without end.
    Endless,
    /// No answer.
    Silence,
    /// Half an answer.
    Cut,
}

/// A Steward that decides and signs as the real one does, and then says something else.
struct Liar {
    ca: Ca,
    service: Arc<Service>,
    /// The last honest answer.
    last: Mutex<Vec<u8>>,
}

impl Liar {
    /// Takes all evidence under the development root in a file.
    fn new(root: &Path) -> Self {
        let ca = Ca::new("Liar");
        let root = fs::read_to_string(root).expect("a root");
        let policy = format!("[development]\nany_code = true\nroot = \"\"\"\n{root}\"\"\"\n");
        let policy = Policy::parse(&policy).unwrap_or_else(|error| panic!("{error}"));
        let service = Service::new(Setup {
            chain: ca.chain.clone(),
            signer: Box::new(ca.key()),
            nonce_key: nonce_key(ca.key_pem().as_bytes()),
            policy,
            public_url: None,
            endorsements: Endorsements::new(),
            development: true,
            limits: Limits::default(),
        });
        Self { ca, service: service.expect("a Steward"), last: Mutex::default() }
    }

    fn answer(&self, request: &Request, lie: Lie) -> Vec<Act> {
        let authority = self.service.authority();
        if request.path == "/v1/nonce" {
            let nonce = authority.nonce(clock::now(), random()).expect("a nonce");
            let hex: String = nonce.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            return vec![reply(
                200,
                "application/json",
                format!("{{\"nonce\":\"{hex}\"}}").as_bytes(),
            )];
        }
        let issued = match authority.issue(&request.body, clock::now(), random()) {
            Ok(issued) => issued,
            Err(refusal) => return vec![reply(403, "text/plain", refusal.to_string().as_bytes())],
        };
        let path = |bytes: &[u8]| vec![reply(200, "application/pkix-pkipath", bytes)];
        let forge = |hours: (i64, i64), workload: Option<&str>| {
            let mut claims = issued.claims().clone();
            if let Some(digest) = workload {
                let workload = steward_claims::Workload::new(None, digest);
                claims.workload = Some(workload.expect("a workload"));
            }
            let at = |hours: i64| match u64::try_from(hours) {
                Ok(hours) => clock::now().plus(hours * 3600),
                Err(_) => clock::now().minus(hours.unsigned_abs() * 3600),
            };
            let request = Csr::parse(&request.body).expect("a request");
            let leaf = Template {
                random: random(),
                subject: &name(None, "Keep"),
                public_key: request.spki,
                not_before: at(hours.0),
                not_after: at(hours.1),
                profile: Profile::Keep {
                    dns_names: &[],
                    uris: &[],
                    claims: &claims.to_der().expect("claims"),
                },
            };
            let leaf = leaf.sign(&AwsLc, &self.ca.issuer(), &self.ca.key()).expect("a leaf");
            path(&encode::sequence(&[&self.ca.chain[0], &leaf]))
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match lie {
            Lie::None => {
                *last = issued.pki_path();
                path(&last)
            }
            Lie::OtherKey => path(&last),
            Lie::Expired => forge((-2, -1), None),
            Lie::Early => forge((24, 25), None),
            Lie::OtherWorkload => forge((-1, 1), Some(&format!("sha256:{}", "ab".repeat(32)))),
            Lie::Garbage => path(&[0x30, 0x82, 0xff, 0xff, 0]),
            Lie::Endless => vec![Act::Endless],
            Lie::Silence => vec![Act::Silence],
            Lie::Cut => {
                let Some(Act::Send(mut bytes)) = path(&issued.pki_path()).pop() else {
                    return vec![];
                };
                bytes.truncate(bytes.len() / 2);
                vec![Act::Send(bytes), Act::Cut]
            }
        }
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut file = fs::File::open("/dev/urandom").expect("random numbers");
    file.read_exact(&mut bytes).expect("random numbers");
    bytes
}

/// A machine with a development root, and the root's certificate.
fn machine() -> (Scratch, PathBuf) {
    let host = Scratch::new();
    let out = enarx_in(host.path()).args(["dev", "init"]).output().expect("enarx starts");
    assert!(out.status.success(), "{}", show(&out));
    let root = host.path().join("data/enarx/development/root.crt");
    (host, root)
}

/// `enarx deploy` on a machine.
fn deploy(host: &Scratch, backend: &str, trust: [&Path; 2], args: &[&str]) -> Output {
    let mut command = enarx_in(host.path());
    command.args(["deploy", "--verbose", "--backend", backend]);
    command.arg("--steward-ca").arg(trust[0]).arg("--ca-bundle").arg(trust[1]).args(args);
    output(&mut command)
}

/// An honest Steward for evidence under that development root: its URL, and the file with its root.
fn steward(host: &Scratch, tls: &Ca, root: &Path) -> (String, PathBuf) {
    let steward = Liar::new(root);
    let file = host.file("steward.pem", steward.ca.root_pem());
    let port = serve(tls, move |request| steward.answer(request, Lie::None));
    (format!("https://localhost:{port}"), file)
}

common::on_every_backend! {
    fn a_steward_that_lies_makes_nobody_run(backend) {
        let (host, root) = machine();
        let (tls, workload) = (Ca::new("TLS"), Workload::that_says_so());
        let liar = Arc::new(Liar::new(&root));
        let other = Ca::new("Other");
        let steward_ca = host.file("steward.pem", liar.ca.root_pem());
        let other_ca = host.file("other.pem", other.root_pem());
        let bundle = host.file("tls.pem", tls.root_pem());
        let lie = Arc::new(Mutex::new(Lie::None));
        let (lying, told) = (Arc::clone(&liar), Arc::clone(&lie));
        let port = serve(&tls, move |request| {
            let lie = *told.lock().unwrap_or_else(PoisonError::into_inner);
            lying.answer(request, lie)
        });
        let url = format!("https://localhost:{port}");
        let ask = |now: Lie, ca: &Path, more: &[&str]| {
            *lie.lock().unwrap_or_else(PoisonError::into_inner) = now;
            let args = [&[workload.path(), "--digest", &workload.digest, "--steward", &url], more];
            deploy(&host, backend, [ca, &bundle], &args.concat())
        };
        assert_ran(&ask(Lie::None, &steward_ca, &[]));
        for (lie, word) in [
            (Lie::OtherKey, "another key"),
            (Lie::Expired, "not to be believed"),
            (Lie::Early, "not to be believed"),
            (Lie::OtherWorkload, "another workload"),
            (Lie::Garbage, "not to be believed"),
            (Lie::Endless, "Steward"),
            (Lie::Cut, "broke off"),
        ] {
            let out = ask(lie, &steward_ca, &[]);
            assert_refused(&out, 120, &["got no certificate", &url, word]);
        }
        // An honest one, of somebody else.
        let out = ask(Lie::None, &other_ca, &[]);
        assert_refused(&out, 120, &["got no certificate", &url, "--steward-ca"]);
        let out = ask(Lie::Silence, &steward_ca, &["--timeout", "3s"]);
        assert_eq!(out.status.code(), Some(124), "{}", show(&out));
        assert_silent(&out);
        assert_ran(&ask(Lie::None, &steward_ca, &[]));
    }

    fn a_steward_that_is_down_or_says_nothing_is_named(backend) {
        let (host, _) = machine();
        let (ca, workload) = (Ca::new("Nobody"), Workload::that_says_so());
        let ca = host.file("ca.pem", ca.root_pem());
        let ask = |url: &str, more: &[&str]| {
            let args = [&[workload.path(), "--digest", &workload.digest, "--steward", url], more];
            deploy(&host, backend, [&ca, &ca], &args.concat())
        };
        let out = ask("https://localhost:1", &[]);
        assert_refused(&out, 120, &["got no certificate", "https://localhost:1"]);
        let silent = format!("https://localhost:{}", silent());
        let out = ask(&silent, &["--timeout", "3s"]);
        assert_eq!(out.status.code(), Some(124), "{}", show(&out));
        assert_silent(&out);
        // It does not wait for ever either.
        let out = ask(&silent, &[]);
        assert_refused(&out, 120, &["got no certificate", &silent]);
    }
}

/// What a Drawbridge says of a workload that everybody may read.
struct Store {
    workload: Workload,
    directory: Vec<u8>,
    meta: Meta,
}

/// How a Drawbridge lies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    /// Not at all.
    Nothing,
    /// Other terms of release, with another digest.
    Terms,
    /// Another tag than the one of the terms.
    Tag,
    /// Another directory.
    Tree,
    /// One other bit in a file.
    Bit(&'static str),
    /// Less of a file, as if that were all.
    Short(&'static str),
    /// Something else for a path below the tag.
    Act(&'static str, Act),
}

impl Store {
    fn new() -> Self {
        let workload = Workload::that_says_so();
        let mut directory = Directory::default();
        for (name, kind) in [(file::WASM, media::WASM), (file::CONFIG, media::TOML)] {
            let content = fs::read(workload.folder.path().join(name)).expect("a file");
            directory.insert(name.parse().expect("a name"), Entry::new(Meta::of(&content, kind)));
        }
        let directory = directory.to_bytes();
        let meta = Directory::meta(&directory);
        assert_eq!(meta.digest.workload().as_ref(), Some(&workload.digest));
        Self { workload, directory, meta }
    }

    fn answer(&self, slug: &Slug, request: &Request, wrong: &Wrong) -> Vec<Act> {
        let other = Meta::of(b"something else", media::DIRECTORY);
        let json = |kind: &str, body: serde_json::Result<Vec<u8>>| {
            vec![reply(200, kind, &body.expect("JSON"))]
        };
        if request.path.contains("/_resolve/") {
            let Some(TagRequest::Exact(tag)) = &slug.tag else { panic!("no version") };
            let meta = if *wrong == Wrong::Terms { other } else { self.meta.clone() };
            return json(
                "application/json",
                serde_json::to_vec(&Terms {
                    user: slug.user.clone(),
                    repo: slug.repo.clone(),
                    tag: tag.clone(),
                    meta,
                    access: Access::Public,
                    steward: None,
                    yanked: false,
                }),
            );
        }
        let tag = format!("/{}/{}/_tag/1.2.3", slug.user, slug.repo);
        let Some((_, path)) = request.path.split_once(&tag) else {
            return vec![reply(404, "text/plain", b"")];
        };
        match wrong {
            Wrong::Act(at, act) if *at == path => return vec![act.clone()],
            _ => {}
        }
        let mut content = match path {
            "" => {
                let meta = if *wrong == Wrong::Tag { other } else { self.meta.clone() };
                return json(media::ENTRY, serde_json::to_vec(&Entry::new(meta)));
            }
            "/tree" => self.directory.clone(),
            _ => {
                let name = path.strip_prefix("/tree/").unwrap_or_default();
                match fs::read(self.workload.folder.path().join(name)) {
                    Ok(content) => content,
                    Err(_) => return vec![reply(404, "text/plain", b"")],
                }
            }
        };
        match wrong {
            Wrong::Tree if path == "/tree" => content = Directory::default().to_bytes(),
            Wrong::Bit(at) if *at == path => {
                let middle = content.len() / 2;
                content[middle] ^= 1;
            }
            Wrong::Short(at) if *at == path => content.truncate(content.len() / 2),
            _ => {}
        }
        vec![reply(200, media::OCTETS, &content)]
    }
}

common::on_every_backend! {
    fn a_drawbridge_that_lies_is_noticed_before_anything_runs(backend) {
        let (host, root) = machine();
        let (tls, store) = (Ca::new("TLS"), Arc::new(Store::new()));
        let bundle = host.file("tls.pem", tls.root_pem());
        let (steward, steward_ca) = steward(&host, &tls, &root);
        let wrong = Arc::new(Mutex::new(Wrong::Nothing));
        let slug: Slug = "alice/shop:1.2.3".parse().expect("a slug");
        let (lying, told) = (Arc::clone(&store), Arc::clone(&wrong));
        let port = serve(&tls, move |request| {
            let wrong = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
            lying.answer(&slug, request, &wrong)
        });
        let address = format!("localhost:{port}");
        let pinned = format!("{address}/alice/shop:1.2.3@{}", store.workload.digest);
        let ask = |now: Wrong, more: &[&str]| {
            *wrong.lock().unwrap_or_else(PoisonError::into_inner) = now;
            let args = [&[pinned.as_str(), "--steward", &steward], more].concat();
            deploy(&host, backend, [&steward_ca, &bundle], &args)
        };
        assert_ran(&ask(Wrong::Nothing, &[]));
        let half = |length: usize| {
            let head = format!("HTTP/1.1 200 X\r\nContent-Length: {length}\r\n\r\n");
            Act::Send([head.as_bytes(), &[0x55; 1000]].concat())
        };
        for (wrong, code, words) in [
            (Wrong::Tag, 122, &["not the workload", "pinned"][..]),
            (Wrong::Tree, 122, &["not the workload", "(root)"]),
            (Wrong::Bit("/tree"), 122, &["not the workload", "(root)"]),
            (Wrong::Bit("/tree/main.wasm"), 122, &["not the workload", "main.wasm"]),
            (Wrong::Bit("/tree/Enarx.toml"), 122, &["not the workload", "Enarx.toml"]),
            (Wrong::Short("/tree/main.wasm"), 122, &["not the workload", "main.wasm"]),
            (Wrong::Act("/tree/main.wasm", Act::Endless), 122, &["not the workload", "main.wasm"]),
            (Wrong::Act("/tree", Act::Endless), 122, &["not the workload", "(root)"]),
            (Wrong::Act("", Act::Endless), 120, &["not released", address.as_str()]),
            (Wrong::Act("/tree/main.wasm", Act::Cut), 120, &["not released", "main.wasm"]),
            (Wrong::Act("/tree/main.wasm", reply(500, "text/plain", b"")), 120, &["status 500"]),
        ] {
            let out = ask(wrong, &[]);
            assert_refused(&out, code, words);
        }
        // Less than it said, and then nothing more.
        let out = ask(Wrong::Act("/tree/main.wasm", half(1 << 20)), &["--timeout", "3s"]);
        assert!(matches!(out.status.code(), Some(122 | 124)), "{}", show(&out));
        assert_silent(&out);
        // The host agent itself is told another digest than the one that was asked for.
        let out = ask(Wrong::Terms, &[]);
        assert_eq!(out.status.code(), Some(122), "{}", show(&out));
        assert!(text(&out.stderr).contains(&store.workload.digest), "{}", show(&out));
        assert_silent(&out);
        assert_ran(&ask(Wrong::Nothing, &[]));
    }

    fn killed_services_stop_deployments_and_come_back_whole(backend) {
        let folder = Scratch::new();
        // Each in a process of its own: a Steward, and a Drawbridge.
        let (mut steward, mut drawbridge) = (Services::up(), Services::up());
        drawbridge.register(&steward);
        let workload = Workload::that_says_so();
        drawbridge.ok(&["package", "publish", "alice/shop:1.2.3", workload.path()]);
        let bundle = bundle(&folder, &[steward.text("ca_bundle"), drawbridge.text("ca_bundle")]);
        let host = steward.host();
        let line = Line::to(drawbridge.text("drawbridge"));
        let slug = format!("localhost:{}/alice/shop:1.2.3@{}", line.port, workload.digest);
        let command = |steward: &Services| steward.deploy(host.path(), backend, &bundle, &slug);
        assert_ran(&output(&mut command(&steward)));

        // The Drawbridge dies in the middle of the module.
        let stuck = line.stuck();
        line.let_pass(300_000);
        let mut deploying = command(&steward);
        let deploying = std::thread::spawn(move || output(&mut deploying));
        line.wait_until_stuck(stuck);
        drawbridge.kill();
        let out = deploying.join().expect("a deployment");
        assert_refused(&out, 120, &["not released", "main.wasm", "broke off"]);
        line.let_pass(u64::MAX);
        let out = output(&mut command(&steward));
        assert_refused(&out, 120, &["terms of release"]);
        drawbridge.restart();
        assert_ran(&output(&mut command(&steward)));

        steward.kill();
        let out = output(&mut command(&steward));
        assert_refused(&out, 120, &["got no certificate", steward.text("steward")]);
        steward.restart();
        assert_ran(&output(&mut command(&steward)));
    }

    fn a_host_that_spoils_what_it_carries_is_noticed(backend) {
        let folder = Scratch::new();
        let services = Services::up();
        services.register(&services);
        let workload = Workload::that_says_so();
        services.ok(&["package", "publish", "alice/shop:1.2.3", workload.path()]);
        let bundle = bundle(&folder, &[services.text("ca_bundle")]);
        let host = services.host();
        // What the host carries between the Keep and the two services.
        let drawbridge = Line::to(services.text("drawbridge"));
        let steward = Line::to(services.text("steward"));
        let slug = format!("localhost:{}/alice/shop:1.2.3@{}", drawbridge.port, workload.digest);
        let url = format!("https://localhost:{}", steward.port);
        let deploy = || {
            let mut command = services.deploy(host.path(), backend, &bundle, &slug);
            output(command.args(["--steward", &url]))
        };
        assert_ran(&deploy());
        for fault in [Fault::Drop, Fault::Repeat, Fault::Reorder, Fault::Change] {
            // In the middle of the module.
            drawbridge.spoil(fault, 300_000);
            assert_refused(&deploy(), 120, &["not released", "main.wasm", "broke off"]);
            drawbridge.spoil(Fault::None, 0);
        }
        // In the handshake, and in what comes behind it.
        for (fault, behind) in [(Fault::Repeat, 0), (Fault::Change, 0), (Fault::Change, 1000)] {
            steward.spoil(fault, behind);
            assert_refused(&deploy(), 120, &["got no certificate", &url]);
            steward.spoil(Fault::None, 0);
        }
        // Late is not wrong.
        drawbridge.spoil(Fault::Delay, 300_000);
        steward.spoil(Fault::Delay, 0);
        assert_ran(&deploy());
    }

    fn a_killed_agent_takes_its_keeps_along(backend) {
        let (host, root) = machine();
        let tls = Ca::new("TLS");
        let bundle = host.file("tls.pem", tls.root_pem());
        let (steward, steward_ca) = steward(&host, &tls, &root);
        let port = free_port();
        let wat = include_str!("../../../examples/web/web.wat");
        let workload = Workload::new(wat, &format!(
            "files = [{{ kind = \"null\" }}, {{ kind = \"null\" }}, {{ kind = \"null\" }},\n  \
             {{ kind = \"listen\", name = \"web\", addr = \"127.0.0.1\", port = {port} }}]\n\n\
             [compiler]\nallow_development = true\n"
        ));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let temporary = Scratch::new();
        for signal in ["KILL", "KILL", "TERM"] {
            let mut command = enarx_in(host.path());
            command.args(["deploy", "--verbose", "--backend", backend, workload.path()]);
            command.args(["--digest", &workload.digest, "--steward", &steward]);
            command.arg("--steward-ca").arg(&steward_ca).arg("--ca-bundle").arg(&bundle);
            command.env("TMPDIR", temporary.path());
            command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null());
            let mut child = guests::spawn_group(&mut command);
            let mut said = String::new();
            let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
            while !said.contains("listens at") {
                assert_ne!(lines.read_line(&mut said).expect("a line"), 0, "it ended: {said}");
            }
            TcpStream::connect(address).expect("it listens");
            guests::signal(&child, signal);
            child.wait().expect("it is waited for");
            wait_until(LIMIT, "the end of the Keeps", || guests::group(child.id()).is_empty());
            // Nobody holds the port either.
            assert!(TcpStream::connect(address).is_err(), "somebody listens");
            let left: Vec<_> = fs::read_dir(temporary.path()).expect("a folder").collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A file system in memory, for as long as the value lives.
struct Mount(PathBuf);

impl Mount {
    /// None, with the reason on stderr, where that is not allowed.
    fn new(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("mode=0700,size={size}"), "tmpfs"])
            .arg(at)
            .output();
        match mount {
            Ok(out) if out.status.success() => Some(Self(at.to_owned())),
            Ok(out) => {
                eprintln!("skipped: mount: {}", text(&out.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: mount: {error}");
                None
            }
        }
    }
}

impl Mount {
    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let out = Command::new("mount").args(["-o", &options]).arg(&self.0).output();
        let out = out.expect("mount starts");
        assert!(out.status.success(), "{}", show(&out));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// The sum of all files below a folder, in bytes.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

#[test]
fn a_full_disk_under_the_drawbridge_leaves_nothing_half_stored() {
    let home = Scratch::new();
    let Some(mount) = Mount::new(&home.path().join("data/enarx/development/drawbridge"), "6m")
    else {
        return;
    };
    let services = Services::up_at(home);
    services.register(&services);
    let before = size(&services.store());
    let (large, small) = (Workload::that_says_so(), Workload::that_says_so());
    // A custom section of 16 MiB.
    let mut module = fs::read(large.folder.path().join("main.wasm")).expect("a module");
    module.extend([0, 0x84, 0x80, 0x80, 0x08, 3]);
    module.extend(b"big");
    module.extend(vec![0x55; 16 << 20]);
    large.folder.file("main.wasm", module);
    let publish_large = ["package", "publish", "alice/shop:1.0.0", large.path()];
    for _ in 0..2 {
        let out = output(&mut services.tenant(&publish_large));
        assert_refused(&out, 120, &["cannot publish", "full"]);
        let out = output(&mut services.tenant(&["package", "info", "alice/shop:1.0.0"]));
        assert_eq!(out.status.code(), Some(120), "{}", show(&out));
        wait_until(LIMIT, "the end of what was uploaded", || {
            size(&services.store()) < before + (64 << 10)
        });
    }
    // There is room for others, and later for this one.
    services.ok(&["package", "publish", "alice/shop:1.0.1", small.path()]);
    fetch(&services, "1.0.1", &small);
    mount.resize("64m");
    services.ok(&publish_large);
    fetch(&services, "1.0.0", &large);
}

/// Fetches a version, and it is that workload.
fn fetch(services: &Services, version: &str, workload: &Workload) {
    let to = services.home.path().join(version);
    let name = format!("alice/shop:{version}");
    services.ok(&["package", "fetch", &name, to.to_str().expect("text")]);
    let [fetched, published] = [&to, workload.folder.path()]
        .map(|path| drawbridge_client::Package::from_path(path).expect("a package").digest());
    assert_eq!(fetched, published);
}

#[test]
fn a_killed_publication_leaves_nothing_half_stored() {
    let services = Services::up();
    services.register(&services);
    let workload = Workload::that_says_so();
    let before = size(&services.store());
    for _ in 0..3 {
        let publish = ["package", "publish", "alice/shop:1.0.0", workload.path()];
        let mut child = guests::spawn_group(&mut services.tenant(&publish));
        // In the middle of the upload, or beside it: neither may do harm.
        let mut is_done = false;
        wait_until(LIMIT, "bytes that arrive", || {
            is_done = child.try_wait().expect("it is waited for").is_some();
            is_done || size(&services.store()) > before + (64 << 10)
        });
        if !is_done {
            guests::signal(&child, "KILL");
            child.wait().expect("it is waited for");
        }
    }
    services.ok(&["package", "publish", "alice/shop:1.0.0", workload.path()]);
    fetch(&services, "1.0.0", &workload);
}
