// SPDX-License-Identifier: Apache-2.0

//! `enarx platform info`: whether each backend works here, and what to do if not.
//!
//! The names in the JSON form are published and other programs read them: `version`,
//! `system_info`, `backends` with `backend` and `data`, and in each datum `name`, `pass`, `info`,
//! `mesg` and `data`. A value that is not there is `null`.

use command_line::{Style, print};
use keep_backend::{Backend, Datum};
use serde_json::{Value, json};

use crate::backends;
use crate::exit::Failure;

pub(super) fn run(json: bool) -> Result<(), Failure> {
    let probed: Vec<(Box<dyn Backend>, Vec<Datum>)> = backends::all()
        .into_iter()
        .map(|backend| {
            let data = probe(&*backend);
            (backend, data)
        })
        .collect();
    match json {
        true => print(&format!("{:#}\n", as_json(&probed))),
        false => print(&as_table(&probed, Style::stdout())),
    }
}

/// What is looked at for a backend: the machine, and what the vendor said of it.
pub(super) fn probe(backend: &dyn Backend) -> Vec<Datum> {
    let mut data = backend.probe();
    data.extend(cached(backend.name()));
    data
}

/// What the caches hold for evidence of a backend's Keeps. Keeps run without; what they show nobody could verify.
fn cached(backend: &str) -> Option<Datum> {
    match backend {
        "snp" => Some(super::snp::cached()),
        "sgx" => Some(super::sgx::cached()),
        _ => None,
    }
}

fn as_json(probed: &[(Box<dyn Backend>, Vec<Datum>)]) -> Value {
    let datum = |datum: &Datum| {
        json!({
            "name": datum.name,
            "pass": datum.pass,
            "info": datum.info,
            "mesg": datum.remedy,
            "data": [],
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system_info": system(),
        "backends": probed
            .iter()
            .map(|(backend, data)| json!({
                "backend": backend.name(),
                "data": data.iter().map(datum).collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
    })
}

fn as_table(probed: &[(Box<dyn Backend>, Vec<Datum>)], style: Style) -> String {
    let mut text = format!("enarx {}, {}\n", env!("CARGO_PKG_VERSION"), system());
    for (backend, data) in probed {
        let works = match data.iter().all(|datum| datum.pass) {
            true => style.green("works"),
            false => style.red("does not work"),
        };
        let kept_out = match backend.is_confidential() {
            true => "the host is kept out",
            false => "not confidential",
        };
        text += &format!("\n{}: {works}, {kept_out}\n", style.bold(backend.name()));
        let width = data.iter().map(|datum| datum.name.chars().count()).max().unwrap_or(0);
        for datum in data {
            let mark = match datum.pass {
                true => style.green("ok  "),
                false => style.red("FAIL"),
            };
            let info = datum.info.as_deref().unwrap_or_default();
            let line = format!("  {mark}  {:<width$}  {info}", datum.name);
            text += line.trim_end();
            text.push('\n');
            for line in datum.remedy.iter().flat_map(|remedy| remedy.lines()) {
                text += &format!("        → {line}\n");
            }
        }
    }
    text
}

/// The system that this program runs on.
pub(super) fn system() -> String {
    #[cfg(unix)]
    {
        let uname = rustix::system::uname();
        [uname.sysname(), uname.release(), uname.machine()]
            .map(|part| part.to_string_lossy().into_owned())
            .join(" ")
    }
    #[cfg(not(unix))]
    {
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
    }
}
