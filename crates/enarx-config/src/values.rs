// SPDX-License-Identifier: Apache-2.0

//! The rules for single values: names, hosts, environment variables, the Steward's address.
//!
//! Each rule is one function that says what is wrong in one sentence. They are kept apart from
//! the walk over the TOML document because the command line sets some of the same values
//! (`--env`) and must not be laxer than the file.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use fluent_uri::Uri;
use thiserror::Error;

use crate::network::Timeouts;

/// The address of a Steward: an absolute `https` URL without user information and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StewardUrl(String);

impl StewardUrl {
    /// Checks an address.
    ///
    /// # Errors
    ///
    /// See [`BadSteward`].
    pub fn parse(text: &str) -> Result<Self, BadSteward> {
        if !text.is_ascii() {
            return Err(BadSteward::NotAscii);
        }
        let uri = Uri::parse(text).map_err(|_| BadSteward::NotUrl)?;
        match uri.scheme().as_str() {
            https if https.eq_ignore_ascii_case("https") => {}
            http if http.eq_ignore_ascii_case("http") => return Err(BadSteward::Plaintext),
            _ => return Err(BadSteward::Scheme),
        }
        let authority = uri.authority().ok_or(BadSteward::NoHost)?;
        if authority.host().is_empty() {
            return Err(BadSteward::NoHost);
        }
        if authority.has_userinfo() {
            return Err(BadSteward::UserInfo);
        }
        if matches!(authority.port_to_u16(), Err(_) | Ok(Some(0))) {
            return Err(BadSteward::Port);
        }
        if uri.has_fragment() {
            return Err(BadSteward::Fragment);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StewardUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not the address of a Steward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadSteward {
    /// It holds a fragment, which never reaches a server.
    #[error("the steward's URL must not have a `#` part")]
    Fragment,
    /// It names no host.
    #[error("the steward's URL names no host")]
    NoHost,
    /// It holds characters that a URL may only carry encoded.
    #[error("the steward's URL holds characters outside ASCII")]
    NotAscii,
    /// It does not follow RFC 3986.
    #[error("the steward is not a valid URL")]
    NotUrl,
    /// It asks for an unprotected connection.
    #[error("the steward's URL must begin with `https://`, not `http://`")]
    Plaintext,
    /// Its port is not a number from 1 to 65535.
    #[error("the port in the steward's URL is not between 1 and 65535")]
    Port,
    /// It is of another scheme than `https`.
    #[error("the steward's URL must begin with `https://`")]
    Scheme,
    /// It holds a user name or password.
    #[error("the steward's URL must not hold a user name or password")]
    UserInfo,
}

impl BadSteward {
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Fragment => "remove the `#` and what follows it",
            Self::NotAscii => "write the host in its ASCII form (`xn--…`), the path in `%` escapes",
            Self::Plaintext => "a Keep asks for its certificate over TLS only",
            Self::Port => "leave the port out for 443",
            Self::UserInfo => "a Keep proves what it is by evidence: remove what precedes the `@`",
            Self::NoHost | Self::NotUrl | Self::Scheme => {
                "write it like `https://steward.example.com`"
            }
        }
    }
}

/// Checks one variable of the workload's environment, from whatever source it comes.
///
/// # Errors
///
/// See [`BadEnv`].
pub fn check_env(key: &str, value: &str) -> Result<(), BadEnv> {
    if key.is_empty() {
        Err(BadEnv::EmptyKey)
    } else if key.contains('=') {
        Err(BadEnv::EqualsInKey)
    } else if key.contains('\0') {
        Err(BadEnv::NulInKey)
    } else if RESERVED_ENV.contains(&key) {
        Err(BadEnv::Reserved)
    } else if value.contains('\0') {
        Err(BadEnv::NulInValue)
    } else {
        Ok(())
    }
}

/// Why a variable cannot be part of a workload's environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadEnv {
    /// The name is empty.
    #[error("the name of an environment variable must not be empty")]
    EmptyKey,
    /// The name holds the character that ends it.
    #[error("the name of an environment variable must not contain `=`")]
    EqualsInKey,
    /// The name holds a NUL.
    #[error("the name of an environment variable must not contain a NUL character")]
    NulInKey,
    /// The value holds a NUL.
    #[error("the value of an environment variable must not contain a NUL character")]
    NulInValue,
    /// The name is one that Enarx sets itself.
    #[error("`FD_COUNT` and `FD_NAMES` are set by Enarx")]
    Reserved,
}

impl BadEnv {
    pub(crate) fn hint(self) -> Option<&'static str> {
        match self {
            Self::Reserved => {
                Some("remove it: they tell the program its descriptors and are made from `files`")
            }
            Self::EmptyKey | Self::EqualsInKey | Self::NulInKey | Self::NulInValue => None,
        }
    }
}

/// Variables that tell the program its descriptors, in the order in which they are passed.
pub(crate) const RESERVED_ENV: [&str; 2] = ["FD_COUNT", "FD_NAMES"];

/// A fault of a value: what is wrong and, often, what to do.
pub(crate) type Fault = (&'static str, Option<&'static str>);

