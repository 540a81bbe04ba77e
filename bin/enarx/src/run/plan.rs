// SPDX-License-Identifier: Apache-2.0

//! What the workload will find: from the options and the configuration, checked as far as it can be
//! before there is a Keep.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, anyhow};
use command_line::{OrExit, files};
use enarx_config::{Config, File as Entry, Root};
use keep_backend::{Seed, seed_name};
use keep_launch::{Preopen, Sockets, Stdio};

use crate::agent;
use crate::cli::{RunArgs, TrustArgs};
use crate::config;
use crate::exit::{Code, Failure};
use crate::units::EnvVar;

/// Everything that does not depend on the backend.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) stdio: [Stdio; 3],
    /// Which streams of this program the workload has anywhere: stdin, stdout, stderr.
    wanted: [bool; 3],
    pub(super) preopens: Vec<Preopen>,
    pub(super) seeds: Vec<Seed>,
    /// For a workload with a network.
    pub(super) sockets: Option<Sockets>,
    /// Whether the Keep is to ask a Steward for a certificate.
    pub(super) has_steward: bool,
    /// What the user ought to know, although nothing is wrong.
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(args: &RunArgs) -> Result<Self, Failure> {
        let config = args.config.as_deref().map(config::load).transpose()?;
        let mut notes = Vec::new();
        let mut env = Vec::new();
        if config.as_ref().is_some_and(|config| config.sealing.is_some()) {
            let message = "`[sealing]` of the configuration asks for a key, which only a workload that is \
                           deployed has";
            return Err(Failure::msg(Code::Input, message)
                .help("use `enarx deploy` with the folder or the package of the workload"));
        }
        if let Some(config) = &config {
            notes.extend(config.notes().into_iter().map(str::to_owned));
            if config.steward.is_some() && !has_network(config) {
                notes.push("`steward` is not used: the configuration has no sockets".into());
            }
            // A program that was written for any WASI runtime expects the variables that it was
            // given and no others, so these come with a configuration only.
            env.extend(config.stdio_environment());
            for (name, value) in &config.env {
                set(&mut env, name, value);
            }
        }
        for variable in &args.env {
            match variable {
                EnvVar::Set(name, value) => set(&mut env, name, value),
                EnvVar::Inherit(name) => set(&mut env, name, &inherited(name)?),
            }
        }
        let sockets = match (&config, args.config.as_deref()) {
            (Some(config), Some(path)) if has_network(config) || has_more_files(config) => {
                Some(sockets(config, path, &args.trust)?)
            }
            _ => None,
        };
        let config = config.unwrap_or_default();
        let has_steward = config.steward.is_some();
        let name = args.module.file_name().unwrap_or(args.module.as_os_str()).to_string_lossy();
        let mut all_args = vec![name.into_owned()];
        all_args.extend(config.args.iter().chain(&args.args).cloned());
        let (preopens, seeds) = folders(args)?;
        let stdio = stdio(&config).or_exit(Code::Input)?;
        let wanted = wanted(&config);
        Ok(Self {
            args: all_args,
            env,
            stdio,
            wanted,
            preopens,
            seeds,
            sockets,
            has_steward,
            notes,
        })
    }

    /// The streams of this program that the Keep needs, and no others.
    pub(super) fn streams(&self) -> Result<[Option<File>; 3], Failure> {
        let stream = |wanted: bool, fd: std::io::Result<OwnedFd>| -> anyhow::Result<_> {
            if !wanted {
                return Ok(None);
            }
            Ok(Some(File::from(fd.context("cannot hand over the standard streams")?)))
        };
        let [stdin, stdout, stderr] = self.wanted;
        Ok([
            stream(stdin, std::io::stdin().as_fd().try_clone_to_owned())?,
            stream(stdout, std::io::stdout().as_fd().try_clone_to_owned())?,
            stream(stderr, std::io::stderr().as_fd().try_clone_to_owned())?,
        ])
    }
}

/// Whether a workload with this configuration has any use for a network.
fn has_network(config: &Config) -> bool {
    config.networking().next().is_some()
        || config.http.is_some()
        || !config.network.allow_connect.is_empty()
        || !config.network.allow_listen.is_empty()
}

/// Whether descriptors stand behind the first three. What serves sockets serves all of them.
fn has_more_files(config: &Config) -> bool {
    config.files.len() > 3
}

