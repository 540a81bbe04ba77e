// SPDX-License-Identifier: Apache-2.0

//! `componentize OUT_DIR MODULE…`: wraps each preview1 module into a component named
//! `NAME.component.wasm`, by Wasmtime's preview1 adapter. It is of the world `wasi:cli/command`, or of
//! `wasi:http/proxy` if the module exports the handler of that.

use std::error::Error;
use std::path::Path;

use wasi_preview1_component_adapter_provider as adapter;
use wit_component::ComponentEncoder;

/// The name of the handler among a module's exports; no other program has the text.
const HANDLER: &[u8] = b"wasi:http/incoming-handler@0.2.12#handle";

fn component(module: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let name = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    let wasm = std::fs::read(module)?;
    let handles = wasm.windows(HANDLER.len()).any(|bytes| bytes == HANDLER);
    let adapter = if handles {
        adapter::WASI_SNAPSHOT_PREVIEW1_PROXY_ADAPTER
    } else {
        adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER
    };
    let bytes = ComponentEncoder::default()
        .validate(true)
        .module(&wasm)?
        .adapter(name, adapter)?
        .encode()?;
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let out = args.next().ok_or("usage: componentize OUT_DIR MODULE…")?;
    for module in args {
        let module = Path::new(&module);
        let stem = module.file_stem().ok_or("a module needs a name")?.to_string_lossy();
        let bytes = component(module).map_err(|e| format!("{}: {e}", module.display()))?;
        std::fs::write(Path::new(&out).join(format!("{stem}.component.wasm")), bytes)?;
    }
    Ok(())
}
