// SPDX-License-Identifier: Apache-2.0

//! `enarx platform`: what this machine can do, and what the vendors of processors say of it.
//!
//! Evidence of a Keep is worth something only with what the vendor says of the processor: certificates,
//! lists of what is revoked, for Intel also TCB information. Whoever runs Keeps fetches that now and then,
//! and this is the place for it. Nothing that a service answers is believed: it is verified down to the
//! vendor's root, which is built in and cannot be replaced from the command line.

mod common;
mod info;
#[cfg(target_os = "linux")]
mod selftest;
mod sgx;
mod snp;

use clap::Subcommand;

use crate::exit::Failure;

/// The names of the two vendors' caches.
pub(crate) const AMD: &str = "amd-sev";
pub(crate) const INTEL: &str = "intel-sgx";

/// The caches of that name in which something may be found. Without a home there is still the machine's.
pub(crate) fn caches(name: &str) -> Vec<vendor_fetch::Cache> {
    common::CacheArgs::by_environment().caches(name).unwrap_or_default()
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlatformCommand {
    /// Show for each backend whether it works here, and what to do if not
    Info {
        /// Print JSON
        #[arg(long, short)]
        json: bool,
    },
    #[cfg(target_os = "linux")]
    Selftest(selftest::SelftestArgs),
    /// AMD: certificates of the key that signs SEV-SNP reports, and revocation lists
    #[command(subcommand)]
    Snp(snp::SnpCommand),
    /// Intel: certificates of the platform, TCB information, and revocation lists
    #[command(subcommand)]
    Sgx(sgx::SgxCommand),
}

pub(crate) fn run(command: &PlatformCommand) -> Result<(), Failure> {
    match command {
        PlatformCommand::Info { json } => info::run(*json),
        #[cfg(target_os = "linux")]
        PlatformCommand::Selftest(args) => selftest::run(args),
        PlatformCommand::Snp(command) => snp::run(command),
        PlatformCommand::Sgx(command) => sgx::run(command),
    }
}
