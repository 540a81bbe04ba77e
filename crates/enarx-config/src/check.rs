// SPDX-License-Identifier: Apache-2.0

//! From the text of an Enarx.toml to a [`Config`], or to all its faults.
//!
//! The walk never stops at a fault: a value that is wrong is reported and replaced by a stand-in,
//! and the stand-ins are dropped at the end together with everything else if there was a fault.
//! Only a document that is not TOML at all ends the work early, since what a parser recovers from
//! it is a guess, and faults of a guess would mislead.

use core::ops::Range;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Report, quoted, shortened};
use crate::peers::socket_keys;
use crate::values::{self, Fault};
use crate::{
    Config, ConfigError, Connect, File, FileKind, Listen, MAX_SIZE, Peer, Prot, StewardUrl,
};

/// See [`Config::parse`].
pub(crate) fn parse(source: &str, name: &str) -> Result<Config, ConfigError> {
    if source.len() > MAX_SIZE {
        // The text is not looked at, so the fault stands at its start.
        let mut report = Report::new("", name);
        report.fault(0..0, format!("the configuration is longer than {MAX_SIZE} bytes"), None);
        report.finish()?;
    }

    let mut report = Report::new(source, name);
    let (document, errors) = DeTable::parse_recoverable(source);
    let mut readable = true;
    for error in errors {
        let span = error.span().unwrap_or_default();
        if error.message() == DUPLICATE_KEY {
            let hint = match source.get(span.clone()) {
                Some(key) if ENTRY_KEYS.contains(&key) => {
                    "remove one of the two; each entry of `files` begins with `[[files]]`"
                }
                _ => "remove one of the two",
            };
            report.fault(span, "this key is given twice", hint.to_owned());
        } else {
            readable = false;
            report.fault(span, format!("not valid TOML: {}", error.message()), None);
        }
    }
    let mut config = Config { files: vec![], ..Config::default() };
    if readable {
        config = Walk { source, report: &mut report }.config(document.get_ref());
    }
    report.finish()?;
    Ok(config)
}

/// See [`Config::parse_bytes`].
pub(crate) fn parse_bytes(source: &[u8], name: &str) -> Result<Config, ConfigError> {
    // One byte too many is enough to be refused for; the rest need not be looked at.
    let source = &source[..source.len().min(MAX_SIZE + 1)];
    match str::from_utf8(source) {
        Ok(source) => parse(source, name),
        Err(_) if source.len() > MAX_SIZE => parse(&" ".repeat(source.len()), name),
        Err(error) => {
            let text = String::from_utf8_lossy(source);
            let at = error.valid_up_to();
            let mut report = Report::new(&text, name);
            let hint = "save the file as UTF-8".to_owned();
            report.fault(at..at + 1, "the file is not valid UTF-8", hint);
            report.finish()?;
            parse(&text, name)
        }
    }
}

/// What the TOML parser says of a key that is given twice; the document is sound otherwise.
const DUPLICATE_KEY: &str = "duplicate key";

pub(crate) struct Walk<'s, 'r> {
    source: &'s str,
    pub(crate) report: &'r mut Report<'s>,
}

pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

impl Walk<'_, '_> {
    fn config(&mut self, table: &DeTable<'_>) -> Config {
        let mut config = Config { files: vec![], ..Config::default() };
        let mut http = None;
        for (key, value) in table.iter() {
            match key.get_ref().as_ref() {
                "steward" => config.steward = self.steward(value),
                "args" => config.args = self.args(value),
                "env" => config.env = self.env(value),
                "files" => config.files = self.files(value),
                "network" => config.network = self.network(value),
                "http" => http = self.http(value),
                "compiler" => config.compiler = self.compiler(value),
                "sealing" => config.sealing = self.sealing(value),
                unknown => {
                    let hint = top_level_hint(unknown);
                    self.report.fault(key.span(), format!("unknown key {}", quoted(unknown)), hint);
                }
            }
        }
        if let Some((http, span)) = http {
            let is_it = |file: &File| matches!(file, File::Listen(it) if it.name == http.listen);
            if !config.files.iter().any(is_it) {
                let message = format!("no `listen` entry is called {}", quoted(&http.listen));
                let hint = "write the `name` of a `listen` entry of `files`".to_owned();
                self.report.fault(span, message, hint);
            }
            config.http = Some(http);
        }
        config
    }

