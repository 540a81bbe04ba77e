// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask servers`: installs the programs of others that tests talk to.
//!
//! Nothing here is part of the product. A test that does not find its peer says so and skips, so on a
//! machine where packages cannot be installed, less is tested and nothing fails.
//!
//! | program | for |
//! |---|---|
//! | `docker-registry` | workloads as OCI artifacts; the speed of a Drawbridge |
//! | `tshark` | what really goes over the wire |
//! | `chromium`, Python's `requests`, `curl` | ordinary clients of a Keep |
//! | `certutil` | Chromium's own roots |
//! | `node`, `npm` | another OpenID Connect issuer, and a person at a browser |
//! | `dbus-run-session`, `gnome-keyring-daemon`, `secret-tool` | a keyring |
//! | `wrk` | load |
//! | `moto` | S3 as a store of a Drawbridge |
//! | `sev-snp-measure` | launch digests of SEV-SNP, computed by others |

use std::path::{Path, PathBuf};

use crate::{Result, host};

/// Executables, and the packages of Debian and its derivatives that hold them.
const PACKAGES: &[(&str, &str)] = &[
    ("certutil", "libnss3-tools"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("dbus-run-session", "dbus-daemon"),
    ("docker-registry", "docker-registry"),
    ("gnome-keyring-daemon", "gnome-keyring"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    ("python3", "python3-requests"),
    ("secret-tool", "libsecret-tools"),
    ("tshark", "tshark"),
    ("wrk", "wrk"),
];

/// From PyPI: packages, their folders in the cache, and one of the programs that they bring.
const PYTHON: &[(&str, &str, &str)] = &[
    ("moto[server]==5.2.5", "moto", "moto_server"),
    ("sev-snp-measure==0.0.13", "sev-snp-measure", "sev-snp-measure"),
];

pub(crate) fn main(_args: &[String]) -> Result {
    if let Err(reason) = packages() {
        println!("servers: skipped packages: {reason}");
    }
    for (package, folder, program) in PYTHON {
        match python_package(package, folder, program) {
            Ok(path) => println!("{}", path.display()),
            Err(reason) => println!("servers: skipped {folder}: {reason}"),
        }
    }
    Ok(())
}

/// Installs Debian's packages that are missing.
fn packages() -> Result {
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| host::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !Path::new("/usr/lib/python3/dist-packages/requests").is_dir() {
        missing.push("python3-requests");
    }
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/etc/debian_version").exists() || !host::is_root() {
        return Err(format!("install by hand: {}", missing.join(" ")).into());
    }
    eprintln!("servers: installing {}", missing.join(" "));
    let apt = |args: &[&str]| {
        let mut command = host::tool("apt-get");
        host::run(command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(args))
    };
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(missing);
    apt(&install).or_else(|_| {
        apt(&["update"])?;
        apt(&install)
    })
}

/// Installs a package of Python's into a folder of its own; gives one of its programs.
fn python_package(package: &str, folder: &str, program: &str) -> Result<PathBuf> {
    let folder = host::cache()?.join(folder);
    let program = folder.join("bin").join(program);
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("servers: installing {package}");
    host::run(host::tool("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = host::tool(folder.join("bin/pip"));
    host::run(pip.args(["--quiet", "--disable-pip-version-check", "install", package]))?;
    Ok(program)
}
