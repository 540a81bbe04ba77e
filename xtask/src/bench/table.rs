// SPDX-License-Identifier: Apache-2.0

//! The benchmark's tables, in Markdown.

/// All rows of one run.
pub(super) struct Table {
    engines: Vec<String>,
    rows: Vec<Row>,
    /// Heading, name, one figure for each engine.
    details: Vec<(String, String, Vec<f64>)>,
    failures: Vec<(String, String)>,
}

/// One thing that was measured, and what is asked of it.
pub(super) struct Row {
    what: String,
    /// One cell an engine.
    cells: Vec<String>,
    /// One ratio to the reference an engine; `NaN` where there is none.
    ratios: Vec<f64>,
    /// The figures themselves.
    figures: Vec<f64>,
    bars: Vec<Bar>,
}

struct Bar {
    engine: &'static str,
    limit: f64,
    text: String,
    kind: Kind,
}

enum Kind {
    AtMost,
    AtLeast,
    Absolute,
}

impl Row {
    fn new(what: impl Into<String>, figures: &[f64], cell: impl Fn(f64) -> String) -> Self {
        let ratios: Vec<f64> = figures.iter().map(|f| f / figures[0]).collect();
        let cells = figures.iter().zip(&ratios).enumerate().map(|(i, (figure, ratio))| match i {
            _ if figure.is_nan() => "–".into(),
            0 => cell(*figure),
            _ if ratio.is_nan() => cell(*figure),
            _ => format!("{}, {ratio:.2} ×", cell(*figure)),
        });
        let cells = cells.collect();
        Self { what: what.into(), cells, ratios, figures: figures.to_vec(), bars: Vec::new() }
    }

    /// Figures in seconds.
    pub(super) fn times(what: &str, figures: &[f64]) -> Self {
        Self::new(what, figures, |seconds| match seconds {
            s if s < 1.0 => format!("{:.2} ms", s * 1e3),
            s => format!("{s:.2} s"),
        })
    }

    /// Figures with a unit.
    pub(super) fn amounts(what: &str, figures: &[f64], unit: &str) -> Self {
        Self::new(what, figures, |figure| match figure {
            f if f < 100.0 => format!("{f:.2} {unit}"),
            f => format!("{f:.0} {unit}"),
        })
    }

    /// As `amounts`, where more is better.
    pub(super) fn rates(what: &str, figures: &[f64], unit: &str) -> Self {
        Self::amounts(what, figures, unit)
    }

    /// Figures that are ratios already.
    pub(super) fn ratios(what: String, figures: &[f64], unit: &str) -> Self {
        let cells = figures.iter().map(|figure| format!("{figure:.3} {unit}")).collect();
        Self { what, cells, ratios: figures.to_vec(), figures: figures.to_vec(), bars: Vec::new() }
    }

    /// The ratio must not be above `limit`.
    pub(super) fn at_most(self, engine: &'static str, limit: f64) -> Self {
        let text = format!("`{engine}` ≤ {limit} ×");
        self.bar(Bar { engine, limit, text, kind: Kind::AtMost })
    }

    /// The ratio must not be below `limit`.
    pub(super) fn at_least(self, engine: &'static str, limit: f64) -> Self {
        let text = format!("`{engine}` ≥ {limit} ×");
        self.bar(Bar { engine, limit, text, kind: Kind::AtLeast })
    }

    /// The figure itself must not be above `limit`.
    pub(super) fn absolute_at_most(self, engine: &'static str, limit: f64, text: &str) -> Self {
        let text = format!("`{engine}` ≤ {text}");
        self.bar(Bar { engine, limit, text, kind: Kind::Absolute })
    }

    fn bar(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// What was asked, and whether it was met, of the engines that were measured.
    fn verdict(&self, engines: &[String]) -> (String, String) {
        let (mut asked, mut met) = (Vec::new(), Vec::new());
        for bar in &self.bars {
            let Some(at) = engines.iter().position(|e| e == bar.engine) else { continue };
            // The reference is held against nothing.
            if at == 0 {
                continue;
            }
            asked.push(bar.text.clone());
            let good = match bar.kind {
                Kind::AtMost => self.ratios[at] <= bar.limit,
                Kind::AtLeast => self.ratios[at] >= bar.limit,
                Kind::Absolute => self.figures[at] <= bar.limit,
            };
            met.push(format!("`{}` {}", bar.engine, if good { "met" } else { "**missed**" }));
        }
        (asked.join(", "), met.join(", "))
    }
}

impl Table {
    pub(super) fn new(engines: Vec<String>) -> Self {
        Self { engines, rows: Vec::new(), details: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// A line of a table below the main one.
    pub(super) fn detail(&mut self, heading: &str, name: &str, figures: impl Iterator<Item = f64>) {
        self.details.push((heading.into(), name.into(), figures.collect()));
    }

    /// A part that could not be measured.
    pub(super) fn failed(&mut self, name: &str, why: &str) {
        self.failures.push((name.into(), why.into()));
    }

    pub(super) fn markdown(&self) -> String {
        let heads = self.engines.join(" | ");
        let rule = "---|".repeat(self.engines.len());
        let mut text = format!("| what | {heads} | bar | result |\n|---|{rule}---|---|\n");
        for row in &self.rows {
            let (asked, met) = row.verdict(&self.engines);
            text += &format!("| {} | {} | {asked} | {met} |\n", row.what, row.cells.join(" | "));
        }
        let mut heading = "";
        for (head, name, figures) in &self.details {
            if head != heading {
                text += &format!("\n### {head}\n\n| | {heads} |\n|---|{rule}\n");
                heading = head;
            }
            let first = figures.first().copied().unwrap_or(f64::NAN);
            let cells = figures.iter().enumerate().map(|(i, figure)| match i {
                0 => format!("{figure:.3}"),
                _ => format!("{figure:.3} ({:.2} ×)", figure / first),
            });
            text += &format!("| {name} | {} |\n", cells.collect::<Vec<_>>().join(" | "));
        }
        for (name, why) in &self.failures {
            let why = why.lines().next().unwrap_or_default();
            text += &format!("\nNot measured: {name} ({why}).\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_bar_is_shown_as_missed() {
        let mut table = Table::new(vec!["wasmtime".into(), "nil".into(), "kvm".into()]);
        let row = Row::times("hello", &[0.006, 0.003, 0.013]);
        table.row(row.at_most("kvm", 2.0).at_most("nil", 0.7));
        table.row(Row::rates("stdout", &[100.0, 90.0, 60.0], "MiB/s").at_least("kvm", 0.5));
        table.row(
            Row::amounts("image", &[f64::NAN, 5.0, 6.5], "MiB")
                .absolute_at_most("kvm", 6.0, "6 MiB"),
        );
        let text = table.markdown();
        for line in [
            "| hello | 6.00 ms | 3.00 ms, 0.50 × | 13.00 ms, 2.17 × \
             | `kvm` ≤ 2 ×, `nil` ≤ 0.7 × | `kvm` **missed**, `nil` met |\n",
            "| stdout | 100 MiB/s | 90.00 MiB/s, 0.90 × | 60.00 MiB/s, 0.60 × \
             | `kvm` ≥ 0.5 × | `kvm` met |\n",
            "| image | – | 5.00 MiB | 6.50 MiB | `kvm` ≤ 6 MiB | `kvm` **missed** |\n",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_figure_that_is_not_a_number_meets_nothing() {
        let row = Row::times("x", &[1.0, f64::NAN]).at_most("kvm", 2.0);
        assert_eq!(row.verdict(&["wasmtime".into(), "kvm".into()]).1, "`kvm` **missed**");
    }
}
