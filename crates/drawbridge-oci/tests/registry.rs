// SPDX-License-Identifier: Apache-2.0

//! Packages to Debian's `docker-registry` and back.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drawbridge_client::{Package, PackageError};
use drawbridge_oci::{Auth, OciError, Options, Registry};
use drawbridge_types::ContentDigest;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A registry of its own for one test.
struct Server {
    child: Child,
    dir: TempDir,
    host: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// None, with the reason on stderr, if it is not installed.
    fn start() -> Option<Self> {
        let program = ["docker-registry", "registry"].into_iter().find(|name| {
            Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok()
        });
        let Some(program) = program else {
            eprintln!("skipped: docker-registry is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        // The port is free for a moment; who takes it meanwhile makes the test fail, not pass.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{host}\"}}\n",
            dir.path().join("store").display()
        );
        fs::write(&config, text).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, dir, host };
        for _ in 0..200 {
            if TcpStream::connect(&server.host).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not listen at {}", server.host);
    }

    fn registry(&self) -> Registry {
        let plain_http = vec![self.host.clone()];
        Registry::new(&Options { plain_http, ..Options::default() }).unwrap()
    }

    /// A request by hand: status and body.
    fn http(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: {kind}\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let split = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer[split + 4..].to_vec())
    }

    fn manifest(&self, repo: &str, tag: &str) -> Value {
        let (status, body) =
            self.http("GET", &format!("/v2/{repo}/manifests/{tag}"), MANIFEST, b"");
        assert_eq!(status, 200);
        serde_json::from_slice(&body).unwrap()
    }

    /// As another tool would write it.
    fn put_manifest(&self, repo: &str, tag: &str, manifest: &Value) {
        let body = serde_json::to_vec(manifest).unwrap();
        let (status, answer) =
            self.http("PUT", &format!("/v2/{repo}/manifests/{tag}"), MANIFEST, &body);
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn wasm(marker: &str) -> Vec<u8> {
    wat::parse_str(format!("(module (memory 1) (data (i32.const 0) \"{marker}\"))")).unwrap()
}

fn folder(parent: &Path, marker: &str) -> PathBuf {
    let folder = parent.join(marker);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("main.wasm"), wasm(marker)).unwrap();
    fs::write(folder.join("Enarx.toml"), "# é \"quoted\"\r\nargs = [\"a\"]\n").unwrap();
    fs::write(folder.join("root.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_package_comes_back_with_the_same_digest() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let from = folder(dir.path(), "first");
    fs::write(from.join("main.artifact"), vec![7; 5 << 20]).unwrap();
    let package = Package::from_path(&from).unwrap();
    let place = format!("{}/team/shop:1.2.3", server.host);
    let pushed = server.registry().push(&place, &package).await.unwrap();
    assert_eq!(pushed.workload, package.digest());

    // What other tools look at: the config's type, and one layer, which is the module.
    let manifest = server.manifest("team/shop", "1.2.3");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(Some(layer.to_owned()), ContentDigest::of(&wasm("first")).workload());
    let (_, blob) = server.http("GET", &format!("/v2/team/shop/blobs/{layer}"), "*/*", b"");
    assert_eq!(blob, wasm("first"));
    let config = manifest["config"]["digest"].as_str().unwrap();
    let (_, config) = server.http("GET", &format!("/v2/team/shop/blobs/{config}"), "*/*", b"");
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["os"], "wasip1");
    assert_eq!(config["layerDigests"], json!([layer]));

    let to = dir.path().join("back");
    let pulled = server.registry().pull(&place, &to, Some(&package.digest())).await.unwrap();
    assert_eq!(pulled.workload, package.digest());
    assert_eq!(pulled.manifest, pushed.manifest);
    assert_eq!(names(&to), names(&from));
    assert_eq!(pulled.files, names(&from));
    for name in names(&from) {
        assert_eq!(fs::read(to.join(&name)).unwrap(), fs::read(from.join(&name)).unwrap());
    }
    // By the digest of the manifest, too; and pushing again changes nothing.
    let by_digest = format!("{}/team/shop@{}", server.host, pushed.manifest);
    let again = dir.path().join("again");
    server.registry().pull(&by_digest, &again, None).await.unwrap();
    let second = server.registry().push(&place, &Package::from_path(&again).unwrap()).await;
    assert_eq!(second.unwrap(), pushed);
}

#[tokio::test]
async fn a_module_alone_stays_one() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.wasm");
    fs::write(&file, wasm("alone")).unwrap();
    let package = Package::from_path(&file).unwrap();
    let place = format!("{}/app:latest", server.host);
    server.registry().push(&place, &package).await.unwrap();
    let to = dir.path().join("back.wasm");
    let pulled = server.registry().pull(&place, &to, None).await.unwrap();
    assert_eq!((pulled.workload, pulled.files), (package.digest(), vec![]));
    assert_eq!(fs::read(&to).unwrap(), wasm("alone"));
    // Nothing is overwritten.
    fs::write(&to, "mine").unwrap();
    let found = server.registry().pull(&place, &to, None).await;
    assert!(matches!(found, Err(OciError::File { .. })), "{found:?}");
    assert_eq!(fs::read(&to).unwrap(), b"mine");
    assert_eq!(names(dir.path()), ["app.wasm", "back.wasm"]);
}

#[tokio::test]
async fn another_workload_than_wanted_is_refused_and_leaves_nothing() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let package = Package::from_path(&folder(dir.path(), "one")).unwrap();
    let place = format!("{}/shop:1.0.0", server.host);
    server.registry().push(&place, &package).await.unwrap();
    let to = dir.path().join("to");
    let refused = async |wanted: Option<&str>| {
        let found = server.registry().pull(&place, &to, wanted).await;
        assert_eq!(names(dir.path()), ["one"]);
        found.unwrap_err()
    };
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(refused(Some(&other)).await, OciError::Digest { .. }));

    // What the manifest says of itself has to be true as well, whoever wrote it.
    let good = server.manifest("shop", "1.0.0");
    let change = |change: &dyn Fn(&mut Value)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        server.put_manifest("shop", "1.0.0", &manifest);
    };
    change(&|one| one["annotations"]["dev.enarx.file/Enarx.toml"] = "args = [\"b\"]\n".into());
    assert!(matches!(refused(None).await, OciError::Digest { .. }));
    change(&|one| one["annotations"]["dev.enarx.file/../x"] = "out".into());
    assert!(matches!(refused(None).await, OciError::Form(_)));
    change(&|one| one["annotations"]["dev.enarx.file/main.wasm"] = "twice".into());
    assert!(matches!(refused(None).await, OciError::Form(_)));
    change(&|one| one["annotations"]["dev.enarx.file/run.sh"] = "no file of a package".into());
    assert!(matches!(refused(None).await, OciError::Package(PackageError::Unexpected(_))));
    change(&|one| one["annotations"]["dev.enarx.artifact"] = "sha256:../../x".into());
    assert!(matches!(refused(None).await, OciError::Form(_)));
    change(&|one| one["layers"] = json!([one["layers"][0], one["layers"][0]]));
    assert!(matches!(refused(None).await, OciError::Form(_)));
    change(&|one| one["layers"][0]["mediaType"] = "application/octet-stream".into());
    assert!(matches!(refused(None).await, OciError::Form(_)));
    change(&|one| one["layers"][0]["size"] = json!(1_u64 << 40));
    assert!(matches!(refused(None).await, OciError::Form(_)));
    change(&|one| one["layers"][0]["size"] = json!(8));
    assert!(matches!(refused(None).await, OciError::Registry { .. }));
    change(&|one| one["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json".into());
    assert!(matches!(refused(None).await, OciError::Form(_)));
}

