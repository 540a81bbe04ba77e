// SPDX-License-Identifier: Apache-2.0

//! Builds the programs of a Keep, each by a Cargo of its own.
//!
//! They cannot be ordinary dependencies: each is a static executable with its own set of Wasmtime's
//! features (the runtime must not contain the compiler), its own profile and its own linker flags.
//! So this script runs Cargo again, for the same workspace and the same lock file, in a folder of
//! its own below the target folder that is called the same in every build, so that what is compiled
//! once stays compiled.
//!
//! The bytes that come out are measured, so they depend on sources and toolchain alone: inherited
//! flags are dropped, and paths of this machine are replaced by fixed names.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One executable to build and embed.
struct Program {
    /// Package and binary, and the name in `ENARX_KEEP_PROGRAMS`.
    name: &'static str,
    features: &'static [&'static str],
    /// Folders of the workspace that it is made of.
    sources: &'static [&'static str],
    /// Flags for rustc, beside those that all programs get.
    flags: &'static [&'static str],
    /// What LLVM is told, as far as it knows it: not each rustc is built with the LLVM that it brings.
    llvm: &'static [&'static str],
    /// Where it departs from the profile `keep`.
    profile: &'static [&'static str],
    /// Packages of which nothing runs often: only their size counts.
    rare: &'static [&'static str],
}

/// A static executable that can be placed anywhere; how its parts lie, its own build script says.
/// Its random numbers come straight from the system call: the files that would
/// otherwise serve a static executable do not exist in a Keep. Ciphers and curves do not ask for the
/// processor's features: in a virtual machine each question costs microseconds, and the few bytes
/// that are ciphered and the one signature that is checked would never earn them back.
const STATIC: &[&str] = &[
    "-Ctarget-feature=+crt-static",
    "-Clink-arg=-Wl,--build-id=none",
    "--cfg=getrandom_backend=\"linux_raw\"",
    "--cfg=chacha20_backend=\"sse2\"",
    "--cfg=curve25519_dalek_backend=\"serial\"",
];

/// Folders below `crates`, all that are compiled into the program.
const RUNTIME: &[&str] = &[
    "attested-request",
    "drawbridge-types",
    "enarx-config",
    "evidence-claims",
    "evidence-crypto",
    "evidence-pki",
    "keep-artifact",
    "keep-deploy",
    "keep-engine",
    "keep-identity",
    "keep-launch",
    "keep-net",
    "keep-runtime",
    "steward-claims",
    "steward-relying-party",
];
const COMPILER: &[&str] = &[
    "attested-request",
    "drawbridge-types",
    "enarx-config",
    "evidence-claims",
    "evidence-crypto",
    "evidence-pki",
    "keep-artifact",
    "keep-compiler",
    "keep-deploy",
    "keep-engine",
    "keep-identity",
    "keep-launch",
    "keep-net",
    "steward-claims",
    "steward-relying-party",
];

const PROGRAMS: &[Program] = &[
    Program {
        name: "keep-runtime",
        features: &["program"],
        sources: RUNTIME,
        flags: STATIC,
        // Graviola is assembly for the most part, in functions of up to 20 KB. To the inliner each is a
        // single instruction, so that there were a dozen copies of the longest. Counted as what
        // they are they are called, and curves are a little faster. The loops over the 256
        // coefficients of ML-KEM, on the other hand, are half as fast if they are not unrolled; the
        // threshold is the one that LLVM has at level 3.
        llvm: &["-inline-asm-instr-cost=1000", "-unroll-threshold=300"],
        // As fast as at level 3, for the workload's time goes into its own code. Only hashing the
        // artifact is work that grows with it, and records with its traffic: for size, rustls is
        // 110 KB shorter, and a request takes 4 % longer. What runs once is as small as can be.
        // Above level 1 rustc itself inlines Graviola's assembly, whatever LLVM thinks of it.
        profile: &[
            "opt-level=\"s\"",
            "package.graviola.opt-level=1",
            "package.rustls.opt-level=3",
            "package.sha2.opt-level=3",
        ],
        rare: &[
            "attested-request",
            "base64ct",
            "der",
            "drawbridge-types",
            "enarx-config",
            "evidence-claims",
            "evidence-crypto",
            "evidence-pki",
            "fluent-uri",
            "keep-deploy",
            "keep-identity",
            "pem-rfc7468",
            "rustls-webpki",
            "semver",
            "serde_core",
            "serde_json",
            "steward-claims",
            "steward-relying-party",
            "strsim",
            "toml",
            "toml_datetime",
            "toml_parser",
            "toml_writer",
            "winnow",
        ],
    },
    Program {
        name: "keep-compiler",
        features: &["program"],
        sources: COMPILER,
        flags: STATIC,
        llvm: &[],
        profile: &[],
        rare: &[],
    },
    Program {
        name: "keep-kernel",
        features: &["keep"],
        sources: &[
            "keep-fs",
            "keep-kernel",
            "keep-layout",
            "keep-mm",
            "sallyport",
            "sgx-guest",
            "snp-guest",
        ],
        flags: KERNEL,
        llvm: &[],
        profile: &[],
        rare: &[],
    },
];

