// SPDX-License-Identifier: Apache-2.0

//! What belongs to one running workload: its WASI context and its memory budget.

use keep_runtime::budget::Budget;
use wasmtime::ResourceLimiter;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::components;
use crate::direct::Direct;
use crate::sockets::Sockets;

#[allow(missing_debug_implementations, reason = "Wasmtime's types have none to show")]
pub(crate) struct State {
    /// Serves components too: preview 1 is a layer over the same context.
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) budget: Budget,
    /// Which of a module's descriptors may be served without the layers between.
    pub(crate) direct: Direct,
    /// Those of a module that has any.
    pub(crate) sockets: Option<Sockets>,
    /// What a component reaches outside of the Keep.
    pub(crate) components: components::Context,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Asked for even what the memory's own maximum forbids; that is no matter of the budget.
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(allowed && self.budget.grow_memory(current, desired))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.budget.undo_memory();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(allowed && self.budget.grow_table(current, desired))
    }
}
