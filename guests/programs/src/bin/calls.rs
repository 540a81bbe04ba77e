// SPDX-License-Identifier: Apache-2.0

//! What one small host call costs: `calls clock|write [BATCHES]`. Batches of 100 calls, the result
//! on standard error as `NAME median MEDIAN p99 P99 min MIN` in nanoseconds a call.

use std::time::Instant;

#[repr(C)]
struct Slice(*const u8, usize);

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(id: u32, precision: u64, time: *mut u64) -> u16;
    fn fd_write(fd: u32, slices: *const Slice, n: usize, written: *mut usize) -> u16;
}

fn main() {
    let name = std::env::args().nth(1).unwrap_or_default();
    let batches = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(200usize);
    let call: fn() = match name.as_str() {
        "clock" => || {
            let mut time = 0;
            // SAFETY: the pointer is to a `u64`.
            assert_eq!(unsafe { clock_time_get(1, 1, &mut time) }, 0);
        },
        "write" => || {
            let mut written = 0;
            let slice = Slice(b"x".as_ptr(), 1);
            // SAFETY: one slice of one byte, and a pointer to a `usize`.
            assert_eq!(unsafe { fd_write(1, &slice, 1, &mut written) }, 0);
        },
        _ => {
            eprintln!("usage: calls clock | write [BATCHES]");
            std::process::exit(2);
        }
    };
    let mut times: Vec<u128> = (0..batches.max(1))
        .map(|_| {
            let start = Instant::now();
            (0..100).for_each(|_| call());
            start.elapsed().as_nanos() / 100
        })
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!("{name} median {} p99 {} min {}", at(50), at(99), at(0));
}
