// SPDX-License-Identifier: Apache-2.0

//! What is wrong with a configuration, where, and what to do about it.
//!
//! A configuration may come from a stranger and its faults end up on a terminal, so everything
//! here is bounded (number of diagnostics, width of an excerpt) and nothing unprintable from the
//! file is passed on. Colour is left to the caller, who knows where the text goes.

use core::fmt;
use core::ops::Range;

use std::sync::Arc;

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The file's name, as the caller gave it.
    pub file: Arc<str>,
    /// Line of the fault, counted from 1.
    pub line: usize,
    /// Column of the fault in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The part of the line that shows the fault.
    excerpt: Excerpt,
}

impl fmt::Display for Diagnostic {
    /// Renders several lines, without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, hint, excerpt } = self;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{}:{line}:{column}: {message}", printable(file))?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{}", format!("{number} | {}", excerpt.text).trim_end())?;
        let (indent, carets) = (" ".repeat(excerpt.indent), "^".repeat(excerpt.carets));
        write!(f, "{gutter} | {indent}{carets}")?;
        match hint {
            Some(hint) => write!(f, "\n{gutter} = hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// A configuration was refused: every fault that was found, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
}

impl ConfigError {
    /// The faults, in the order of the file; there is at least one.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many faults were found beyond those of [`Self::diagnostics`].
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl fmt::Display for ConfigError {
    /// Renders all faults, an empty line between them, without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{diagnostic}")?;
        }
        match self.omitted {
            0 => Ok(()),
            1 => write!(f, "\n\n1 more problem is not shown"),
            more => write!(f, "\n\n{more} more problems are not shown"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Collects faults while a source is read.
#[derive(Debug)]
pub(crate) struct Report<'s> {
    file: Arc<str>,
    source: &'s str,
    /// Start of the span first, so that sorting puts faults in the order of the file.
    faults: Vec<(Range<usize>, String, Option<String>)>,
    omitted: usize,
}

impl<'s> Report<'s> {
    pub(crate) fn new(source: &'s str, file: &str) -> Self {
        Self { file: Arc::from(file), source, faults: Vec::new(), omitted: 0 }
    }

    /// Adds a fault at a range of bytes of the source.
    pub(crate) fn fault(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        // Beyond the limit a fault is only counted, whatever the source makes us find.
        if self.faults.len() == MAX_DIAGNOSTICS {
            self.omitted += 1;
        } else {
            self.faults.push((span, message.into(), hint.into()));
        }
    }

    /// The line in which a byte of the source lies, counted from 1.
    ///
    /// For the message of a fault; 0 once faults are only counted, because finding a line takes
    /// time that grows with the source and a source can hold as many faults as entries.
    pub(crate) fn line(&self, offset: usize) -> usize {
        if self.faults.len() == MAX_DIAGNOSTICS {
            return 0;
        }
        Position::new(self.source, offset).line
    }

    /// `Ok` if nothing was found.
    pub(crate) fn finish(mut self) -> Result<(), ConfigError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        self.faults.sort_by_key(|(span, ..)| span.start);
        let diagnostics = self
            .faults
            .into_iter()
            .map(|(span, message, hint)| {
                let position = Position::new(self.source, span.start);
                Diagnostic {
                    file: Arc::clone(&self.file),
                    line: position.line,
                    column: position.column,
                    excerpt: Excerpt::new(self.source, &position, span.end),
                    message,
                    hint,
                }
            })
            .collect();
        Err(ConfigError { diagnostics, omitted: self.omitted })
    }
}

/// Where a byte lies in a text.
struct Position {
    /// The byte's offset, moved back to the start of its character and into the text.
    offset: usize,
    /// Offset of the first byte of its line.
    line_start: usize,
    line: usize,
    column: usize,
}

impl Position {
    fn new(source: &str, offset: usize) -> Self {
        let offset = source.floor_char_boundary(offset);
        let before = &source[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            offset,
            line_start,
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The part of one line that is shown, and what is underlined in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters before the underlined ones.
    indent: usize,
    /// Underlined characters, at least one.
    carets: usize,
}

impl Excerpt {
    fn new(source: &str, at: &Position, end: usize) -> Self {
        let rest = &source[at.line_start..];
        let line = rest.split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line_end = at.line_start + line.len();
        // A fault may span lines or lie behind the last one: what is underlined stays in its line.
        let end = source.floor_char_boundary(end).clamp(at.offset, line_end.max(at.offset));
        let marked = source[at.offset..end].chars().count().max(1);

        let before = at.column - 1;
        let skipped = if before < EXCERPT_WIDTH { 0 } else { before - EXCERPT_LEAD };
        let cut_front = if skipped == 0 { "" } else { "…" };
        let mut shown: String = line.chars().skip(skipped).take(EXCERPT_WIDTH).collect();
        if line.chars().count() > skipped + EXCERPT_WIDTH {
            shown.push('…');
        }
        let indent = before - skipped + cut_front.chars().count();
        Self {
            text: format!("{cut_front}{}", printable(&shown)),
            indent,
            carets: marked.min((cut_front.chars().count() + EXCERPT_WIDTH).saturating_sub(indent)),
        }
    }
}

/// The same text with everything replaced that could move the cursor, hide or reorder what is
/// shown; the number of characters stays the same, so carets still point at what they mean.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' => ' ',
            '"' | '\'' | '\\' => character,
            _ if character.escape_debug().len() > 1 => char::REPLACEMENT_CHARACTER,
            _ => character,
        })
        .collect()
}

/// A piece of the source for use in a message: in back-ticks, printable, and not long.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shortened(text))
}

/// As [`quoted`], without the back-ticks.
pub(crate) fn shortened(text: &str) -> String {
    let shown: String = text.chars().take(QUOTE_WIDTH).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", printable(&shown))
}

/// Faults that are told in full; the rest are counted.
const MAX_DIAGNOSTICS: usize = 50;
/// Characters of a source line that are shown.
const EXCERPT_WIDTH: usize = 120;
/// Characters shown before a fault that lies too far to the right to show the line from its start.
const EXCERPT_LEAD: usize = 20;
/// Characters of a key or value repeated in a message.
const QUOTE_WIDTH: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, span: Range<usize>) -> String {
        let mut report = Report::new(source, "f.toml");
        report.fault(span, "bad", Some("mend it".to_owned()));
        report.finish().unwrap_err().to_string()
    }

    #[test]
    fn points_at_the_span() {
        assert_eq!(
            render("a = 1\r\nbcd = 2\r\n", 7..10),
            "f.toml:2:1: bad\n  |\n2 | bcd = 2\n  | ^^^\n  = hint: mend it"
        );
    }

    #[test]
    fn counts_characters_and_not_bytes() {
        let source = "x = \"äöü\" ?";
        assert_eq!(
            render(source, source.len() - 1..source.len()),
            "f.toml:1:11: bad\n  |\n1 | x = \"äöü\" ?\n  |           ^\n  = hint: mend it"
        );
    }

    #[test]
    fn a_span_over_lines_is_underlined_to_the_end_of_its_first() {
        assert!(render("a = [\n 1,\n]", 4..11).contains("1 | a = [\n  |     ^\n"));
    }

    #[test]
    fn the_end_of_the_file_can_be_pointed_at() {
        assert!(render("a =", 3..3).contains("1 | a =\n  |    ^\n"));
        assert!(render("", 0..0).starts_with("f.toml:1:1: bad\n  |\n1 |\n  | ^\n"));
        assert!(render("a\n", 90..99).starts_with("f.toml:2:1: bad"));
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let source = format!("{}FAULT{}", "a".repeat(5000), "b".repeat(5000));
        let text = render(&source, 5000..5005);
        let lines: Vec<&str> = text.lines().collect();
        let column = lines[3].find('^').unwrap();
        assert!(lines[2].chars().skip(column).collect::<String>().starts_with("FAULTbbb"));
        assert!(lines[2].chars().count() < 140, "{text}");
        assert!(render(&source, 0..10_000).lines().all(|line| line.chars().count() < 140));
    }

    #[test]
    fn nothing_unprintable_reaches_the_terminal() {
        let text = render("a = \"\u{1b}[31m\u{202e}\u{7}\"", 4..5);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'));
        assert!(!quoted("\u{1b}[0m").contains('\u{1b}'));
    }

    #[test]
    fn the_number_of_faults_is_bounded() {
        let mut report = Report::new("", "f.toml");
        for _ in 0..MAX_DIAGNOSTICS + 2 {
            report.fault(0..0, "bad", None);
        }
        let error = report.finish().unwrap_err();
        assert_eq!((error.diagnostics().len(), error.omitted()), (MAX_DIAGNOSTICS, 2));
        assert!(error.to_string().ends_with("\n\n2 more problems are not shown"));
    }
}
