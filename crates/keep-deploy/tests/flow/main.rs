// SPDX-License-Identifier: Apache-2.0

//! The whole flow over real connections: with an honest Steward and Drawbridge, and with all ways to lie that
//! we could think of.

mod common;
mod compiler;
mod drawbridge;
mod folder;
mod renewal;
mod steward;
