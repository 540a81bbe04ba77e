// SPDX-License-Identifier: Apache-2.0

//! Compiling for runtime Keeps, which come by mutual TLS.
//!
//! What vouches for such an artifact is the connection over which it goes, so the key that signs it is made
//! here and forgotten.

use keep_deploy::Host;
use keep_engine::program;
use keep_launch::{CompileService, Event, Evidence};

use crate::Refused;

/// What this program asks of its host, and tells it, while it runs.
#[derive(Debug, Clone, Copy)]
struct Descriptors;

impl Host for Descriptors {
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, String> {
        program::evidence(report_data)
    }

    fn event(&self, event: Event) {
        program::event(&event);
    }
}

/// Serves until the host ends it. It returns only if it cannot begin.
pub(crate) fn serve(launch: &CompileService) -> Result<u64, Refused> {
    let events = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refused::io("cannot set up the event loop", &error))?;
    let key = program::random()
        .map_err(|error| Refused::io("there are no random numbers for a key", &error))?;
    let compile = |module: &[u8]| {
        crate::compile(module, &key, launch.threads)
            .map(Vec::from)
            .map_err(|refused| (refused.reason, refused.message))
    };
    match events.block_on(keep_deploy::compile::serve(launch, &Descriptors, compile)) {
        Ok(never) => match never {},
        Err(error) => Err(Refused::new(error.refusal(), error.message())),
    }
}
