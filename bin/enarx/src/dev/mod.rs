// SPDX-License-Identifier: Apache-2.0

//! `enarx dev`: everything that a deployment needs, on this machine, for trying things out.
//!
//! `init` makes the development root, once. `up` starts services that go on in the background in one
//! process, `down` ends it. All of it lies in one folder that is closed to others; what tells whether
//! services run is a lock that their process holds, so that nothing is left over when it is killed.

pub(crate) mod authority;
pub(crate) mod services;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use command_line::files::{self, Access};
use command_line::{OrExit, print, print_json, warn};
use evidence_crypto::{AwsLc, Crypto};
use evidence_development::Root;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use steward_service::clock;

use crate::agent;
use crate::cli::{DevCommand, DevUpArgs};
use crate::dirs;
use crate::exit::{Code, Failure};
use services::{Options, Section, Services};

/// A development root is soon forgotten, and should not be good for ever then.
pub(crate) const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// So long may services take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(command: &DevCommand) -> Result<(), Failure> {
    let home = Home(dirs::data()?.join("development"));
    match command {
        DevCommand::Init { json } => init(&home, *json),
        DevCommand::Up(args) => up(&home, args),
        DevCommand::Down { remove } => down(&home, *remove),
    }
}

/// The folder of everything.
struct Home(PathBuf);

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The lock, if nobody else has it.
    fn lock(&self) -> Result<Option<File>, Failure> {
        files::create_folder::<Code>(&self.0)?;
        let path = self.path("lock");
        let failed = || format!("cannot lock {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .or_exit_with(Code::Input, failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).or_exit_with(Code::Input, failed),
        }
    }

    /// What runs, as it told when it was ready.
    fn state(&self) -> Result<State, Failure> {
        let text = fs::read(self.path("state.json"))
            .or_exit_with(Code::Failed, || "the services are not ready yet")?;
        serde_json::from_slice(&text)
            .or_exit_with(Code::Input, || "cannot read the state of the services")
    }
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    pid: i32,
    steward: String,
    steward_ca: PathBuf,
    drawbridge: String,
    ca_bundle: PathBuf,
    issuer: String,
    audience: String,
    user: String,
}

impl State {
    /// Lines for a shell.
    fn variables(&self) -> String {
        let lines = [
            ("ENARX_STEWARD", self.steward.clone()),
            ("ENARX_STEWARD_CA", self.steward_ca.to_string_lossy().into_owned()),
            ("ENARX_DRAWBRIDGE", self.drawbridge.clone()),
            ("ENARX_CA_BUNDLE", self.ca_bundle.to_string_lossy().into_owned()),
            ("ENARX_OIDC_DOMAIN", self.issuer.clone()),
        ];
        lines
            .iter()
            .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
            .collect()
    }

    fn show(&self, json: bool) -> Result<(), Failure> {
        if json {
            return print_json(&serde_json::to_value(self)?);
        }
        print(&format!(
            "# Steward and Drawbridge for development; `enarx dev down` stops them.\n{}",
            self.variables()
        ))
    }
}

fn init(home: &Home, json: bool) -> Result<(), Failure> {
    let root = create_root(&home.0)?;
    let fingerprint = command_line::hex(&AwsLc.sha256(&[root.certificate_der()]));
    let (certificate, key) = (home.path("root.crt"), home.path("root.key"));
    if json {
        return print_json(&serde_json::json!({
            "certificate": certificate,
            "key": key,
            "fingerprint": fingerprint,
            "not_after": root.not_after().to_string(),
        }));
    }
    print(&format!(
        "Made a development root, good until {until}:\n\
         \x20 {certificate}\n\
         \x20 {key}\n\
         Whoever has the key can claim anything, so it is for this user alone. Evidence under this\n\
         root counts for Stewards whose policy names it, and proves nothing.\n\
         \n\
         SHA-256 fingerprint of the root:\n\
         \x20 {fingerprint}\n",
        until = root.not_after(),
        certificate = certificate.display(),
        key = key.display(),
    ))
}

/// Makes a development root in a folder that has none.
pub(crate) fn create_root(folder: &Path) -> Result<Root, Failure> {
    let (key, certificate) = (folder.join("root.key"), folder.join("root.crt"));
    files::check_absent::<Code>(&[&key, &certificate])?;
    let failed = || "cannot make a development root";
    let root = Root::create(clock::now(), LIFETIME).or_exit_with(Code::Failed, failed)?;
    let key_pem = root.key_pem().or_exit_with(Code::Failed, failed)?;
    let certificate_pem = root.certificate_pem().or_exit_with(Code::Failed, failed)?;
    files::create_folder::<Code>(folder)?;
    files::create_all::<Code>(&[
        (&key, key_pem.as_bytes(), Access::Secret),
        (&certificate, certificate_pem.as_bytes(), Access::Public),
    ])?;
    Ok(root)
}

