// SPDX-License-Identifier: Apache-2.0

//! The commands that need no Keep: config, platform, measure, cache, completions, man, and usage.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{Scratch, enarx, enarx_in, show, text};

fn ok(args: &[&str]) -> String {
    let out = enarx().args(args).output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", show(&out));
    text(&out.stdout)
}

fn code(args: &[&str]) -> (Option<i32>, String) {
    let out = enarx().args(args).output().unwrap();
    (out.status.code(), text(&out.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn help_and_version() {
    assert!(ok(&["--version"]).starts_with("enarx 0."));
    for command in ["run", "config", "platform", "measure", "cache", "completions", "man"] {
        assert!(ok(&["--help"]).contains(command), "{command}");
        assert!(ok(&[command, "--help"]).contains("Usage: enarx"), "{command}");
    }
    let help = ok(&["run", "--help"]);
    for promised in ["Exit codes:", "124", "134", "--timeout", "--dir", "ENARX_BACKEND"] {
        assert!(help.contains(promised), "{promised}");
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    for args in [
        &["nonsense"][..],
        &[],
        &["run"],
        &["run", "--backend", "nonsense", "x.wasm"],
        &["run", "--memory", "lots", "x.wasm"],
        &["run", "--timeout", "30", "x.wasm"],
        &["run", "--env", "=x", "x.wasm"],
        &["run", "--dir", "::/", "x.wasm"],
        &["run", "x.wasm", "y"],
        &["--log-filter", "[[[", "cache", "info"],
    ] {
        let (code, message) = code(args);
        assert_eq!(code, Some(2), "{args:?}: {message}");
        assert!(!message.is_empty(), "{args:?}");
    }
}

mod config {
    use super::*;

    #[test]
    fn init_writes_a_valid_file_once() {
        let scratch = Scratch::new();
        let file = scratch.path().join("Enarx.toml");
        ok(&["config", "init", path(&file)]);
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.contains("[[files]]"));
        ok(&["config", "check", path(&file)]);

        fs::write(&file, "args = []").unwrap();
        let (code, message) = code(&["config", "init", path(&file)]);
        assert_eq!(code, Some(121), "{message}");
        assert!(message.contains("exists already"), "{message}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "args = []", "the file was overwritten");
    }

    #[test]
    fn init_and_check_know_the_usual_name() {
        let scratch = Scratch::new();
        for command in ["init", "check"] {
            let out =
                enarx().args(["config", command]).current_dir(scratch.path()).output().unwrap();
            assert!(out.status.success(), "{}", show(&out));
        }
        assert!(scratch.path().join("Enarx.toml").is_file());
    }

    #[test]
    fn faults_are_shown_with_their_place() {
        let scratch = Scratch::new();
        let file = scratch.file("bad.toml", "args = [1]\nstewart = \"x\"\n");
        let (code, message) = code(&["config", "check", path(&file)]);
        assert_eq!(code, Some(121));
        assert!(message.contains("bad.toml:1:9"), "{message}");
        assert!(message.contains("bad.toml:2:1"), "{message}");
        assert!(message.contains("steward"), "no hint: {message}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let (code, message) = code(&["config", "check", "/does/not/exist.toml"]);
        assert_eq!(code, Some(121));
        assert!(message.contains("/does/not/exist.toml"), "{message}");
    }

    #[test]
    fn schema_is_json() {
        let schema: serde_json::Value = serde_json::from_str(&ok(&["config", "schema"])).unwrap();
        assert!(schema["properties"]["files"].is_object(), "{schema}");
    }
}

mod platform {
    use super::*;

    #[test]
    fn json_has_the_published_shape() {
        let info: serde_json::Value =
            serde_json::from_str(&ok(&["platform", "info", "--json"])).unwrap();
        assert!(info["version"].is_string());
        assert!(info["system_info"].is_string());
        let backends = info["backends"].as_array().unwrap();
        assert!(backends.iter().any(|backend| backend["backend"] == "nil"));
        for backend in backends {
            for datum in backend["data"].as_array().unwrap() {
                assert!(datum["name"].is_string());
                let pass = datum["pass"].as_bool().unwrap();
                assert!(pass || datum["mesg"].is_string(), "{datum} fails without a remedy");
                assert!(datum["data"].is_array());
                assert_ne!(datum["info"], "null", "a missing value is not a string");
                assert_ne!(datum["mesg"], "null", "a missing value is not a string");
            }
        }
        assert_eq!(ok(&["platform", "info", "-j"]), ok(&["platform", "info", "--json"]));
    }

    #[test]
    fn table_names_each_backend_and_has_no_colour_in_a_pipe() {
        let table = ok(&["platform", "info"]);
        assert!(table.contains("\nnil: works, not confidential\n"), "{table}");
        assert!(!table.contains('\x1b'), "{table:?}");
    }
}

mod measure {
    use super::*;

    #[test]
    fn both_programs_are_measured_and_the_two_forms_agree() {
        let json: serde_json::Value =
            serde_json::from_str(&ok(&["measure", "--backend", "nil", "--json"])).unwrap();
        let text = ok(&["measure", "--backend", "nil"]);
        let lines = json["measurements"].as_array().unwrap();
        assert_eq!(lines.len(), 2);
        for line in lines {
            assert_eq!(line["backend"], "nil");
            assert_eq!(line["algorithm"], "sha384/elf");
            let digest = line["digest"].as_str().unwrap();
            assert_eq!(digest.len(), 96);
            assert!(text.contains(digest), "{text}");
        }
        assert_ne!(lines[0]["digest"], lines[1]["digest"]);
    }

    #[test]
    fn is_the_same_each_time() {
        for more in [&[][..], &["--backend", "snp"], &["--backend", "sgx"]] {
            let arguments = [&["measure", "--json"], more].concat();
            assert_eq!(ok(&arguments), ok(&arguments));
        }
    }

    fn lines(arguments: &[&str]) -> Vec<serde_json::Value> {
        let arguments = [&["measure", "--json", "--backend"], arguments].concat();
        let json: serde_json::Value = serde_json::from_str(&ok(&arguments)).unwrap();
        json["measurements"].as_array().unwrap().clone()
    }

    #[test]
    fn hardware_measures_the_image_of_the_virtual_machine() {
        for (hardware, algorithm, digits) in
            [("snp", "sha384/snp-launch-digest", 96), ("sgx", "sha256/mrenclave", 64)]
        {
            let found = lines(&[hardware]);
            assert_eq!(found.len(), 2);
            assert_ne!(found[0]["digest"], found[1]["digest"]);
            for line in &found {
                assert_eq!(
                    (&line["backend"], &line["algorithm"]),
                    (&hardware.into(), &algorithm.into())
                );
                assert_eq!(line["digest"].as_str().unwrap().len(), digits);
                assert!(line["size"].as_u64().unwrap() > 1 << 20);
                assert!(line["signed"].is_null());
            }
            if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
                for (line, machine) in found.iter().zip(lines(&["kvm"])) {
                    let (algorithm, digest) = (&machine["algorithm"], &machine["digest"]);
                    let image = [algorithm, digest].map(|text| text.as_str().unwrap()).join(":");
                    assert_eq!(line["image"], image);
                }
            }
            let text = ok(&["measure", "--backend", hardware]);
            assert!(found.iter().all(|line| text.contains(line["digest"].as_str().unwrap())));
        }
    }

    #[test]
    fn processors_and_c_bit_count() {
        let digest = |more: &[&str]| {
            let mut line = lines(&[&["snp", "--program", "runtime"], more].concat()).remove(0);
            line["digest"].take()
        };
        let first = digest(&[]);
        assert_eq!(digest(&["--processors", "7", "--c-bit", "51"]), first);
        let others = [digest(&["--processors", "2"]), digest(&["--c-bit", "47"])];
        assert!(others[0] != others[1] && !others.contains(&first), "{first} {others:?}");
    }
}

mod cache {
    use super::*;

    fn output(home: &Path, args: &[&str]) -> Output {
        enarx_in(home).args(args).output().unwrap()
    }

    #[test]
    fn info_and_clear_of_an_empty_one() {
        let scratch = Scratch::new();
        let out = output(scratch.path(), &["cache", "info", "--json"]);
        let info: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(info["artifacts"], 0);
        assert_eq!(info["bytes"], 0);
        assert_eq!(info["limit"], 2_u64 << 30);
        assert_eq!(info["path"], path(&scratch.path().join("cache/enarx")));
        let out = output(scratch.path(), &["cache", "clear"]);
        assert_eq!(text(&out.stdout), "removed 0 artifacts, 0 B\n");
    }

    #[test]
    fn limit_comes_from_the_environment() {
        let scratch = Scratch::new();
        let with = |size: &str| {
            let mut command = enarx_in(scratch.path());
            command.env("ENARX_CACHE_SIZE", size).args(["cache", "info"]);
            command.output().unwrap()
        };
        assert!(text(&with("3GiB").stdout).contains("3.0 GiB"));
        assert_eq!(with("much").status.code(), Some(2));
    }

    #[test]
    fn without_a_home_there_is_a_message() {
        let out = enarx()
            .args(["cache", "info"])
            .env_remove("HOME")
            .env("XDG_CACHE_HOME", "relative")
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(120), "{}", show(&out));
        assert!(text(&out.stderr).contains("XDG_CACHE_HOME"));
    }
}

mod manual {
    use super::*;

    #[test]
    fn there_are_completions_for_every_shell() {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let script = ok(&["completions", shell]);
            assert!(script.contains("enarx") && script.contains("backend"), "{shell}");
        }
        assert_eq!(code(&["completions", "nonsense"]).0, Some(2));
    }

    #[test]
    fn bash_accepts_its_script() {
        let scratch = Scratch::new();
        let file = scratch.file("enarx.bash", ok(&["completions", "bash"]));
        match std::process::Command::new("bash").arg("-n").arg(file).status() {
            Ok(status) => assert!(status.success()),
            Err(error) => eprintln!("skipped: there is no bash: {error}"),
        }
    }

    #[test]
    fn there_is_a_page_for_every_command() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("man1");
        ok(&["man", path(&folder)]);
        for page in ["enarx.1", "enarx-run.1", "enarx-config-check.1", "enarx-platform-info.1"] {
            let page = fs::read_to_string(folder.join(page)).unwrap();
            assert!(page.contains(".TH enarx"), "{page}");
        }
        let run = fs::read_to_string(folder.join("enarx-run.1")).unwrap();
        assert!(run.contains("Exit codes"), "the manual lacks the exit codes");
        assert!(ok(&["man"]).contains(".TH enarx"));
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        let mut child = enarx()
            .args(["completions", "bash"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", show(&out));
        assert!(out.stderr.is_empty());
    }
}
