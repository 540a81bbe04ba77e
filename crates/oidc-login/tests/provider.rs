// SPDX-License-Identifier: Apache-2.0

//! Logins at an issuer that is not ours: npm's `oidc-provider`, at whose pages a person in a real browser
//! logs in and approves.
//!
//! Node.js, npm and Chromium have to be there (`cargo xtask servers` installs them), else these tests say
//! so and do nothing. The packages are those of `provider/package-lock.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use drawbridge_tokens::{Claims, Options as Rules, Verifier};
use oidc_login::{Credential, DeviceFlow, Login, LoginError, Options, Secret};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// So long may anything take that is to end soon.
const PATIENCE: Duration = Duration::from_secs(120);

/// The algorithms that this issuer has keys for and can sign access tokens with.
const ALGORITHMS: [&str; 5] = ["rs256", "ps256", "es256", "es384", "eddsa"];

/// A folder with the scripts and their packages; none, with the reason printed, if that cannot be.
async fn scripts() -> Option<&'static Path> {
    static FOLDER: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let folder = FOLDER.get_or_init(|| async {
        match install().await {
            Ok(folder) => Some(folder),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                // Where everything was prepared, a test that does nothing is a failure.
                assert!(std::env::var_os("CI").is_none() || !reason.contains("npm ci"), "{reason}");
                None
            }
        }
    });
    folder.await.as_deref()
}

