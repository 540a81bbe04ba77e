// SPDX-License-Identifier: Apache-2.0

//! Sizes, durations and the other small grammars of option values.
//!
//! Each is parsed once, at the edge, into the type that says what it means; a message says what
//! would have been right.

use std::path::PathBuf;
use std::time::Duration;

use command_line::unhex;
use keep_backend::Program;

/// Reads a size such as `64KiB`, `512M` or `4GiB` into bytes.
///
/// `K`, `M`, `G` and `T` count in 1024 with or without `iB`, and in 1000 with `B`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const HELP: &str = "expected a size such as 512MiB or 4GiB";
    let (number, unit) = split_number(text).ok_or(HELP)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let (prefix, base) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024_u64),
        None => match unit.strip_suffix('b') {
            Some(prefix) => (prefix, 1000),
            None => (&*unit, 1024),
        },
    };
    let power = match prefix {
        "" if !unit.ends_with("ib") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(HELP.into()),
    };
    match number.checked_mul(base.pow(power)) {
        Some(0) => Err("it must be more than nothing".into()),
        Some(bytes) => Ok(bytes),
        None => Err("it is larger than any memory".into()),
    }
}

/// Reads a duration such as `500ms`, `30s` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "expected a duration such as 500ms, 30s or 1h30m";
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return Err(HELP.into());
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or(HELP)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, more) = after.split_at(end);
        let part = match unit.trim() {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            _ => return Err(HELP.into()),
        };
        sum = part.and_then(|part| sum.checked_add(part)).ok_or("it is too long")?;
        rest = more;
    }
    if sum.is_zero() {
        return Err("it must be more than nothing".into());
    }
    Ok(sum)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

/// One of the programs that run in Keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProgramName(pub(crate) Program);

/// Reads `runtime` or `compiler`.
pub(crate) fn program(text: &str) -> Result<ProgramName, String> {
    let found = Program::ALL.into_iter().find(|program| program.name() == text);
    found.map(ProgramName).ok_or_else(|| "expected runtime or compiler".into())
}

/// Reads flags such as `0x30133`.
pub(crate) fn flags(text: &str) -> Result<u64, String> {
    const HELP: &str = "expected a hexadecimal number such as 0x30133";
    let digits = text.strip_prefix("0x").ok_or(HELP)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(HELP.into());
    }
    u64::from_str_radix(digits, 16).map_err(|_| HELP.into())
}

/// Reads 16 bytes in hexadecimal digits.
pub(crate) fn id(text: &str) -> Result<[u8; 16], String> {
    let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "expected 32 hexadecimal digits".into())
}

/// Reads a day such as `2026-03-31`, in the form that a SIGSTRUCT has.
pub(crate) fn day(text: &str) -> Result<u32, String> {
    const HELP: &str = "expected a day such as 2026-03-31";
    let number = |part: &str| {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    };
    let parts: Option<Vec<u16>> = text.split('-').map(number).collect();
    let Some(&[year, month, day]) = parts.as_deref() else { return Err(HELP.into()) };
    let (Ok(month), Ok(day)) = (u8::try_from(month), u8::try_from(day)) else {
        return Err(HELP.into());
    };
    launch_keys::sigstruct_date(year, month, day).ok_or_else(|| HELP.into())
}

/// A size for a person.
pub(crate) fn show_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{value:.1} {unit}"),
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A variable of the workload's environment, as `--env` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EnvVar {
    /// `NAME=VALUE`.
    Set(String, String),
    /// `NAME`: as it is here.
    Inherit(String),
}

/// Reads `NAME=VALUE` or `NAME`.
pub(crate) fn env_var(text: &str) -> Result<EnvVar, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err("expected NAME=VALUE, or NAME to pass on a variable of this environment".into());
    }
    if text.contains('\0') {
        return Err("it must not contain a zero byte".into());
    }
    Ok(match value {
        Some(value) => EnvVar::Set(name.into(), value.into()),
        None => EnvVar::Inherit(name.into()),
    })
}

/// A host folder and its name in the Keep, as `--dir` gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dir {
    /// The folder on the host.
    pub(crate) host: PathBuf,
    /// Its name as the workload sees it.
    pub(crate) guest: String,
}

/// Reads `HOST` or `HOST::GUEST`.
pub(crate) fn dir(text: &str) -> Result<Dir, String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("expected HOST or HOST::GUEST, neither of them empty".into());
    }
    Ok(Dir { host: host.into(), guest: guest.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", 1),
            ("100B", 100),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64KiB", 64 << 10),
            ("64 KiB", 64 << 10),
            ("64KB", 64_000),
            ("512M", 512 << 20),
            ("4GiB", 4 << 30),
            ("4g", 4 << 30),
            ("4GB", 4_000_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "GiB", "-1", "1.5GiB", "4 X", "4iB", "4GiBB", "0", "0GiB", "99999999999TiB", "٣"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h30m", 5_400_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "0s", "30x", "99999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_a_fitting_unit() {
        assert_eq!(show_size(0), "0 B");
        assert_eq!(show_size(1023), "1023 B");
        assert_eq!(show_size(1536), "1.5 KiB");
        assert_eq!(show_size(2 << 30), "2.0 GiB");
        assert_eq!(show_size(3 << 40), "3.0 TiB");
    }

    #[test]
    fn what_is_signed() {
        assert_eq!(program("runtime"), Ok(ProgramName(Program::Runtime)));
        assert_eq!(program("compiler"), Ok(ProgramName(Program::Compiler)));
        assert!(program("Runtime").is_err());
        assert_eq!(flags("0x30133"), Ok(0x30133));
        for text in ["30133", "0x", "0x+1", "0x1_0", "0x10000000000000000"] {
            assert!(flags(text).is_err(), "{text}");
        }
        assert_eq!(id("000102030405060708090a0B0c0d0e0f").unwrap()[11], 11);
        assert!(id("00").is_err() && id(&"0".repeat(33)).is_err());
        assert_eq!(day("2026-03-31"), Ok(0x2026_0331));
        assert_eq!(day("2024-02-29"), Ok(0x2024_0229));
        for text in
            ["", "2026-02-29", "2026-13-01", "2026-1", "2026-03-31-", "+2026-03-31", "2026-03-257"]
        {
            assert!(day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables() {
        assert_eq!(env_var("A=b=c"), Ok(EnvVar::Set("A".into(), "b=c".into())));
        assert_eq!(env_var("A="), Ok(EnvVar::Set("A".into(), String::new())));
        assert_eq!(env_var("A"), Ok(EnvVar::Inherit("A".into())));
        assert!(env_var("=b").is_err());
        assert!(env_var("").is_err());
        assert!(env_var("A=\0").is_err());
    }

    #[test]
    fn dirs() {
        let both = |host: &str, guest: &str| Ok(Dir { host: host.into(), guest: guest.into() });
        assert_eq!(dir("/tmp"), both("/tmp", "/tmp"));
        assert_eq!(dir("/tmp::/"), both("/tmp", "/"));
        assert_eq!(dir("a::b::c"), both("a", "b::c"));
        assert_eq!(dir("a:b"), both("a:b", "a:b"));
        for text in ["", "::", "a::", "::b"] {
            assert!(dir(text).is_err(), "{text}");
        }
    }
}
