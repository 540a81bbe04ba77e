// SPDX-License-Identifier: Apache-2.0

//! What each command does.

use std::path::Path;
use std::time::Duration;

use command_line::{OrExit, files, print, print_json};
use drawbridge_server::{Server, StartError, until_signal};
use drawbridge_store::{Grace, Quotas, Store};
use tokio::runtime::{Builder, Runtime};
use tracing::warn;

use crate::cli::{CheckArgs, GcArgs};
use crate::exit::{Code, Failure};
use crate::options::Options;

/// Threads for work on files: it is short, and more of them would only take memory.
const FILE_THREADS: usize = 16;

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .max_blocking_threads(FILE_THREADS)
        .enable_all()
        .build()
        .or_exit_with(Code::Failed, || "cannot start threads")
}

pub(crate) fn serve(options: Options, file: Option<&Path>) -> Result<(), Failure> {
    let options = options.with_file(file)?;
    let config = options.config()?;
    if config.tls.is_none() {
        warn!(
            "there is no --cert: what is sent is not encrypted, and nothing is released to Keeps"
        );
    }
    if config.oidc.is_none() {
        warn!("there is no --oidc-issuer: nobody can log in, so the store can only be read");
    }
    runtime()?.block_on(async {
        let server = Server::new(config).await.map_err(|error| {
            let code = match error {
                StartError::Tls(_) | StartError::Sigstore(_) | StartError::Oidc(_) => Code::Unsound,
                _ => Code::Failed,
            };
            Failure::new(code, error)
        })?;
        if let Some(path) = &options.serve.addr_file {
            files::publish(path, &format!("{}\n", server.address()))?;
        }
        let stop = until_signal().or_exit_with(Code::Failed, || "cannot wait for signals")?;
        server.serve(stop).await.map_err(|error| Failure::new(Code::Failed, error))
    })
}

fn open(store: &Option<String>, file: Option<&Path>) -> Result<Store, Failure> {
    let options = Options { store: store.clone(), ..Options::default() }.with_file(file)?;
    let url = options.store()?;
    Store::open(url, Quotas::default())
        .or_exit_with(Code::Failed, || format!("cannot use the store `{url}`"))
}

pub(crate) fn gc(args: &GcArgs, file: Option<&Path>) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let store = open(&args.store, file)?;
        let grace = Duration::from_secs(args.grace);
        let collected = store
            .collect(Grace { content: grace, uploads: grace, files: grace })
            .await
            .or_exit_with(Code::Failed, || "cannot collect garbage")?;
        if args.json {
            return print_json(&serde_json::json!({
                "contents": collected.contents,
                "bytes": collected.bytes,
                "kept": collected.kept,
                "records": collected.records,
                "uploads": collected.uploads,
                "files": collected.files,
            }));
        }
        print(&format!(
            "removed {} contents ({} bytes), {} records, {} uploads, {} files; {} contents stay\n",
            collected.contents,
            collected.bytes,
            collected.records,
            collected.uploads,
            collected.files,
            collected.kept
        ))
    })
}

pub(crate) fn check(args: &CheckArgs, file: Option<&Path>) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let store = open(&args.store, file)?;
        let checked =
            store.check(args.read).await.or_exit_with(Code::Failed, || "cannot check the store")?;
        let faults = &checked.faults;
        if args.json {
            let faults: Vec<_> = faults
                .iter()
                .map(|fault| serde_json::json!({ "key": fault.key, "what": fault.what }))
                .collect();
            print_json(&serde_json::json!({
                "tags": checked.tags,
                "nodes": checked.nodes,
                "contents": checked.contents,
                "bytes": checked.bytes,
                "faults": faults,
            }))?;
        } else {
            let mut text = String::new();
            for fault in faults {
                text += &format!("{}: {}\n", fault.key, fault.what);
            }
            text += &format!(
                "{} tags, {} files and directories, {} contents, {} faults\n",
                checked.tags,
                checked.nodes,
                checked.contents,
                faults.len()
            );
            print(&text)?;
        }
        if faults.is_empty() { Ok(()) } else { Err(Failure::told(Code::Check)) }
    })
}
