// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask guests`: builds the programs that run in Keeps.
//!
//! The users' way is rustup's target `wasm32-wasip1`. Where it is not installed, Debian's packages do
//! the same: their `rustc` with `std` built from their sources, and their wasi-libc. A build happens
//! only if a source or the toolchain changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, host};

/// What Debian and its derivatives need; the last three are for C.
const PACKAGES: [&str; 6] =
    ["rustc-web", "rust-web-src", "wasi-libc", "clang-19", "lld-19", "libclang-rt-19-dev-wasm32"];

/// Programs that also become components.
const COMPONENTS: [&str; 12] = [
    "cat", "clocks", "env", "exit", "fetch", "files", "hello", "proxy", "seal", "streams", "tcp",
    "trap",
];

/// Lets tokio build its sockets for WASI.
const TOKIO: &str = "--cfg tokio_unstable";

/// A way to build Rust for `wasm32-wasip1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The target of the user's own toolchain.
    Rustup,
    /// Debian's packages.
    Debian,
}

/// Where the built programs are.
pub(crate) fn out() -> PathBuf {
    host::root().join("guests/target/out")
}

/// Finds a way to build, installing Debian's packages if that is allowed.
pub(crate) fn toolchain() -> Result<Toolchain> {
    let sysroot = PathBuf::from(host::output(host::tool("rustc").args(["--print", "sysroot"]))?);
    if sysroot.join("lib/rustlib/wasm32-wasip1").is_dir() {
        return Ok(Toolchain::Rustup);
    }
    if !has_debian() && Path::new("/etc/debian_version").exists() && host::is_root() {
        eprintln!("guests: installing {}", PACKAGES.join(" "));
        let apt = |args: &[&str]| {
            let mut command = Command::new("apt-get");
            host::run(command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(args))
        };
        let mut install = vec!["install", "-y", "--no-install-recommends"];
        install.extend(PACKAGES);
        // Lists of packages that are fresh enough save a minute.
        if apt(&install).is_err() {
            apt(&["update"])?;
            apt(&install)?;
        }
    }
    if has_debian() {
        return Ok(Toolchain::Debian);
    }
    Err("no compiler for wasm32-wasip1: run `rustup target add wasm32-wasip1`".into())
}

fn has_debian() -> bool {
    ["/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/std", "/usr/lib/wasm32-wasi/libc.a"]
        .iter()
        .all(|path| Path::new(path).exists())
}

/// A Cargo command that builds for `wasm32-wasip1`, up to what it is to build.
pub(crate) fn cargo(toolchain: Toolchain, verb: &str, link: &[PathBuf]) -> Result<Command> {
    let mut command = host::tool("cargo");
    command.arg(verb).args(["--target", "wasm32-wasip1"]);
    command.env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", TOKIO);
    if toolchain == Toolchain::Debian {
        let sysroot =
            PathBuf::from(host::output(host::tool("rustc").args(["--print", "sysroot"]))?);
        let lld = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
        let lld = if lld.exists() { lld } else { "/usr/bin/wasm-ld-19".into() };
        let mut flags = vec![
            "-Clink-self-contained=no".to_owned(),
            "-L/usr/lib/wasm32-wasi".into(),
            "-Clink-arg=/usr/lib/wasm32-wasi/crt1-command.o".into(),
            TOKIO.into(),
        ];
        flags.extend(link.iter().map(|path| format!("-Clink-arg={}", path.display())));
        command
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_WASIP1_LINKER", lld)
            .env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags.join(" "));
    }
    Ok(command)
}

/// Compiles C for WASI by Debian's clang; `None` if it is not there.
pub(crate) fn clang() -> Option<Command> {
    let clang = host::find_program("clang-19")?;
    let complete = Path::new("/usr/lib/wasm32-wasi/libc.a").exists()
        && Path::new("/usr/lib/llvm-19/lib/clang/19/lib/wasi").exists();
    complete.then(|| {
        let mut command = host::tool(clang);
        command.args(["--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-Wall"]);
        command
    })
}

pub(crate) fn main(args: &[String]) -> Result {
    let toolchain = match toolchain() {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            println!("guests: skipped: {reason}");
            return Ok(());
        }
    };
    let folder = host::root().join("guests");
    let compiler = match toolchain {
        Toolchain::Rustup => host::output(host::tool("rustc").arg("--version"))?,
        Toolchain::Debian => host::output(host::tool("/usr/bin/rustc").arg("--version"))?,
    };
    let also = format!("{toolchain:?} {compiler} C: {}", clang().is_some());
    // The guests that are made of the product's own crates change with them.
    let mut sources = host::files_below(&folder)?;
    for entry in std::fs::read_dir(host::root().join("crates"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = ["attested-request", "evidence-", "steward-"];
        if ours.iter().any(|start| name.starts_with(start)) {
            sources.extend(host::files_below(&path.join("src"))?);
        }
    }
    sources.sort();
    let digest = host::digest(&host::root(), &sources, &also)?;
    let stamp = out().join(".stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|old| old == digest)
        && !args.iter().any(|a| a == "--force")
    {
        return Ok(());
    }
    // Gone first, so that a build that fails half way is not taken for a finished one.
    let _ = std::fs::remove_dir_all(out());
    std::fs::create_dir_all(out())?;
    eprintln!("guests: building with {compiler}");
    rust(toolchain, &folder)?;
    c(&folder)?;
    text(&folder)?;
    components(&folder)?;
    std::fs::write(stamp, digest)?;
    Ok(())
}

fn rust(toolchain: Toolchain, folder: &Path) -> Result {
    host::run(cargo(toolchain, "build", &[])?.args(["--release", "--locked"]).current_dir(folder))?;
    let built = folder.join("target/wasm32-wasip1/release");
    for entry in std::fs::read_dir(built)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "wasm") {
            std::fs::copy(&path, out().join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

fn c(folder: &Path) -> Result {
    for name in ["files", "hello", "trap"] {
        let Some(mut clang) = clang() else {
            println!("guests: skipped C: no clang-19 with wasi-libc and its runtime library");
            return Ok(());
        };
        let target = out().join(format!("{name}-c.wasm"));
        host::run(clang.arg(folder.join("c").join(format!("{name}.c"))).arg("-o").arg(target))?;
    }
    Ok(())
}

fn text(folder: &Path) -> Result {
    for file in host::files_below(&folder.join("wat"))? {
        std::fs::copy(&file, out().join(file.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

fn components(folder: &Path) -> Result {
    let mut build = host::tool("cargo");
    build.args(["run", "--quiet", "--release", "--locked", "--"]).arg(out());
    build.args(COMPONENTS.iter().map(|name| out().join(format!("{name}.wasm"))));
    build.env("CARGO_TARGET_DIR", folder.join("target"));
    host::run(build.current_dir(folder.join("componentize")))
}