async fn install() -> Result<PathBuf, String> {
    let node = Command::new("node").arg("--version").output().await;
    let node = node.map_err(|_| "Node.js is not installed")?;
    let version = String::from_utf8_lossy(&node.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok());
    if major.is_none_or(|major: u32| major < 20) {
        return Err(format!("Node.js is {version}; oidc-provider needs 20 or later"));
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    for name in ["package.json", "package-lock.json", "provider.mjs", "browser.mjs"] {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let installed = folder.join("installed-lock.json");
    if fs::read(&installed).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .output();
    let npm = timeout(PATIENCE, npm).await.map_err(|_| "npm ci does not end")?;
    let npm = npm.map_err(|_| "npm is not installed")?;
    if !npm.status.success() {
        return Err(format!("npm ci failed: {}", String::from_utf8_lossy(&npm.stderr)));
    }
    fs::write(&installed, lock).unwrap();
    Ok(folder)
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .flat_map(|folder| [folder.join("chromium"), folder.join("chromium-browser")])
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: Chromium is not installed");
    }
    found
}

/// The other issuer, which ends with this.
struct Provider {
    issuer: String,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Provider {
    async fn start(folder: &Path) -> Self {
        let mut process = Command::new("node")
            .arg("provider.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut provider = Self { issuer: String::new(), commands, answers, _process: process };
        let first = provider.answer().await;
        provider.issuer = first["issuer"].as_str().unwrap().to_owned();
        provider
    }

    async fn answer(&mut self) -> serde_json::Value {
        loop {
            let line = timeout(PATIENCE, self.answers.next_line()).await;
            // The package itself has things to say, too.
            match line.unwrap().unwrap() {
                Some(line) if line.starts_with('{') => return serde_json::from_str(&line).unwrap(),
                Some(_) => {}
                None => panic!("the issuer has ended"),
            }
        }
    }

    async fn command(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        assert_eq!(self.answer().await["done"], command);
    }

    /// Login and verifier of a service whose tokens are signed with that algorithm.
    async fn sides(
        &self,
        algorithm: &str,
        client: &str,
        secret: Option<&str>,
    ) -> (Login, Verifier) {
        let options = Options::for_store(&self.issuer, client, &format!("{algorithm}.example"));
        let verifier = Verifier::new(&self.issuer, &options.audience, eager()).await.unwrap();
        let options = Options { client_secret: secret.map(Secret::new), ..options };
        (Login::new(options).await.unwrap(), verifier)
    }
}

fn eager() -> Rules {
    Rules { min_refetch: Duration::ZERO, ..Rules::default() }
}

async fn verify(verifier: &Verifier, credential: &Credential) -> Result<Claims, &'static str> {
    verifier.verify(credential.access.expose()).await.map_err(|error| error.code())
}

/// A person who does as asked, and what headings of pages were seen.
async fn browse(folder: &Path, chromium: &Path, flow: &DeviceFlow<'_>, decision: &str) -> String {
    let url = flow.verification_uri_complete().unwrap();
    let browser = Command::new("node")
        .arg("browser.mjs")
        .arg(chromium)
        .args([url.as_str(), flow.user_code(), "alice", decision])
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, browser).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_person_in_a_browser_logs_a_device_in() {
    let (Some(folder), Some(chromium)) = (scripts().await, chromium()) else { return };
    let provider = Provider::start(folder).await;
    let provider = &provider;
    let log_in = async |algorithm: &str| {
        let (login, verifier) = provider.sides(algorithm, "enarx", None).await;
        let flow = login.device().await.unwrap();
        let pages = browse(folder, &chromium, &flow, "approve").await;
        assert!(pages.contains("Sign-in\n"), "nobody had to log in: {pages}");
        let credential = flow.wait().await.unwrap();
        let claims = verify(&verifier, &credential).await.unwrap();
        assert_eq!(claims.subject, "alice");
        assert!(claims.has_scope("manage:drawbridge_repositories"), "{claims:?}");
        assert_eq!(credential.subject().as_deref(), Some("alice"));
        (login, verifier, credential)
    };
    // One person after the other: a browser wants a processor for itself.
    let (login, verifier, credential) = log_in("rs256").await;
    log_in("es256").await;
    log_in("eddsa").await;

    // The login outlives its first token, until it is taken back.
    let refreshed = login.refresh(credential.refresh.as_ref().unwrap()).await.unwrap();
    assert_eq!(verify(&verifier, &refreshed).await.unwrap().subject, "alice");
    let refresh = refreshed.refresh.as_ref().unwrap();
    assert!(login.revoke(refresh).await.unwrap());
    assert!(login.refresh(refresh).await.unwrap_err().is_invalid_grant());
}

#[tokio::test]
async fn a_person_in_a_browser_refuses() {
    let (Some(folder), Some(chromium)) = (scripts().await, chromium()) else { return };
    let provider = Provider::start(folder).await;
    let (login, _) = provider.sides("rs256", "enarx", None).await;
    let flow = login.device().await.unwrap();
    browse(folder, &chromium, &flow, "abort").await;
    assert!(matches!(flow.wait().await, Err(LoginError::Denied)));
}

#[tokio::test]
async fn a_machine_logs_in_with_every_algorithm() {
    let Some(folder) = scripts().await else { return };
    let provider = Provider::start(folder).await;
    for algorithm in ALGORITHMS {
        let (login, verifier) =
            provider.sides(algorithm, "ci", Some("a secret with : and %")).await;
        let credential = login.client_credentials().await.unwrap();
        let claims = verify(&verifier, &credential).await;
        let claims = claims.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(claims.subject, "ci");
        assert!(claims.has_scope("manage:drawbridge_tags"));
        // A token for one service is none for another.
        let other = Verifier::new(&provider.issuer, "https://other.example/", eager()).await;
        assert_eq!(verify(&other.unwrap(), &credential).await, Err("wrong-audience"));
    }
    let (login, _) = provider.sides("rs256", "ci", Some("a guess")).await;
    let error = login.client_credentials().await.unwrap_err();
    assert!(matches!(&error, LoginError::Refused { code, .. } if code == "invalid_client"));
}

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let Some(folder) = scripts().await else { return };
    let provider = Provider::start(folder).await;
    // Without the scopes and the audience of a Drawbridge, this issuer's tokens are opaque.
    let (_, verifier) = provider.sides("rs256", "ci", None).await;
    let options = Options {
        client_secret: Some(Secret::new("a secret with : and %")),
        audience: "no URI".into(),
        scopes: Vec::new(),
        ..Options::for_store(&provider.issuer, "ci", "x")
    };
    let credential = oidc_login::client_credentials(options).await.unwrap();
    assert_eq!(verify(&verifier, &credential).await, Err("malformed-token"));
    assert_eq!(credential.subject(), None);
}

#[tokio::test]
async fn keys_rotate_at_another_issuer() {
    let Some(folder) = scripts().await else { return };
    let mut provider = Provider::start(folder).await;
    for algorithm in ["rs256", "es256", "eddsa"] {
        let secret = Some("a secret with : and %");
        let (login, verifier) = provider.sides(algorithm, "ci", secret).await;
        let first = login.client_credentials().await.unwrap();
        verify(&verifier, &first).await.unwrap();
        provider.command("rotate").await;
        let second = login.client_credentials().await.unwrap();
        verify(&verifier, &second).await.unwrap();
        verify(&verifier, &first).await.unwrap();
        provider.command("withdraw").await;
        let third = login.client_credentials().await.unwrap();
        verify(&verifier, &third).await.unwrap();
        assert_eq!(verify(&verifier, &second).await, Err("unknown-key"), "{algorithm}");
    }
}
