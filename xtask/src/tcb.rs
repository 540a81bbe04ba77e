// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask tcb`: writes the size of the trusted computing base into `docs/tcb.md`.
//!
//! What a tenant has to trust should be a number that anybody can count again. So the rules are
//! simple enough to follow by hand: a line counts unless it is blank or all comment, tests and what
//! only tests use do not count, and `unsafe` is counted as a word. With `--check` nothing is
//! written, and what is written must be true. A test checks all but the images, which that takes a
//! build of `enarx` for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::{Result, host};

/// More lines than this in kernel, stub and what is special about a platform are an error, for each.
const PLATFORM_LIMIT: usize = 9_000;

/// If less of a platform's kernel than this, in percent, is the same everywhere, that is an error too.
const SHARE_LIMIT: f64 = 85.0;

/// The platforms, and the parts of the kernel that run there beside those that run everywhere.
const PLATFORMS: [(&str, &[&str]); 3] =
    [("kvm", &["stub", "frames"]), ("snp", &["stub", "frames", "snp"]), ("sgx", &["sgx"])];

/// How far an image may be from what is written before that counts as stale: a compiler of another
/// version makes another image.
const SIZE_TOLERANCE: f64 = 0.05;

/// A part of the trusted computing base.
struct Part {
    name: &'static str,
    what: &'static str,
    crates: &'static [&'static str],
    /// Files of other crates that belong to it.
    files: &'static [&'static str],
    /// Files and folders that belong to another part, or to none.
    except: &'static [&'static str],
}

/// What runs in virtual machines only: where an enclave accepts pages, they have frames.
const FRAMES: [&str; 3] =
    ["keep-kernel/src/keep/platform/vm.rs", "keep-mm/src/chunks.rs", "keep-mm/src/frames.rs"];
/// What SEV-SNP adds to the kernel, beside a crate.
const SNP: [&str; 2] = ["keep-kernel/src/keep/platform/snp.rs", "keep-layout/src/snp.rs"];
/// What SGX adds to the kernel, beside a crate.
const SGX: [&str; 4] = [
    "keep-kernel/src/keep/enclave.s",
    "keep-kernel/src/keep/platform/sgx.rs",
    "keep-layout/src/enclave.rs",
    "keep-mm/src/accepted.rs",
];

const STUB: &str = "keep-kernel/src/keep/stub.s";

const PARTS: &[Part] = &[
    Part {
        name: "stub",
        what: "all that runs in ring 0",
        crates: &[],
        files: &[STUB],
        except: &[],
    },
    Part {
        name: "kernel",
        what: "system calls, exceptions, clocks, sockets",
        crates: &["keep-kernel"],
        files: &[],
        except: &[STUB],
    },
    Part {
        name: "kernel",
        what: "memory management",
        crates: &["keep-mm"],
        files: &[],
        except: &[],
    },
    Part { name: "kernel", what: "file system", crates: &["keep-fs"], files: &[], except: &[] },
    Part {
        name: "kernel",
        what: "map of addresses",
        crates: &["keep-layout"],
        files: &[],
        except: &[],
    },
    Part {
        name: "frames",
        what: "memory of virtual machines: frames, whole chunks",
        crates: &[],
        files: &FRAMES,
        except: &[],
    },
    Part {
        name: "snp",
        what: "SEV-SNP: hypervisor, firmware, validated memory",
        crates: &["snp-guest"],
        files: &SNP,
        // What firmware and hypervisor say, and the state that a launch starts from.
        except: &["snp-guest/src/host", "snp-guest/src/vmsa.rs"],
    },
    Part {
        name: "sgx",
        what: "SGX: entry and exit, accepted memory, reports",
        crates: &["sgx-guest"],
        files: &SGX,
        // What processor and host do.
        except: &["sgx-guest/src/host"],
    },
    Part {
        name: "protocol",
        what: "both ends of the host calls",
        crates: &["sallyport"],
        files: &[],
        except: &[],
    },
    Part {
        name: "runtime",
        what: "the program around Wasmtime",
        crates: &["keep-runtime", "keep-engine", "keep-artifact", "keep-launch"],
        files: &[],
        except: &[],
    },
    Part {
        name: "compiler",
        what: "the program around Cranelift, in a Keep of its own",
        crates: &["keep-compiler"],
        files: &[],
        except: &[],
    },
];

/// Packages that become programs, and the features that they are built with.
const PROGRAMS: &[(&str, &str)] =
    &[("keep-kernel", "keep"), ("keep-runtime", "program"), ("keep-compiler", "program")];

/// What counting finds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    files: usize,
    lines: usize,
    uses_of_unsafe: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.lines += other.lines;
        self.uses_of_unsafe += other.uses_of_unsafe;
    }
}

