// SPDX-License-Identifier: Apache-2.0

//! A first look at a module, before minutes may go into compiling it.
//!
//! Only the outermost sections are read: which kind of binary it is, and the names of its imports
//! and exports. Validation proper is the compiler's.

use keep_artifact::Kind;
use keep_engine::world::{check_component, check_module};
use keep_launch::Refusal;
use wasmparser::{BinaryReaderError, Chunk, Encoding, Parser, Payload};

use crate::Refused;

impl From<BinaryReaderError> for Refused {
    fn from(error: BinaryReaderError) -> Self {
        Self::new(Refusal::Invalid, error.to_string())
    }
}

#[derive(Default)]
struct Names<'a> {
    /// Of a core module: module and name.
    imports: Vec<(&'a str, &'a str)>,
    /// Of a component.
    component_imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

/// Tells what a binary is, and refuses what no Keep could run.
pub(crate) fn inspect(wasm: &[u8]) -> Result<Kind, Refused> {
    let mut kind = Kind::Module;
    let mut names = Names::default();
    let mut parser = Parser::new(0);
    let mut rest = wasm;
    loop {
        let (consumed, payload) = match parser.parse(rest, true)? {
            Chunk::Parsed { consumed, payload } => (consumed, payload),
            // Cannot happen: the parser was told that there is no more.
            Chunk::NeedMoreData(_) => return Err(truncated()),
        };
        rest = rest.get(consumed..).ok_or_else(truncated)?;
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => kind = Kind::Component,
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    names.imports.push((import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    names.exports.push(export?.name);
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    names.component_imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    names.exports.push(export?.name.name);
                }
            }
            // What lies inside a component does not face the world. The parser counts it as read.
            Payload::ModuleSection { unchecked_range, .. }
            | Payload::ComponentSection { unchecked_range, .. } => {
                rest = rest.get(unchecked_range.len()..).ok_or_else(truncated)?;
            }
            Payload::CodeSectionStart { size, .. } => {
                parser.skip_section();
                rest = rest.get(size as usize..).ok_or_else(truncated)?;
            }
            Payload::End(_) => break,
            _ => {}
        }
    }
    match kind {
        Kind::Module => check_module(names.imports, names.exports)?,
        Kind::Component => {
            check_component(names.component_imports, names.exports)?;
        }
    }
    Ok(kind)
}

fn truncated() -> Refused {
    Refused::new(Refusal::Invalid, "unexpected end of the file")
}
