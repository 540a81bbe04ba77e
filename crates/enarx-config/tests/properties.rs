// SPDX-License-Identifier: Apache-2.0

//! What must hold for every input: no panic, places that exist, and nothing lost on the way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use enarx_config::{Config, Connect, File, FileKind, Listen, Peer, Prot, StewardUrl};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use toml::{Table, Value};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        outcome_is_sound(&bytes);
    }

    #[test]
    fn pieces_of_the_grammar_never_panic(pieces in vec(piece(), 0..40)) {
        outcome_is_sound(pieces.concat().as_bytes());
    }

    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), with in "\\PC{0,3}") {
        let mut text: Vec<char> = SOUND.chars().collect();
        let at = at.index(text.len());
        text.splice(at..=at, with.chars());
        outcome_is_sound(text.into_iter().collect::<String>().as_bytes());
    }

    #[test]
    fn what_is_written_is_read(config in config()) {
        let text = write(&config);
        let read = Config::parse(&text, "Enarx.toml").map_err(|error| {
            TestCaseError::fail(format!("{error}\n{text}"))
        })?;
        prop_assert_eq!(read.files, config.files);
        prop_assert_eq!(read.args, config.args);
        prop_assert_eq!(read.env, config.env);
        prop_assert_eq!(read.steward, config.steward);
    }

    #[test]
    fn names_can_be_told_apart_again(config in config()) {
        let [(_, count), (_, names)] = config.stdio_environment();
        let count: usize = count.parse().unwrap();
        let split: Vec<&str> = if count == 0 { vec![] } else { names.split(':').collect() };
        prop_assert_eq!(split, config.files.iter().map(File::name).collect::<Vec<_>>());
    }
}

const SOUND: &str = "steward = \"https://a.example\"\nargs = [\"a\"]\nfiles = [{ kind = \"null\" }]\n\
    [[files]]\nkind = \"connect\"\nhost = \"::1\"\nname = \"a\"\nport = 1\n[env]\nA = \"b\"\n";

/// Each diagnostic of a refusal points into the text, and the rendering is fit for a terminal.
fn outcome_is_sound(bytes: &[u8]) {
    let Err(error) = Config::parse_bytes(bytes, "Enarx.toml") else { return };
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(!error.diagnostics().is_empty());
    for fault in error.diagnostics() {
        let line = lines.get(fault.line - 1).expect("the line exists");
        assert!((1..=line.chars().count() + 1).contains(&fault.column), "{error}");
    }
    assert!(error.diagnostics().is_sorted_by_key(|fault| (fault.line, fault.column)));
    assert!(error.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{error:?}");
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "steward",
        "args",
        "env",
        "files",
        "kind",
        "name",
        "prot",
        "addr",
        "host",
        "port",
        "[env]",
        "[[files]]",
        "\n",
        "\r\n",
        " = ",
        "=",
        ".",
        ",",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "'''",
        "\"\"\"",
        "#",
        "'null'",
        "'stdin'",
        "'stdout'",
        "'listen'",
        "'connect'",
        "'tls'",
        "'::1'",
        "'https://a'",
        "443",
        "-0",
        "1e400",
        "nan",
        "true",
        "1979-05-27",
        "\\",
        "\\u0000",
        "ü",
        "\u{feff}",
        "\u{202e}",
        "\t",
        "FD_COUNT",
        "0x",
        "1_000",
    ])
}

fn config() -> impl Strategy<Value = Config> {
    let text = "[^\0]{0,12}";
    let key = "[^=\0]{1,8}".prop_filter("reserved", |key| !key.starts_with("FD_"));
    (
        prop::option::of("https://[a-z]{1,8}\\.example(:[1-9][0-9]{1,3})?(/[a-z0-9.]{0,5})?"),
        vec(text, 0..4),
        btree_map(key, text, 0..4).prop_map(|map| map.into_iter().collect::<Vec<_>>()),
        vec(any::<prop::sample::Index>(), 4),
        vec(entry(), 0..6),
    )
        .prop_map(|(steward, args, mut env, order, files)| {
            // Not the order in which a sorted table would give them back.
            for (at, other) in order.iter().enumerate().take(env.len()) {
                let other = other.index(env.len());
                env.swap(at, other);
            }
            let mut config = Config::default();
            config.steward = steward.map(|url| StewardUrl::parse(&url).unwrap());
            config.args = args;
            config.env = env;
            let mut names = BTreeSet::new();
            config.files = files;
            config.files.retain(|file| names.insert(file.name().to_owned()));
            config
        })
}

fn entry() -> impl Strategy<Value = File> {
    let kind = prop::sample::select(FileKind::ALL.to_vec());
    let prot = prop::sample::select(Prot::ALL.to_vec());
    let host = prop_oneof![
        "[a-z0-9_]{1,9}\\.[a-z]{2,5}",
        any::<IpAddr>().prop_map(|addr| addr.to_string())
    ];
    (kind, "[^:\0]{1,8}", prot, any::<IpAddr>(), host, 1..=u16::MAX).prop_map(
        |(kind, name, prot, addr, host, port)| match kind {
            FileKind::Null => File::Null { name },
            FileKind::Stdin => File::Stdin { name },
            FileKind::Stdout => File::Stdout { name },
            FileKind::Stderr => File::Stderr { name },
            FileKind::Listen => File::Listen(Listen { prot, ..Listen::new(name, addr, port) }),
            FileKind::Connect => {
                let peer = Peer { prot, ..Peer::new(host, port) };
                File::Connect(Connect { name, peer })
            }
        },
    )
}

/// Writes a configuration by way of a TOML writer, so that quoting is not ours.
fn write(config: &Config) -> String {
    let mut text = String::new();
    let mut top = Table::new();
    if let Some(steward) = &config.steward {
        top.insert("steward".into(), steward.as_str().into());
    }
    top.insert("args".into(), config.args.clone().into());
    text.push_str(&top.to_string());
    for file in &config.files {
        let mut entry = Table::new();
        entry.insert("kind".into(), file.kind().as_str().into());
        entry.insert("name".into(), file.name().into());
        let mut socket = |prot: Prot, place: &str, value: String, port: u16| {
            entry.insert("prot".into(), prot.as_str().into());
            entry.insert(place.into(), value.into());
            entry.insert("port".into(), Value::Integer(port.into()));
        };
        match file {
            File::Listen(listen) => {
                socket(listen.prot, "addr", listen.addr.to_string(), listen.port);
            }
            File::Connect(Connect { peer, .. }) => {
                socket(peer.prot, "host", peer.host.clone(), peer.port);
            }
            _ => {}
        }
        text.push_str(&format!("[[files]]\n{entry}"));
    }
    text.push_str("[env]\n");
    for (key, value) in &config.env {
        // One variable at a time keeps their order.
        let mut variable = Table::new();
        variable.insert(key.clone(), value.clone().into());
        text.push_str(&variable.to_string());
    }
    text
}