/// Counts one file of Rust, assembly or linker script.
fn count(text: &str, extension: &str) -> Count {
    let mut count = Count { files: 1, ..Count::default() };
    let comment = if extension == "s" { "#" } else { "//" };
    let mut lines = text.lines().peekable();
    let mut in_block_comment = false;
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if extension == "ld" {
            in_block_comment |= trimmed.starts_with("/*");
            if in_block_comment {
                in_block_comment = !trimmed.ends_with("*/");
                continue;
            }
        }
        if trimmed.is_empty() || trimmed.starts_with(comment) {
            continue;
        }
        // The last is what only hosts and launches use.
        let elsewhere = [
            "#[cfg(test)]",
            "#[cfg(any(test, feature = \"testing\"))]",
            "#[cfg(feature = \"host\")]",
        ];
        if elsewhere.contains(&trimmed) {
            skip_item(line, &mut lines);
            continue;
        }
        count.lines += 1;
        let code = trimmed.split(" // ").next().unwrap_or_default();
        count.uses_of_unsafe += code
            .replace("#[unsafe(", "")
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| *word == "unsafe")
            .count();
    }
    count
}

/// Skips what an attribute at the indentation of `attribute` belongs to: up to the line that closes
/// it there, or ends it.
fn skip_item<'a>(attribute: &str, lines: &mut impl Iterator<Item = &'a str>) {
    let indentation = attribute.len() - attribute.trim_start().len();
    for line in lines {
        let at_level = line.len() - line.trim_start().len() == indentation;
        let trimmed = line.trim();
        if at_level && !trimmed.starts_with("#[") && (trimmed == "}" || trimmed.ends_with(';')) {
            return;
        }
    }
}

/// Counts a part, file by file.
fn measure(part: &Part, crates: &Path) -> Result<Count> {
    let mut sum = Count::default();
    let special: Vec<&str> = FRAMES.iter().chain(&SNP).chain(&SGX).copied().collect();
    for file in part.files {
        let extension = file.rsplit('.').next().unwrap_or_default();
        sum.add(count(&std::fs::read_to_string(crates.join(file))?, extension));
    }
    for name in part.crates {
        for file in host::files_below(&crates.join(name).join("src"))? {
            let inside = file.strip_prefix(crates).unwrap_or(&file);
            let is_test = inside.iter().any(|c| c == "tests" || c == "testing" || c == "tests.rs");
            let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if is_test
                || special.iter().any(|e| !part.files.contains(e) && inside.starts_with(e))
                || part.except.iter().any(|e| inside.starts_with(e))
                || !["rs", "s", "ld"].contains(&extension)
            {
                continue;
            }
            sum.add(count(&std::fs::read_to_string(&file)?, extension));
        }
    }
    Ok(sum)
}

/// Crates that a program is made of: ours, and others. Without macros and build scripts, which run
/// when it is built.
fn crates_of(package: &str, features: &str) -> Result<(usize, usize)> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--locked", "--prefix=none", "--edges=normal,no-proc-macro"]);
    cargo.args(["--target=x86_64-unknown-linux-gnu", "--package", package, "--features", features]);
    let tree = host::output(cargo.current_dir(host::root()))?;
    let lines: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let ours = lines.iter().filter(|line| line.ends_with(')')).count();
    Ok((ours, lines.len() - ours))
}

/// Sizes in bytes of what `enarx measure` measures: backend, program, size.
fn images() -> Result<Vec<(String, String, u64)>> {
    let text = host::output(Command::new(host::enarx()?).args(["measure", "--json"]))?;
    let json: serde_json::Value = serde_json::from_str(&text)?;
    let list = json["measurements"].as_array().ok_or("`enarx measure` measured nothing")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(list
        .iter()
        .map(|m| (text(&m["backend"]), text(&m["program"]), m["size"].as_u64().unwrap_or(0)))
        .collect())
}

