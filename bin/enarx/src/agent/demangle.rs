// SPDX-License-Identifier: Apache-2.0

//! Names of functions as people wrote them.
//!
//! A Keep gives a trap's backtrace with the names that are in the module. Compilers of Rust and C++ encode
//! paths and types in them; to read that takes a parser that has no place in what a tenant has to
//! trust, so it happens here, where the text is shown. The names come from the workload, which is a stranger
//! to this machine: what is read and what comes out has a bound, and a name beyond it stays as it is.

use std::borrow::Cow;
use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};

/// Longest name that is read, in bytes.
const MAX_NAME: usize = 1 << 10;
/// Longest name that is written, in bytes. Both encodings can refer back to their own parts.
const MAX_SHOWN: usize = 4 << 10;
/// How deep the parts of a C++ name may lie in each other; twice as deep when it is written.
const MAX_DEPTH: u32 = 48;

/// A backtrace of Wasmtime with names for people: lines `… - <module>!<name>`.
pub(crate) fn demangle(message: &str) -> Cow<'_, str> {
    // No such encoding begins otherwise.
    if !message.contains("!_") {
        return Cow::Borrowed(message);
    }
    let mut shown = String::with_capacity(message.len());
    for line in message.split_inclusive('\n') {
        let found = line.split_once(" - ").and_then(|(at, frame)| {
            let (module, name) = frame.split_once("!_")?;
            at.trim_start().starts_with(|first: char| first.is_ascii_digit()).then_some(())?;
            let name = name.trim_end_matches('\n');
            let start = line.len() - frame.len() + module.len() + 1;
            readable(&line[start..start + 1 + name.len()]).map(|name| (start, name))
        });
        match found {
            Some((start, name)) => {
                shown.push_str(&line[..start]);
                shown.push_str(&name);
                shown.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
            None => shown.push_str(line),
        }
    }
    Cow::Owned(shown)
}

/// A name without its encoding, if it has one that is known.
fn readable(name: &str) -> Option<String> {
    if name.len() > MAX_NAME {
        return None;
    }
    let mut out = Bounded(String::new());
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        write!(out, "{rust}").ok()?;
    } else {
        let parse = ParseOptions::default().recursion_limit(MAX_DEPTH);
        let symbol = Symbol::new_with_options(name, &parse).ok()?;
        let options = DemangleOptions::new().recursion_limit(2 * MAX_DEPTH);
        symbol.structured_demangle(&mut out, &options).ok()?;
    }
    Some(out.0)
}

/// Text of at most [`MAX_SHOWN`] bytes.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_SHOWN {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_and_c_plus_plus_are_readable() {
        let trap = "failed\n\nCaused by:\n    0: wasm backtrace:\n    \
            0:     0x3a - <unknown>!_ZN4core9panicking5panic17h0123456789abcdefE\n    \
            1:     0x41 - app!_RNvC3app4main\n    \
            2:     0x42 - lib.wasm!_ZNSt6vectorIiSaIiEE9push_backERKi\n    \
            3:     0x43 - app!_start\n    \
            4:     0x44 - app!main";
        let shown = demangle(trap);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[4],
            "    0:     0x3a - <unknown>!core::panicking::panic::h0123456789abcdef"
        );
        assert_eq!(lines[5], "    1:     0x41 - app!app::main");
        assert!(
            lines[6].starts_with("    2:     0x42 - lib.wasm!std::vector<int, "),
            "{}",
            lines[6]
        );
        assert!(lines[6].ends_with("::push_back(int const&)"), "{}", lines[6]);
        assert_eq!(lines[7..], ["    3:     0x43 - app!_start", "    4:     0x44 - app!main"]);
    }

    #[test]
    fn all_else_stays() {
        for text in
            ["", "a!_ZN1aE", "0 - a", "no - app!_ZN1a1bE\n", "0: 1 - m!_ZN", "0: 1 - m!_R\n\n"]
        {
            assert_eq!(demangle(text), text);
        }
    }

    #[test]
    fn names_cannot_grow_without_bound() {
        // Each parameter `b<T, T>` is of the one before it, so twice as long. Parts are counted in
        // digits of base 36, two for each parameter: the template and what it makes.
        let mut name = String::from("_Z1f1aIiiE");
        for digit in "02468ACEGIKM".chars() {
            name.push_str(&format!("1bIS{digit}_S{digit}_E"));
        }
        let whole = Symbol::new(&name).unwrap().demangle().unwrap();
        assert!(whole.len() > 4 * MAX_SHOWN, "{}", whole.len());
        let long = format!("0: 1 - m!_ZN{}E", "1a".repeat(MAX_NAME));
        for line in [format!("0: 1 - m!{name}"), long] {
            assert_eq!(demangle(&line), line);
        }
    }
}
