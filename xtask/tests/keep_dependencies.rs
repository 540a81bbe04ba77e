// SPDX-License-Identifier: Apache-2.0

//! What must never become part of a program of a Keep.
//!
//! `cargo deny` looks at the workspace as a whole, whose services may use C; so whether a Keep is free
//! of it is asked for each of its programs here.

use std::process::Command;

/// Libraries in C or assembly that nobody verified, what builds such, and what only a host needs.
const FORBIDDEN: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "cc",
    "cmake",
    "openssl-sys",
    "reqwest",
    "ring",
    "rsa-sys",
    "rustls-native-certs",
    "tracing-subscriber",
];

fn tree(package: &str, features: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}"])
        .args(["--package", package, "--features", features])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    text.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
}

#[test]
fn no_program_of_a_keep_contains_c_or_host_libraries() {
    for (package, features) in
        [("keep-kernel", "keep"), ("keep-runtime", "program"), ("keep-compiler", "program")]
    {
        let crates = tree(package, features);
        assert!(crates.len() > 3, "{package}: {crates:?}");
        for name in FORBIDDEN {
            assert!(!crates.iter().any(|one| one == name), "{package} contains {name}");
        }
    }
    // That the question can be answered with yes.
    assert!(tree("steward", "default").iter().any(|one| one == "aws-lc-sys"));
}
