// SPDX-License-Identifier: Apache-2.0

//! The part of the walk that is about sockets: who may be at their other end, and the tables
//! `network`, `http` and `compiler`.
//!
//! A setting that would have no effect is a fault: whoever wrote `measurements` below a socket that
//! never looks at a certificate believes something that is not so.

use core::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::check::{Value, Walk, closest, find};
use crate::diagnostic::quoted;
use crate::network::{
    ClientAuth, CompilerPolicy, Http, Listen, NetworkPolicy, Peer, Prot, Root, Sealing, Timeouts,
    Trust,
};
use crate::values;

/// What TLS demands of a peer; not for `tcp`.
pub(crate) const TRUST_KEYS: [&str; 4] =
    ["trust", "measurements", "workloads", "allow_development"];

/// Further keys that only TLS has.
const TLS_KEYS: [&str; 4] = ["client_auth", "server_name", "alpn", "handshake_timeout"];

/// The keys of the table `network`.
pub(crate) const NETWORK_KEYS: [&str; 3] = ["allow_connect", "allow_listen", "names"];
/// The keys of the table `http`.
pub(crate) const HTTP_KEYS: [&str; 1] = ["listen"];
/// The keys of the table `compiler`.
pub(crate) const COMPILER_KEYS: [&str; 3] = ["measurements", "allow_development", "accept"];
/// The keys of `[sealing]`.
pub(crate) const SEALING_KEYS: [&str; 2] = ["folder", "throwaway"];

/// The keys named, and those that everything has that becomes a socket.
macro_rules! socket_keys {
    ($($key:literal),+) => {
        [
            $($key,)+
            "prot",
            "port",
            "trust",
            "measurements",
            "workloads",
            "allow_development",
            "alpn",
            "handshake_timeout",
            "idle_timeout",
        ]
    };
}
pub(crate) use socket_keys;

/// The keys of an entry of `allow_connect`.
pub(crate) const ALLOW_CONNECT_KEYS: [&str; 12] =
    socket_keys!["host", "server_name", "connect_timeout"];

/// The keys of an entry of `allow_listen`.
pub(crate) const ALLOW_LISTEN_KEYS: [&str; 11] = socket_keys!["addr", "client_auth"];

impl Walk<'_, '_> {
    /// What a listening socket has beyond its address.
    pub(crate) fn listen_settings(&mut self, table: &DeTable<'_>, listen: &mut Listen) {
        listen.prot = self.prot(table);
        self.no_tls_keys(table, listen.prot);
        listen.client_auth = self.client_auth(table);
        listen.trust = self.trust(table, &listen.trust.roots);
        listen.alpn = self.alpn(table);
        listen.timeouts = self.timeouts(table);
        if listen.prot == Prot::Tls && listen.client_auth == ClientAuth::None {
            for key in TRUST_KEYS {
                if let Some(value) = find(table, key) {
                    let message = format!("`{key}` has no effect without `client_auth`");
                    let hint = "clients are not asked for certificates: add \
                                `client_auth = \"required\"`";
                    self.report.fault(value.span(), message, hint.to_owned());
                }
            }
        }
    }

    /// What a connection has beyond its address.
    pub(crate) fn peer_settings(&mut self, table: &DeTable<'_>, peer: &mut Peer) {
        peer.prot = self.prot(table);
        self.no_tls_keys(table, peer.prot);
        peer.server_name = find(table, "server_name").and_then(|value| {
            let text = self.string(value, "`server_name`")?;
            self.checked(value, values::check_server_name(text))?;
            Some(text.to_owned())
        });
        peer.trust = self.trust(table, &peer.trust.roots);
        peer.alpn = self.alpn(table);
        peer.timeouts = self.timeouts(table);
    }

