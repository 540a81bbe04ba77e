// SPDX-License-Identifier: Apache-2.0

//! The program as it is run: killed in the middle, on a full disk, on a bucket, and its other commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use drawbridge_types::{ContentDigest, Entry, Meta, media};
use reqwest::{Body, Client, Method};
use tempfile::TempDir;
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_drawbridge");
const AUDIENCE: &str = "https://drawbridge.test/";
const TAG: &str = "/alice/shop/_tag/1.0.0";

/// So many bytes, none like its neighbours.
fn content(length: usize) -> Vec<u8> {
    (0..length.div_ceil(4) as u32)
        .flat_map(|one| one.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .take(length)
        .collect()
}

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).env_remove("RUST_LOG").output().unwrap()
}

/// A folder for everything, and an issuer.
struct Home {
    folder: TempDir,
    issuer: oidc_issuer::Handle,
}

/// The program, serving.
struct Service {
    child: Child,
    base: String,
}

impl Home {
    async fn new() -> Self {
        let issuer = oidc_issuer::Issuer::start(oidc_issuer::Config::default()).await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), issuer }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    async fn serve(&self, store: &str, variables: &[(&str, String)]) -> Service {
        let file = self.folder.path().join("address");
        let _ = fs::remove_file(&file);
        let child = Command::new(PROGRAM)
            .args(["serve", "--addr", "127.0.0.1:0", "--store", store, "--addr-file"])
            .arg(&file)
            .args(["--oidc-issuer", self.issuer.url(), "--oidc-audience", AUDIENCE])
            .args(["--log-filter", "warn"])
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut service = Service { child, base: String::new() };
        for _ in 0..600 {
            if let Ok(address) = fs::read_to_string(&file)
                && address.ends_with('\n')
            {
                service.base = format!("http://{}", address.trim());
                return service;
            }
            sleep(Duration::from_millis(50)).await;
        }
        service.kill();
        panic!("the server does not start");
    }

    fn caller(&self, service: &Service) -> Caller {
        let scopes =
            ["manage:drawbridge_users", "manage:drawbridge_repositories", "manage:drawbridge_tags"];
        let token = self.issuer.mint("a", AUDIENCE, &scopes);
        let client = Client::builder().no_proxy().build().unwrap();
        Caller { client, base: service.base.clone(), token }
    }
}

impl Service {
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone)]
struct Caller {
    client: Client,
    base: String,
    token: String,
}

impl Caller {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let path =
            if path.starts_with("/api") { path.into() } else { format!("/api/v0.1.0{path}") };
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn put(&self, path: &str, kind: &str, bytes: &[u8]) -> u16 {
        let request = self.request(Method::PUT, path).header("content-type", kind);
        let request = request.header("content-digest", ContentDigest::of(bytes).to_string());
        request.body(bytes.to_vec()).send().await.unwrap().status().as_u16()
    }

    async fn put_tag(&self, tag: &str, module: &[u8]) -> u16 {
        let entry = Entry::new(Meta::of(module, media::WASM));
        self.put(tag, media::ENTRY, &serde_json::to_vec(&entry).unwrap()).await
    }

