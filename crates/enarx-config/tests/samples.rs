// SPDX-License-Identifier: Apache-2.0

//! What is accepted with which meaning, and what is refused where and with which words.

use std::net::{IpAddr, Ipv4Addr};

use std::time::Duration;

use enarx_config::{
    ClientAuth, CompilerPolicy, Config, ConfigError, Connect, File, FileKind, Listen, LoadError,
    MAX_SIZE, NetworkPolicy, Peer, Prot, Root, Sealing, TEMPLATE, Timeouts, Trust,
};

fn good(source: &str) -> Config {
    Config::parse(source, "Enarx.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn bad(source: &str) -> ConfigError {
    Config::parse(source, "Enarx.toml").expect_err(source)
}

/// Asserts that there is exactly one fault, at this place, with these words in message and hint.
#[track_caller]
fn one(source: &str, line: usize, column: usize, message: &str, hint: &str) {
    let error = bad(source);
    let [fault] = error.diagnostics() else { panic!("one fault expected:\n{error}") };
    assert_eq!((fault.line, fault.column), (line, column), "{error}");
    assert!(fault.message.contains(message), "{error}");
    assert!(fault.hint.as_deref().unwrap_or_default().contains(hint), "{error}");
    assert_eq!(fault.hint.is_none(), hint.is_empty(), "{error}");
}

#[test]
fn everything_together() {
    let config = good(
        r#"
        steward = "https://steward.example.com"
        args = ["--a", "", "b c"]
        files = [
            { kind = "stdin" },
            { kind = "null", name = "nothing" },
            { kind = "stderr", name = "log" },
            { kind = "listen", name = "web", prot = "tcp", addr = "127.0.0.1", port = 0x1f90 },
            { kind = "connect", host = "db.example.com" },
        ]
        [env]
        ZED = "1"
        ALPHA = "two=2:ü"
        "with space" = ""
        "#,
    );
    assert_eq!(config.steward.as_ref().unwrap().as_str(), "https://steward.example.com");
    assert_eq!(config.args, ["--a", "", "b c"]);
    let env: Vec<_> = config.env.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(env, [("ZED", "1"), ("ALPHA", "two=2:ü"), ("with space", "")]);
    assert_eq!(
        config.files,
        [
            File::Stdin { name: "stdin".into() },
            File::Null { name: "nothing".into() },
            File::Stderr { name: "log".into() },
            File::Listen(Listen {
                prot: Prot::Tcp,
                ..Listen::new("web", IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)
            }),
            File::Connect(Connect {
                name: "db.example.com".into(),
                peer: Peer::new("db.example.com", 443),
            }),
        ]
    );
    assert_eq!(
        config.stdio_environment(),
        [
            ("FD_COUNT".into(), "5".into()),
            ("FD_NAMES".into(), "stdin:nothing:log:web:db.example.com".into()),
        ]
    );
    let sockets: Vec<_> = config.networking().map(|(fd, file)| (fd, file.kind())).collect();
    assert_eq!(sockets, [(3, FileKind::Listen), (4, FileKind::Connect)]);
    assert!(config.notes().is_empty());
}

#[test]
fn defaults() {
    let none = Config::default();
    let names: Vec<_> = none.files.iter().map(|file| (file.kind().as_str(), file.name())).collect();
    assert_eq!(names, [("stdin", "stdin"), ("stdout", "stdout"), ("stderr", "stderr")]);

    // As published: a file without `files` gives no descriptors.
    for source in ["", "\u{feff}", "# nothing\r\n", "files = []", "args = []\nenv = {}"] {
        let empty = good(source);
        assert!(empty.files.is_empty() && empty.args.is_empty() && empty.env.is_empty());
        assert_eq!(empty.steward, None);
        assert_eq!(
            empty.stdio_environment(),
            [("FD_COUNT".into(), "0".into()), ("FD_NAMES".into(), String::new())]
        );
        assert_eq!(empty.notes().len(), 1);
    }

    for (prot, expected) in [("", 443), ("prot = 'tls'", 443), ("prot = 'tcp'", 80)] {
        let config = good(&format!("[[files]]\nkind = 'listen'\nname = 'a'\n{prot}"));
        let [File::Listen(listen)] = &config.files[..] else { panic!("{config:?}") };
        assert_eq!((listen.addr, listen.port), (Listen::DEFAULT_ADDR, expected));
        let config = good(&format!("[[files]]\nkind = 'connect'\nhost = 'a'\n{prot}"));
        let [File::Connect(connect)] = &config.files[..] else { panic!("{config:?}") };
        assert_eq!(connect.peer.port, expected);
    }
}

#[test]
fn unnamed_placeholders_may_repeat() {
    let config = good("files = [{ kind = 'null' }, { kind = 'null' }, { kind = 'stdout' }]");
    assert_eq!(config.stdio_environment()[1].1, "null:null:stdout");
    let named = "files = [{ kind = 'null', name = 'a' }, { kind = 'null', name = 'a' }]";
    one(named, 1, 65, "`a` is taken", "`name` of its own");
}

#[test]
fn files_of_published_samples() {
    good(
        "steward = \"https://attest.profian.com\"\n\n[[files]]\nkind = \"stdin\"\n\n[[files]]\n\
          kind = \"listen\"\nport = 10020\nname = \"TCP_LISTEN\"\nprot = \"tcp\"\n",
    );
    good("args = [\n     \"7\",\n     \"21\"\n]\n[[files]]\nkind = \"stdout\"\n");
    good(
        "[[files]]\nname = \"CONNECT\"\nkind = \"connect\"\nprot = \"tcp\"\n\
          host = \"127.0.0.1\"\nport = 10010\n",
    );
    // This one was published with the wrong key and never worked.
    one(
        "[[files]]\nname = \"web\"\nkind = \"listen\"\nport = 50010\nprot = \"tcp\"\n\
         host = \"127.0.0.1\"",
        6,
        1,
        "unknown key `host` in a `listen` entry",
        "`listen` entries take `addr`",
    );
}

#[test]
fn unknown_keys() {
    one("stewart = 'https://a'", 1, 1, "unknown key `stewart`", "did you mean `steward`?");
    one("ARGS = []", 1, 1, "unknown key `ARGS`", "did you mean `args`?");
    one("volumes = []", 1, 1, "unknown key `volumes`", "`steward`, `args`, `env`, `files`,");
    one("[stdin]\nkind = 'host'", 1, 2, "unknown key `stdin`", "entries of `files`");
    one("[network.incoming.9000]\nprot = 'tls'", 1, 10, "unknown key `incoming`", "`names`");
    one("[[files]]\nkind = 'stdin'\nnane = 'a'", 3, 1, "unknown key `nane`", "`name`?");
    one("[[files]]\nkind = 'stdin'\nport = 1", 3, 1, "`port` in a `stdin` entry", "sockets");
    one(
        "[[files]]\nkind = 'connect'\nhost = 'a'\naddr = 'b'",
        4,
        1,
        "`addr` in a `connect` entry",
        "`connect` entries take `host`",
    );
    one(
        "[[files]]\nkind = 'stdin'\nargs = ['a']",
        3,
        1,
        "`args`",
        "above the first line with `[…]`",
    );
    one("[env]\nargs = ['a']", 2, 8, "must be a string, not an array", "above the first line");
    let long = "k".repeat(5000);
    one(&format!("{long} = 1"), 1, 1, "unknown key `kkk", "known are");
}

#[test]
fn wrong_types() {
    one("steward = 1", 1, 11, "`steward` must be a string, not an integer", "`\"1\"`");
    one("args = 'a'", 1, 8, "an array of strings, not a string", "args = [");
    one("args = ['a', 7]", 1, 14, "must be a string, not an integer", "`\"7\"`");
    one("args = [['a']]", 1, 9, "must be a string, not an array", "");
    one("env = ['A=b']", 1, 7, "a table of strings, not an array", "[env]");
    one("[env]\nPORT = 8080", 2, 8, "must be a string, not an integer", "`\"8080\"`");
    one("[env]\nA.B = 'c'", 2, 1, "must be a string, not a table", "");
    one("[env]\nA = 1979-05-27", 2, 5, "not a date or time", "");
    one("files = 'stdin'", 1, 9, "an array of tables, not a string", "");
    one("[files]\nkind = 'stdin'", 1, 1, "an array of tables, not a table", "[[files]]");
    one("files = ['stdin']", 1, 10, "must be a table", "{ kind = \"stdin\" }");
    one("[[files]]\nkind = true", 2, 8, "`kind` must be a string, not a boolean", "\"true\"");
    one("[[files]]\nkind = 'stdin'\nname = 1.5", 3, 8, "not a float", "`\"1.5\"`");
    let connect = "[[files]]\nkind = 'connect'\nhost = 'a'\n";
    one(&format!("{connect}port = '443'"), 4, 8, "must be an integer", "port = 443");
    one(&format!("{connect}prot = []"), 4, 8, "`prot` must be a string, not an array", "");
}

#[test]
fn bad_values() {
    one("steward = 'http://a'", 1, 11, "not `http://`", "TLS");
    one("steward = 'a'", 1, 11, "not a valid URL", "https://steward.example.com");
    one("args = [\"a\\u0000b\"]", 1, 9, "NUL", "");
    one("[env]\n\"A=B\" = ''", 2, 1, "must not contain `=`", "");
    one("[env]\n\"\" = ''", 2, 1, "must not be empty", "");
    one("[env]\n\"A\\u0000\" = ''", 2, 1, "NUL", "");
    one("[env]\nA = \"\\u0000\"", 2, 5, "NUL", "");
    one("[env]\nFD_COUNT = '3'", 2, 1, "set by Enarx", "remove it");
    one("[env]\nFD_NAMES = 'a'", 2, 1, "set by Enarx", "remove it");
    one("[[files]]\nkind = 'stdou'", 2, 8, "unknown kind `stdou`", "did you mean `stdout`?");
    one("[[files]]\nkind = 'file'", 2, 8, "unknown kind `file`", "`null`, `stdin`, `stdout`");
    one("[[files]]\nname = 'a'", 1, 1, "needs a `kind`", "`listen` and `connect`");
    one("[[files]]\nkind = 'stdin'\nname = 'a:b'", 3, 8, "must not contain `:`", "FD_NAMES");
    one("[[files]]\nkind = 'stdin'\nname = ''", 3, 8, "must not be empty", "");
    one("[[files]]\nkind = 'listen'", 1, 1, "needs a `name`", "finds its sockets");
    one("[[files]]\nkind = 'connect'", 1, 1, "needs a `host`", "DNS name");
    let listen = "[[files]]\nkind = 'listen'\nname = 'a'\n";
    one(&format!("{listen}addr = 'localhost'"), 4, 8, "not an IP address", "127.0.0.1");
    one(&format!("{listen}prot = 'tlss'"), 4, 8, "unknown protocol `tlss`", "`tls`?");
    one(
        &format!("{listen}prot = 'udp'"),
        4,
        8,
        "unknown protocol `udp`",
        "known are `tls` and `tcp`",
    );
    for port in ["0", "65536", "-1", "99999999999999999999", "0x10000"] {
        one(&format!("{listen}port = {port}"), 4, 8, "from 1 to 65535", "");
    }
    let connect = "[[files]]\nkind = 'connect'\n";
    one(&format!("{connect}host = ''"), 3, 8, "must not be empty", "");
    one(&format!("{connect}host = 'a:80'"), 3, 8, "neither a DNS name", "port = 443");
    one(&format!("{connect}host = '::1'"), 1, 1, "needs a `name`", "must not contain `:`");
    good(&format!("{connect}host = '::1'\nname = 'a'"));
}

#[test]
fn peers() {
    let digits = "aB".repeat(48);
    let hash = format!("sha256:{}", "0f".repeat(32));
    let config = good(&format!(
        "[[files]]\nkind = 'listen'\nname = 'web'\nport = 8443\nclient_auth = 'required'\n\
         trust = ['other.pem', 'steward']\nmeasurements = ['{digits}']\nworkloads = ['{hash}']\n\
         allow_development = true\nalpn = ['h2']\nhandshake_timeout = 3\nidle_timeout = '2m'\n\
         [[files]]\nkind = 'connect'\nhost = 'a'\nmeasurements = ['{digits}']\n\
         server_name = 'b'\nconnect_timeout = '500ms'\n\
         [network]\nnames = ['c.example']\nallow_connect = ['d:1', '[::1]', {{ host = 'e', \
         prot = 'tcp' }}]\nallow_listen = [80, {{ port = 81, client_auth = 'optional' }}]\n\
         [http]\nlisten = 'web'\n\
         [compiler]\nmeasurements = ['{digits}']\naccept = ['attested']"
    ));
    let trust = Trust {
        roots: vec![Root::File("other.pem".into()), Root::Steward],
        measurements: vec![[0xab; 48].to_vec()],
        workloads: vec![hash],
        allow_development: true,
    };
    let web = Listen {
        client_auth: ClientAuth::Required,
        trust: trust.clone(),
        alpn: vec!["h2".into()],
        timeouts: Timeouts {
            handshake: Duration::from_secs(3),
            idle: Some(Duration::from_secs(120)),
            ..Timeouts::default()
        },
        ..Listen::new("web", Listen::DEFAULT_ADDR, 8443)
    };
    // What demands a measurement by default trusts nobody who cannot prove it.
    let peer = Peer {
        server_name: Some("b".into()),
        trust: Trust { measurements: trust.measurements.clone(), ..Trust::new([Root::Steward]) },
        timeouts: Timeouts { connect: Duration::from_millis(500), ..Timeouts::default() },
        ..Peer::new("a", 443)
    };
    let connect = Connect { name: "a".into(), peer };
    assert_eq!(config.files, [File::Listen(web), File::Connect(connect)]);
    let network = NetworkPolicy {
        allow_connect: vec![
            Peer::new("d", 1),
            Peer::new("::1", 443),
            Peer { prot: Prot::Tcp, ..Peer::new("e", 80) },
        ],
        allow_listen: vec![
            Listen::new("80", Listen::DEFAULT_ADDR, 80),
            Listen {
                client_auth: ClientAuth::Optional,
                ..Listen::new("81", Listen::DEFAULT_ADDR, 81)
            },
        ],
        names: vec!["c.example".into()],
    };
    assert_eq!(config.network, network);
    assert_eq!(config.http.unwrap().listen, "web");
    let compiler = CompilerPolicy {
        measurements: trust.measurements,
        tenant: false,
        ..CompilerPolicy::default()
    };
    assert_eq!(config.compiler, compiler);
    assert_eq!(good("").compiler, CompilerPolicy::default());
    assert_eq!(good("").network, NetworkPolicy::default());
}

#[test]
fn settings_without_effect() {
    let listen = "[[files]]\nkind = 'listen'\nname = 'a'\n";
    let connect = "[[files]]\nkind = 'connect'\nhost = 'a'\n";
    let digits = "ab".repeat(48);
    for (key, value) in [
        ("trust", "['steward']".to_owned()),
        ("measurements", format!("['{digits}']")),
        ("workloads", format!("['sha256:{}']", &digits[..64])),
        ("allow_development", "true".to_owned()),
    ] {
        let column = key.len() + 4;
        let text = format!("{listen}{key} = {value}");
        one(&text, 4, column, "no effect without `client_auth`", "\"required\"");
        let text = format!("{connect}prot = 'tcp'\n{key} = {value}");
        one(&text, 5, column, "no effect with `prot = \"tcp\"`", "tls");
    }
    for key in ["server_name = 'b'", "alpn = ['h2']", "handshake_timeout = 1"] {
        let error = bad(&format!("{connect}prot = 'tcp'\n{key}"));
        assert!(error.to_string().contains("has no effect with"), "{error}");
    }
    good(&format!("{connect}prot = 'tcp'\nidle_timeout = 1\nconnect_timeout = 1"));
    let text = format!("{connect}trust = ['system', 'steward']\nmeasurements = ['{digits}']");
    one(&text, 4, 9, "cannot be proven by `system`", "remove");
    let text = "[compiler]\naccept = ['tenant']\nallow_development = true";
    one(text, 3, 21, "no effect without `\"attested\"`", "accept");
    one("[http]\nlisten = 'web'", 2, 10, "no `listen` entry is called `web`", "`name`");
    one("[network]\nallow_listen = [80, 80]", 2, 21, "given twice", "remove");
}

#[test]
fn bad_settings() {
    let connect = "[[files]]\nkind = 'connect'\nhost = 'a'\n";
    one(&format!("{connect}client_auth = 'none'"), 4, 1, "unknown key", "`listen` entries");
    one(&format!("{connect}trust = ['a/b.pem']"), 4, 10, "names no roots", "without a path");
    one(&format!("{connect}trust = ['roots']"), 4, 10, "names no roots", ".pem");
    one(&format!("{connect}trust = []"), 4, 9, "must not be empty", "default");
    one(&format!("{connect}measurements = ['ab']"), 4, 17, "32 or 48 bytes", "certificate");
    one(&format!("{connect}workloads = ['sha256:AB']"), 4, 14, "lower case", "package info");
    one(&format!("{connect}alpn = ['']"), 4, 9, "1 to 255", "http/1.1");
    one(&format!("{connect}alpn = ['a', 'a']"), 4, 14, "given twice", "remove");
    one(&format!("{connect}idle_timeout = '5 s'"), 4, 16, "not a time", "ms");
    one(&format!("{connect}idle_timeout = '25h'"), 4, 16, "at most 24 hours", "");
    one(&format!("{connect}idle_timeout = []"), 4, 16, "number of seconds or a time", "10s");
    one(&format!("{connect}server_name = 'a b'"), 4, 15, "neither a DNS name", "certificate");
    one(&format!("{connect}allow_development = 'true'"), 4, 21, "`true` or `false`", "quotes");
    let listen = "[[files]]\nkind = 'listen'\nname = 'a'\n";
    one(&format!("{listen}client_auth = 'require'"), 4, 15, "cannot be `require`", "`required`?");
    one(&format!("{listen}connect_timeout = 1"), 4, 1, "unknown key", "only `connect` entries");
    one("[network]\nallow_connect = ['a:0']", 2, 18, "1 to 65535", "");
    one("[network]\nallow_connect = ['a:b']", 2, 18, "not a host and a port", "[::1]:443");
    one("[network]\nallow_connect = ['[a]:1']", 2, 18, "in brackets", "");
    one("[network]\nallow_conect = []", 2, 1, "unknown key", "`allow_connect`?");
    one("[compiler]\naccept = ['me']", 2, 11, "no kind of compiler", "`attested`");
    one("networks = {}", 1, 1, "unknown key", "`network`?");
    one("[sealing]\nfolder = 'key'", 2, 10, "must begin with `/`", "/sealing");
    one("[sealing]\nfolder = '/key/'", 2, 10, "must not end with `/`", "/sealing");
    one("[sealing]\nfolders = '/key'", 2, 1, "unknown key", "`folder`?");
}

#[test]
fn a_key_for_sealing_is_asked_for_by_a_table() {
    assert_eq!(good("").sealing, None);
    let sealing = Sealing { folder: "/sealing".into(), throwaway: false };
    assert_eq!(good("[sealing]").sealing, Some(sealing));
    let sealing = Sealing { folder: "/run/s".into(), throwaway: true };
    assert_eq!(good("[sealing]\nfolder = '/run/s'\nthrowaway = true").sealing, Some(sealing));
}

#[test]
fn duplicates() {
    one("args = []\nargs = []", 2, 1, "given twice", "remove one of the two");
    one("[env]\nA = ''\n\"A\" = ''", 3, 1, "given twice", "remove one");
    one("[env]\n[env]", 2, 2, "given twice", "remove one");
    one("[[files]]\nkind = 'stdin'\nkind = 'stdin'", 3, 1, "given twice", "[[files]]");
    one(
        "[[files]]\nkind = 'stdout'\n[[files]]\nkind = 'stdout'",
        3,
        1,
        "`stdout` is taken by line 1",
        "`name` of its own",
    );
    one(
        "[[files]]\nkind = 'listen'\nname = 'a'\n[[files]]\nkind = 'connect'\nhost = 'a'",
        4,
        1,
        "`a` is taken by line 3",
        "`name`",
    );
}

#[test]
fn all_faults_are_told_in_the_order_of_the_file() {
    let error = bad("nope = 1\nargs = [1, 'a', 2]\nargs = []\n[[files]]\nkind = 'x'\n[env]\nA = 1");
    let lines: Vec<_> = error.diagnostics().iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [1, 2, 2, 3, 5, 7], "{error}");
}