/// Checks the name of an entry of `files`.
pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        Err(("a name must not be empty", None))
    } else if name.contains(':') {
        Err((
            "a name must not contain `:`",
            Some("`FD_NAMES` joins the names by `:`: use `-` or `_` instead"),
        ))
    } else if name.contains('\0') {
        Err(("a name must not contain a NUL character", None))
    } else {
        Ok(())
    }
}

/// Checks the name under which a program finds a folder.
pub(crate) fn check_folder(path: &str) -> Result<(), Fault> {
    if path.contains('\0') {
        Err(("the name of a folder must not contain a NUL character", None))
    } else if !path.starts_with('/') {
        Err(("the name of a folder must begin with `/`", Some("write `folder = \"/sealing\"`")))
    } else if path.ends_with('/') {
        Err(("the name of a folder must not end with `/`", Some("write `folder = \"/sealing\"`")))
    } else {
        Ok(())
    }
}

/// Checks a command-line argument.
pub(crate) fn check_arg(arg: &str) -> Result<(), Fault> {
    if arg.contains('\0') {
        Err(("an argument must not contain a NUL character", None))
    } else {
        Ok(())
    }
}

/// Reads the address on which a socket listens.
///
/// Only addresses: resolving a name would mean to ask the host, which could then choose the
/// interface.
pub(crate) fn parse_addr(addr: &str) -> Result<IpAddr, Fault> {
    addr.parse().map_err(|_| {
        let hint = if addr.parse::<std::net::SocketAddr>().is_ok() {
            "the port is a key of its own: `port = 443`"
        } else if unbracketed(addr).is_some() {
            "write an IPv6 address without brackets"
        } else if addr.eq_ignore_ascii_case("localhost") {
            "write `127.0.0.1` or `::1` instead of `localhost`"
        } else {
            "`::` stands for every interface, `127.0.0.1` or `::1` for this machine alone"
        };
        ("`addr` is not an IP address", Some(hint))
    })
}

/// Checks the name that a TLS server has to have: a DNS name or an IP address.
pub(crate) fn check_server_name(name: &str) -> Result<(), Fault> {
    if name.parse::<IpAddr>().is_ok() || is_dns_name(name) {
        Ok(())
    } else {
        Err((
            "`server_name` is neither a DNS name nor an IP address",
            Some("write what the certificate of the server has, like `example.com`"),
        ))
    }
}

/// Checks where chains of certificates may end.
pub(crate) fn check_root(word: &str) -> Result<(), Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_file = word.len() <= MAX_FILE_NAME
        && word.strip_suffix(".pem").is_some_and(|stem| !stem.is_empty())
        && !word.starts_with('.')
        && word.bytes().all(is_plain);
    if is_file || matches!(word, "system" | "steward") {
        return Ok(());
    }
    let hint = if word.contains('/') {
        "write the name of a file that lies beside Enarx.toml, without a path"
    } else {
        "write `system`, `steward` or the name of a file that ends in `.pem`"
    };
    Err(("this names no roots", Some(hint)))
}

/// Longest name of a file with roots, in bytes.
const MAX_FILE_NAME: usize = 64;

/// Reads a launch measurement.
pub(crate) fn parse_measurement(text: &str) -> Result<Vec<u8>, Fault> {
    let fault = (
        "a measurement is 32 or 48 bytes in hexadecimal digits",
        Some("`enarx platform info` and a Keep's certificate show it in this form"),
    );
    if !matches!(text.len(), 64 | 96) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fault);
    }
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = str::from_utf8(pair).map_err(|_| fault)?;
            u8::from_str_radix(pair, 16).map_err(|_| fault)
        })
        .collect()
}

/// Checks the digest of a workload.
pub(crate) fn check_workload(text: &str) -> Result<(), Fault> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match text.strip_prefix("sha256:") {
        Some(digits) if digits.len() == 64 && digits.bytes().all(is_digit) => Ok(()),
        _ => Err((
            "a workload is `sha256:` and 64 hexadecimal digits in lower case",
            Some("`enarx package info` shows the digest of a package"),
        )),
    }
}

/// Checks who may have compiled a workload.
pub(crate) fn check_compiler(word: &str) -> Result<(), Fault> {
    match word {
        "tenant" | "attested" => Ok(()),
        _ => Err(("this is no kind of compiler", Some("known are `tenant` and `attested`"))),
    }
}

/// Checks the name of a protocol (RFC 7301 §3.1).
pub(crate) fn check_protocol(name: &str) -> Result<(), Fault> {
    if (1..=255).contains(&name.len()) {
        Ok(())
    } else {
        Err(("the name of a protocol has 1 to 255 bytes", Some("write a name like `http/1.1`")))
    }
}

/// Reads a time with its unit.
pub(crate) fn parse_time(text: &str) -> Result<Duration, Fault> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err((
                "this is not a time",
                Some("write `\"10s\"`; units are `ms`, `s`, `m` and `h`"),
            ));
        }
    };
    let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
    check_time(time.map(Duration::from_millis))
}

/// Whether a time is one that can be waited for.
pub(crate) fn check_time(time: Option<Duration>) -> Result<Duration, Fault> {
    time.filter(|time| !time.is_zero() && *time <= Timeouts::MAX)
        .ok_or(("a time is longer than 0 and at most 24 hours", None))
}