fn up(home: &Home, args: &DevUpArgs) -> Result<(), Failure> {
    if args.foreground {
        return serve(home, args);
    }
    if home.lock()?.is_none() {
        warn("the services run already");
        return home.state()?.show(args.json);
    }
    let log_path = home.path("log");
    let log = File::create(&log_path)
        .or_exit_with(Code::Input, || format!("cannot write {}", log_path.display()))?;
    let mut child = Command::new(std::env::current_exe().context("where is this program?")?)
        .args(["dev", "up", "--foreground", "--detached", "--json", "--user", &args.user])
        .args(["--steward-port", &args.steward_port.to_string()])
        .args(["--drawbridge-port", &args.drawbridge_port.to_string()])
        .args(["--oidc-port", &args.oidc_port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start the services")?;
    // It says what runs as soon as it does, and closes its stdout then or at its end.
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            said += &line.context("cannot hear from the services")?;
        }
    }
    match serde_json::from_str::<State>(&said) {
        Ok(state) => state.show(args.json),
        Err(_) => {
            let _ = child.wait();
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            Err(Failure::with_details(
                Code::Failed,
                "the services did not start".into(),
                log.trim(),
            ))
        }
    }
}

/// Runs the services until a signal.
fn serve(home: &Home, args: &DevUpArgs) -> Result<(), Failure> {
    if args.detached {
        // The terminal on which this was started may close.
        let _ = rustix::process::setsid();
    }
    let Some(_lock) = home.lock()? else {
        return Err(Failure::msg(Code::Failed, "the services run already")
            .help("`enarx dev down` stops them"));
    };
    let root = match agent::development_root(&home.0)? {
        Some(root) => Arc::new(root),
        None => Arc::new(create_root(&home.0)?),
    };
    let measurements = services::measurements(None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        let until = steward_service::until_signal().context("cannot wait for signals")?;
        let services = Services::start(Options {
            folder: &home.0,
            root: &root,
            measurements,
            section: Section::Development,
            steward_port: args.steward_port,
            drawbridge_port: args.drawbridge_port,
            oidc_port: args.oidc_port,
            user: &args.user,
        })
        .await?;
        let state = State {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            steward: services.steward.clone(),
            steward_ca: services.steward_ca.clone(),
            drawbridge: services.drawbridge.clone(),
            ca_bundle: services.ca_bundle.clone(),
            issuer: services.issuer.url().to_owned(),
            audience: services.audience.clone(),
            user: args.user.clone(),
        };
        write_state(&home.path("state.json"), &state)?;
        state.show(args.json)?;
        if args.detached {
            close_stdout()?;
        }
        until.await;
        let _ = fs::remove_file(home.path("state.json"));
        services.stop().await
    })
}

/// Renamed into its place, so that nobody reads half of it.
fn write_state(path: &Path, state: &State) -> Result<(), Failure> {
    let part = path.with_extension("part");
    let mut text = serde_json::to_vec_pretty(state)?;
    text.push(b'\n');
    File::create(&part)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&part, path))
        .or_exit_with(Code::Input, || format!("cannot write {}", path.display()))
}

/// Whoever waits for the end of what is said, need not wait any longer.
fn close_stdout() -> Result<(), Failure> {
    let null = OpenOptions::new().write(true).open("/dev/null").context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdout(&null).context("cannot let go of stdout")?;
    Ok(())
}

fn down(home: &Home, remove: bool) -> Result<(), Failure> {
    if home.lock()?.is_none() {
        let state = home.state()?;
        let pid = rustix::process::Pid::from_raw(state.pid)
            .ok_or_else(|| anyhow!("the state of the services makes no sense"))?;
        // Whoever holds the lock wrote the number, so it is no other process's.
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .or_exit_with(Code::Failed, || "cannot stop the services")?;
        let start = Instant::now();
        while home.lock()?.is_none() {
            if start.elapsed() > PATIENCE {
                return Err(Failure::msg(Code::Failed, "the services do not end")
                    .help(format!("`kill -9 {}` ends them", state.pid)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        print("stopped\n")?;
    } else {
        print("nothing runs\n")?;
    }
    if remove {
        for name in ["drawbridge", "steward", "tls"] {
            let path = home.path(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .or_exit_with(Code::Input, || format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        print("removed users, workloads and certificates\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let root = create_root(folder.path()).unwrap();
        assert_eq!(create_root(folder.path()).unwrap_err().code, Code::Input);
        let read = agent::development_root(folder.path()).unwrap().unwrap();
        assert_eq!(read.certificate_der(), root.certificate_der());
    }

    #[test]
    fn variables_survive_a_shell() {
        let state = State {
            pid: 1,
            steward: "https://localhost:1".into(),
            steward_ca: "/it's here/root.crt".into(),
            drawbridge: "localhost:2".into(),
            ca_bundle: "/x".into(),
            issuer: "https://localhost:3".into(),
            audience: "a".into(),
            user: "u".into(),
        };
        let script = state.variables() + "printf %s \"$ENARX_STEWARD_CA\"";
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(out.stdout, b"/it's here/root.crt");
    }
}
