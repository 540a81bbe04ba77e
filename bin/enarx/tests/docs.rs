// SPDX-License-Identifier: Apache-2.0

//! Runs every command of the README and of `docs/`, so that none is published that does not work.
//!
//! Each block marked `sh` is given to a shell as it stands, those of one page one after another in
//! one fresh folder that has `examples/` in it. It must succeed, and if a block marked `text`
//! follows at once, print just that. Two kinds of lines are not given to the shell: `cargo run` of
//! `enarx`, which is replaced by the program under test, and the chores in [`NOT_RUN`], each with the
//! reason why not.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Scratch, enarx, show, text};

/// The first words of commands that are not run here, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo xtask test", "it is what runs this test"),
    ("cargo build --release", "this test was built by Cargo, which holds the lock"),
    ("cargo fmt", "it is a step of `cargo xtask test`"),
    ("cargo clippy", "it is a step of `cargo xtask test`"),
    ("cargo test", "it is what runs this test"),
    ("cargo xtask bench", "it takes an hour on an idle machine"),
    ("cargo xtask drawbridge", "it measures for minutes on an idle machine"),
    ("cargo xtask guests", "it is a step of `cargo xtask test`"),
    ("cargo xtask programs", "it downloads hundreds of megabytes"),
    ("cargo xtask servers", "it downloads programs of others"),
    ("cargo xtask soak", "it takes an hour"),
    ("cargo xtask tcb", "its check is a step of `cargo xtask test`"),
    ("cargo xtask testsuite", "it is a step of `cargo xtask test` where the suite is"),
];

/// What stands for the program under test in the README.
const RUN: &str = "cargo run --release -p enarx -- ";

/// A block of commands, and what it prints if the page says so.
struct Block {
    line: usize,
    script: String,
    printed: Option<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = page.lines().enumerate();
    // Whether the line before closed a block of commands.
    let mut behind = false;
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            behind = false;
            continue;
        };
        let body: String = lines
            .by_ref()
            .take_while(|(_, line)| *line != "```")
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        match kind {
            "sh" => blocks.push(Block { line: number + 1, script: body, printed: None }),
            "text" if behind => {
                if let Some(block) = blocks.last_mut() {
                    block.printed = Some(body);
                }
            }
            _ => {}
        }
        behind = kind == "sh";
    }
    blocks
}

/// The block as it is given to the shell.
fn script(block: &Block) -> String {
    let mut script = String::from("exec 2>&1\n");
    for line in block.script.lines() {
        if let Some((what, why)) = NOT_RUN.iter().find(|(start, _)| line.starts_with(start)) {
            eprintln!("not run: {what}: {why}");
            continue;
        }
        let line = line.strip_prefix(RUN).map_or(line.to_owned(), |rest| format!("enarx {rest}"));
        assert!(!line.starts_with("cargo "), "neither run nor listed as not run: {line}");
        script.push_str(&line);
        script.push('\n');
    }
    script
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Runs all blocks of a page; how many there are.
fn run(page: &Path) -> usize {
    let content = fs::read_to_string(page).unwrap();
    let blocks = blocks(&content);
    let folder = Scratch::new();
    copy(&root().join("examples"), &folder.path().join("examples"));
    // `enarx` with a clean environment, turned into a shell that finds it.
    let program = enarx();
    let bin = Path::new(program.get_program()).parent().unwrap().to_owned();
    let old = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&old))).unwrap();
    for block in &blocks {
        let mut shell = std::process::Command::new("sh");
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let home = folder.path().join("home");
        shell.env("HOME", &home).env("PATH", &path);
        shell.env("XDG_CACHE_HOME", home.join("cache")).env("XDG_DATA_HOME", home.join("data"));
        shell.args(["-eu", "-c", &script(block)]).current_dir(folder.path());
        let out = shell.stdin(std::process::Stdio::null()).output().unwrap();
        let place = format!("{}:{}", page.display(), block.line);
        assert!(out.status.success(), "{place}:\n{}\n{}", block.script, show(&out));
        if let Some(printed) = &block.printed {
            // The pages are written on a machine that has the better of the two.
            let got = text(&out.stdout)
                .replace("running on the nil backend", "running on the kvm backend");
            assert_eq!(&got, printed, "{place}:\n{}", block.script);
        }
    }
    blocks.len()
}

#[test]
fn commands_of_the_pages_at_the_top() {
    assert!(run(&root().join("README.md")) >= 7);
    for page in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"] {
        run(&root().join(page));
    }
}

#[test]
fn commands_of_the_pages_in_docs() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "md") {
            count += run(&path);
        }
    }
    assert!(count >= 8, "only {count} blocks were found");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md")];
    pages.extend(["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root().join(name)));
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    for page in pages.iter().filter(|page| page.extension().is_some_and(|e| e == "md")) {
        let content = fs::read_to_string(page).unwrap();
        for part in content.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(['[', '\n', '`']) {
                continue;
            }
            let file = page.parent().unwrap().join(target);
            assert!(file.exists(), "{} links to {target}", page.display());
        }
    }
}

#[test]
fn blocks_and_what_they_print_are_told_apart() {
    let page =
        "```sh\na\nb\n```\n```text\nc\n```\n\n```text\nd\n```\n```sh\ne\n```\n\n```text\nf\n```\n";
    let blocks = blocks(page);
    let found: Vec<_> = blocks.iter().map(|b| (b.line, &*b.script, b.printed.as_deref())).collect();
    assert_eq!(found, [(1, "a\nb\n", Some("c\n")), (12, "e\n", None)]);
}