/// The tables of lines; an error if there are more than there may be, or too few in common.
fn lines() -> Result<String> {
    let crates = host::root().join("crates");
    let mut text = String::from("| part | what it is | crates | files | lines | `unsafe` |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    let mut sums = BTreeMap::<&str, usize>::new();
    for part in PARTS {
        let Count { files, lines, uses_of_unsafe } = measure(part, &crates)?;
        *sums.entry(part.name).or_default() += lines;
        let names: Vec<_> =
            part.crates.iter().chain(part.files).map(|name| format!("`{name}`")).collect();
        writeln!(
            text,
            "| {} | {} | {} | {files} | {lines} | {uses_of_unsafe} |",
            part.name,
            part.what,
            names.join(", ")
        )?;
    }
    let sum = |name: &str| sums.get(name).copied().unwrap_or_default();
    let kernel = sum("kernel");
    text.push_str("\n| platform | kernel everywhere | and there | together | everywhere |\n");
    text.push_str("|---|---|---|---|---|\n");
    let mut over = Vec::new();
    for (name, parts) in PLATFORMS {
        let special: usize = parts.iter().map(|part| sum(part)).sum();
        let together = kernel + special;
        let share = 100.0 * kernel as f64 / together as f64;
        let parts = parts.join(", ");
        writeln!(
            text,
            "| `{name}` | {kernel} | {parts}: {special} | **{together}** | {share:.1} % |"
        )?;
        if together > PLATFORM_LIMIT {
            over.push(format!("{name} has {together} lines, not {PLATFORM_LIMIT}"));
        }
        if share < SHARE_LIMIT {
            over.push(format!("{name} has {share:.1} % in common, not {SHARE_LIMIT}"));
        }
    }
    writeln!(
        text,
        "\nFor each platform there are at most {PLATFORM_LIMIT} lines, and at least {SHARE_LIMIT} % of \
         them are the same everywhere."
    )?;
    if over.is_empty() { Ok(text) } else { Err(format!("{}\n\n{text}", over.join("; ")).into()) }
}

fn crates() -> Result<String> {
    let mut text = String::from("| program | our crates | other crates |\n|---|---|---|\n");
    for (package, features) in PROGRAMS {
        let (ours, others) = crates_of(package, features)?;
        writeln!(text, "| `{package}` | {ours} | {others} |")?;
    }
    Ok(text)
}

fn sizes(images: &[(String, String, u64)]) -> Result<String> {
    let mut text = String::from("| backend | program | bytes |\n|---|---|---|\n");
    for (backend, program, size) in images {
        writeln!(text, "| `{backend}` | {program} | {size} |")?;
    }
    Ok(text)
}

/// Whether each image is about as large as the document says.
fn check_sizes(document: &str, images: &[(String, String, u64)]) -> Result {
    for (backend, program, size) in images {
        let row = format!("| `{backend}` | {program} | ");
        let written = document
            .lines()
            .find_map(|line| line.strip_prefix(&row)?.strip_suffix(" |")?.parse::<f64>().ok())
            .ok_or_else(|| format!("docs/tcb.md has no size of {backend} {program}"))?;
        let now = *size as f64;
        if (now - written).abs() > written * SIZE_TOLERANCE {
            return Err(format!("the {program} of {backend} has {now} bytes, not {written}").into());
        }
    }
    Ok(())
}

/// Compares all that can be known without a build.
fn check_counts(document: &str) -> Result {
    for (name, text) in [("lines", lines()?), ("crates", crates()?)] {
        if !document.contains(text.trim()) {
            return Err(format!(
                "docs/tcb.md is stale: run `cargo xtask tcb`. The table of {name} is now\n\n{text}"
            )
            .into());
        }
    }
    Ok(())
}

pub(crate) fn main(args: &[String]) -> Result {
    let file = host::root().join("docs/tcb.md");
    let images = images()?;
    if args.iter().any(|arg| arg == "--check") {
        let document = std::fs::read_to_string(&file)?;
        check_counts(&document)?;
        return check_sizes(&document, &images);
    }
    host::replace_block(&file, "lines", &lines()?)?;
    host::replace_block(&file, "crates", &crates()?)?;
    host::replace_block(&file, "sizes", &sizes(&images)?)?;
    println!("docs/tcb.md is written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_not_stale_and_the_kernel_within_its_limit() {
        let document = std::fs::read_to_string(host::root().join("docs/tcb.md")).unwrap();
        check_counts(&document).unwrap();
    }

    #[test]
    fn comments_blank_lines_and_tests_do_not_count() {
        let text = "//! Header.\n\nfn a() {\n    // why\n    b(); // and why\n}\n\n#[cfg(test)]\n\
            mod tests {\n    fn c() {\n        d();\n    }\n}\n\n#[cfg(test)]\nmod more;\nfn e() {}\n";
        assert_eq!(count(text, "rs"), Count { files: 1, lines: 4, uses_of_unsafe: 0 });
    }

    #[test]
    fn unsafe_counts_where_it_is_code() {
        let text = "#![forbid(unsafe_code)]\nunsafe impl Send for A {}\nlet a = unsafe { b() };\n\
            #[unsafe(no_mangle)]\nunsafe fn c() {} // unsafe\n/// unsafe\n";
        assert_eq!(count(text, "rs").uses_of_unsafe, 3);
    }

    #[test]
    fn assembly_and_linker_scripts_have_comments_of_their_own() {
        assert_eq!(count("# why\n    nop\n\n1:  ret # back\n", "s").lines, 2);
        assert_eq!(count("/* why\n * and */\nSECTIONS {\n}\n", "ld").lines, 2);
    }

    #[test]
    fn a_size_may_differ_a_little() {
        let image = |size| vec![("kvm".to_owned(), "runtime".to_owned(), size)];
        let document = sizes(&image(1_000)).unwrap();
        check_sizes(&document, &image(1_040)).unwrap();
        check_sizes(&document, &image(1_060)).unwrap_err();
        check_sizes(&document, &[("nil".into(), "runtime".into(), 1_000)]).unwrap_err();
    }
}
