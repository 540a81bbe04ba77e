// SPDX-License-Identifier: Apache-2.0

//! What differs between a Keep and any other place in which this runs.

use std::io;
use std::time::SystemTime;

use keep_identity::Time;
use keep_launch::{Event, Evidence};

/// Who started this Keep.
pub trait Host: Send + Sync {
    /// Evidence of the platform with these report data.
    ///
    /// # Errors
    ///
    /// For a person: why the question could not be asked, or the answer not be read.
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, String>;

    /// Something happened. There is no answer, and nothing to wait for.
    fn event(&self, event: Event);

    /// The time. In a Keep it is the host's word; a certificate that is not valid by it is refused, and
    /// peers have clocks of their own.
    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Time::from_unix(now.map_or(0, |now| now.as_secs()))
    }
}

/// Puts native code to where it can run, and says whether it may.
pub trait Loader {
    /// Memory for one artifact.
    type Memory: Memory;
    /// Code that is ready to run.
    type Loaded;

    /// Memory for an artifact of that many bytes.
    ///
    /// # Errors
    ///
    /// What the operating system reports.
    fn memory(&self, len: u64) -> io::Result<Self::Memory>;

    /// Checks an artifact that was written whole, and loads it: it has to be made from the module with this
    /// SHA-256 digest, and for this engine and processor. Who made it has been checked.
    ///
    /// # Errors
    ///
    /// [`NotLoaded`].
    fn load(&self, memory: Self::Memory, module: [u8; 32]) -> Result<Self::Loaded, NotLoaded>;
}

/// Memory that is filled once, from its beginning.
pub trait Memory {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// What the operating system reports, and if there is no room for them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Memory for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why an artifact was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotLoaded {
    /// Whether it is sound and merely made for another engine or processor, so that another one would do.
    pub is_mismatch: bool,
    /// For a person.
    pub message: String,
}