/// The files beside the configuration that are trusted somewhere in it.
fn trust_files(config: &Config) -> impl Iterator<Item = &str> {
    let files = config.files.iter().filter_map(|entry| match entry {
        Entry::Listen(listen) => Some(&listen.trust),
        Entry::Connect(connect) => Some(&connect.peer.trust),
        _ => None,
    });
    let connect = config.network.allow_connect.iter().map(|peer| &peer.trust);
    let listen = config.network.allow_listen.iter().map(|listen| &listen.trust);
    files.chain(connect).chain(listen).flat_map(|trust| &trust.roots).filter_map(
        |root| match root {
            Root::File(name) => Some(name.as_str()),
            _ => None,
        },
    )
}

/// What the Keep needs for sockets: the configuration as it stands, the files it names, and whom to
/// trust.
fn sockets(config: &Config, path: &Path, trust: &TrustArgs) -> Result<Sockets, Failure> {
    if config.steward.is_some() && trust.steward_ca.is_none() {
        let failure = Failure::msg(
            Code::Usage,
            format!(
                "{} names a Steward, but nothing says whose certificates count",
                path.display()
            ),
        );
        return Err(failure.help("name the Steward's root with --steward-ca FILE"));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut named: Vec<(String, Vec<u8>)> = Vec::new();
    for name in trust_files(config) {
        if !named.iter().any(|(other, _)| other == name) {
            named.push((name.to_owned(), files::read::<Code>(&folder.join(name))?.to_vec()));
        }
    }
    Ok(Sockets {
        config: files::read_text::<Code>(path)?.to_string(),
        files: named,
        network: agent::network(trust)?,
    })
}

/// Sets a variable in its place, or adds it.
fn set(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    match env.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) => *old = value.into(),
        None => env.push((name.into(), value.into())),
    }
}

fn inherited(name: &str) -> Result<String, Failure> {
    std::env::var(name).or_exit_with(Code::Input, || format!("cannot pass on `{name}`"))
}

fn folders(args: &RunArgs) -> Result<(Vec<Preopen>, Vec<Seed>), Failure> {
    let mut preopens = Vec::new();
    let mut seeds = Vec::new();
    for (index, dir) in args.dirs.iter().enumerate() {
        let shown = dir.host.display();
        let metadata = std::fs::metadata(&dir.host)
            .or_exit_with(Code::Input, || format!("cannot use `{shown}` for --dir"))?;
        if !metadata.is_dir() {
            return Err(anyhow!("`{shown}` is not a folder")).or_exit(Code::Input);
        }
        preopens.push(Preopen { path: seed_name(index), guest: dir.guest.clone() });
        seeds.push(Seed { host: dir.host.clone(), index });
    }
    Ok((preopens, seeds))
}

/// Which streams of this program the workload has, wherever they stand.
fn wanted(config: &Config) -> [bool; 3] {
    let has = |kind: fn(&Entry) -> bool| config.files.iter().any(kind);
    [
        has(|entry| matches!(entry, Entry::Stdin { .. })),
        has(|entry| matches!(entry, Entry::Stdout { .. })),
        has(|entry| matches!(entry, Entry::Stderr { .. })),
    ]
}