    fn steward(&mut self, value: &Value<'_>) -> Option<StewardUrl> {
        let text = self.string(value, "`steward`")?;
        match StewardUrl::parse(text) {
            Ok(url) => Some(url),
            Err(bad) => {
                self.report.fault(value.span(), bad.to_string(), bad.hint().to_owned());
                None
            }
        }
    }

    fn args(&mut self, value: &Value<'_>) -> Vec<String> {
        let DeValue::Array(array) = value.get_ref() else {
            let hint = value.get_ref().as_str().map(|_| "write `args = [\"…\"]`");
            self.wrong_type(value, "`args`", "an array of strings", hint);
            return Vec::new();
        };
        let mut args = Vec::new();
        for item in array.iter() {
            if let Some(text) = self.string(item, "an argument")
                && let Some(()) = self.checked(item, values::check_arg(text))
            {
                args.push(text.to_owned());
            }
        }
        args
    }

    fn env(&mut self, value: &Value<'_>) -> Vec<(String, String)> {
        let DeValue::Table(table) = value.get_ref() else {
            let hint = "write `[env]` and below it one `NAME = \"value\"` a line";
            self.wrong_type(value, "`env`", "a table of strings", Some(hint));
            return Vec::new();
        };
        let mut env = Vec::new();
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            let Some(text) = self.variable(name, value) else { continue };
            match values::check_env(name, text) {
                Ok(()) => env.push((key.span().start, (name.to_owned(), text.to_owned()))),
                Err(bad) => {
                    let at_value = bad == values::BadEnv::NulInValue;
                    let span = if at_value { value.span() } else { key.span() };
                    self.report.fault(span, bad.to_string(), bad.hint().map(str::to_owned));
                }
            }
        }
        // The parser sorts a table by key; programs see the environment as it was written.
        env.sort_by_key(|(at, _)| *at);
        env.into_iter().map(|(_, variable)| variable).collect()
    }

    /// The value of an environment variable.
    fn variable<'v>(&mut self, name: &str, value: &'v Value<'_>) -> Option<&'v str> {
        if TOP_LEVEL.contains(&name) && !value.get_ref().is_str() {
            // A key below `[env]` is a variable, even where its author meant the file's own key.
            self.wrong_type(value, "an environment variable", "a string", Some(&swallowed(name)));
            return None;
        }
        self.string(value, "an environment variable")
    }

    fn files(&mut self, value: &Value<'_>) -> Vec<File> {
        let DeValue::Array(array) = value.get_ref() else {
            let hint = value.get_ref().is_table().then_some("write `[[files]]`, not `[files]`");
            self.wrong_type(value, "`files`", "an array of tables", hint);
            return Vec::new();
        };
        let mut files = Vec::new();
        let mut names: HashMap<String, usize> = HashMap::new();
        for item in array.iter() {
            let Some((file, named_at)) = self.file(item) else { continue };
            // Nobody looks for a placeholder by its name, so several may go without one.
            let anonymous = named_at.is_none() && file.kind() == FileKind::Null;
            let span = named_at.unwrap_or_else(|| item.span());
            if !anonymous {
                match names.entry(file.name().to_owned()) {
                    Entry::Vacant(free) => _ = free.insert(span.start),
                    Entry::Occupied(taken) => self.taken(&file, span, *taken.get()),
                }
            }
            files.push(file);
        }
        files
    }

    fn taken(&mut self, file: &File, span: Range<usize>, first: usize) {
        let line = self.report.line(first);
        let message = format!("the name {} is taken by line {line}", quoted(file.name()));
        let hint = "programs tell their descriptors apart by name: \
                    give this entry a `name` of its own";
        self.report.fault(span, message, hint.to_owned());
    }

    /// One entry of `files`, and where its name stands if it was given one.
    fn file(&mut self, item: &Value<'_>) -> Option<(File, Option<Range<usize>>)> {
        let DeValue::Table(table) = item.get_ref() else {
            let hint = item
                .get_ref()
                .as_str()
                .and_then(|text| FileKind::ALL.into_iter().find(|kind| kind.as_str() == text))
                .map(|kind| format!("write `{{ kind = \"{}\" }}`", kind.as_str()));
            self.wrong_type(item, "an entry of `files`", "a table", hint.as_deref());
            return None;
        };
        let kind = self.kind(item, table);
        for (key, _) in table.iter() {
            self.entry_key(kind, key);
        }
        let kind = kind?;

        let given = find(table, "name");
        let name = given.and_then(|value| {
            let text = self.string(value, "`name`")?;
            self.checked(value, values::check_name(text))?;
            Some(text.to_owned())
        });
        let named_at = given.map(Spanned::span);
        let of_kind = || name.clone().unwrap_or_else(|| kind.as_str().to_owned());
        let file = match kind {
            FileKind::Null => File::Null { name: of_kind() },
            FileKind::Stdin => File::Stdin { name: of_kind() },
            FileKind::Stdout => File::Stdout { name: of_kind() },
            FileKind::Stderr => File::Stderr { name: of_kind() },
            FileKind::Listen => {
                if given.is_none() {
                    let hint = "the program finds its sockets by `name`".to_owned();
                    self.report.fault(item.span(), "a `listen` entry needs a `name`", hint);
                }
                let addr = self.addr(table);
                let mut listen = Listen::new(name.unwrap_or_default(), addr, 0);
                self.listen_settings(table, &mut listen);
                listen.port = self.port(table, listen.prot);
                if listen.name.is_empty() {
                    return None;
                }
                File::Listen(listen)
            }
            FileKind::Connect => {
                let host = self.host(item, table, "a `connect` entry");
                let mut peer = Peer::new(host.unwrap_or_default(), 0);
                self.peer_settings(table, &mut peer);
                peer.port = self.port(table, peer.prot);
                if peer.host.is_empty() {
                    return None;
                }
                if given.is_none() && peer.host.contains(':') {
                    let hint = "without one the host is the name, and a name must not contain `:`";
                    let message = "a `connect` entry to an IPv6 address needs a `name`";
                    self.report.fault(item.span(), message, hint.to_owned());
                    return None;
                }
                let name = if given.is_some() { name? } else { peer.host.clone() };
                File::Connect(Connect { name, peer })
            }
        };
        Some((file, named_at))
    }

    fn kind(&mut self, item: &Value<'_>, table: &DeTable<'_>) -> Option<FileKind> {
        let Some(value) = find(table, "kind") else {
            let hint = format!("kinds are {}", list(&kinds()));
            self.report.fault(item.span(), "an entry of `files` needs a `kind`", hint);
            return None;
        };
        let text = self.string(value, "`kind`")?;
        let kind = FileKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        if kind.is_none() {
            let hint = closest(text, &kinds());
            let message = format!("unknown kind {}", quoted(text));
            self.report.fault(value.span(), message, hint);
        }
        kind
    }

    /// Refuses a key that entries of this kind do not have; of any kind, if it is not known.
    fn entry_key(&mut self, kind: Option<FileKind>, key: &Spanned<toml::de::DeString<'_>>) {
        let name = key.get_ref().as_ref();
        let allowed = kind.map_or(&ENTRY_KEYS[..], FileKind::keys);
        if allowed.contains(&name) {
            return;
        }
        let place = kind.map_or("an entry of `files`".to_owned(), |kind| {
            format!("a `{}` entry", kind.as_str())
        });
        let hint = match (kind, name) {
            (Some(FileKind::Listen), "host") => "`listen` entries take `addr`".to_owned(),
            (Some(FileKind::Connect), "addr") => "`connect` entries take `host`".to_owned(),
            (Some(FileKind::Listen), "server_name" | "connect_timeout") => {
                "only `connect` entries have it".to_owned()
            }
            (Some(FileKind::Connect), "client_auth") => {
                "only `listen` entries have it; a Keep always shows its own certificate".to_owned()
            }
            (Some(kind), name) if !kind.is_socket() && ENTRY_KEYS.contains(&name) => {
                "only `listen` and `connect` entries are sockets".to_owned()
            }
            (_, name) if TOP_LEVEL.contains(&name) => swallowed(name),
            _ => closest(name, allowed),
        };
        self.report.fault(key.span(), format!("unknown key {} in {place}", quoted(name)), hint);
    }

    pub(crate) fn prot(&mut self, table: &DeTable<'_>) -> Prot {
        let Some(value) = find(table, "prot") else { return Prot::default() };
        let Some(text) = self.string(value, "`prot`") else { return Prot::default() };
        Prot::ALL.into_iter().find(|prot| prot.as_str() == text).unwrap_or_else(|| {
            let words = Prot::ALL.map(Prot::as_str);
            let message = format!("unknown protocol {}", quoted(text));
            self.report.fault(value.span(), message, closest(text, &words));
            Prot::default()
        })
    }

    pub(crate) fn port(&mut self, table: &DeTable<'_>, prot: Prot) -> u16 {
        let default = prot.default_port();
        let Some(value) = find(table, "port") else { return default };
        self.port_number(value).unwrap_or(default)
    }

    pub(crate) fn port_number(&mut self, value: &Value<'_>) -> Option<u16> {
        let DeValue::Integer(port) = value.get_ref() else {
            let digits = value.get_ref().as_str().filter(|text| text.parse::<u16>().is_ok());
            let hint = digits.map(|digits| format!("write `port = {digits}`, without quotes"));
            self.wrong_type(value, "`port`", "an integer", hint.as_deref());
            return None;
        };
        let port = u16::from_str_radix(port.as_str(), port.radix()).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.report.fault(value.span(), "a port is a number from 1 to 65535", None);
        }
        port
    }

    pub(crate) fn addr(&mut self, table: &DeTable<'_>) -> core::net::IpAddr {
        find(table, "addr")
            .and_then(|value| {
                let text = self.string(value, "`addr`")?;
                self.checked(value, values::parse_addr(text))
            })
            .unwrap_or(Listen::DEFAULT_ADDR)
    }

    pub(crate) fn host(
        &mut self,
        item: &Value<'_>,
        table: &DeTable<'_>,
        what: &str,
    ) -> Option<String> {
        let Some(value) = find(table, "host") else {
            let hint = "write `host = \"…\"`: a DNS name or an IP address".to_owned();
            self.report.fault(item.span(), format!("{what} needs a `host`"), hint);
            return None;
        };
        let text = self.string(value, "`host`")?;
        self.checked(value, values::check_host(text))?;
        Some(text.to_owned())
    }

    pub(crate) fn string<'v>(&mut self, value: &'v Value<'_>, what: &str) -> Option<&'v str> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.as_ref());
        }
        let raw = self.source.get(value.span()).unwrap_or_default();
        let hint = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                Some(format!("write it in quotes: `\"{}\"`", shortened(raw)))
            }
            _ => None,
        };
        self.wrong_type(value, what, "a string", hint.as_deref());
        None
    }

    pub(crate) fn wrong_type(
        &mut self,
        value: &Value<'_>,
        what: &str,
        wanted: &str,
        hint: Option<&str>,
    ) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{what} must be {wanted}, not {found}");
        self.report.fault(value.span(), message, hint.map(str::to_owned));
    }

    pub(crate) fn checked<T>(&mut self, value: &Value<'_>, result: Result<T, Fault>) -> Option<T> {
        result
            .map_err(|(message, hint)| {
                self.report.fault(value.span(), message, hint.map(str::to_owned));
            })
            .ok()
    }
}

