// SPDX-License-Identifier: Apache-2.0

//! From the first instruction of the Keep to the first instruction of the program.
//!
//! Everything the host says is copied and checked here, in this order: the boot header, the
//! folders for the file system, the workload's input. Nothing of it is trusted: what must be
//! authentic is checked by the program, against digests that the tenant knows.

use keep_fs::seed::{self, Receiver};
use keep_fs::{Fs, Limits, Timespec};
use keep_layout::{IMAGE_PHYS, MMAP_END, MMAP_START, StartInfo, TABLES_END};
use keep_mm::{Backing, Config, Object as Content, Pages, Place, Prot, Region, Space};
use sallyport::{BootInfo, Stream, Window};

use crate::clock::Clock;
use crate::files::{Files, Object};
use crate::kernel::{Kernel, Pace, Platform};
use crate::net::Net;
use crate::signal::Signals;
use crate::threads::Threads;
use crate::user::UserMemory;

/// Size of the program's stack in bytes. Only what is touched costs memory.
pub const STACK_SIZE: u64 = 8 << 20;

/// Bytes that the kernel's heap has when the program starts.
const HEAP_AT_START: usize = 1 << 20;

impl<P: Platform> Kernel<P> {
    /// Brings the kernel up; the program can then be entered at [`Kernel::first_stack`].
    pub fn boot(
        start: StartInfo,
        memory: impl FnOnce(&BootInfo, Config) -> Space<dyn Pages>,
        window: impl Window,
    ) -> Self {
        if start.magic != StartInfo::MAGIC || start.version != StartInfo::VERSION {
            panic!("the image was built for another kernel");
        }
        let boot = match BootInfo::read(window) {
            Ok(boot) => boot,
            Err(lie) => panic!("the host lied in the boot header: {lie}"),
        };
        let ram_end = IMAGE_PHYS + boot.ram;
        if ram_end < start.image_end {
            panic!("the host gave less memory than the image needs");
        }
        let regions = [
            Region { range: start.text_start..start.text_end, prot: Prot::READ_EXEC },
            Region { range: start.data_start..start.data_end, prot: Prot::READ_WRITE },
        ];
        let config = Config {
            root: start.tables_root,
            tables: start.tables_next..TABLES_END,
            // What the host has given beyond the image is taken in when it is first needed, by
            // `Machine::grow`.
            free_ram: start.image_end..start.image_end,
            ram_limit: IMAGE_PHYS + boot.ram_limit,
            mmap: MMAP_START..MMAP_END,
            brk_start: start.brk_start,
            brk_mapped_end: start.data_end,
            brk_limit: MMAP_START,
            image: regions.to_vec(),
            fresh_is_zero: P::fresh_is_zero(),
        };
        let limits = Limits { bytes: boot.ram_limit, inodes: 1 << 20, file_size: i64::MAX as u64 };
        let fs = Fs::new(limits, Timespec::default());
        let mut kernel = Self {
            platform: core::marker::PhantomData,
            start,
            space: memory(&boot, config),
            fs,
            files: Files::default(),
            net: Net::default(),
            pace: Pace::default(),
            signals: Signals::default(),
            clock: Clock::new(boot.tsc_khz),
            input: Content { phys: 0, len: 0, executable: true },
            sheets: 0,
            threads: Threads::new(boot.processors as usize),
            boot,
        };
        kernel.provision(HEAP_AT_START);
        if kernel.boot.seeds {
            let now = kernel.now();
            if let Err(error) = seed::decode(&mut kernel, now) {
                panic!("the host's folders cannot be taken in: {error}");
            }
        }
        kernel.read_input();
        kernel.open_standard_files();
        kernel
    }

    /// Copies the workload's input into private memory.
    fn read_input(&mut self) {
        let len = self.boot.input_len;
        let Some(phys) = self.space.alloc(len.max(1)) else { self.out_of_memory() };
        // SAFETY: this memory is ours, and nothing else refers to it before the program maps it.
        let bytes = unsafe { core::slice::from_raw_parts_mut(self.space.at(phys), len as usize) };
        let mut done = 0;
        while done < bytes.len() {
            match Self::ask("the input", |port| port.read(Stream::Input, &mut bytes[done..])) {
                Ok(0) => panic!("the host announced {len} bytes of input, it gave {done}"),
                Ok(more) => done += more,
                Err(errno) => panic!("the host cannot read the input: {}", errno.name()),
            }
        }
        self.input = Content { phys, len, executable: true };
    }