/// Reads `host` or `host:port`, IPv6 in brackets.
pub(crate) fn parse_place(text: &str) -> Result<(&str, u16), Fault> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
        Some(_) => return Err(("only IPv6 addresses stand in brackets", None)),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => 443,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).ok_or(BAD_PORT)?
        }
        _ => {
            let hint = "write it like `example.com:443`, `192.0.2.1:443` or `[::1]:443`";
            return Err(("this is not a host and a port", Some(hint)));
        }
    };
    check_host(host)?;
    Ok((host, port))
}

const BAD_PORT: Fault = ("a port is a number from 1 to 65535", None);

/// Checks the host to which a socket connects: a DNS name or an IP address.
pub(crate) fn check_host(host: &str) -> Result<(), Fault> {
    if host.parse::<IpAddr>().is_ok() || is_dns_name(host) {
        return Ok(());
    }
    if host.is_empty() {
        return Err(("`host` must not be empty", None));
    }
    let hint = if host.contains("://") {
        "write the name alone, without a scheme: `example.com`"
    } else if unbracketed(host).is_some() {
        "write an IPv6 address without brackets"
    } else if host.contains(':') {
        "the port is a key of its own: `port = 443`"
    } else if !host.is_ascii() {
        "write the name in its ASCII form (`xn--…`)"
    } else {
        "write a name like `example.com` or an address like `192.0.2.1`"
    };
    Err(("`host` is neither a DNS name nor an IP address", Some(hint)))
}

fn unbracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Letters, digits, `-` and, because it is in use, `_`; one dot may end the name.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name that ends in a number is a mistyped IPv4 address; no top-level domain does.
    let numeric =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && !name.rsplit('.').next().is_some_and(numeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steward_urls() {
        for good in [
            "https://attest.profian.com",
            "https://attest.profian.com/",
            "https://steward.example.com:8443/v1/attest?keep=a%20b",
            "https://192.0.2.1",
            "https://[2001:db8::1]:444/",
            "HTTPS://EXAMPLE.COM",
        ] {
            assert_eq!(StewardUrl::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", BadSteward::NotUrl),
            ("attest.example.com", BadSteward::NotUrl),
            ("https://ex ample.com", BadSteward::NotUrl),
            ("https://[::1", BadSteward::NotUrl),
            ("https:\\\\example.com", BadSteward::NotUrl),
            ("https://example.com/\0", BadSteward::NotUrl),
            ("http://example.com", BadSteward::Plaintext),
            ("ftp://example.com", BadSteward::Scheme),
            ("localhost:443", BadSteward::Scheme),
            ("https:example.com", BadSteward::NoHost),
            ("https:///path", BadSteward::NoHost),
            ("https://:443", BadSteward::NoHost),
            ("https://me:pw@example.com", BadSteward::UserInfo),
            ("https://example.com:99999", BadSteward::Port),
            ("https://example.com:0", BadSteward::Port),
            ("https://example.com/#x", BadSteward::Fragment),
            ("https://bücher.example", BadSteward::NotAscii),
        ] {
            assert_eq!(StewardUrl::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn hosts() {
        let long = format!("{}.example", "a".repeat(63));
        for good in ["localhost", "example.com", "example.com.", "127.0.0.1", "::1", "a_b.c", &long]
        {
            assert_eq!(check_host(good), Ok(()), "{good}");
        }
        let label = "a".repeat(64);
        let name = "a.".repeat(127) + "aa";
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "1.2.3",
            "300.1.1.1",
            "[::1]",
            "a:80",
            "a/b",
            "https://a",
            "ä.example",
            "a\0",
            &label,
            &name,
        ] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
        assert!(check_host("example.com:80").unwrap_err().1.unwrap().contains("port"));
        assert!(check_host("[::1]").unwrap_err().1.unwrap().contains("brackets"));
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_addr("::"), Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        assert!(parse_addr("0.0.0.0").is_ok());
        for (bad, hint) in [
            ("localhost", "127.0.0.1"),
            ("[::]", "brackets"),
            ("0.0.0.0:80", "port"),
            ("[::]:80", "port"),
            ("eth0", "interface"),
        ] {
            assert!(parse_addr(bad).unwrap_err().1.unwrap().contains(hint), "{bad}");
        }
    }

    #[test]
    fn environment() {
        assert_eq!(check_env("A", "b=c:d"), Ok(()));
        assert_eq!(check_env("", ""), Err(BadEnv::EmptyKey));
        assert_eq!(check_env("A=B", ""), Err(BadEnv::EqualsInKey));
        assert_eq!(check_env("A\0", ""), Err(BadEnv::NulInKey));
        assert_eq!(check_env("A", "\0"), Err(BadEnv::NulInValue));
        assert_eq!(check_env("FD_NAMES", ""), Err(BadEnv::Reserved));
        assert_eq!(check_env("FD_COUNT", ""), Err(BadEnv::Reserved));
        assert_eq!(check_env("fd_count", ""), Ok(()));
    }
}