    fn no_tls_keys(&mut self, table: &DeTable<'_>, prot: Prot) {
        if prot == Prot::Tls {
            return;
        }
        for key in TRUST_KEYS.iter().chain(&TLS_KEYS) {
            if let Some(value) = find(table, key) {
                let message = format!("`{key}` has no effect with `prot = \"tcp\"`");
                let hint = "bare TCP proves nothing about a peer: use `prot = \"tls\"`";
                self.report.fault(value.span(), message, hint.to_owned());
            }
        }
    }

    fn client_auth(&mut self, table: &DeTable<'_>) -> ClientAuth {
        let words = ClientAuth::ALL.map(ClientAuth::as_str);
        find(table, "client_auth")
            .and_then(|value| {
                let word = self.word(value, "`client_auth`", &words)?;
                ClientAuth::ALL.into_iter().find(|auth| auth.as_str() == word)
            })
            .unwrap_or_default()
    }

    fn trust(&mut self, table: &DeTable<'_>, default: &[Root]) -> Trust {
        let mut trust = Trust {
            roots: default.to_vec(),
            measurements: self.measurements(table),
            workloads: self.texts(table, "workloads", "a workload", values::check_workload),
            allow_development: self.flag(table, "allow_development"),
        };
        let Some(value) = find(table, "trust") else {
            if trust.demands_keep() {
                // What proves a measurement is a Steward, and none of the public authorities.
                trust.roots.retain(|root| *root != Root::System);
            }
            return trust;
        };
        let words = self.texts(table, "trust", "a root", values::check_root);
        trust.roots = words
            .into_iter()
            .map(|word| match word.as_str() {
                "system" => Root::System,
                "steward" => Root::Steward,
                _ => Root::File(word),
            })
            .collect();
        if trust.demands_keep() && trust.roots.contains(&Root::System) {
            let message = "`measurements` and `workloads` cannot be proven by `system`";
            let hint = "public authorities say nothing about Keeps: remove `\"system\"`";
            self.report.fault(value.span(), message, hint.to_owned());
        }
        trust
    }

    fn measurements(&mut self, table: &DeTable<'_>) -> Vec<Vec<u8>> {
        let texts = self.texts(table, "measurements", "a measurement", |text| {
            values::parse_measurement(text).map(|_| ())
        });
        texts.iter().filter_map(|text| values::parse_measurement(text).ok()).collect()
    }

    fn alpn(&mut self, table: &DeTable<'_>) -> Vec<String> {
        self.texts(table, "alpn", "a protocol", values::check_protocol)
    }

