// SPDX-License-Identifier: Apache-2.0

// Uses what a Rust program uses of its system; deterministic.
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn main() {
    // A program of a Keep does not unwind: it says what happened, and ends.
    std::panic::set_hook(Box::new(|panic| {
        println!("{}", panic.location().is_some_and(|at| at.line() > 20));
        std::process::exit(9);
    }));
    let squares: HashMap<u64, u64> = (0..10_000).map(|i| (i, i * i)).collect();
    println!("{} {:?}", squares[&77], std::env::var("KEEP"));
    let begin = Instant::now();
    std::thread::sleep(Duration::from_micros(10));
    println!("{}", begin.elapsed() >= Duration::from_micros(10));
    println!("{:?}", std::fs::read_to_string("/nonexistent").map_err(|error| error.kind()));
    let none = Vec::<u8>::new();
    println!("{}", none[std::env::args().count()]);
}
