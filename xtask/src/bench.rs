// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench`: speed against the Wasmtime command line of the same major version.
//!
//! All engines take turns within one run, so that a machine that slows down slows all of them; what
//! counts is the ratio of medians. Cold is compared with cold (no cache on either side), warm with
//! warm. A bar that is missed stays in the table.
//!
//! Options: `--only PART,…` (see [`PARTS`]), `--quick` for fewer rounds, `--write FILE` to put the
//! tables into a document, `--backends nil,kvm`. With `--stand-ins` the reference is the backend `kvm`,
//! and the stand-ins for hardware are held against it.

mod run;
mod table;

use std::path::PathBuf;

use crate::{Result, guests, host, process, programs};
use run::Engine;
use table::{Row, Table};

/// What can be measured: a name for `--only`, and how.
type Part = (&'static str, fn(&Bench, &mut Table) -> Result);

const PARTS: &[Part] = &[
    ("kernels", kernels),
    ("hello", hello),
    ("cold", cold),
    ("python", python),
    ("memory", memory),
    ("stdout", stdout),
    ("calls", calls),
    ("compile", compile),
    ("image", image),
];

/// What all parts need.
struct Bench {
    /// The reference first.
    engines: Vec<Engine>,
    /// Fewer rounds: to see that it works, not to publish.
    quick: bool,
}

impl Bench {
    fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }
}

pub(crate) fn main(args: &[String]) -> Result {
    guests::main(&[])?;
    let enarx = host::enarx()?;
    let stand_ins = args.iter().any(|a| a == "--stand-ins");
    let backends = match host::option(args, "--backends")? {
        Some(names) => names.split(',').map(str::to_owned).collect(),
        None if stand_ins => host::stand_ins(&enarx)?,
        None => host::backends(&enarx)?,
    };
    let mut engines = match stand_ins {
        true => vec![Engine::keep(&enarx, "kvm")],
        false => vec![Engine::reference(programs::reference()?)?],
    };
    for backend in backends {
        engines.push(Engine::keep(&enarx, &backend));
    }
    let bench = Bench { engines, quick: args.iter().any(|a| a == "--quick") };
    let mut table = Table::new(bench.engines.iter().map(|e| e.name.clone()).collect());
    let only = host::option(args, "--only")?.or(stand_ins.then_some("kernels,hello,stdout,calls"));
    for (name, part) in
        PARTS.iter().filter(|(n, _)| only.is_none_or(|o| o.split(',').any(|o| o == *n)))
    {
        eprintln!("bench: {name}");
        if let Err(e) = part(&bench, &mut table) {
            eprintln!("bench: {name}: {e}");
            table.failed(name, &e.to_string());
        }
    }
    let (block, text) = match stand_ins {
        true => ("stand-ins", table.markdown()),
        false => ("bench", format!("{}\n\n{}", run::machine(&bench.engines[0])?, table.markdown())),
    };
    println!("{text}");
    if let Some(file) = host::option(args, "--write")? {
        host::replace_block(&PathBuf::from(file), block, &text)?;
    }
    Ok(())
}

/// Steady state of every compute kernel, as the guest itself measures it.
fn kernels(bench: &Bench, table: &mut Table) -> Result {
    let module = guests::out().join("kernels.wasm");
    let list = process::run(&mut bench.engines[0].command(&module, &["list"]), &[], run::LIMIT)?;
    let mut ratios = vec![Vec::new(); bench.engines.len()];
    for name in list.good()?.text().lines() {
        let rounds = if bench.quick { "3" } else { "15" };
        let medians = run::in_turn(&bench.engines, bench.rounds(5), |engine| {
            let mut command = engine.command(&module, &[name, rounds]);
            run::field(&process::run(&mut command, &[], run::LIMIT)?.good()?.text(), "min")
        })?;
        table.detail("Compute kernels, ms a round", name, medians.iter().map(|ns| ns / 1e6));
        for (ratios, median) in ratios.iter_mut().zip(&medians) {
            ratios.push(median / medians[0]);
        }
    }
    let geomeans: Vec<f64> = ratios.iter().map(|ratios| run::geomean(ratios)).collect();
    let what = format!("{} compute kernels, steady state, geometric mean", ratios[0].len());
    let row = Row::ratios(what, &geomeans, "×");
    table.row(match bench.engines[0].is_keep {
        true => row.at_most("snp-sim", 1.10).at_most("sgx-sim", 1.10),
        false => row.at_most("kvm", 1.05).at_most("nil", 1.02),
    });
    Ok(())
}

/// The whole process of a hello, warm.
fn hello(bench: &Bench, table: &mut Table) -> Result {
    let module = guests::out().join("hello.wasm");
    let times = run::wall(&bench.engines, bench.rounds(101), 3, |e| e.command(&module, &[]))?;
    let row = Row::times("Rust hello of 68 KB, whole process, warm cache", &times);
    table.row(row.at_most("kvm", 2.0).at_most("nil", 0.7));
    Ok(())
}