#[test]
fn not_toml() {
    for (source, line, column) in [
        ("args = [", 1, 9),
        ("args", 1, 5),
        ("a b = 1", 1, 3),
        ("args = ['a'\n\n[env]\nA = 'b'", 3, 1),
        ("steward = \"https://a", 1, 21),
        ("[env]\nA = nope", 2, 5),
    ] {
        let error = bad(source);
        let fault = &error.diagnostics()[0];
        assert!(fault.message.starts_with("not valid TOML: "), "{error}");
        assert_eq!((fault.line, fault.column), (line, column), "{error}");
    }
    // What is left of a broken document is not judged.
    let error = bad("files = [{ kind = \n'stdin' ]\nunknown = 1");
    assert!(!error.to_string().contains("unknown key"), "{error}");
}

#[test]
fn not_utf8() {
    let error = Config::parse_bytes(b"args = []\n# \xff\n", "Enarx.toml").unwrap_err();
    let fault = &error.diagnostics()[0];
    assert_eq!((fault.line, fault.column), (2, 3), "{error}");
    assert_eq!(fault.message, "the file is not valid UTF-8");
}

#[test]
fn too_long() {
    let limit = format!("args = []{}", " ".repeat(MAX_SIZE - 9));
    good(&limit);
    for refused in [format!("{limit} "), "ü".repeat(MAX_SIZE)] {
        for error in
            [bad(&refused), Config::parse_bytes(refused.as_bytes(), "Enarx.toml").unwrap_err()]
        {
            assert!(error.to_string().contains("longer than 1048576 bytes"), "{error}");
        }
    }
}

