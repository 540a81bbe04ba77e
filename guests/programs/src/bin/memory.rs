// SPDX-License-Identifier: Apache-2.0

//! Grows its memory by as many MiB as the first argument says, writes to every page of 4 KiB, and
//! reads all of it again.

fn main() {
    let mib: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(64);
    let old = core::arch::wasm32::memory_grow::<0>(mib * 16);
    if old == usize::MAX {
        eprintln!("memory: cannot have {mib} MiB");
        std::process::exit(3);
    }
    // SAFETY: these bytes are new: nobody else has them, and a linear memory is always initialised.
    let memory = unsafe { std::slice::from_raw_parts_mut((old << 16) as *mut u8, mib << 20) };
    // Fresh pages are zero by the specification; a Keep must not hand over anything else, so this
    // looks before it writes.
    let mut dirty = 0usize;
    for (page, bytes) in memory.chunks_mut(4096).enumerate() {
        dirty += usize::from(bytes[0] != 0);
        bytes[0] = page as u8 | 1;
    }
    let wrong = memory.chunks(4096).enumerate().filter(|(page, c)| c[0] != *page as u8 | 1).count();
    println!("touched {mib} MiB, {dirty} pages were not zero, {wrong} changed");
    std::process::exit(i32::from(dirty != 0 || wrong != 0));
}