/// The same without a cache.
fn cold(bench: &Bench, table: &mut Table) -> Result {
    let module = guests::out().join("hello.wasm");
    let times = run::wall(&bench.engines, bench.rounds(21), 1, |e| e.cold(&module, &[]))?;
    let row = Row::times("the same, cold", &times);
    table.row(row.at_most("kvm", 1.3).at_most("nil", 1.0));
    Ok(())
}

/// CPython, warm.
fn python(bench: &Bench, table: &mut Table) -> Result {
    let module = programs::path("python.wasm").ok_or("run `cargo xtask programs` first")?;
    let times = run::wall(&bench.engines, bench.rounds(21), 2, |e| {
        e.command(&module, &["-c", "print(1)"])
    })?;
    table.row(Row::times("CPython 3.12, `-c 'print(1)'`, warm", &times).at_most("kvm", 1.0));
    Ok(())
}

/// Peak memory of a hello, warm.
fn memory(bench: &Bench, table: &mut Table) -> Result {
    let module = guests::out().join("hello.wasm");
    let peaks = run::in_turn(&bench.engines, bench.rounds(11), |engine| {
        let outcome = run::silent(&mut engine.command(&module, &[]))?;
        Ok(outcome.peak as f64 / 1024.0)
    })?;
    table.row(Row::amounts("peak memory of hello", &peaks, "MiB").at_most("kvm", 2.0));
    Ok(())
}

/// Bytes a second to standard output.
fn stdout(bench: &Bench, table: &mut Table) -> Result {
    let module = guests::out().join("yes.wasm");
    let mib = if bench.quick { "128" } else { "1024" };
    let rates = run::in_turn(&bench.engines, bench.rounds(5), |engine| {
        let outcome = run::drained(&mut engine.command(&module, &[mib]))?;
        Ok(mib.parse::<f64>()? / outcome.wall.as_secs_f64())
    })?;
    let row = Row::rates("stdout throughput through a pipe, 1 GiB", &rates, "MiB/s");
    table.row(row.at_least("kvm", 0.5));
    Ok(())
}

/// One small host call.
fn calls(bench: &Bench, table: &mut Table) -> Result {
    let module = guests::out().join("calls.wasm");
    for (call, what) in [("clock", "`clock_time_get`"), ("write", "`fd_write` of 1 byte")] {
        for figure in ["median", "p99", "min"] {
            let times = run::in_turn(&bench.engines, bench.rounds(5), |engine| {
                let outcome = process::run(&mut engine.command(&module, &[call]), &[], run::LIMIT)?;
                run::field(&String::from_utf8_lossy(&outcome.good()?.stderr), figure)
            })?;
            let name = format!("{what}, {figure}");
            table.detail("One small call, µs", &name, times.iter().map(|ns| ns / 1e3));
            if call == "write" && figure == "median" {
                let row = Row::amounts("one small host call (1-byte `fd_write`)", &times, "ns");
                table.row(row.absolute_at_most("kvm", 5000.0, "5 µs"));
            }
        }
    }
    Ok(())
}

/// Compile time of a big module: a cold run less a warm one, on one thread.
fn compile(bench: &Bench, table: &mut Table) -> Result {
    let module = programs::path("python.wasm").ok_or("run `cargo xtask programs` first")?;
    let rounds = bench.rounds(3);
    let args = ["-c", "print(1)"];
    let warm = run::wall(&bench.engines, rounds, 1, |e| e.command(&module, &args))?;
    let less_warm = |cold: Vec<f64>| -> Vec<f64> {
        cold.iter().zip(&warm).map(|(cold, warm)| cold - warm).collect()
    };
    let one = run::wall(&bench.engines, rounds, 0, |e| e.one_thread(e.cold(&module, &args)))?;
    let what = "compile time of a module of 26 MB (CPython), one thread";
    table.row(Row::times(what, &less_warm(one)).at_most("kvm", 1.15));
    let all = run::wall(&bench.engines, rounds, 0, |e| e.cold(&module, &args))?;
    table.row(Row::times("the same, as many threads as CPUs", &less_warm(all)));
    Ok(())
}

/// The size of the runtime Keep's image.
fn image(bench: &Bench, table: &mut Table) -> Result {
    let mut sizes = Vec::new();
    for engine in &bench.engines {
        sizes.push(if engine.is_keep { engine.image()? } else { f64::NAN });
    }
    let row = Row::amounts("size of the runtime Keep's image", &sizes, "MiB");
    table.row(row.absolute_at_most("kvm", 6.0, "6 MiB"));
    Ok(())
}
