// SPDX-License-Identifier: Apache-2.0

//! Features of the processor that compiled code may depend on.
//!
//! The compiler uses whatever its processor offers, so an artifact carries those features as bits,
//! and a runtime on a lesser processor refuses it by name instead of dying of an illegal
//! instruction. The lists are the features that Wasmtime's compiler knows how to use.

macro_rules! features {
    ($detect:ident: $($name:tt),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];

        /// The features of this processor, one bit each.
        pub fn detect() -> u64 {
            [$(std::arch::$detect!($name)),*]
                .iter()
                .enumerate()
                .fold(0, |bits, (bit, present)| bits | u64::from(*present) << bit)
        }
    };
}

// The place in the list is the bit in the artifact: add at the end, never reorder.
#[cfg(target_arch = "x86_64")]
features!(is_x86_feature_detected:
    "cmpxchg16b",
    "sse3",
    "ssse3",
    "sse4.1",
    "sse4.2",
    "popcnt",
    "avx",
    "avx2",
    "fma",
    "bmi1",
    "bmi2",
    "lzcnt",
    "avx512f",
    "avx512dq",
    "avx512vl",
    "avx512bitalg",
    "avx512vbmi",
    "avx512vnni",
    "avxvnni",
);

#[cfg(target_arch = "aarch64")]
features!(is_aarch64_feature_detected: "lse", "paca", "fp16", "dotprod", "i8mm");

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NAMES: &[&str] = &[];

/// The features of this processor, one bit each.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn detect() -> u64 {
    0
}

/// The names of features, for people.
pub fn names(bits: u64) -> String {
    let known = NAMES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    let mut names: Vec<_> = known.map(|(_, name)| (*name).to_owned()).collect();
    let unknown = bits >> NAMES.len();
    if unknown != 0 {
        names.push(format!("unknown ({unknown:#x})"));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_bits() {
        assert_eq!(names(0), "");
        assert_eq!(names(1), NAMES[0]);
        assert!(names(u64::MAX).ends_with(')'), "bits without a name are shown");
    }

    #[test]
    fn only_named_features_are_detected() {
        assert_eq!(detect() >> NAMES.len(), 0);
    }
}
