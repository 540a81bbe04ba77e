// SPDX-License-Identifier: Apache-2.0

//! Compute kernels: `kernels NAME [ROUNDS]` prints `NAME median NS min NS checksum HEX`.
//!
//! Each kernel does the same fixed work in every round and returns a checksum of its result, so two
//! engines can be compared and neither can skip the work. One round before the first is not timed:
//! what is compared is the steady state. `kernels list` prints the names.

mod data;
mod numeric;
mod text;

use std::time::Instant;

/// A kernel: prepares its input, then does one round of work for each call.
type Kernel = fn() -> Box<dyn FnMut() -> u64>;

const KERNELS: &[(&str, Kernel)] = &[
    ("2mm", numeric::two_mm),
    ("base64", text::base64),
    ("btree", data::btree),
    ("cholesky", numeric::cholesky),
    ("correlation", numeric::correlation),
    ("fannkuch", numeric::fannkuch),
    ("floyd-warshall", numeric::floyd_warshall),
    ("gemm", numeric::gemm),
    ("hashmap", data::hashmap),
    ("heat-3d", numeric::heat_3d),
    ("jacobi-2d", numeric::jacobi_2d),
    ("json", text::json),
    ("lu", numeric::lu),
    ("mandelbrot", numeric::mandelbrot),
    ("matrix-f32", numeric::matrix_f32),
    ("matrix-simd", numeric::matrix_simd),
    ("nbody", numeric::nbody),
    ("regex", text::regex),
    ("sha256", text::sha256),
    ("sort", data::sort),
];

/// Numbers that are the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    let name = args.get(1).map_or("list", String::as_str);
    let rounds = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(7usize).max(1);
    if name == "list" {
        KERNELS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let Some((_, kernel)) = KERNELS.iter().find(|(n, _)| *n == name) else {
        eprintln!("kernels: there is no kernel {name}; try `list`");
        std::process::exit(2);
    };
    let mut round = kernel();
    let checksum = round();
    let mut times: Vec<u128> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            let result = std::hint::black_box(round());
            let time = start.elapsed().as_nanos();
            assert_eq!(result, checksum, "a round gave another result");
            time
        })
        .collect();
    times.sort_unstable();
    println!("{name} median {} min {} checksum {checksum:016x}", times[times.len() / 2], times[0]);
}