    /// Opens what `keep-launch` promises a program.
    fn open_standard_files(&mut self) {
        let BootInfo { output, events, evidence, .. } = self.boot;
        let objects = [
            (true, Object::Stream(Stream::Stdin)),
            (true, Object::Stream(Stream::Stdout)),
            (true, Object::Stream(Stream::Stderr)),
            (true, Object::Stream(Stream::Launch)),
            (true, Object::Input(0)),
            (true, Object::Stream(Stream::Report)),
            (output, Object::Stream(Stream::Output)),
            (events, Object::Stream(Stream::Events)),
            (evidence, Object::Stream(Stream::ReportData)),
            (evidence, Object::Stream(Stream::Evidence)),
        ];
        for (number, (there, object)) in objects.into_iter().enumerate() {
            if there && self.files.insert_from(number, object, 0, false).is_err() {
                panic!("the descriptor table is full at the start");
            }
        }
    }

    /// Builds the stack that the program starts on; answers the stack pointer.
    ///
    /// From there up: the number of arguments, the arguments, the environment (empty), the
    /// auxiliary vector; above them the strings.
    pub fn first_stack(&mut self) -> u64 {
        let Ok(bottom) =
            self.space.mmap(Place::Anywhere, STACK_SIZE, Prot::READ_WRITE, Backing::Anonymous)
        else {
            self.out_of_memory()
        };
        let random = [(); 2].map(|()| match P::random() {
            Some(word) => word,
            None => panic!("the processor gives no random numbers"),
        });
        let top = bottom + STACK_SIZE;
        let (name_at, random_at) = (top - 16, top - 32);
        let start = self.start;
        // System V ABI, AMD64 supplement §3.4.3; `linux/auxvec.h`.
        let vector = [
            [1, name_at],                      // argc, argv
            [0, 0],                            // the end of argv, environment
            [3, start.program_phdr],           // AT_PHDR
            [4, start.program_phent],          // AT_PHENT
            [5, start.program_phnum],          // AT_PHNUM
            [6, keep_layout::PAGE],            // AT_PAGESZ
            [7, 0],                            // AT_BASE
            [8, 0],                            // AT_FLAGS
            [9, start.program_entry],          // AT_ENTRY
            [11, 0],                           // AT_UID
            [12, 0],                           // AT_EUID
            [13, 0],                           // AT_GID
            [14, 0],                           // AT_EGID
            [17, 100],                         // AT_CLKTCK
            [23, 0],                           // AT_SECURE
            [25, random_at],                   // AT_RANDOM
            [31, name_at],                     // AT_EXECFN
            [51, crate::signal::STACK_NEEDED], // AT_MINSIGSTKSZ
            [0, 0],                            // AT_NULL
        ];
        let stack = random_at - size_of_val(&vector) as u64;
        let mut put = |at: u64, words: [u64; 2]| {
            if self.space.store(at, &words).is_err() {
                panic!("the program's stack cannot be written");
            }
        };
        put(name_at, [u64::from_le_bytes(*b"program\0"), 0]);
        put(random_at, random);
        for (index, words) in vector.into_iter().enumerate() {
            put(stack + index as u64 * 16, words);
        }
        stack
    }
}

/// Fills the file system from the host's folders.
impl<P: Platform> Receiver for Kernel<P> {
    fn fs(&mut self) -> &mut Fs {
        &mut self.fs
    }

    fn read(&mut self, piece: &mut [u8]) -> usize {
        self.provision(4 * seed::PIECE + (1 << 20));
        match Self::ask("its folders", |port| port.read(Stream::Seed, piece)) {
            Ok(len) => len,
            Err(errno) => panic!("the host cannot read its folders: {}", errno.name()),
        }
    }
}