#[test]
fn hostile_files_end_soon() {
    let fill = |piece: &str| piece.repeat(MAX_SIZE / piece.len());
    for source in [
        fill("["),
        fill("a."),
        fill("a=[{"),
        fill("=\n"),
        fill("[[files]]\n"),
        fill("[[files]]\nkind='stdin'\n"),
        format!("files=[{}]", fill("{kind='null'},").strip_suffix("{kind='null'},").unwrap()),
        format!("args=[{}]", &fill("1,")[8..]),
        format!("{}=1", &fill("x")[2..]),
        format!("steward='{}'", &fill("é")[32..]),
        format!("[env]\n{}", (0..60_000).map(|n| format!("k{n}=1\n")).collect::<String>()),
    ] {
        let start = std::time::Instant::now();
        if let Err(error) = Config::parse(&source, "Enarx.toml") {
            assert!(error.diagnostics().len() <= 50);
            assert!(error.to_string().len() < 64 << 10);
        }
        // Generous, so that a slow machine passes; what is quadratic takes hours.
        let took = start.elapsed();
        assert!(took.as_secs() < 20, "{took:?} for {}", &source[..16]);
    }
}

#[test]
fn the_template_is_valid_with_and_without_its_examples() {
    assert_eq!(good(TEMPLATE), Config::default());

    let examples: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = good(&examples);
    assert!(config.steward.is_some() && !config.args.is_empty() && !config.env.is_empty());
    let kinds: Vec<_> = config.files.iter().map(|file| file.kind().as_str()).collect();
    assert_eq!(kinds, ["stdin", "stdout", "stderr", "listen", "connect"]);
}

#[test]
fn loading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Enarx.toml");
    let missing = Config::load(&path).unwrap_err();
    assert!(matches!(missing, LoadError::Read { .. }));
    assert_eq!(missing.to_string(), format!("cannot read `{}`", path.display()));

    std::fs::write(&path, "args = ['a']").unwrap();
    assert_eq!(Config::load(&path).unwrap().args, ["a"]);
    std::fs::write(&path, "arg = ['a']").unwrap();
    let refused = Config::load(&path).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("{}:1:1: unknown key", path.display())), "{refused}");
    // A source without end is not read to its end.
    #[cfg(unix)]
    assert!(matches!(Config::load("/dev/zero".as_ref()), Err(LoadError::Config(_))));
}
