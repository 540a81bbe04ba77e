// SPDX-License-Identifier: Apache-2.0

//! What happens on the way, with the time at which it happened, and the forms in which it is shown.
//!
//! Everything goes to stderr, since stdout belongs to the workload. Whatever a Keep says is text of
//! somebody who need not be trusted, so control characters are taken out before a terminal sees them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use command_line::Style;
use keep_backend::EventSink;
use keep_launch::Event;
use serde_json::{Value, json};

/// Short names of the steps, as `docs/flow.md` has them.
const STEPS: [&str; 13] = [
    "ask", "terms", "pin", "launch", "evidence", "request", "steward", "answer", "tls", "release",
    "fetch", "digest", "run",
];

/// The short name of a step.
pub(crate) fn step_name(number: u8) -> &'static str {
    usize::from(number).checked_sub(1).and_then(|at| STEPS.get(at)).copied().unwrap_or("other")
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A backend was chosen.
    Backend { name: &'static str, is_confidential: bool },
    /// A compiler Keep was started.
    Compiler,
    /// Said by the Keep, or one of the steps that the host agent does.
    Keep(Event),
}

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Not at all.
    Nothing,
    /// Warnings.
    Warnings,
    /// Everything, in lines for people.
    Lines,
    /// Everything, in lines of JSON.
    Json,
}

/// Takes what happened, and when.
type Sink = Box<dyn FnMut(Duration, &Happening) + Send>;

/// Tells what happens; all clones tell the same.
#[derive(Clone)]
pub(crate) struct Progress {
    start: Instant,
    sink: Arc<Mutex<Sink>>,
}

impl Progress {
    /// From now on, into `sink`.
    pub(crate) fn new(sink: impl FnMut(Duration, &Happening) + Send + 'static) -> Self {
        Self { start: Instant::now(), sink: Arc::new(Mutex::new(Box::new(sink))) }
    }

    /// From now on, to stderr.
    pub(crate) fn shown(show: Show) -> Self {
        let mut warned = Vec::new();
        Self::new(move |at, happening| {
            // The same warning once is enough, for example at each renewal.
            if let Happening::Keep(Event::Warning { message }) = happening {
                if warned.contains(message) || warned.len() > 64 {
                    return;
                }
                warned.push(message.clone());
            }
            let line = match show {
                Show::Nothing => None,
                Show::Warnings => match happening {
                    Happening::Keep(Event::Warning { message }) => {
                        command_line::warn(printable(message));
                        None
                    }
                    Happening::Backend { .. } => Some(line(None, happening)),
                    _ => None,
                },
                Show::Lines => match happening {
                    Happening::Keep(Event::Warning { message }) => {
                        command_line::warn(printable(message));
                        None
                    }
                    _ => Some(line(Some(at), happening)),
                },
                Show::Json => Some(format!("{}\n", json_line(at, happening))),
            };
            if let Some(line) = line {
                // Whoever closed stderr does not want to know.
                let _ = io::stderr().write_all(line.as_bytes());
            }
        })
    }

    /// Tells it.
    pub(crate) fn tell(&self, happening: &Happening) {
        let at = self.start.elapsed();
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        sink(at, happening);
    }

    /// A step is complete.
    pub(crate) fn step(&self, number: u8, detail: impl Into<String>) {
        self.tell(&Happening::Keep(Event::Step { number, detail: detail.into() }));
    }

    /// For what a Keep says.
    pub(crate) fn events(&self) -> EventSink {
        let progress = self.clone();
        Box::new(move |event| progress.tell(&Happening::Keep(event)))
    }
}

/// Text without what could move a cursor or begin another line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

/// For people.
fn line(at: Option<Duration>, happening: &Happening) -> String {
    let style = Style::stderr();
    let at = match at {
        Some(at) => style.dim(&format!("{:>9.1} ms  ", at.as_secs_f64() * 1000.0)),
        None => String::new(),
    };
    let text = match happening {
        Happening::Backend { name, is_confidential } => {
            let kind = if *is_confidential { "keeps the host out" } else { "is not confidential" };
            return format!("enarx: deploying to the {name} backend, which {kind}\n");
        }
        Happening::Compiler => "       a compiler Keep starts".to_owned(),
        Happening::Keep(Event::Step { number, detail }) => {
            let name = style.bold(&format!("{:<9}", step_name(*number)));
            format!("{number:>2}  {name} {}", printable(detail))
        }
        Happening::Keep(Event::Certificate { chain, not_after }) => {
            format!(
                "    a certificate in a chain of {}, good until {}",
                chain.len(),
                evidence_claims::Time::from_unix(*not_after)
            )
        }
        Happening::Keep(Event::Listening { name, address }) => {
            format!("    {} listens at {}", printable(name), printable(address))
        }
        Happening::Keep(Event::Warning { message }) => printable(message),
    };
    format!("{at}{text}\n")
}

/// For programs.
pub(crate) fn json_line(at: Duration, happening: &Happening) -> Value {
    let ms = (at.as_secs_f64() * 1e6).round() / 1000.0;
    match happening {
        Happening::Backend { name, is_confidential } => {
            json!({ "event": "backend", "ms": ms, "backend": name, "confidential": is_confidential })
        }
        Happening::Compiler => json!({ "event": "compiler", "ms": ms }),
        Happening::Keep(Event::Step { number, detail }) => json!({
            "event": "step", "ms": ms, "step": number, "name": step_name(*number), "detail": detail,
        }),
        Happening::Keep(Event::Certificate { chain, not_after }) => {
            let pem: String =
                chain.iter().map(|der| evidence_pki::to_pem("CERTIFICATE", der)).collect();
            json!({ "event": "certificate", "ms": ms, "not_after": not_after, "chain": pem })
        }
        Happening::Keep(Event::Listening { name, address }) => {
            json!({ "event": "listening", "ms": ms, "name": name, "address": address })
        }
        Happening::Keep(Event::Warning { message }) => {
            json!({ "event": "warning", "ms": ms, "message": message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_the_names_of_the_table() {
        let table = include_str!("../../../../docs/flow.md");
        for number in 1..=13 {
            assert!(table.contains(&format!("\n| {number} | ")), "step {number}");
            assert_ne!(step_name(number), "other");
        }
        assert_eq!((step_name(0), step_name(14)), ("other", "other"));
    }

    #[test]
    fn nothing_that_a_keep_says_moves_the_cursor() {
        let event = Event::Step { number: 5, detail: "a\x1b[2J\nb".into() };
        let shown = line(None, &Happening::Keep(event.clone()));
        assert!(!shown.trim_end().contains(['\x1b', '\n']), "{shown:?}");
        let json = json_line(Duration::from_micros(1500), &Happening::Keep(event)).to_string();
        assert!(!json.contains(['\x1b', '\n']), "{json}");
        assert!(json.contains("\"ms\":1.5"), "{json}");
    }
}
