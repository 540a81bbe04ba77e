// SPDX-License-Identifier: Apache-2.0

//! Tests on a simulated processor.
//!
//! [`sim`] walks the tables as hardware does and remembers, as badly as hardware may, what it has
//! seen until it is told to forget. [`pages`] says what Linux would do, page by page, and random
//! sequences of calls and accesses are compared with it: on that processor by [`model`], in a simulated
//! enclave by [`accepted`]. [`cases`] are the uses that the design is made for, with their costs.

mod accepted;
mod cases;
mod model;
mod pages;
mod sim;

use proptest::test_runner::Config;

/// How many random sequences are tried.
fn cases() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 48;
    }
    config
}
