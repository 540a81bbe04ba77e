// SPDX-License-Identifier: Apache-2.0

//! The grammar as a JSON schema, for editors and for tools that write configurations.
//!
//! Written by hand because its descriptions are what an editor shows and its rules must be those
//! of `check`; tests hold the two together by a common set of samples. What JSON Schema cannot
//! say (names that must differ, most of a URL's syntax) is said in descriptions.

use serde_json::{Map, Value, json};

use crate::peers::{ALLOW_CONNECT_KEYS, ALLOW_LISTEN_KEYS, MAX_TEXTS};
use crate::{ClientAuth, FileKind, Listen, Prot};

/// The JSON schema (draft 2020-12) of Enarx.toml.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Enarx.toml",
        "description": "What a workload in an Enarx Keep gets besides its code.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "steward": {
                "description": "URL of the Steward that gives the Keep its certificate. \
                    Without one the Keep signs its own.",
                "type": "string",
                "pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^/?#@\\s\\u0000]+([/?][^#\\s\\u0000]*)?$",
            },
            "args": {
                "description": "The program's arguments, without its own name.",
                "type": "array",
                "items": { "type": "string", "pattern": NO_NUL },
                "default": [],
            },
            "env": {
                "description": "The program's environment. `FD_COUNT` and `FD_NAMES` are set by \
                    Enarx.",
                "type": "object",
                "propertyNames": {
                    "pattern": "^[^=\\u0000]+$",
                    "not": { "enum": ["FD_COUNT", "FD_NAMES"] },
                },
                "additionalProperties": { "type": "string", "pattern": NO_NUL },
                "default": {},
            },
            "files": {
                "description": "The program's descriptors, beginning with 0. Names must differ; \
                    only `null` entries without a `name` may share theirs.",
                "type": "array",
                "items": { "oneOf": FileKind::ALL.map(entry) },
                "default": [],
            },
            "network": {
                "description": "What a component may do by itself with `wasi:sockets` and \
                    `wasi:http`; nothing by default.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "allow_connect": {
                        "description": "Where it may connect to: `host:port`, or a table with the \
                            keys of a `connect` entry of `files`.",
                        "type": "array",
                        "maxItems": MAX_TEXTS,
                        "items": { "anyOf": [
                            {
                                "type": "string",
                                "pattern": "^(\\[[0-9A-Fa-f:.]+\\]|[^:\\[\\]/\\s]+)(:[0-9]{1,5})?$",
                            },
                            table(FileKind::Connect, &ALLOW_CONNECT_KEYS, &["host"]),
                        ] },
                        "default": [],
                    },
                    "allow_listen": {
                        "description": "The ports on which it may listen: a number, or a table with \
                            the keys of a `listen` entry of `files`. Ports must differ.",
                        "type": "array",
                        "maxItems": MAX_TEXTS,
                        "items": { "anyOf": [
                            property(FileKind::Listen, "port"),
                            table(FileKind::Listen, &ALLOW_LISTEN_KEYS, &[]),
                        ] },
                        "default": [],
                    },
                    "names": texts(
                        "DNS names and IP addresses for the certificate that a Keep without a \
                            Steward signs for itself.",
                        &json!({ "type": "string", "minLength": 1 }),
                    ),
                },
            },
            "http": {
                "description": "How a `wasi:http/proxy` component is served.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "listen": {
                        "description": "The `name` of the `listen` entry of `files`.",
                        "type": "string",
                    },
                },
                "required": ["listen"],
            },
            "compiler": {
                "description": "Who may have compiled the program of a deployment.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "measurements": property(FileKind::Connect, "measurements"),
                    "allow_development": property(FileKind::Connect, "allow_development"),
                    "accept": {
                        "description": "`tenant`: an artifact in the package. `attested`: one of a \
                            compiler Keep.",
                        "type": "array",
                        "minItems": 1,
                        "uniqueItems": true,
                        "items": { "enum": ["tenant", "attested"] },
                        "default": ["tenant", "attested"],
                    },
                },
            },
            "sealing": {
                "description": "Gives the program of a deployment a key that only it gets, on \
                    this processor only: 32 bytes in the file `key`.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "folder": {
                        "description": "The folder in which the program finds the file.",
                        "type": "string",
                        "pattern": "^/([^\\u0000]*[^/\\u0000])$",
                        "default": "/sealing",
                    },
                    "throwaway": {
                        "description": "Whether a key that is drawn anew at each start will do \
                            where the platform has none, for trials.",
                        "type": "boolean",
                        "default": false,
                    },
                },
            },
        },
    })
}

/// An entry of the table `network`.
fn table(kind: FileKind, keys: &[&str], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), property(kind, key))).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

/// An array of different texts.
fn texts(description: &str, item: &Value) -> Value {
    json!({
        "description": description,
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_TEXTS,
        "uniqueItems": true,
        "items": item,
    })
}

