// SPDX-License-Identifier: Apache-2.0

//! The grammar as a JSON schema, for editors and for tools that write configurations.
//!
//! Written by hand because its descriptions are what an editor shows and its rules must be those
//! of `check`; tests hold the two together by a common set of samples. What JSON Schema cannot
//! say (names that must differ, most of a URL's syntax) is said in descriptions.

use serde_json::{Map, Value, json};

use crate::{FileKind, Listen, Prot};

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
        },
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
        // The only key that is left.
        _ => json!({
            "description": "The port; 443 by default for `tls`, 80 for `tcp`.",
            "type": "integer",
            "minimum": 1,
            "maximum": u16::MAX,
        }),
    }
}

const NO_NUL: &str = "^[^\\u0000]*$";
const NAME: &str = "^[^:\\u0000]+$";
