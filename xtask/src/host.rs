// SPDX-License-Identifier: Apache-2.0

//! What chores need to know about the machine: where things are, and how to start a tool.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Where fetched things stay between runs, outside of the repository.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => return Err("neither XDG_CACHE_HOME nor HOME is set".into()),
    };
    let cache = base.join("enarx-dev");
    std::fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// The full path of a program on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file())
}

/// A command without what Cargo and a user's shell would say about building for the host.
pub(crate) fn tool(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in
        ["CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC", "CARGO_MANIFEST_DIR"]
    {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end; an error names it if it did not end well.
pub(crate) fn run(command: &mut Command) -> Result {
    let status = command.stdin(Stdio::null()).status().map_err(|e| said(command, &e))?;
    if status.success() { Ok(()) } else { Err(said(command, &status)) }
}

/// What a command writes, without the white space around it.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| said(command, &e))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(said(command, &format_args!("{}: {stderr}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn said(command: &Command, what: &dyn std::fmt::Display) -> Box<dyn std::error::Error> {
    format!("{}: {what}", Path::new(command.get_program()).display()).into()
}

/// All files below a folder, sorted, without folders named `target`.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                files.push(entry.path());
            } else if entry.file_name() != "target" {
                folders.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A digest of names and contents: good enough to see that something changed.
pub(crate) fn digest(base: &Path, files: &[PathBuf], also: &str) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    also.hash(&mut hasher);
    for file in files {
        file.strip_prefix(base).unwrap_or(file).hash(&mut hasher);
        std::fs::read_link(file).ok().hash(&mut hasher);
        if let Ok(content) = std::fs::read(file) {
            content.hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Copies a folder with all that is in it; symbolic links stay links.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The value after `--name`, where it is given.
pub(crate) fn option<'a>(args: &'a [String], name: &str) -> Result<Option<&'a str>> {
    match args.iter().position(|a| a == name) {
        None => Ok(None),
        Some(at) => match args.get(at + 1) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("{name} needs a value").into()),
        },
    }
}

/// The `enarx` of this repository: `ENARX` in the environment, or the newest build of it.
pub(crate) fn enarx() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENARX") {
        return Ok(path.into());
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let path = target.join("release/enarx");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is missing: run `cargo build --release` first", path.display()).into())
    }
}

/// The backends of `enarx` that work on this machine.
fn working(enarx: &Path) -> Result<Vec<String>> {
    let text = output(Command::new(enarx).args(["platform", "info", "--json"]))?;
    let info: serde_json::Value = serde_json::from_str(&text)?;
    let list = info.get("backends").and_then(|b| b.as_array()).ok_or("no list of backends")?;
    let name = |b: &serde_json::Value| b["backend"].as_str().map(str::to_owned);
    let works = |b: &&serde_json::Value| {
        b["data"].as_array().is_some_and(|d| d.iter().all(|d| d["pass"].as_bool() == Some(true)))
    };
    Ok(list.iter().filter(works).filter_map(name).collect())
}

/// Backends that work here and stand in for no other.
pub(crate) fn backends(enarx: &Path) -> Result<Vec<String>> {
    Ok(working(enarx)?.into_iter().filter(|name| !is_stand_in(name)).collect())
}

/// Backends that work here and stand in for hardware.
pub(crate) fn stand_ins(enarx: &Path) -> Result<Vec<String>> {
    Ok(working(enarx)?.into_iter().filter(|name| is_stand_in(name)).collect())
}

/// Whether a backend stands in for hardware.
fn is_stand_in(name: &str) -> bool {
    name.ends_with("-sim")
}

/// Puts `text` between the markers `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a document.
pub(crate) fn replace_block(file: &Path, name: &str, text: &str) -> Result {
    let old = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let missing = || format!("{} has no block {name}", file.display());
    let (head, rest) = old.split_once(&begin).ok_or_else(missing)?;
    let (_, tail) = rest.split_once(&end).ok_or_else(missing)?;
    std::fs::write(file, format!("{head}{begin}\n{}\n{end}{tail}", text.trim()))?;
    Ok(())
}
