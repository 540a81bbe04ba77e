// SPDX-License-Identifier: Apache-2.0

//! The config of an artifact: what it holds, for tools that choose by it.

use serde::Serialize;
use wasmparser::{Encoding, Parser, Payload};

/// Most names of imports and exports that are listed.
const MAX_NAMES: usize = 1024;

/// `application/vnd.wasm.config.v0+json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    /// Readers want a time. A true one would make each push another artifact.
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [String; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<Component>,
}

/// What a component imports and exports.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Component {
    exports: Vec<String>,
    imports: Vec<String>,
}

/// The config for a module or component with that digest.
pub(crate) fn of(wasm: &[u8], digest: &str) -> Result<Vec<u8>, String> {
    let component = component(wasm).map_err(|error| error.to_string())?;
    let config = Config {
        created: "1970-01-01T00:00:00Z",
        architecture: "wasm",
        os: if component.is_some() { "wasip2" } else { "wasip1" },
        layer_digests: [digest.to_owned()],
        component,
    };
    serde_json::to_vec(&config).map_err(|error| error.to_string())
}

/// None for a core module.
fn component(wasm: &[u8]) -> wasmparser::Result<Option<Component>> {
    let mut found = None;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::Version { encoding, .. } if depth == 0 && found.is_none() => match encoding {
                Encoding::Component => found = Some(Component::default()),
                Encoding::Module => return Ok(None),
            },
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    push(&mut found, |one| &mut one.imports, import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    push(&mut found, |one| &mut one.exports, export?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn push(
    found: &mut Option<Component>,
    list: impl FnOnce(&mut Component) -> &mut Vec<String>,
    name: &str,
) {
    if let Some(list) = found.as_mut().map(list)
        && list.len() < MAX_NAMES
    {
        list.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_components_are_told_apart() {
        let module = wat::parse_str("(module (import \"a\" \"b\" (func)))").unwrap();
        assert_eq!(component(&module).unwrap(), None);
        let text = r#"(component
            (import "wasi:cli/environment@0.2.0" (instance))
            (component $inner (import "inner" (func)))
            (core module (import "a" "b" (func)))
            (import "second" (func $f))
            (export "run" (func $f)))"#;
        let found = component(&wat::parse_str(text).unwrap()).unwrap().unwrap();
        assert_eq!(found.imports, ["wasi:cli/environment@0.2.0", "second"]);
        assert_eq!(found.exports, ["run"]);
    }

    #[test]
    fn the_config_has_the_published_form() {
        let module = wat::parse_str("(module)").unwrap();
        let text = String::from_utf8(of(&module, "sha256:00").unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"created":"1970-01-01T00:00:00Z","architecture":"wasm","os":"wasip1","layerDigests":["sha256:00"]}"#
        );
        assert!(of(b"\0asm\x01\0\0", "sha256:00").is_err());
    }
}
