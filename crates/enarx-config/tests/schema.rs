// SPDX-License-Identifier: Apache-2.0

//! The JSON schema and the parser are one grammar written twice; this holds them together.
//!
//! The validator below knows the keywords that the schema uses and no more: it panics at any
//! other, so a rule that is added to the schema cannot go untested. A full validator would bring
//! seventy crates for the same answer.

use enarx_config::{Config, TEMPLATE, schema};
use regex_lite::Regex;
use serde_json::Value;

#[test]
fn the_checked_in_schema_is_this_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/enarx-toml.schema.json");
    let expected = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{path} is stale: run this test with UPDATE=1 in the environment");
}

#[test]
fn schema_and_parser_agree() {
    let connect = "[[files]]\nkind = 'connect'\n";
    let listen = "[[files]]\nkind = 'listen'\n";
    let mut samples: Vec<String> = [
        TEMPLATE,
        "",
        "args = ['a', '']",
        "args = [1]",
        "args = 'a'",
        "args = [\"\\u0000\"]",
        "arg = ['a']",
        "steward = 'https://steward.example.com:8443/path?query'",
        "steward = 'HTTPS://a'",
        "steward = 'http://a'",
        "steward = 'https://'",
        "steward = 'https:///path'",
        "steward = 'https://me@a'",
        "steward = 'https://a/#b'",
        "steward = 'https://a b'",
        "steward = ''",
        "steward = ['https://a']",
        "env = {}",
        "env = []",
        "[env]\nA = 'b'\n'c d' = ''",
        "[env]\nA = 1",
        "[env]\nA.b = 'c'",
        "[env]\n'' = 'a'",
        "[env]\n'A=B' = 'a'",
        "[env]\n\"\\u0000\" = 'a'",
        "[env]\nA = \"\\u0000\"",
        "[env]\nFD_COUNT = '3'",
        "[env]\nFD_NAMES = '3'",
        "[env]\nFD_NAME = '3'",
        "files = []",
        "files = {}",
        "files = ['stdin']",
        "files = [{}]",
        "[[files]]\nname = 'a'",
        "[[files]]\nkind = 'file'",
        "[[files]]\nkind = 1",
        "[files]\nkind = 'stdin'",
    ]
    .map(str::to_owned)
    .to_vec();
    for kind in ["null", "stdin", "stdout", "stderr", "listen", "connect"] {
        let entry = format!("[[files]]\nkind = '{kind}'\n");
        let keys = [
            "",
            "name = 'a'",
            "name = ''",
            "name = 'a:b'",
            "name = 1",
            "prot = 'tls'",
            "host = 'a'",
            "addr = '::'",
            "port = 1",
            "what = 1",
            "name = \"a\\u0000\"",
        ];
        for first in keys {
            samples.push(format!("{entry}{first}"));
            for second in keys
                .iter()
                .filter(|second| second[..4.min(second.len())] != first[..4.min(first.len())])
            {
                samples.push(format!("{entry}{first}\n{second}"));
            }
        }
    }
    for port in ["0", "1", "65535", "65536", "-1", "1.5", "'80'", "0x50"] {
        samples.push(format!("{listen}name = 'a'\nport = {port}"));
        samples.push(format!("{connect}host = 'a'\nport = {port}"));
    }
    for prot in ["tls", "tcp", "udp", "TLS", ""] {
        samples.push(format!("{listen}name = 'a'\nprot = '{prot}'"));
    }
    for place in [
        "::",
        "0.0.0.0",
        "127.0.0.1",
        "::1",
        "::ffff:192.0.2.1",
        "[::]",
        "localhost",
        "",
        "a b",
        "a.b.example.",
        "a..b",
        "-a",
        "a-",
        "a_b",
        "a:80",
        "ä",
        "1::2::3",
    ] {
        samples.push(format!("{listen}name = 'a'\naddr = '{place}'"));
        samples.push(format!("{connect}host = '{place}'"));
        samples.push(format!("{connect}host = '{place}'\nname = 'a'"));
    }

    let hash = format!("sha256:{}", "0f".repeat(32));
    let digits = "aB".repeat(48);
    let file = "root.pem";
    let settings = [
        format!("measurements = ['{digits}', '{}']", &digits[..64]),
        format!("measurements = ['{}']", &digits[1..]),
        format!("workloads = ['{hash}']"),
        format!("workloads = ['{}']", hash.to_uppercase()),
        format!("workloads = ['{hash}', '{hash}']"),
        "workloads = []".into(),
        format!("trust = ['system', 'steward', '{file}']"),
        "trust = 'system'".into(),
        "trust = []".into(),
        "trust = ['../root.pem']".into(),
        "trust = ['.pem']".into(),
        "trust = ['root.der']".into(),
        "allow_development = true".into(),
        "allow_development = 'true'".into(),
        "alpn = ['h2', 'http/1.1']".into(),
        "alpn = ['']".into(),
        "handshake_timeout = 5".into(),
        "handshake_timeout = '500ms'".into(),
        "handshake_timeout = '1h'".into(),
        "handshake_timeout = 0".into(),
        "handshake_timeout = -1".into(),
        "handshake_timeout = 86401".into(),
        "handshake_timeout = '0s'".into(),
        "handshake_timeout = '5'".into(),
        "handshake_timeout = 1.5".into(),
        "idle_timeout = '2m'".into(),
        "idle_timeout = true".into(),
        "connect_timeout = 3".into(),
        "server_name = 'a.example'".into(),
        "server_name = ''".into(),
    ];
    for setting in &settings {
        samples.push(format!("{connect}host = 'a'\n{setting}"));
        samples.push(format!("{listen}name = 'a'\nclient_auth = 'required'\n{setting}"));
        samples.push(format!("[[files]]\nkind = 'stdin'\n{setting}"));
        samples.push(format!("[[network.allow_connect]]\nhost = 'a'\n{setting}"));
        samples.push(format!("[[network.allow_listen]]\nclient_auth = 'optional'\n{setting}"));
    }
    for auth in ["'none'", "'optional'", "'required'", "'maybe'", "true"] {
        samples.push(format!("{listen}name = 'a'\nclient_auth = {auth}"));
        samples.push(format!("{connect}host = 'a'\nclient_auth = {auth}"));
    }
    for place in [
        "a.example:443",
        "a.example",
        "127.0.0.1:1",
        "[::1]:443",
        "[::1]",
        "::1",
        "a:b",
        "a:1:2",
        ":443",
        "",
        "https://a",
        "a b",
    ] {
        samples.push(format!("[network]\nallow_connect = ['{place}']"));
    }
    samples.extend(
        [
            "network = 'all'",
            "[network]\nallow = []",
            "[network]\nallow_connect = 'a:1'",
            "[network]\nallow_connect = [1]",
            "[[network.allow_connect]]\nport = 1",
            "[network]\nallow_listen = [80, 443]",
            "[network]\nallow_listen = [0]",
            "[network]\nallow_listen = ['80']",
            "[network]\nallow_listen = [{ port = 80, addr = '::1', prot = 'tcp' }]",
            "[network]\nallow_listen = [{ name = 'a' }]",
            "[network]\nnames = ['a.example']",
            "[network]\nnames = []",
            "[network]\nnames = ['']",
            "http = 'web'",
            "[http]",
            "[http]\nlisten = 1",
            "[http]\nname = 'web'",
            "[http]\nlisten = 'web'\n[[files]]\nkind = 'listen'\nname = 'web'",
            "sealing = true",
            "[sealing]",
            "[sealing]\nfolder = '/a'",
            "[sealing]\nfolder = '/a b/ä'",
            "[sealing]\nfolder = '/'",
            "[sealing]\nfolder = ''",
            "[sealing]\nfolder = 'a'",
            "[sealing]\nfolder = '/a/'",
            "[sealing]\nfolder = '//'",
            "[sealing]\nfolder = \"/a\\u0000b\"",
            "[sealing]\nfolder = \"/a\\nb\"",
            "[sealing]\nfolder = 1",
            "[sealing]\nthrowaway = true",
            "[sealing]\nthrowaway = 'true'",
            "[sealing]\nkey = '/a'",
            "compiler = []",
            "[compiler]",
            "[compiler]\naccept = ['tenant']",
            "[compiler]\naccept = ['attested', 'tenant']",
            "[compiler]\naccept = []",
            "[compiler]\naccept = ['host']",
            "[compiler]\naccept = ['tenant', 'tenant']",
            "[compiler]\nallow_development = true",
            "[compiler]\nallow_development = 1",
        ]
        .map(str::to_owned),
    );
    samples.push(format!("[compiler]\nmeasurements = ['{digits}']"));
    samples.push("[compiler]\nmeasurements = ['a']".to_owned());

    let schema = schema();
    let (mut accepted, mut refused) = (0, 0);
    for sample in &samples {
        let json = serde_json::to_value(sample.parse::<toml::Table>().unwrap()).unwrap();
        let parsed = Config::parse(sample, "Enarx.toml");
        let valid = allows(&schema, &json);
        assert_eq!(valid, parsed.is_ok(), "schema says {valid}:\n{sample}\n{parsed:?}");
        *(if valid { &mut accepted } else { &mut refused }) += 1;
    }
    assert!(accepted > 40 && refused > 100, "{accepted} accepted, {refused} refused");
}