/// What the first three descriptors are. Sockets, and all that stands behind these three, are made in the
/// Keep, in the places that they have in the configuration.
fn stdio(config: &Config) -> anyhow::Result<[Stdio; 3]> {
    let mut stdio = [Stdio::Null; 3];
    for ((index, place), entry) in stdio.iter_mut().enumerate().zip(&config.files) {
        *place = match (index, entry) {
            (_, Entry::Null { .. } | Entry::Listen(_) | Entry::Connect(_)) => Stdio::Null,
            (0, Entry::Stdin { .. }) => Stdio::Stdin,
            (1 | 2, Entry::Stdout { .. }) => Stdio::Stdout,
            (1 | 2, Entry::Stderr { .. }) => Stdio::Stderr,
            _ => {
                let name = entry.name();
                let can = if index == 0 { "`stdin`" } else { "`stdout`, `stderr`" };
                return Err(anyhow!(
                    "files[{index}] (`{name}`) can be {can}, `null` or a socket; other streams stand \
                     behind the first three entries"
                ));
            }
        };
    }
    Ok(stdio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(kinds: &[&str]) -> anyhow::Result<[Stdio; 3]> {
        // Names of their own, because no two may be the same.
        let file = |(index, kind)| format!("{{ kind = {kind:?}, name = \"file{index}\" }}");
        let files: Vec<String> = kinds.iter().enumerate().map(file).collect();
        let source = format!("files = [{}]", files.join(", "));
        stdio(&Config::parse(&source, "Enarx.toml").unwrap())
    }

    #[test]
    fn without_a_configuration_the_streams_are_those_of_the_host() {
        let streams = [Stdio::Stdin, Stdio::Stdout, Stdio::Stderr];
        assert_eq!(stdio(&Config::default()).unwrap(), streams);
        assert_eq!(parsed(&["stdin", "stdout", "stderr"]).unwrap(), streams);
    }

    #[test]
    fn what_is_missing_is_null_and_the_outputs_can_be_crossed() {
        assert_eq!(parsed(&[]).unwrap(), [Stdio::Null; 3]);
        assert_eq!(parsed(&["null"]).unwrap(), [Stdio::Null; 3]);
        let crossed = [Stdio::Null, Stdio::Stderr, Stdio::Stdout];
        assert_eq!(parsed(&["null", "stderr", "stdout"]).unwrap(), crossed);
        let same = [Stdio::Stdin, Stdio::Stdout, Stdio::Stdout];
        assert_eq!(parsed(&["stdin", "stdout", "stdout"]).unwrap(), same);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for kinds in [&["stdout"][..], &["stdin", "stdin"], &["stdin", "stdout", "stdin"]] {
            assert!(parsed(kinds).is_err(), "{kinds:?}");
        }
    }

    #[test]
    fn sockets_come_after_the_streams() {
        let source = r#"files = [
            { kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" },
            { kind = "listen", name = "web" }, { kind = "connect", host = "example.com" },
        ]"#;
        let config = Config::parse(source, "Enarx.toml").unwrap();
        assert_eq!(stdio(&config).unwrap(), [Stdio::Stdin, Stdio::Stdout, Stdio::Stderr]);
        assert!(has_network(&config));
        assert!(!has_network(&Config::default()));
    }

    #[test]
    fn streams_stand_behind_the_first_three_as_well() {
        let parse = |source| Config::parse(source, "Enarx.toml").unwrap();
        let source = r#"files = [{ kind = "null" }, { kind = "null" }, { kind = "null", name = "b" },
            { kind = "stdout" }, { kind = "stdin" }]"#;
        let config = parse(source);
        assert_eq!(stdio(&config).unwrap(), [Stdio::Null; 3]);
        assert_eq!(wanted(&config), [true, true, false]);
        assert!(has_more_files(&config));
        assert!(!has_more_files(&Config::default()));
        assert_eq!(wanted(&Config::default()), [true; 3]);
    }

    #[test]
    fn files_that_are_trusted_go_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Enarx.toml");
        let source = r#"files = [
            { kind = "null" }, { kind = "null" }, { kind = "null" },
            { kind = "connect", host = "a.example", trust = ["roots.pem"] },
            { kind = "connect", host = "b.example", trust = ["roots.pem", "system"] },
        ]"#;
        std::fs::write(&path, source).unwrap();
        let config = Config::parse(source, "Enarx.toml").unwrap();
        let trust = TrustArgs::default();
        assert_eq!(sockets(&config, &path, &trust).unwrap_err().code, Code::Input);
        std::fs::write(folder.path().join("roots.pem"), "x").unwrap();
        let sockets = sockets(&config, &path, &trust).unwrap();
        assert_eq!(sockets.files, [("roots.pem".to_owned(), b"x".to_vec())]);
        assert_eq!(sockets.config, source);
    }

    #[test]
    fn a_steward_without_a_root_is_refused() {
        let source = "steward = \"https://steward.example.com\"\nfiles = []";
        let config = Config::parse(source, "Enarx.toml").unwrap();
        let path = Path::new("Enarx.toml");
        let failure = sockets(&config, path, &TrustArgs::default()).unwrap_err();
        assert_eq!(failure.code, Code::Usage);
    }

    #[test]
    fn a_variable_is_set_in_its_place() {
        let mut env = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        set(&mut env, "A", "3");
        set(&mut env, "C", "4");
        let shown: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["A=3", "B=2", "C=4"]);
    }
}
