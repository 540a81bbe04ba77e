// SPDX-License-Identifier: Apache-2.0

//! The keyring of the desktop: the Secret Service of freedesktop.org, which GNOME Keyring, KWallet and
//! KeePassXC offer.
//!
//! It is spoken to through `secret-tool`, the program that comes with libsecret. A D-Bus client in here
//! would bring more than a hundred crates, an asynchronous runtime and a second generation of
//! cryptography along, for three calls that this program does.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use zeroize::Zeroizing;

use super::helper::run;

/// A locked keyring asks its owner for a password.
const PATIENCE: Duration = Duration::from_secs(120);

/// The name of the service under which secrets are filed, as it always was.
const SERVICE: &str = "enarx";

/// A keyring that may answer.
#[derive(Debug)]
pub(crate) struct Keyring {
    tool: PathBuf,
}

impl Keyring {
    /// The keyring, if there is a session bus and the program that speaks to it.
    pub(crate) fn find() -> Option<Self> {
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let bus = env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|value| !value.is_empty())
            || runtime.is_some_and(|folder| folder.join("bus").exists());
        if !bus {
            return None;
        }
        let path = env::var_os("PATH")?;
        let mut candidates = env::split_paths(&path).filter(|folder| folder.is_absolute());
        candidates.find_map(|folder| {
            let tool = folder.join("secret-tool");
            is_file(&tool).then_some(Self { tool })
        })
    }

    pub(crate) fn show(&self, key: &str) -> Option<Zeroizing<String>> {
        let (status, text) = self.call("lookup", None, key, None)?;
        (status && !text.is_empty()).then_some(text)
    }

    pub(crate) fn insert(&self, key: &str, secret: &str) -> bool {
        let label = format!("Enarx: {key}");
        self.call("store", Some(&label), key, Some(secret)).is_some_and(|(status, _)| status)
    }

    /// Whether it is gone, or never was there.
    pub(crate) fn erase(&self, key: &str) -> bool {
        let cleared = self.call("clear", None, key, None);
        cleared.is_some_and(|(status, _)| status) || self.show(key).is_none()
    }

    /// Whether it went well, and the output; what goes wrong is logged, because there is another place.
    fn call(
        &self,
        verb: &str,
        label: Option<&str>,
        key: &str,
        input: Option<&str>,
    ) -> Option<(bool, Zeroizing<String>)> {
        let mut command = Command::new(&self.tool);
        command.arg(verb);
        if let Some(label) = label {
            command.args(["--label", label]);
        }
        command.args(["service", SERVICE, "username", key]).stderr(Stdio::null());
        match run(command, input, PATIENCE) {
            Ok((status, text)) => {
                tracing::debug!(verb, success = status.success(), "asked the keyring");
                Some((status.success(), text))
            }
            Err(error) => {
                tracing::debug!(verb, %error, "cannot ask the keyring");
                None
            }
        }
    }
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}