/// The kernel is linked at a fixed address (see its own build script) and never unwinds. Its cipher, for
/// messages to the firmware of SEV-SNP, neither asks the processor for features nor touches vectors
/// that the kernel does not save.
const KERNEL: &[&str] = &[
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "--cfg=aes_backend=\"soft\"",
    "--cfg=aes_backend_soft=\"compact\"",
    "--cfg=polyval_backend=\"soft\"",
];

/// What a virtual machine Keep starts from: a program and the kernel under it.
const IMAGES: &[(&str, &str)] =
    &[("keep-runtime", "runtime.image"), ("keep-compiler", "compiler.image")];

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ENARX_KEEP_PROGRAMS");
    let out = PathBuf::from(var("OUT_DIR")?);
    if let Some(folder) = env::var_os("ENARX_KEEP_PROGRAMS") {
        PROGRAMS.iter().try_for_each(|program| {
            let prebuilt = Path::new(&folder).join(program.name);
            println!("cargo::rerun-if-changed={}", prebuilt.display());
            copy(&prebuilt, &out.join(program.name))
        })?;
        return build_images(&out);
    }

    let workspace = PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.toml").display());
    println!("cargo::rerun-if-changed={}", workspace.join("Cargo.lock").display());
    let target = stable_target(&out)?;
    for program in PROGRAMS {
        for source in program.sources {
            let folder = workspace.join("crates").join(source);
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        let built = build(program, &workspace, &target)?;
        copy(&built, &out.join(program.name))?;
    }
    build_images(&out)
}

/// Lays program and kernel out as they will lie in memory, so that a launch only copies pages.
fn build_images(out: &Path) -> Result<()> {
    let kernel = fs::read(out.join("keep-kernel"))?;
    for (program, name) in IMAGES {
        let image = keep_image::Image::build(&kernel, &fs::read(out.join(program))?)
            .map_err(|error| format!("the image of `{program}`: {error}"))?;
        fs::write(out.join(name), image.encode())?;
    }
    Ok(())
}

/// The folder `keep` in the target folder that this very build uses.
fn stable_target(out: &Path) -> Result<PathBuf> {
    // Cargo marks the top of its target folder, however many levels lie between.
    let top = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    // Some people delete the mark. OUT_DIR is `<target>/<profile>/build/<package>/out`.
    let top = top.or_else(|| out.ancestors().nth(4));
    Ok(top.ok_or("cannot tell the target folder from OUT_DIR")?.join("keep"))
}

fn build(program: &Program, workspace: &Path, target: &Path) -> Result<PathBuf> {
    let triple = var("TARGET")?;
    let mut cargo = Command::new(var("CARGO")?);
    cargo.args(["build", "--quiet", "--locked", "--profile", "keep"]);
    // Naming the target keeps the flags away from build scripts and macros, which run here.
    cargo.args(["--target", &triple]).arg("--target-dir").arg(target);
    cargo.args(["--package", program.name, "--bin", program.name]);
    for setting in program.profile {
        cargo.arg("--config").arg(format!("profile.keep.{setting}"));
    }
    for package in program.rare {
        cargo.arg("--config").arg(format!("profile.keep.package.{package}.opt-level=\"z\""));
    }
    cargo.args(["--features", &program.features.join(",")]);
    cargo.current_dir(workspace);
    for (name, _) in env::vars_os() {
        if is_inherited(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    let mut flags: Vec<String> = program.flags.iter().map(|flag| (*flag).to_owned()).collect();
    let llvm = program.llvm.iter().map(|setting| format!("-Cllvm-args={setting}"));
    flags.extend(llvm.filter(|flag| is_known(flag)));
    flags.extend(remappings(workspace, target)?);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // Fixed times in whatever archives a dependency's C code goes through.
    cargo.env("ZERO_AR_DATE", "1");

    // Its messages go to this script's, which the outer Cargo shows if the script fails.
    let status = cargo.status().map_err(|error| format!("cannot start {cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the build of `{}` failed ({status})", program.name).into());
    }
    Ok(target.join(triple).join("keep").join(program.name))
}

/// Settings of the outer build that must not reach the inner one. Where Cargo and rustup live, how
/// registries are reached and the jobserver stay.
fn is_inherited(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CFLAGS",
        "CPPFLAGS",
        "DEBUG",
        "HOST",
        "LDFLAGS",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "TARGET",
    ];
    const PREFIXES: &[&str] = &[
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "DEP_",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "CFLAGS_",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Flags that replace this machine's paths. Where several fit, rustc takes the last.
fn remappings(workspace: &Path, target: &Path) -> Result<Vec<String>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let version = output(Command::new(&rustc).arg("-vV"))?;
    let commit =
        version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown");
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir().ok_or("cannot tell the home folder")?.join(".cargo"),
    };
    let sysroot = Path::new(sysroot.trim());
    let pairs = [
        (workspace.to_owned(), "/enarx".to_owned()),
        (target.to_owned(), "/enarx/target/keep".to_owned()),
        (cargo_home, "/cargo".to_owned()),
        (sysroot.to_owned(), "/rust".to_owned()),
        // Where the library's sources are installed, its own name for itself is lost.
        (sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{commit}")),
    ];
    Ok(pairs
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect())
}

/// Whether rustc takes a flag.
fn is_known(flag: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    output(Command::new(rustc).args([flag, "--print", "cfg"])).is_ok()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed ({})", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    Ok(())
}

fn var(name: &str) -> Result<String> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}
