// SPDX-License-Identifier: Apache-2.0

//! What a workload may import and must export.
//!
//! Both programs ask: the compiler, so that a person hears of a module that cannot run before it is
//! compiled; the runtime, because it believes no one. The compiler sees names only. Whether an
//! import has the right type is found when the runtime links it.

use std::fmt;

/// The module name under which WASI preview 1 is imported.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";
/// The module name of its predecessor, which old compilers still emit.
pub const PREVIEW0: &str = "wasi_unstable";

/// What a component of the world `wasi:cli/command` exports, without its version.
const RUN: &str = "wasi:cli/run";
/// What one of the world `wasi:http/proxy` exports.
const HANDLER: &str = "wasi:http/incoming-handler";

/// The interfaces of WASI 0.2 that components may import, without their version.
const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// How a component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// Once, as a program: `wasi:cli/command`.
    Command,
    /// For each request that comes over HTTP: `wasi:http/proxy`.
    Proxy,
}

/// Why a valid module or component cannot be run as a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsupported {
    /// Imports that nothing here offers, by name.
    Imports(Vec<String>),
    /// A core module that is initialised and then called, not run.
    Reactor,
    /// A core module without `_start`.
    NoStart,
    /// A component of another world; its exports by name.
    World(Vec<String>),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Imports(names) => {
                let (noun, list) =
                    (if names.len() == 1 { "import" } else { "imports" }, list(names));
                write!(f, "unknown {noun}: {list}. A workload may import WASI preview 1 or the ")?;
                f.write_str(
                    "interfaces of the WASI 0.2 worlds `wasi:cli/command` and `wasi:http/proxy`",
                )
            }
            Self::Reactor => f.write_str(
                "the module is a reactor: it exports `_initialize` but no `_start`. Only commands \
                 can be run; build it as a program, not as a library",
            ),
            Self::NoStart => f.write_str(
                "the module exports no function `_start`, so there is nothing to run; build it as \
                 a program for a WASI target such as wasm32-wasip1",
            ),
            Self::World(names) if names.is_empty() => f.write_str(
                "the component exports nothing; to be run, a component must export \
                 `wasi:cli/run@0.2` (the world `wasi:cli/command`) or \
                 `wasi:http/incoming-handler@0.2` (the world `wasi:http/proxy`)",
            ),
            Self::World(names) => write!(
                f,
                "the component is neither of the world `wasi:cli/command` nor of \
                 `wasi:http/proxy`: it exports {}, not `wasi:cli/run@0.2` or \
                 `wasi:http/incoming-handler@0.2`",
                list(names)
            ),
        }
    }
}

impl std::error::Error for Unsupported {}

/// Checks the names a core module imports from, as (module, name), and the names it exports.
///
/// # Errors
///
/// See [`Unsupported`]. What it exports is looked at first: to name the missing imports of a
/// library would send its owner the wrong way.
pub fn check_module<'a>(
    imports: impl IntoIterator<Item = (&'a str, &'a str)>,
    exports: impl IntoIterator<Item = &'a str>,
) -> Result<(), Unsupported> {
    let exports: Vec<_> = exports.into_iter().collect();
    // Wasmtime runs an export with an empty name as well; so does this product.
    if !exports.contains(&"_start") && !exports.contains(&"") {
        return Err(if exports.contains(&"_initialize") {
            Unsupported::Reactor
        } else {
            Unsupported::NoStart
        });
    }
    let foreign = imports.into_iter().filter(|(module, _)| ![PREVIEW0, PREVIEW1].contains(module));
    missing(foreign.map(|(module, name)| format!("{module}::{name}")))
}

/// Checks the names a component imports and exports, and tells how it is called. One that could be
/// called in both ways is a program.
///
/// # Errors
///
/// See [`Unsupported`].
pub fn check_component<'a>(
    imports: impl IntoIterator<Item = &'a str>,
    exports: impl IntoIterator<Item = &'a str>,
) -> Result<World, Unsupported> {
    let exports: Vec<_> = exports.into_iter().collect();
    let exports_one = |interface| exports.iter().any(|name| is_interface(name, &[interface]));
    let world = if exports_one(RUN) {
        World::Command
    } else if exports_one(HANDLER) {
        World::Proxy
    } else {
        return Err(Unsupported::World(exports.into_iter().map(str::to_owned).collect()));
    };
    missing(imports.into_iter().filter(|name| !is_interface(name, INTERFACES)).map(str::to_owned))?;
    Ok(world)
}

/// Whether a name is one of the interfaces, in any version 0.2: they are compatible.
fn is_interface(name: &str, interfaces: &[&str]) -> bool {
    name.split_once('@').is_some_and(|(interface, version)| {
        version.starts_with("0.2.") && interfaces.contains(&interface)
    })
}

fn missing(names: impl Iterator<Item = String>) -> Result<(), Unsupported> {
    let mut names: Vec<_> = names.collect();
    names.dedup();
    if names.is_empty() { Ok(()) } else { Err(Unsupported::Imports(names)) }
}

fn list(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        text.extend(["`", name, "`"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_passes() {
        let imports = [(PREVIEW1, "fd_write"), (PREVIEW0, "fd_read")];
        assert_eq!(check_module(imports, ["memory", "_start"]), Ok(()));
        let imports = ["wasi:cli/stdout@0.2.0", "wasi:io/streams@0.2.6"];
        assert_eq!(check_component(imports, ["wasi:cli/run@0.2.3"]), Ok(World::Command));
    }

    #[test]
    fn a_handler_of_requests_passes() {
        let imports = ["wasi:http/types@0.2.4", "wasi:http/outgoing-handler@0.2.0"];
        let handler = "wasi:http/incoming-handler@0.2.1";
        assert_eq!(check_component(imports, [handler]), Ok(World::Proxy));
        assert_eq!(
            check_component([], [handler, "wasi:cli/run@0.2.0"]),
            Ok(World::Command),
            "a program that also handles requests is run"
        );
    }

    #[test]
    fn all_missing_imports_are_named() {
        let imports = [("env", "a"), (PREVIEW1, "fd_write"), ("env", "b")];
        let error = check_module(imports, ["_start"]).expect_err("env is not offered");
        assert_eq!(error, Unsupported::Imports(vec!["env::a".into(), "env::b".into()]));
        assert!(error.to_string().contains("`env::a`, `env::b`"));
        let imports = ["wasi:http/types@0.3.0", "wasi:cli/stdin@0.2.0", "log"];
        let error = check_component(imports, ["wasi:cli/run@0.2.0"]).expect_err("not of 0.2");
        assert_eq!(error, Unsupported::Imports(vec!["wasi:http/types@0.3.0".into(), "log".into()]));
    }

    #[test]
    fn other_worlds_are_refused() {
        assert_eq!(check_module([], ["_initialize", "run"]), Err(Unsupported::Reactor));
        assert_eq!(check_module([], ["run"]), Err(Unsupported::NoStart));
        let exports = ["wasi:http/handler@0.3.0"];
        assert!(matches!(check_component([], exports), Err(Unsupported::World(_))));
        assert!(matches!(check_component([], ["wasi:cli/run@0.3.0"]), Err(Unsupported::World(_))));
        assert!(matches!(check_component([], []), Err(Unsupported::World(_))));
    }
}