/// The keys of the file itself.
pub(crate) const TOP_LEVEL: [&str; 8] =
    ["steward", "args", "env", "files", "network", "http", "compiler", "sealing"];

/// The keys that an entry of some kind may have.
const ENTRY_KEYS: [&str; 16] =
    socket_keys!["kind", "name", "host", "addr", "client_auth", "server_name", "connect_timeout"];

pub(crate) fn find<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t Value<'i>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
}

fn kinds() -> [&'static str; 6] {
    FileKind::ALL.map(FileKind::as_str)
}

fn top_level_hint(key: &str) -> String {
    match key {
        "stdin" | "stdout" | "stderr" => {
            format!("streams are entries of `files`: `[[files]]` with `kind = \"{key}\"`")
        }
        "networking" | "listen" | "connect" => {
            "sockets are entries of `files`: `[[files]]` with `kind = \"listen\"` or \
             `kind = \"connect\"`"
                .to_owned()
        }
        _ => closest(key, &TOP_LEVEL),
    }
}

/// For a key of the file that stands below a `[…]` line and therefore belongs to that table.
fn swallowed(key: &str) -> String {
    format!("if the file's own `{key}` is meant, move it above the first line with `[…]`")
}

/// What the author may have meant, or else all there is.
pub(crate) fn closest(word: &str, known: &[&str]) -> String {
    let near = (word.len() <= MAX_COMPARED)
        .then(|| {
            let lower = word.to_ascii_lowercase();
            let distance = |known: &&&str| strsim::damerau_levenshtein(&lower, known);
            let best = known.iter().min_by_key(distance)?;
            // One slip in three characters; more would be a guess.
            (distance(&best) <= best.len().div_ceil(3)).then_some(best)
        })
        .flatten();
    near.map_or_else(
        || format!("known are {}", list(known)),
        |near| format!("did you mean `{near}`?"),
    )
}

/// Longest word that is compared with the known ones; the comparison is quadratic.
const MAX_COMPARED: usize = 32;

fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}