/// One kind of entry.
fn entry(kind: FileKind) -> Value {
    let properties: Map<String, Value> =
        kind.keys().iter().map(|key| ((*key).to_owned(), property(kind, key))).collect();
    let mut entry = json!({
        "title": kind.as_str(),
        "description": match kind {
            FileKind::Null => "Reads give end of file, writes are swallowed.",
            FileKind::Stdin => "The host's standard input.",
            FileKind::Stdout => "The host's standard output.",
            FileKind::Stderr => "The host's standard error.",
            FileKind::Listen => "A socket that accepts connections.",
            FileKind::Connect => "A connection that is made before the program starts.",
        },
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": match kind {
            FileKind::Listen => vec!["kind", "name"],
            FileKind::Connect => vec!["kind", "host"],
            FileKind::Null | FileKind::Stdin | FileKind::Stdout | FileKind::Stderr => vec!["kind"],
        },
    });
    if kind == FileKind::Connect {
        // The host is the default name, and a name must not contain `:`.
        entry["anyOf"] = json!([
            { "required": ["name"] },
            { "properties": { "host": { "pattern": NAME } } },
        ]);
    }
    entry
}

fn property(kind: FileKind, key: &str) -> Value {
    match key {
        "kind" => json!({ "const": kind.as_str() }),
        "name" => {
            let mut name = json!({
                "description": "What `FD_NAMES` calls the descriptor.",
                "type": "string",
                "pattern": NAME,
            });
            if !matches!(kind, FileKind::Listen | FileKind::Connect) {
                name["default"] = kind.as_str().into();
            }
            name
        }
        "prot" => json!({
            "description": "`tls`: TLS with the Keep's certificate. `tcp`: no protection at all.",
            "enum": Prot::ALL.map(Prot::as_str),
            "default": Prot::default().as_str(),
        }),
        "addr" => json!({
            "description": "The IP address to bind; `::` is every interface.",
            "type": "string",
            "anyOf": [{ "format": "ipv6" }, { "format": "ipv4" }],
            "default": Listen::DEFAULT_ADDR,
        }),
        "host" => json!({
            "description": "The peer: a DNS name or an IP address.",
            "type": "string",
            "anyOf": [
                { "format": "ipv6", "pattern": ":" },
                {
                    "pattern": "^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\\.)*\
                        [A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\\.?$",
                    "maxLength": 254,
                },
            ],
        }),
        "client_auth" => json!({
            "description": "Whether clients have to show a certificate.",
            "enum": ClientAuth::ALL.map(ClientAuth::as_str),
            "default": ClientAuth::default().as_str(),
        }),
        "server_name" => json!({
            "description": "The name that the server's certificate has to have; by default the \
                host. Where measurements or workloads are demanded, names count only if given here.",
            "type": "string",
            "minLength": 1,
        }),
        "trust" => texts(
            "Where chains of certificates may end: `system`, the authorities that browsers trust; \
                `steward`, the Steward of this Keep; files beside Enarx.toml.",
            &json!({
                "type": "string",
                "pattern": "^(system|steward|[A-Za-z0-9_-][A-Za-z0-9_.-]*\\.pem)$",
                "maxLength": 64,
            }),
        ),
        "measurements" => texts(
            "Launch measurements: only a Keep with one of them is accepted.",
            &json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{96})$" }),
        ),
        "workloads" => texts(
            "Digests of workloads: only a Keep that runs one of them is accepted.",
            &json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }),
        ),
        "allow_development" => json!({
            "description": "Whether Keeps without protection are accepted, for trials.",
            "type": "boolean",
            "default": false,
        }),
        "alpn" => texts(
            "Protocols that are offered by ALPN, the preferred one first.",
            &json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        ),
        "handshake_timeout" => time("For the TLS handshake; 10 seconds by default.", 10),
        "connect_timeout" => time("For a connection to be made; 10 seconds by default.", 10),
        "idle_timeout" => json!({
            "description": "How long nothing may happen on a connection; for ever by default.",
            "anyOf": times(),
        }),
        // The only key that is left.
        _ => json!({
            "description": "The port; 443 by default for `tls`, 80 for `tcp`.",
            "type": "integer",
            "minimum": 1,
            "maximum": u16::MAX,
        }),
    }
}

fn time(description: &str, default: u64) -> Value {
    json!({ "description": description, "anyOf": times(), "default": default })
}

/// Seconds, or a number with its unit.
fn times() -> Value {
    json!([
        { "type": "integer", "minimum": 1, "maximum": 86_400 },
        { "type": "string", "pattern": "^0*[1-9][0-9]*(ms|s|m|h)$" },
    ])
}

const NO_NUL: &str = "^[^\\u0000]*$";
const NAME: &str = "^[^:\\u0000]+$";