    /// User, repository and a tag whose tree is that one module, which is still missing.
    async fn prepare(&self, module: &[u8]) {
        assert_eq!(self.put("/alice", "application/json", br#"{"subject":"a"}"#).await, 201);
        let public = br#"{"public":true}"#;
        assert_eq!(self.put("/alice/shop", "application/json", public).await, 201);
        assert_eq!(self.put_tag(TAG, module).await, 201);
    }

    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    async fn begin(&self, module: &[u8]) -> String {
        let request = self
            .request(Method::POST, &format!("{TAG}/_uploads"))
            .header("content-type", media::WASM)
            .header("content-digest", ContentDigest::of(module).to_string())
            .header("upload-length", module.len());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn offset(&self, upload: &str) -> usize {
        let answer = self.request(Method::HEAD, upload).send().await.unwrap();
        answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
    }

    async fn append(&self, upload: &str, module: &[u8], from: usize) -> u16 {
        let range = format!("bytes {from}-{}/{}", module.len() - 1, module.len());
        let request = self.request(Method::PATCH, upload).header("content-range", range);
        request.body(module[from..].to_vec()).send().await.unwrap().status().as_u16()
    }
}

/// A body that gives some bytes and then nothing more, and never ends.
fn stuck(bytes: Vec<u8>) -> Body {
    use futures_util::{StreamExt as _, stream};
    let parts: Vec<Result<Vec<u8>, std::io::Error>> =
        bytes.chunks(1 << 16).map(|part| Ok(part.to_vec())).collect();
    Body::wrap_stream(stream::iter(parts).chain(stream::pending()))
}

fn check(store: &str, variables: &[(&str, String)]) {
    let out = Command::new(PROGRAM)
        .args(["check", "--read", "--store", store])
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains(" 0 faults"), "{text}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            out.extend(files(&entry.path()));
        } else {
            out.push(entry.path());
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_an_upload() {
    let home = Home::new().await;
    let store = home.store().to_str().unwrap().to_owned();
    let module = content(40_000_000);
    let service = home.serve(&store, &[]).await;
    let caller = home.caller(&service);
    caller.prepare(&module).await;
    let tree = format!("{TAG}/tree");
    // A plain one: nothing of it may be seen afterwards.
    let request = caller
        .request(Method::PUT, &tree)
        .header("content-type", media::WASM)
        .header("content-digest", ContentDigest::of(&module).to_string())
        .header("content-length", module.len())
        .body(stuck(module[..30_000_000].to_vec()));
    let plain = tokio::spawn(request.send());
    // One that can go on.
    let upload = caller.begin(&module).await;
    let request = caller
        .request(Method::PATCH, &upload)
        .header("content-range", "bytes 0-39999999/40000000")
        .header("content-length", module.len())
        .body(stuck(module[..30_000_000].to_vec()));
    let resumable = tokio::spawn(request.send());
    while caller.offset(&upload).await < 16_000_000 {
        sleep(Duration::from_millis(50)).await;
    }
    service.kill();
    plain.abort();
    resumable.abort();

    let service = home.serve(&store, &[]).await;
    let caller = home.caller(&service);
    assert_eq!(caller.get(&tree).await.0, 404);
    assert_eq!(caller.get("/alice/shop/_resolve/latest").await.0, 404);
    assert_eq!(files(&home.store().join("blobs")).len(), 0);
    let offset = caller.offset(&upload).await;
    assert!((16_000_000..30_000_000).contains(&offset), "{offset}");
    assert_eq!(caller.append(&upload, &module, offset).await, 204);
    let finished = caller.request(Method::PUT, &upload).send().await.unwrap();
    assert_eq!(finished.status(), 201);
    assert!(caller.get(&tree).await.1 == module);
    assert_eq!(caller.get("/alice/shop/_resolve/latest").await.0, 200);
    check(&store, &[]);
    // What the killed one left goes with the garbage.
    sleep(Duration::from_millis(1100)).await;
    let out = run(&["gc", "--store", &store, "--grace", "0", "--json"]);
    let out: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(out["files"].as_u64().unwrap() >= 1, "{out}");
    assert_eq!((&out["contents"], &out["kept"]), (&0.into(), &1.into()));
    assert_eq!(files(&home.store().join("staging")).len(), 0);
    assert!(caller.get(&tree).await.1 == module);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() {
    let home = Home::new().await;
    let mount = home.folder.path().join("small");
    fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
        .arg(&mount)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    }
    let result = on_small_disk(&home, &mount).await;
    let _ = Command::new("umount").arg("-l").arg(&mount).status();
    result.unwrap();
}

async fn on_small_disk(home: &Home, mount: &Path) -> Result<(), String> {
    let store = mount.to_str().unwrap().to_owned();
    let service = home.serve(&store, &[]).await;
    let caller = home.caller(&service);
    let large = content(20_000_000);
    caller.prepare(&large).await;
    let tree = format!("{TAG}/tree");
    let expect = |found: u16, wanted: u16, what: &str| match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found} instead of {wanted}")),
    };
    expect(caller.put(&tree, media::WASM, &large).await, 507, "plain")?;
    let upload = caller.begin(&large).await;
    expect(caller.append(&upload, &large, 0).await, 507, "resumable")?;
    let so_far = caller.offset(&upload).await;
    if so_far >= large.len() {
        return Err(format!("{so_far} bytes fit"));
    }
    let answer = caller.request(Method::DELETE, &upload).send().await.unwrap();
    expect(answer.status().as_u16(), 204, "giving up")?;
    if !files(&mount.join("blobs")).is_empty() || !files(&mount.join("staging")).is_empty() {
        return Err("something was left".into());
    }
    // What fits is taken all the same.
    let small = content(1_000_000);
    expect(caller.put_tag("/alice/shop/_tag/1.0.1", &small).await, 201, "tag")?;
    let tree = "/alice/shop/_tag/1.0.1/tree";
    expect(caller.put(tree, media::WASM, &small).await, 201, "small")?;
    check(&store, &[]);
    Ok(())
}

/// `moto_server`, if it is installed.
struct Moto(Child, String);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn moto() -> Option<Moto> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    let program = cache.join("enarx-dev/moto/bin/moto_server");
    let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let child = Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let moto = Moto(child, format!("http://127.0.0.1:{port}"));
    let client = Client::builder().no_proxy().build().unwrap();
    for _ in 0..200 {
        let bucket = client.put(format!("{}/workloads", moto.1)).send().await;
        if bucket.is_ok_and(|answer| answer.status().is_success()) {
            return Some(moto);
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_bucket() {
    let Some(moto) = moto().await else {
        eprintln!("skipped: moto is not installed (`cargo xtask servers`)");
        return;
    };
    let variables = [
        ("AWS_ENDPOINT", moto.1.clone()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ];
    let home = Home::new().await;
    let store = "s3://workloads/some/prefix";
    let services = [home.serve(store, &variables).await, home.serve(store, &variables).await];
    let [one, two] = [home.caller(&services[0]), home.caller(&services[1])];
    let module = content(20_000_000);
    one.prepare(&module).await;
    // The same version at both: one of them is first.
    for round in 1..6 {
        let tag = format!("/alice/shop/_tag/1.{round}.0");
        let (first, second) = tokio::join!(one.put_tag(&tag, b"1"), two.put_tag(&tag, b"2"));
        assert_eq!((first.min(second), first.max(second)), (201, 409));
    }
    // A plain one in several parts, with the wrong content first.
    let tree = format!("{TAG}/tree");
    let mut wrong = module.clone();
    wrong[10_000_000] ^= 1;
    let request = one.request(Method::PUT, &tree).header("content-type", media::WASM);
    let request = request.header("content-digest", ContentDigest::of(&module).to_string());
    let answer = request.body(wrong).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(two.get(&tree).await.0, 404);
    assert_eq!(one.put(&tree, media::WASM, &module).await, 201);
    assert!(two.get(&tree).await.1 == module);
    let part = two.request(Method::GET, &tree).header("range", "bytes=9999990-10000009");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert!(part.bytes().await.unwrap()[..] == module[9_999_990..10_000_010]);
    // An upload that goes on at the other server.
    let other = content(17_000_001);
    assert_eq!(one.put_tag("/alice/shop/_tag/2.0.0", &other).await, 201);
    let upload = {
        let request = one
            .request(Method::POST, "/alice/shop/_tag/2.0.0/_uploads")
            .header("content-type", media::WASM)
            .header("content-digest", ContentDigest::of(&other).to_string())
            .header("upload-length", other.len());
        let answer = request.send().await.unwrap();
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let request = one.request(Method::PATCH, &upload);
    let request = request.header("content-range", "bytes 0-9000000/*");
    let answer = request.body(other[..9_000_001].to_vec()).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(two.offset(&upload).await, 9_000_001);
    assert_eq!(two.append(&upload, &other, 9_000_001).await, 204);
    assert_eq!(two.request(Method::PUT, &upload).send().await.unwrap().status(), 201);
    assert!(one.get("/alice/shop/_tag/2.0.0/tree").await.1 == other);
    let (status, terms) = one.get("/alice/shop/_resolve/latest").await;
    let terms: serde_json::Value = serde_json::from_slice(&terms).unwrap();
    assert_eq!((status, &terms["tag"]), (200, &"2.0.0".into()));
    // Deleted here, gone there, and garbage.
    let answer = one.request(Method::DELETE, "/alice/shop/_tag/2.0.0").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(two.get("/alice/shop/_tag/2.0.0/tree").await.0, 404);
    // The folder for temporary files is everybody's.
    let shared = home.folder.path().join("shared");
    let others = ["drawbridge-notes", "a/drawbridge-api.md"].map(|name| shared.join(name));
    fs::create_dir_all(shared.join("a")).unwrap();
    others.iter().for_each(|path| fs::write(path, "somebody else's").unwrap());
    sleep(Duration::from_millis(2100)).await;
    let out = Command::new(PROGRAM)
        .args(["gc", "--store", store, "--grace", "0", "--json"])
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .env("TMPDIR", &shared)
        .output()
        .unwrap();
    let out: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&out["contents"], &out["kept"]), (&1.into(), &1.into()), "{out}");
    assert!(others.iter().all(|path| path.exists()), "it removed what is not its own");
    assert!(two.get(&tree).await.1 == module);
    check(store, &variables);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_small_while_many_move_large_content() {
    let home = Home::new().await;
    let store = home.store().to_str().unwrap().to_owned();
    let service = home.serve(&store, &[]).await;
    let caller = home.caller(&service);
    let module = std::sync::Arc::new(content(20 << 20));
    caller.prepare(&module).await;
    let mut tasks = tokio::task::JoinSet::new();
    for one in 0..32 {
        let (caller, module) = (caller.clone(), std::sync::Arc::clone(&module));
        tasks.spawn(async move {
            let tag = format!("/alice/shop/_tag/2.{one}.0");
            assert_eq!(caller.put_tag(&tag, &module).await, 201);
            assert_eq!(caller.put(&format!("{tag}/tree"), media::WASM, &module).await, 201);
            assert!(caller.get(&format!("{tag}/tree")).await.1 == *module);
        });
    }
    tasks.join_all().await;
    let peak = service.memory("VmHWM");
    assert!(peak <= 64 << 20, "{} MiB", peak >> 20);
}

#[test]
fn the_command_line() {
    let out = run(&["--help"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success() && text.contains("serve") && text.contains("Exit codes:"),
        "{text}"
    );
    for args in [&["completions", "bash"][..], &["man"], &["--version"]] {
        let out = run(args);
        assert!(out.status.success() && !out.stdout.is_empty(), "{args:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("bad.toml"), "stroe = \"/x\"\n").unwrap();
    fs::write(path("not.pem"), "no certificate").unwrap();
    let (bad, pem, store) = (path("bad.toml"), path("not.pem"), path("store"));
    for (args, code) in [
        (&["serve"][..], 2),
        (&["serve", "--config", &bad], 2),
        (&["serve", "--store", &store, "--cert", &pem], 2),
        (&["serve", "--store", &store, "--cert", &pem, "--key", &pem], 4),
        (&["serve", "--store", &store, "--cert", "/nothing", "--key", &pem], 3),
        (&["serve", "--store", "gs://bucket"], 5),
        (&["serve", "--store", "/proc/nothing/store"], 5),
        (&["check"], 2),
    ] {
        let out = run(args);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
    let out = run(&["check", "--store", &store, "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(found["faults"], serde_json::json!([]));
}