#[tokio::test]
async fn what_other_tools_push_is_a_module_alone() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let package = Package::from_path(&folder(dir.path(), "theirs")).unwrap();
    let place = format!("{}/shop:1.0.0", server.host);
    server.registry().push(&place, &package).await.unwrap();
    let mut manifest = server.manifest("shop", "1.0.0");
    manifest.as_object_mut().unwrap().remove("annotations");
    server.put_manifest("shop", "1.0.0", &manifest);
    let to = dir.path().join("to.wasm");
    let pulled = server.registry().pull(&place, &to, None).await.unwrap();
    assert_eq!(Some(pulled.workload), ContentDigest::of(&wasm("theirs")).workload());
    assert_eq!(fs::read(&to).unwrap(), wasm("theirs"));
}

#[tokio::test]
async fn a_blob_that_was_changed_in_the_registry_is_refused() {
    let Some(server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let package = Package::from_path(&folder(dir.path(), "stored")).unwrap();
    let place = format!("{}/shop:1.0.0", server.host);
    server.registry().push(&place, &package).await.unwrap();
    let digest = ContentDigest::of(&wasm("stored")).workload().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let stored = server
        .dir
        .path()
        .join(format!("store/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut bytes = fs::read(&stored).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&stored, bytes).unwrap();
    let found = server.registry().pull(&place, &dir.path().join("to"), None).await;
    assert!(matches!(found, Err(OciError::Registry { .. })), "{found:?}");
    assert_eq!(names(dir.path()), ["stored"]);
}

#[tokio::test]
async fn references_and_roots_have_to_be_some() {
    let registry = Registry::new(&Options::default()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let package = Package::from_path(&folder(dir.path(), "x")).unwrap();
    for place in ["shop:1.0.0", "team/shop:1.0.0", "example.com/UPPER:1", ""] {
        let found = registry.push(place, &package).await;
        assert!(matches!(found, Err(OciError::Reference { .. })), "{place}: {found:?}");
    }
    let found = registry.push(&format!("example.com/x@sha256:{}", "0".repeat(64)), &package).await;
    assert!(matches!(found, Err(OciError::Reference { .. })), "{found:?}");
    let ca_bundle = b"no certificate".to_vec();
    let found = Registry::new(&Options { ca_bundle, ..Options::default() });
    assert!(matches!(found, Err(OciError::Setup(_))));
    let auth = Auth::Basic("alice".into(), "hunter2".into());
    assert!(!format!("{auth:?}").contains("hunter2"));
}
