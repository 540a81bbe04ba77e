// SPDX-License-Identifier: Apache-2.0

//! The project's chores, one file each: `cargo xtask CHORE`.
//!
//! Chores prepare, compare and measure; they are no part of the product. Most of them depend on what
//! a machine or its network has, so each says why it skips what it cannot do, and only fails on
//! what is wrong.

mod bench;
mod coverage;
mod deploy;
mod drawbridge;
mod guests;
mod host;
mod network;
mod process;
mod programs;
mod servers;
mod soak;
mod tcb;
mod test;
mod testsuite;

/// What chores return: their errors are for people only.
type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Name, what it does, and the function that does it with the remaining arguments.
type Chore = (&'static str, &'static str, fn(&[String]) -> Result);

const CHORES: &[Chore] = &[
    ("bench", "measure speed against the Wasmtime command line", bench::main),
    ("coverage", "count the lines and branches of the verifier that tests reach", coverage::main),
    ("deploy", "measure what a deployment takes beside a plain run", deploy::main),
    ("drawbridge", "measure a Drawbridge against Debian's docker-registry", drawbridge::main),
    ("guests", "build the programs of guests/ to guests/target/out", guests::main),
    ("network", "measure the network of a Keep against native servers", network::main),
    (
        "programs",
        "fetch real programs and the Wasmtime command line from registries",
        programs::main,
    ),
    ("servers", "install the programs of others that tests talk to", servers::main),
    ("soak", "run the checks that take long: big streams, big memory, many Keeps", soak::main),
    ("tcb", "count the trusted computing base into docs/tcb.md, or check it", tcb::main),
    ("test", "run everything that must hold before a change goes in", test::main),
    ("testsuite", "run the WASI test suite and write its table", testsuite::main),
];

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("help", String::as_str);
    let Some((_, _, chore)) = CHORES.iter().find(|(n, ..)| *n == name) else {
        eprintln!("usage: cargo xtask CHORE [options]\n\nChores:");
        CHORES.iter().for_each(|(name, what, _)| eprintln!("  {name:10} {what}"));
        return std::process::ExitCode::from(if name == "help" { 0 } else { 2 });
    };
    match chore(&args[1..]) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{name}: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
