// SPDX-License-Identifier: Apache-2.0

//! What a self-test found, in lines for a terminal, in JSON, and in Markdown for an issue.

use std::time::Duration;

use command_line::{Style, hex};
use keep_backend::{Backend, Datum};
use serde_json::{Value, json};
use steward_relying_party::CertificateClaims;
use steward_service::clock;

/// All of it.
pub(super) struct Report {
    system: String,
    processor: String,
    pub(super) backends: Vec<Tested>,
}

/// A backend.
pub(super) struct Tested {
    name: &'static str,
    confidential: bool,
    needed: bool,
    probe: Vec<Datum>,
    pub(super) checks: Vec<Check>,
    pub(super) claims: Option<CertificateClaims>,
}

/// Something that was tried.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) pass: bool,
    pub(super) detail: String,
    pub(super) took: Duration,
}

impl Report {
    pub(super) fn new(system: String) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self { system, processor: processor(&cpuinfo), backends: Vec::new() }
    }

    /// Whether each backend did what it has to.
    pub(super) fn pass(&self) -> bool {
        self.backends.iter().all(Tested::pass)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "time": clock::now().to_string(),
            "system": self.system,
            "processor": self.processor,
            "pass": self.pass(),
            "backends": self.backends.iter().map(Tested::json).collect::<Vec<_>>(),
        })
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# enarx platform selftest\n\n| | |\n|---|---|\n| enarx | {} |\n| time | {} |\n| system | {} |\n\
             | processor | {} |\n| result | {} |\n",
            env!("CARGO_PKG_VERSION"),
            clock::now(),
            cell(&self.system),
            cell(&self.processor),
            passed(self.pass()),
        );
        for tested in &self.backends {
            text += &tested.markdown();
        }
        text
    }
}

/// Model and microcode, which say how a processor behaves, and not which one it is.
fn processor(cpuinfo: &str) -> String {
    let value = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let mut text = value("model name").unwrap_or("unknown").to_owned();
    for name in ["cpu family", "model\t", "stepping", "microcode"] {
        if let Some(value) = value(name) {
            text += &format!(", {} {value}", name.trim());
        }
    }
    text
}

fn passed(pass: bool) -> &'static str {
    if pass { "passed" } else { "FAILED" }
}

/// Text within a table of Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

impl Tested {
    pub(super) fn new(backend: &dyn Backend, needed: bool) -> Self {
        Self {
            name: backend.name(),
            confidential: backend.is_confidential(),
            needed,
            probe: crate::platform::info::probe(backend),
            checks: Vec::new(),
            claims: None,
        }
    }

    /// Whether the machine has what it takes.
    pub(super) fn works(&self) -> bool {
        self.probe.iter().all(|datum| datum.pass)
    }

    fn pass(&self) -> bool {
        match self.works() {
            true => !self.checks.is_empty() && self.checks.iter().all(|check| check.pass),
            false => !self.needed,
        }
    }

