// SPDX-License-Identifier: Apache-2.0

//! The settings themselves, and a digest that names them.

use wasmtime::{Config, Engine, ModuleVersionStrategy, WasmBacktraceDetails};

use crate::VERSION;

/// The configuration of both programs.
///
/// Only what differs from Wasmtime's default is set. The defaults that matter most: a linear memory
/// reserves 4 GiB of addresses and 32 MiB of guard behind it, so most accesses need no check; traps
/// arrive as signals; a call may use 512 KiB of stack.
pub fn config() -> Config {
    let mut config = Config::new();
    // Keeps have no file to share a memory's initial contents with, and copying them is cheaper
    // there than a mapping per instance.
    config.memory_init_cow(false);
    // Backtraces follow frame pointers and name functions from the name section. Neither needs
    // unwind tables or DWARF, which would only make the artifact longer, and so slower to check.
    config.native_unwind_info(false);
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Cannot fail: the version is shorter than 256 bytes. If it did, the two programs would still
    // agree, on Wasmtime's own version.
    let _ = config.module_version(ModuleVersionStrategy::Custom(VERSION.to_owned()));
    config
}

/// Names the configuration of an engine: SHA-256 over the settings that it really has, as it
/// reports them, so that a feature switched on by accident in one of the programs is noticed too.
pub fn identity(engine: &Engine) -> [u8; 32] {
    let text = format!(
        "{VERSION}
features {features:#x}
memory {reservation} {guard} {growth} {may_move} {guard_before} {cow}
gc {gc_initial} {gc_reservation} {gc_guard} {gc_growth} {gc_may_move}
traps {signals} {address_map}
tables {lazy}
interrupt {epoch} {fuel}
async {concurrency}
",
        features = engine.get_wasm_features().bits(),
        reservation = engine.get_memory_reservation(),
        guard = engine.get_memory_guard_size(),
        growth = engine.get_memory_reservation_for_growth(),
        may_move = engine.get_memory_may_move(),
        guard_before = engine.get_guard_before_linear_memory(),
        cow = engine.get_memory_init_cow(),
        gc_initial = engine.get_gc_heap_initial_size(),
        gc_reservation = engine.get_gc_heap_reservation(),
        gc_guard = engine.get_gc_heap_guard_size(),
        gc_growth = engine.get_gc_heap_reservation_for_growth(),
        gc_may_move = engine.get_gc_heap_may_move(),
        signals = engine.get_signals_based_traps(),
        address_map = engine.get_generate_address_map(),
        lazy = engine.get_table_lazy_init(),
        epoch = engine.get_epoch_interruption(),
        fuel = engine.get_consume_fuel(),
        concurrency = engine.get_concurrency_support(),
    );
    keep_artifact::digest(text.as_bytes())
}
