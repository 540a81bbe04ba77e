// SPDX-License-Identifier: Apache-2.0

//! Gives a workload the key that it seals data with: as a file, in a folder that it can only read.

use std::path::Path;

use enarx_config::Sealing;
use keep_deploy::Host as _;
use keep_engine::program;
use keep_identity::{CodeOrigin, sealing_key};
use keep_launch::{Event, Preopen, Refusal};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::Refused;
use crate::host::Descriptors;

/// The folder, below this program's own. The host's folders are there already; one that is called so is an
/// error, not one to put a key into.
const FOLDER: &str = "sealing";

/// Makes the folder with the key of this workload in it.
pub(crate) fn folder(
    sealing: &Sealing,
    workload: Option<[u8; 32]>,
    origin: CodeOrigin<'_>,
) -> Result<Preopen, Refused> {
    let failed = |error: std::io::Error| {
        Refused::new(Refusal::Internal, format!("cannot give the workload its key\n{error}"))
    };
    // Only a workload that was pinned came so far.
    let Some(workload) = workload else {
        return Err(Refused::new(Refusal::Launch, "the workload has no digest"));
    };
    let mut platform = [0; 32];
    let key = if program::platform_key(&mut platform).map_err(failed)? {
        sealing_key(&mut platform, &workload, origin)
    } else if sealing.throwaway {
        let message = "this platform has no key for sealing, so the workload has one of the moment: what it \
                       seals nobody can open again";
        Descriptors.event(Event::Warning { message: message.to_owned() });
        program::random().map_err(failed)?.into()
    } else {
        return Err(Refused::new(Refusal::Config, NO_KEY));
    };
    let write = || {
        mkdirat(CWD, FOLDER, Mode::RWXU)?;
        let path = Path::new(FOLDER).join(Sealing::FILE);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::RUSR)?;
        program::write_all(std::os::fd::AsFd::as_fd(&file), &key[..])
    };
    write().map_err(failed)?;
    Ok(Preopen { path: FOLDER.to_owned(), guest: sealing.folder.clone() })
}

const NO_KEY: &str = "`[sealing]` of Enarx.toml asks for a key, and this platform has none that would be a secret
help: deploy it with SEV-SNP or SGX; for trials, `throwaway = true` below `[sealing]` gives it a key that is drawn \
anew at each start";

/// For a workload that the host hands over with a configuration of its choice: whatever code it is could claim
/// to be another.
pub(crate) fn not_deployed() -> Refused {
    let message =
        "`[sealing]` of Enarx.toml asks for a key, which only a workload that is deployed has
help: use `enarx deploy`";
    Refused::new(Refusal::Config, message)
}