    fn result(&self) -> &'static str {
        match (self.works(), self.pass()) {
            (true, pass) => passed(pass),
            (false, true) => "not on this machine",
            (false, false) => "FAILED: not on this machine",
        }
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let style = Style::stdout();
        let result = match (self.works(), self.pass()) {
            (true, true) => style.green(self.result()),
            (false, true) => self.result().to_owned(),
            _ => style.red(self.result()),
        };
        let mut text = format!("{}: {result}\n", style.bold(self.name));
        for datum in self.probe.iter().filter(|datum| !datum.pass) {
            let info = datum.info.as_deref().map(|info| format!(" ({info})")).unwrap_or_default();
            text += &format!("  {}{info}\n", datum.name);
        }
        for Check { name, pass, detail, took } in &self.checks {
            let mark = if *pass { style.green("ok  ") } else { style.red("FAIL") };
            text += &format!("  {mark}  {name:<16} {:>7} ms  {detail}\n", took.as_millis());
        }
        text
    }

    fn json(&self) -> Value {
        let datum = |datum: &Datum| {
            json!({
                "name": datum.name, "pass": datum.pass, "info": datum.info, "mesg": datum.remedy,
            })
        };
        let check = |check: &Check| {
            json!({
                "name": check.name,
                "pass": check.pass,
                "detail": check.detail,
                "took_ms": u64::try_from(check.took.as_millis()).unwrap_or(u64::MAX),
            })
        };
        json!({
            "backend": self.name,
            "confidential": self.confidential,
            "works": self.works(),
            "pass": self.pass(),
            "probe": self.probe.iter().map(datum).collect::<Vec<_>>(),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
            "claims": self.claims.as_ref().map(claims),
        })
    }

    fn markdown(&self) -> String {
        let kind = if self.confidential { "keeps the host out" } else { "not confidential" };
        let mut text = format!("\n## {}: {}\n\n{kind}\n", self.name, self.result());
        text += "\n| probe | | found | what to do |\n|---|---|---|---|\n";
        for Datum { name, pass, info, remedy } in &self.probe {
            let mark = if *pass { "ok" } else { "FAIL" };
            let [info, remedy] = [info, remedy].map(|text| cell(text.as_deref().unwrap_or("")));
            text += &format!("| {} | {mark} | {info} | {remedy} |\n", cell(name));
        }
        if !self.checks.is_empty() {
            text += "\n| check | | ms | detail |\n|---|---|---|---|\n";
        }
        for Check { name, pass, detail, took } in &self.checks {
            let mark = if *pass { "ok" } else { "FAIL" };
            text += &format!("| {name} | {mark} | {} | {} |\n", took.as_millis(), cell(detail));
        }
        if let Some(found) = &self.claims {
            text += &format!("\n```json\n{:#}\n```\n", claims(found));
        }
        text
    }
}

/// What a certificate says of platform and code. Whoever has the report learns no chip's id from it.
fn claims(claims: &CertificateClaims) -> Value {
    json!({
        "platform": claims.platform,
        "product": claims.product,
        "measurement": hex(&claims.measurement),
        "signer": claims.signer.as_deref().map(hex),
        "tcb_status": claims.tcb_status,
        "advisories": claims.advisories,
        "svns": claims.svns.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "debug": claims.debug,
        "workload": claims.workload.as_ref().map(|workload| workload.digest()),
        "evaluation_number": claims.evaluation_number,
        "fresh": claims.fresh,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
        model name\t: AMD EPYC 7763 64-Core Processor\nstepping\t: 1\nmicrocode\t: 0xa0011d5\n";

    fn tested(needed: bool, probe: bool, checks: &[bool]) -> Tested {
        let probe = match probe {
            true => Datum::pass("Driver", None),
            false => Datum::fail("Driver", "a|b".to_owned(), "load it"),
        };
        let check = |pass: &bool| Check {
            name: "launch",
            pass: *pass,
            detail: "one\ntwo".into(),
            took: Duration::from_millis(7),
        };
        Tested {
            name: "snp",
            confidential: true,
            needed,
            probe: vec![probe],
            checks: checks.iter().map(check).collect(),
            claims: None,
        }
    }

    #[test]
    fn a_processor_is_named_by_its_model() {
        let expected = "AMD EPYC 7763 64-Core Processor, cpu family 25, model 1, stepping 1, microcode \
                        0xa0011d5";
        assert_eq!(processor(CPUINFO), expected);
        assert_eq!(processor(""), "unknown");
    }

    #[test]
    fn what_is_not_here_fails_only_who_asked_for_it() {
        assert!(tested(false, false, &[]).pass());
        assert!(!tested(true, false, &[]).pass());
        assert!(tested(true, true, &[true]).pass());
        assert!(!tested(false, true, &[true, false]).pass());
        // Nothing was tried, so nothing is known.
        assert!(!tested(false, true, &[]).pass());
    }

    #[test]
    fn tables_stay_tables() {
        let report = Report {
            system: "Linux".into(),
            processor: "x".into(),
            backends: vec![tested(false, false, &[false])],
        };
        let text = report.markdown();
        assert!(text.contains("| Driver | FAIL | a\\|b | load it |"), "{text}");
        assert!(text.contains("| launch | FAIL | 7 | one two |"), "{text}");
        assert_eq!(report.json()["backends"][0]["checks"][0]["took_ms"], 7);
    }
}
