// SPDX-License-Identifier: Apache-2.0

//! What the demonstration shows: lines for people, or the same in JSON for programs.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use command_line::Style;
use serde_json::{Value, json};

/// Stdout.
pub(super) struct Screen {
    json: bool,
    style: Style,
    start: Instant,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        Self { json, style: Style::stdout(), start: Instant::now() }
    }

    /// A part begins.
    pub(super) fn part(&self, title: &str) {
        if !self.json {
            self.write(&format!("\n{}\n", self.style.bold(title)));
        }
    }

    /// Something was done, and how long that took.
    pub(super) fn done(&self, what: &str, detail: &str, took: Duration) {
        if self.json {
            return self.object(json!({
                "event": "done", "what": what, "detail": detail, "took_ms": ms(took),
            }));
        }
        self.line(Some(took), &format!("{what}  {}", self.style.dim(detail)));
    }

    /// A step of the deployment, `at` after its beginning and `took` after the one before.
    pub(super) fn step(&self, number: u8, name: &str, detail: &str, at: Duration, took: Duration) {
        if self.json {
            return self.object(json!({
                "event": "step", "step": number, "name": name, "detail": detail,
                "at_ms": ms(at), "took_ms": ms(took),
            }));
        }
        let name = self.style.bold(&format!("{name:<9}"));
        self.line(Some(took), &format!("{number:>2}  {name} {detail}"));
    }

    /// Something that was proven, and by what.
    pub(super) fn proven(&self, what: &str, by: &str) {
        if self.json {
            return self.object(json!({ "event": "proven", "what": what, "by": by }));
        }
        self.line(None, &format!("{} {what}", self.style.green("✓")));
        self.line(None, &format!("  {}", self.style.dim(&format!("by {by}"))));
    }

    /// An attack that failed: who refused it, and in which words.
    pub(super) fn attack(&self, name: &str, what: &str, by: &str, why: &str, took: Duration) {
        if self.json {
            return self.object(json!({
                "event": "attack", "name": name, "what": what, "refused_by": by, "why": why,
                "took_ms": ms(took),
            }));
        }
        self.line(Some(took), what);
        self.line(None, &format!("{} refused by {by}", self.style.green("✓")));
        for line in why.lines() {
            self.line(None, &format!("  {}", self.style.dim(line.trim_end())));
        }
    }

    /// Whatever else there is to say.
    pub(super) fn say(&self, text: &str, value: &Value) {
        if self.json {
            return self.object(value.clone());
        }
        self.line(None, text);
    }

    fn line(&self, took: Option<Duration>, text: &str) {
        let time = match took {
            Some(took) => self.style.dim(&format!("{:>8.1} ms", ms(took))),
            None => " ".repeat(11),
        };
        self.write(&format!("{time}  {text}\n"));
    }

    fn object(&self, mut value: Value) {
        if let Some(object) = value.as_object_mut() {
            object.insert("ms".into(), ms(self.start.elapsed()).into());
        }
        self.write(&format!("{value}\n"));
    }

    fn write(&self, text: &str) {
        let mut out = io::stdout().lock();
        // Whoever stops reading has seen enough; the rest of the demonstration goes on to its end.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// In milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}