    fn timeouts(&mut self, table: &DeTable<'_>) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            handshake: self.time(table, "handshake_timeout").unwrap_or(default.handshake),
            connect: self.time(table, "connect_timeout").unwrap_or(default.connect),
            idle: self.time(table, "idle_timeout"),
        }
    }

    /// A time: whole seconds, or a number with its unit.
    fn time(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        let value = find(table, key)?;
        let time = match value.get_ref() {
            DeValue::Integer(number) => {
                let seconds = u64::from_str_radix(number.as_str(), number.radix()).ok();
                values::check_time(seconds.map(Duration::from_secs))
            }
            DeValue::String(text) => values::parse_time(text),
            _ => {
                let hint = format!("write `{key} = 10` or `{key} = \"10s\"`");
                let wanted = "a number of seconds or a time";
                self.wrong_type(value, &format!("`{key}`"), wanted, Some(&hint));
                return None;
            }
        };
        self.checked(value, time)
    }

    /// An array of texts that each pass a check, at least one and none twice.
    fn texts(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        what: &str,
        check: impl Fn(&str) -> Result<(), values::Fault>,
    ) -> Vec<String> {
        let Some(value) = find(table, key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let hint = value.get_ref().as_str().map(|text| {
                format!("write `{key} = [\"{}\"]`", crate::diagnostic::shortened(text))
            });
            let called = format!("`{key}`");
            self.wrong_type(value, &called, "an array of strings", hint.as_deref());
            return Vec::new();
        };
        if array.is_empty() {
            let hint = format!("remove `{key}` for its default");
            self.report.fault(value.span(), format!("`{key}` must not be empty"), hint);
        }
        let mut out: Vec<String> = Vec::new();
        for item in array.iter() {
            let Some(text) = self.string(item, what) else { continue };
            if self.checked(item, check(text)).is_none() {
                continue;
            }
            if out.iter().any(|one| one == text) {
                let message = format!("{} is given twice", quoted(text));
                self.report.fault(item.span(), message, "remove one of the two".to_owned());
            } else if out.len() == MAX_TEXTS {
                let message = format!("`{key}` has more than {MAX_TEXTS} entries");
                self.report.fault(item.span(), message, None);
                break;
            } else {
                out.push(text.to_owned());
            }
        }
        out
    }

    fn flag(&mut self, table: &DeTable<'_>, key: &str) -> bool {
        let Some(value) = find(table, key) else { return false };
        if let DeValue::Boolean(flag) = value.get_ref() {
            return *flag;
        }
        let hint = match value.get_ref().as_str() {
            Some(text @ ("true" | "false")) => {
                Some(format!("write `{key} = {text}`, without quotes"))
            }
            _ => None,
        };
        self.wrong_type(value, &format!("`{key}`"), "`true` or `false`", hint.as_deref());
        false
    }

    /// One of some words.
    fn word<'v>(&mut self, value: &'v Value<'_>, what: &str, known: &[&str]) -> Option<&'v str> {
        let text = self.string(value, what)?;
        if known.contains(&text) {
            return Some(text);
        }
        let message = format!("{what} cannot be {}", quoted(text));
        self.report.fault(value.span(), message, closest(text, known));
        None
    }

    /// A table of the file, and faults for keys that it does not have.
    fn section<'v, 'i>(
        &mut self,
        value: &'v Value<'i>,
        name: &str,
        known: &[&str],
    ) -> Option<&'v DeTable<'i>> {
        let DeValue::Table(table) = value.get_ref() else {
            let hint = format!("write `[{name}]` and its keys below it");
            self.wrong_type(value, &format!("`{name}`"), "a table", Some(&hint));
            return None;
        };
        self.known_keys(table, &format!("`[{name}]`"), known);
        Some(table)
    }

    fn known_keys(&mut self, table: &DeTable<'_>, place: &str, known: &[&str]) {
        for (key, _) in table.iter() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let message = format!("unknown key {} in {place}", quoted(name));
                self.report.fault(key.span(), message, closest(name, known));
            }
        }
    }

    pub(crate) fn network(&mut self, value: &Value<'_>) -> NetworkPolicy {
        let Some(table) = self.section(value, "network", &NETWORK_KEYS) else {
            return NetworkPolicy::default();
        };
        let mut policy = NetworkPolicy {
            names: self.texts(table, "names", "a name", values::check_host),
            ..NetworkPolicy::default()
        };
        for item in self.entries(table, "allow_connect", "[\"example.com:443\"]") {
            policy.allow_connect.extend(self.allow_connect(item));
        }
        for item in self.entries(table, "allow_listen", "[443]") {
            if let Some(listen) = self.allow_listen(item) {
                if policy.allow_listen.iter().any(|one| one.port == listen.port) {
                    let message = format!("the port {} is given twice", listen.port);
                    let hint = "remove one of the two".to_owned();
                    self.report.fault(item.span(), message, hint);
                }
                policy.allow_listen.push(listen);
            }
        }
        policy
    }

    /// The entries of an array that may be missing.
    fn entries<'v, 'i>(
        &mut self,
        table: &'v DeTable<'i>,
        key: &str,
        example: &str,
    ) -> Vec<&'v Value<'i>> {
        let Some(value) = find(table, key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let hint = format!("write `{key} = {example}`");
            self.wrong_type(value, &format!("`{key}`"), "an array", Some(&hint));
            return Vec::new();
        };
        if array.len() > MAX_TEXTS {
            let message = format!("`{key}` has more than {MAX_TEXTS} entries");
            self.report.fault(value.span(), message, None);
        }
        array.iter().take(MAX_TEXTS).collect()
    }

    fn allow_connect(&mut self, item: &Value<'_>) -> Option<Peer> {
        match item.get_ref() {
            DeValue::String(text) => {
                let (host, port) = self.checked(item, values::parse_place(text))?;
                Some(Peer::new(host, port))
            }
            DeValue::Table(table) => {
                self.known_keys(table, "an entry of `allow_connect`", &ALLOW_CONNECT_KEYS);
                let host = self.host(item, table, "an entry of `allow_connect`")?;
                let mut peer = Peer::new(host, 0);
                self.peer_settings(table, &mut peer);
                peer.port = self.port(table, peer.prot);
                Some(peer)
            }
            _ => {
                let hint = Some("write `\"example.com:443\"` or `{ host = \"example.com\" }`");
                let what = "an entry of `allow_connect`";
                self.wrong_type(item, what, "a string or a table", hint);
                None
            }
        }
    }

    fn allow_listen(&mut self, item: &Value<'_>) -> Option<Listen> {
        let named = |port: u16| Listen::new(port.to_string(), Listen::DEFAULT_ADDR, port);
        match item.get_ref() {
            DeValue::Integer(_) => self.port_number(item).map(named),
            DeValue::Table(table) => {
                self.known_keys(table, "an entry of `allow_listen`", &ALLOW_LISTEN_KEYS);
                let mut listen = Listen::new("", self.addr(table), 0);
                self.listen_settings(table, &mut listen);
                listen.port = self.port(table, listen.prot);
                listen.name = listen.port.to_string();
                Some(listen)
            }
            _ => {
                let hint = Some("write `443` or `{ port = 443 }`");
                let what = "an entry of `allow_listen`";
                self.wrong_type(item, what, "a port or a table", hint);
                None
            }
        }
    }

    /// The table, and where its socket is named.
    pub(crate) fn http(&mut self, value: &Value<'_>) -> Option<(Http, core::ops::Range<usize>)> {
        let table = self.section(value, "http", &HTTP_KEYS)?;
        let Some(listen) = find(table, "listen") else {
            let hint = "write `listen = \"…\"`: the `name` of a `listen` entry of `files`";
            self.report.fault(value.span(), "`[http]` needs a `listen`", hint.to_owned());
            return None;
        };
        let name = self.string(listen, "`listen`")?;
        Some((Http { listen: name.to_owned() }, listen.span()))
    }

    pub(crate) fn sealing(&mut self, value: &Value<'_>) -> Option<Sealing> {
        let mut sealing = Sealing::default();
        let table = self.section(value, "sealing", &SEALING_KEYS)?;
        sealing.throwaway = self.flag(table, "throwaway");
        if let Some(folder) = find(table, "folder") {
            let text = self.string(folder, "`folder`")?;
            self.checked(folder, values::check_folder(text))?;
            text.clone_into(&mut sealing.folder);
        }
        Some(sealing)
    }

    pub(crate) fn compiler(&mut self, value: &Value<'_>) -> CompilerPolicy {
        let mut policy = CompilerPolicy::default();
        let Some(table) = self.section(value, "compiler", &COMPILER_KEYS) else { return policy };
        policy.measurements = self.measurements(table);
        policy.allow_development = self.flag(table, "allow_development");
        if find(table, "accept").is_some() {
            let accept = self.texts(table, "accept", "a kind of compiler", values::check_compiler);
            policy.tenant = accept.iter().any(|word| word == "tenant");
            policy.attested = accept.iter().any(|word| word == "attested");
        }
        if !policy.attested {
            for key in ["measurements", "allow_development"] {
                if let Some(value) = find(table, key) {
                    let message = format!("`{key}` has no effect without `\"attested\"`");
                    let hint = "it is about compiler Keeps: add `\"attested\"` to `accept`";
                    self.report.fault(value.span(), message, hint.to_owned());
                }
            }
        }
        policy
    }
}

/// Most entries of an array of this part of the file.
pub(crate) const MAX_TEXTS: usize = 64;
