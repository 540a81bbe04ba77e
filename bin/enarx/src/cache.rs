// SPDX-License-Identifier: Apache-2.0

//! `enarx cache`: what the cache of compiled modules holds, and a way to empty it.

use command_line::print;

use crate::cli::CacheCommand;
use crate::exit::Failure;

#[cfg(target_os = "linux")]
pub(crate) fn run(command: &CacheCommand) -> Result<(), Failure> {
    use anyhow::Context;

    use crate::units::show_size;

    let cache = open()?;
    match command {
        CacheCommand::Info { json: true } => {
            let info = cache.info();
            let value = serde_json::json!({
                "path": info.root,
                "artifacts": info.artifacts,
                "bytes": info.bytes,
                "limit": info.limit,
            });
            print(&format!("{value:#}\n"))
        }
        CacheCommand::Info { json: false } => {
            let info = cache.info();
            print(&format!(
                "folder     {}\nartifacts  {}\nsize       {}\nlimit      {}\n",
                info.root.display(),
                info.artifacts,
                show_size(info.bytes),
                show_size(info.limit),
            ))
        }
        CacheCommand::Clear => {
            let cleared = cache
                .clear()
                .with_context(|| format!("cannot clear {}", cache.root().display()))?;
            let (artifacts, size) = (cleared.artifacts, show_size(cleared.bytes));
            let s = if artifacts == 1 { "" } else { "s" };
            print(&format!("removed {artifacts} artifact{s}, {size}\n"))
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_command: &CacheCommand) -> Result<(), Failure> {
    Err(anyhow::anyhow!("there is no cache on this system").into())
}

/// How many bytes of artifacts are kept if `ENARX_CACHE_SIZE` does not say.
#[cfg(target_os = "linux")]
const LIMIT: u64 = 2 << 30;

/// Opens the user's cache.
#[cfg(target_os = "linux")]
pub(crate) fn open() -> Result<keep_cache::Cache, Failure> {
    use anyhow::anyhow;

    use crate::exit::Code;
    use crate::{dirs, units};

    let limit = match std::env::var_os("ENARX_CACHE_SIZE") {
        Some(text) if !text.is_empty() => {
            units::size(&text.to_string_lossy()).map_err(|error| {
                Failure::new(Code::Usage, anyhow!(error).context("ENARX_CACHE_SIZE is not a size"))
            })?
        }
        _ => LIMIT,
    };
    Ok(keep_cache::Cache::open(&dirs::cache()?, limit)?)
}