/// Whether a schema allows a value.
fn allows(schema: &Value, value: &Value) -> bool {
    let keywords = schema.as_object().expect("a schema is an object");
    keywords.iter().all(|(keyword, rule)| match (keyword.as_str(), value) {
        ("$schema" | "title" | "description" | "default", _) => true,
        ("type", _) => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            other => panic!("type {other}"),
        },
        ("const", _) => value == rule,
        ("enum", _) => rule.as_array().unwrap().contains(value),
        ("not", _) => !allows(rule, value),
        ("anyOf", _) => rule.as_array().unwrap().iter().any(|one| allows(one, value)),
        ("oneOf", _) => {
            rule.as_array().unwrap().iter().filter(|one| allows(one, value)).count() == 1
        }
        ("pattern", Value::String(text)) => {
            Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)
        }
        ("maxLength", Value::String(text)) => text.chars().count() as u64 <= rule.as_u64().unwrap(),
        ("minLength", Value::String(text)) => text.chars().count() as u64 >= rule.as_u64().unwrap(),
        ("minItems", Value::Array(items)) => items.len() as u64 >= rule.as_u64().unwrap(),
        ("maxItems", Value::Array(items)) => items.len() as u64 <= rule.as_u64().unwrap(),
        ("uniqueItems", Value::Array(items)) => {
            items.iter().enumerate().all(|(n, item)| !items[..n].contains(item))
        }
        ("format", Value::String(text)) => match rule.as_str().unwrap() {
            "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
            other => panic!("format {other}"),
        },
        ("minimum", Value::Number(_)) => value.as_i64() >= rule.as_i64(),
        ("maximum", Value::Number(_)) => value.as_i64() <= rule.as_i64(),
        ("items", Value::Array(items)) => items.iter().all(|item| allows(rule, item)),
        ("required", Value::Object(object)) => {
            rule.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }
        ("propertyNames", Value::Object(object)) => {
            object.keys().all(|key| allows(rule, &Value::from(key.as_str())))
        }
        ("properties", Value::Object(object)) => {
            object.iter().all(|(key, value)| rule.get(key).is_none_or(|rule| allows(rule, value)))
        }
        ("additionalProperties", Value::Object(object)) => {
            let known =
                |key: &String| keywords.get("properties").and_then(|p| p.get(key)).is_some();
            let mut others = object.iter().filter(|(key, _)| !known(key));
            match rule {
                Value::Bool(false) => others.next().is_none(),
                rule => others.all(|(_, value)| allows(rule, value)),
            }
        }
        (
            "pattern"
            | "maxLength"
            | "minLength"
            | "minItems"
            | "maxItems"
            | "uniqueItems"
            | "format"
            | "minimum"
            | "maximum"
            | "items"
            | "required"
            | "propertyNames"
            | "properties"
            | "additionalProperties",
            _,
        ) => true,
        (other, _) => panic!("keyword {other}"),
    })
}
