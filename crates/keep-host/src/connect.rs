// SPDX-License-Identifier: Apache-2.0

//! The way to the outside, as each backend makes it for a Keep that it has built: the boot header,
//! and whatever serves the Keep's calls.

use std::io;

use keep_backend::{BackendError, ClaimKind, NetworkLimits, Spec, host};
use keep_layout::CHUNK;
use sallyport::{BootInfo, MAX_RAM, RawWindow};

use crate::seed::Stream as SeedStream;
use crate::{Agent, Allow, Filter, Memory, Poller, Scope, Server, Stop, Streams, Tokens};

/// Memory that a Keep has at the start beside its image and its input; more is given on demand.
const SPARE: u64 = 32 << 20;

/// Sizes of a Keep's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The image's.
    pub image: u64,
    /// What it has at the start.
    pub needed: u64,
    /// What it may have.
    pub limit: u64,
    /// Length of its input.
    pub input: u64,
}

impl Sizes {
    /// How much memory a Keep needs with an image of so many bytes, if it may have that much.
    ///
    /// # Errors
    ///
    /// [`BackendError::OutOfMemory`].
    pub fn new(image: u64, spec: &Spec) -> Result<Self, BackendError> {
        let input = spec.input.metadata().map_err(host("look at the Keep's input"))?.len();
        let limit = spec.memory.min(MAX_RAM) & !(CHUNK - 1);
        let needed = image.next_multiple_of(CHUNK) + input.next_multiple_of(CHUNK) + SPARE;
        if limit < needed {
            return Err(BackendError::OutOfMemory {
                detail: format!(
                    "it was given {} MiB, but image, input and kernel take {} MiB",
                    spec.memory >> 20,
                    needed.div_ceil(1 << 20)
                ),
            });
        }
        Ok(Self { image, needed, limit, input })
    }

    /// For a Keep that is not given its memory piece by piece: it has all from the start.
    #[must_use]
    pub const fn at_once(self) -> Self {
        Self { needed: self.limit, ..self }
    }
}

/// A Keep's calls, and where they go.
///
/// The order of the fields is the order in which they end. All of it has to end before the block
/// that it was made for does.
#[derive(Debug)]
pub struct Connected {
    /// Serves without exits, where that pays.
    pub poller: Poller,
    /// Serves.
    pub server: Server,
    /// How processors wake each other; one for each.
    pub tokens: Tokens,
    /// Ends all that serves.
    pub stop: Stop,
    /// Whether host folders are still to be read.
    pub reads_files: bool,
    /// What sockets the Keep may have.
    pub network: Option<NetworkLimits>,
    /// The block.
    pub window: RawWindow,
}

/// Makes the way to the outside ready, and writes the boot header. `tsc_khz` is the frequency of
/// the time stamp counter, or 0 if it is none to measure time with.
///
/// # Errors
///
/// What the host says.
pub fn connect(
    spec: Spec,
    window: RawWindow,
    growth: Box<dyn Memory + Send>,
    sizes: &Sizes,
    tsc_khz: u64,
    claims: ClaimKind,
) -> Result<Connected, BackendError> {
    let processors = spec.processors();
    let boot = BootInfo {
        ram: sizes.needed,
        ram_limit: sizes.limit,
        tsc_khz,
        input_len: sizes.input,
        launch_len: spec.launch.len() as u64,
        processors: processors.into(),
        seeds: !spec.seeds.is_empty(),
        output: spec.output.is_some(),
        events: spec.events.is_some(),
        evidence: spec.evidence.is_some(),
        network: spec.network.is_some(),
    };
    boot.write(window);
    let seed = if spec.seeds.is_empty() {
        None
    } else {
        let stream: Box<dyn io::Read + Send> = Box::new(SeedStream::new(&spec.seeds)?);
        Some(stream)
    };
    let agent = Agent::start(spec.evidence, spec.events, claims).map_err(host("start a thread"))?;
    let streams = Streams {
        stdio: spec.stdio,
        launch: spec.launch,
        input: spec.input,
        output: spec.output,
        seed,
        agent,
        network: spec.network,
    };
    let stop = Stop::new().map_err(host("prepare to stop the Keep"))?;
    let tokens = Tokens::new(processors).map_err(host("prepare to wake processors"))?;
    let server = Server::new(window, streams, growth, stop.clone())
        .map_err(host("prepare to wait for sockets"))?
        .with_tokens(tokens.clone());
    let (reads_files, network) = (boot.seeds, spec.network);
    Ok(Connected {
        poller: Poller::new(&server),
        server,
        tokens,
        stop,
        reads_files,
        network,
        window,
    })
}

impl Connected {
    /// Confines the calling thread to the system calls that serving the Keep takes, and these
    /// further ones.
    ///
    /// # Errors
    ///
    /// If it cannot be confined; it must not serve then.
    pub(crate) fn confine(&self, ioctls: Vec<u32>, syscalls: Vec<i64>) -> Result<(), BackendError> {
        let (read_files, network) = (self.reads_files, self.network);
        let allow = Allow { ioctls, read_files, threads: true, network, syscalls };
        let confined = Filter::new(&allow).and_then(|filter| filter.install(Scope::Thread));
        confined.map_err(|error| BackendError::Host {
            what: "confine the thread that serves the Keep".into(),
            source: io::Error::other(error),
        })
    }
}

const _: () = assert!(keep_backend::MAX_PROCESSORS as u64 == keep_layout::PROCESSORS);
