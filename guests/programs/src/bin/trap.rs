// SPDX-License-Identifier: Apache-2.0

//! Traps in the way named by the first argument, each below functions whose names can be looked for.
//!
//! Traps that safe and unsafe Rust cannot reach (division, bad table calls) are in `../../../wat/`.

use std::hint::black_box;

#[path = "../cabi.rs"]
mod cabi;

#[inline(never)]
fn read_beyond_memory(address: usize) -> u8 {
    // SAFETY: it is not, and that is the point: the address lies outside the linear memory, where
    // the engine has to stop us.
    unsafe { std::ptr::read_volatile(black_box(address) as *const u8) }
}

#[inline(never)]
fn write_beyond_memory(address: usize) {
    // SAFETY: as in `read_beyond_memory`.
    unsafe { std::ptr::write_volatile(black_box(address) as *mut u8, 1) }
}

#[inline(never)]
fn reach_the_unreachable() -> ! {
    core::arch::wasm32::unreachable()
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "the stack has to run out")]
fn recurse_without_end(depth: u64) -> u64 {
    let frame = black_box([depth; 8]);
    recurse_without_end(depth + 1).wrapping_add(frame[(depth % 8) as usize])
}

#[inline(never)]
fn panic_with_message() {
    panic!("the guest panicked on purpose");
}

#[inline(never)]
fn chosen_by_the_user(kind: &str) {
    match kind {
        "read" => drop(black_box(read_beyond_memory(0xffff_fff0))),
        "write" => write_beyond_memory(0xffff_fff0),
        "unreachable" => reach_the_unreachable(),
        "recurse" => drop(black_box(recurse_without_end(0))),
        "panic" => panic_with_message(),
        _ => {
            eprintln!("usage: trap read | write | unreachable | recurse | panic");
            std::process::exit(2);
        }
    }
}

fn main() {
    println!("before the trap");
    chosen_by_the_user(&std::env::args().nth(1).unwrap_or_default());
    println!("after the trap");
}
