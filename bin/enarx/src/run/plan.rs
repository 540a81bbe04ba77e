// SPDX-License-Identifier: Apache-2.0

//! What the workload will find: from the options and the configuration, checked as far as it can be
//! before there is a Keep.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, anyhow};
use enarx_config::{Config, File as Entry};
use keep_backend::{Seed, seed_name};
use keep_launch::{Preopen, Stdio};

use crate::cli::RunArgs;
use crate::config;
use crate::exit::{Code, Failure, OrExit};
use crate::units::EnvVar;

/// Everything that does not depend on the backend.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) stdio: [Stdio; 3],
    pub(super) preopens: Vec<Preopen>,
    pub(super) seeds: Vec<Seed>,
    /// What the user ought to know, although nothing is wrong.
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(args: &RunArgs) -> Result<Self, Failure> {
        let config = args.config.as_deref().map(config::load).transpose()?;
        let mut notes = Vec::new();
        let mut env = Vec::new();
        if let Some(config) = &config {
            notes.extend(config.notes().into_iter().map(str::to_owned));
            if config.steward.is_some() {
                notes
                    .push("`steward` is not used yet: this version asks for no certificate".into());
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
        let config = config.unwrap_or_default();
        let name = args.module.file_name().unwrap_or(args.module.as_os_str()).to_string_lossy();
        let mut all_args = vec![name.into_owned()];
        all_args.extend(config.args.iter().chain(&args.args).cloned());
        let (preopens, seeds) = folders(args)?;
        let stdio = stdio(&config).or_exit(Code::Input)?;
        Ok(Self { args: all_args, env, stdio, preopens, seeds, notes })
    }

    /// The streams of this program that the Keep needs, and no others.
    pub(super) fn streams(&self) -> Result<[Option<File>; 3], Failure> {
        let stream = |wanted: Stdio, fd: std::io::Result<OwnedFd>| -> anyhow::Result<_> {
            if !self.stdio.contains(&wanted) {
                return Ok(None);
            }
            Ok(Some(File::from(fd.context("cannot hand over the standard streams")?)))
        };
        Ok([
            stream(Stdio::Stdin, std::io::stdin().as_fd().try_clone_to_owned())?,
            stream(Stdio::Stdout, std::io::stdout().as_fd().try_clone_to_owned())?,
            stream(Stdio::Stderr, std::io::stderr().as_fd().try_clone_to_owned())?,
        ])
    }
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

/// The three descriptors that a WASI program without sockets has.
fn stdio(config: &Config) -> anyhow::Result<[Stdio; 3]> {
    if let Some((index, entry)) = config.networking().next() {
        let kind = entry.kind().as_str();
        return Err(anyhow!(
            "files[{index}] (`{}`) is a `{kind}` entry, and this version has no sockets yet",
            entry.name()
        ));
    }
    let mut stdio = [Stdio::Null; 3];
    for (index, entry) in config.files.iter().enumerate() {
        let Some(place) = stdio.get_mut(index) else {
            return Err(anyhow!(
                "files[{index}] (`{}`): a program has the descriptors 0, 1 and 2 only",
                entry.name()
            ));
        };
        *place = match (index, entry) {
            (_, Entry::Null { .. }) => Stdio::Null,
            (0, Entry::Stdin { .. }) => Stdio::Stdin,
            (1 | 2, Entry::Stdout { .. }) => Stdio::Stdout,
            (1 | 2, Entry::Stderr { .. }) => Stdio::Stderr,
            (0, _) => return Err(anyhow!("files[0] must be of the kind `stdin` or `null`")),
            _ => {
                return Err(anyhow!(
                    "files[{index}] must be of the kind `stdout`, `stderr` or `null`"
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
        for kinds in [
            &["stdout"][..],
            &["stdin", "stdin"],
            &["stdin", "stdout", "stdin"],
            &["stdin", "stdout", "stderr", "null"],
        ] {
            assert!(parsed(kinds).is_err(), "{kinds:?}");
        }
        for entry in [
            r#"{ kind = "listen", name = "web", prot = "tcp" }"#,
            r#"{ kind = "connect", host = "example.com", prot = "tls" }"#,
        ] {
            let source = format!("files = [{entry}]");
            let config = Config::parse(&source, "Enarx.toml").unwrap();
            let error = stdio(&config).unwrap_err().to_string();
            assert!(error.contains("no sockets yet"), "{error}");
        }
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
