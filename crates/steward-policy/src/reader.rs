// SPDX-License-Identifier: Apache-2.0

//! Tables of a policy, key by key, with a place for each fault.
//!
//! The document is walked by hand rather than derived with serde, which would not know where a value that
//! is wrong in itself stands, nor what the author may have meant.

use core::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::PolicyError;

pub(crate) type Value<'i> = Spanned<DeValue<'i>>;
type Result<T> = core::result::Result<T, PolicyError>;

/// No list may have more entries: appraisal looks through it once.
const MAX_ENTRIES: usize = 1024;
/// No single text in a policy may be longer, in bytes; roots of `[development]` aside.
const MAX_TEXT: usize = 1024;

/// A fault at a range of bytes of the text.
pub(crate) fn fault(source: &str, span: Range<usize>, message: impl Into<String>) -> PolicyError {
    let before = source.get(..source.floor_char_boundary(span.start)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    PolicyError {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        message: message.into(),
    }
}

/// A table, and what messages call it.
#[derive(Clone)]
pub(crate) struct Table<'t, 'i> {
    source: &'t str,
    table: &'t DeTable<'i>,
    span: Range<usize>,
    name: String,
}

impl<'t, 'i> Table<'t, 'i> {
    /// The document itself.
    pub(crate) fn document(source: &'t str, table: &'t Spanned<DeTable<'i>>) -> Self {
        Self { source, table: table.get_ref(), span: 0..0, name: String::new() }
    }

    /// Refuses keys that are not in `known`: the first one in the text.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        let unknown = self
            .table
            .iter()
            .filter(|(key, _)| !known.contains(&key.get_ref().as_ref()))
            .min_by_key(|(key, _)| key.span().start);
        let Some((key, _)) = unknown else { return Ok(()) };
        let place = if self.name.is_empty() {
            "at the top of a policy".to_owned()
        } else {
            format!("in {}", self.name)
        };
        let hint = match closest(key.get_ref(), known) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => format!("; there are: {}", known.join(", ")),
        };
        Err(fault(
            self.source,
            key.span(),
            format!("there is no key `{}` {place}{hint}", shown(key.get_ref())),
        ))
    }

    /// A fault of the table as a whole.
    pub(crate) fn fault(&self, message: impl Into<String>) -> PolicyError {
        fault(self.source, self.span.clone(), message)
    }

    /// A fault of the value of a key, or of the table if the key is not there.
    pub(crate) fn fault_at(&self, key: &str, message: impl Into<String>) -> PolicyError {
        let span = self.get(key).map_or_else(|| self.span.clone(), Spanned::span);
        fault(self.source, span, message)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'t Value<'i>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    fn wrong(&self, key: &str, value: &Value<'i>, wanted: &str) -> PolicyError {
        let found = value.get_ref().type_str();
        fault(
            self.source,
            value.span(),
            format!("`{key}` is {wanted}, and this is of type {found}"),
        )
    }

    /// A table in this table.
    pub(crate) fn table(&self, key: &str) -> Result<Option<Self>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let path = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name.trim_matches(['[', ']']))
        };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(Self {
                source: self.source,
                table,
                span: value.span(),
                name: format!("[{path}]"),
            })),
            _ => Err(self.wrong(key, value, "a table")),
        }
    }

    /// An array of tables, `[[key]]`.
    pub(crate) fn tables(&self, key: &str) -> Result<Vec<Self>> {
        let wanted = format!("an array of tables: write `[[{key}]]`");
        let mut out = Vec::new();
        let Some(value) = self.get(key) else { return Ok(out) };
        for entry in self.entries(key, value, &wanted)? {
            let DeValue::Table(table) = entry.get_ref() else {
                return Err(self.wrong(key, entry, &wanted));
            };
            let (source, span) = (self.source, entry.span());
            out.push(Self { source, table, span, name: format!("[[{key}]]") });
        }
        Ok(out)
    }

    fn entries(
        &self,
        key: &str,
        value: &'t Value<'i>,
        wanted: &str,
    ) -> Result<impl Iterator<Item = &'t Value<'i>> + use<'t, 'i>> {
        let DeValue::Array(array) = value.get_ref() else {
            return Err(self.wrong(key, value, wanted));
        };
        if array.len() > MAX_ENTRIES {
            let message = format!("`{key}` has more than {MAX_ENTRIES} entries");
            return Err(fault(self.source, value.span(), message));
        }
        Ok(array.iter())
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::Boolean(flag) => Ok(Some(*flag)),
                _ => Err(self.wrong(key, value, "`true` or `false`")),
            },
        }
    }

    /// A number from 0 to `largest`.
    pub(crate) fn number(&self, key: &str, largest: u64) -> Result<Option<u64>> {
        self.get(key).map(|value| self.number_of(key, value, largest)).transpose()
    }

    fn number_of(&self, key: &str, value: &Value<'i>, largest: u64) -> Result<u64> {
        let wanted = format!("a number from 0 to {largest}");
        let DeValue::Integer(integer) = value.get_ref() else {
            return Err(self.wrong(key, value, &wanted));
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if number <= largest => Ok(number),
            _ => Err(fault(self.source, value.span(), format!("`{key}` is {wanted}"))),
        }
    }

    /// A list of numbers from 0 to `largest`.
    pub(crate) fn numbers(&self, key: &str, largest: u64) -> Result<Option<Vec<u64>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        self.entries(key, value, "a list of numbers")?
            .map(|entry| self.number_of(key, entry, largest))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'t str>> {
        self.get(key).map(|value| self.text_of(key, value, "a text")).transpose()
    }

    pub(crate) fn text_of(&self, key: &str, value: &'t Value<'i>, wanted: &str) -> Result<&'t str> {
        match value.get_ref() {
            DeValue::String(text) if text.len() <= MAX_TEXT => Ok(text),
            DeValue::String(_) => {
                let message = format!("this text in `{key}` has more than {MAX_TEXT} bytes");
                Err(fault(self.source, value.span(), message))
            }
            _ => Err(self.wrong(key, value, wanted)),
        }
    }

    /// Each text of a list, as `read` takes it; what `read` answers otherwise is what is wrong.
    pub(crate) fn each<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> core::result::Result<T, String>,
    ) -> Result<Option<Vec<T>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        self.entries(key, value, "a list of texts: `[\"…\"]`")?
            .map(|entry| {
                let text = self.text_of(key, entry, "a list of texts: `[\"…\"]`")?;
                read(text).map_err(|message| fault(self.source, entry.span(), message))
            })
            .collect::<Result<_>>()
            .map(Some)
    }

    /// One text, as `read` takes it.
    pub(crate) fn one<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> core::result::Result<T, String>,
    ) -> Result<Option<T>> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => read(text).map(Some).map_err(|message| self.fault_at(key, message)),
        }
    }

    /// A list of what may be, which must not be empty: `[]` could be meant as *nothing* as well as *all*.
    /// Empty in the result if the key is not there.
    pub(crate) fn allowed<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> core::result::Result<T, String>,
    ) -> Result<Vec<T>> {
        match self.each(key, read)? {
            None => Ok(Vec::new()),
            Some(list) if list.is_empty() => Err(self.fault_at(
                key,
                format!(
                    "`{key}` is empty and would let nothing in; leave it out to not look at it"
                ),
            )),
            Some(list) => Ok(list),
        }
    }
}

/// A reader for exactly `N` bytes in hexadecimal digits.
pub(crate) fn bytes<const N: usize>(text: &str) -> core::result::Result<[u8; N], String> {
    let bytes = hex(text)?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| {
        format!("{N} bytes are wanted here ({} hexadecimal digits), and there are {length}", 2 * N)
    })
}

/// Bytes in hexadecimal digits, without anything between them.
pub(crate) fn hex(text: &str) -> core::result::Result<Vec<u8>, String> {
    let mut digits = Vec::with_capacity(text.len());
    for character in text.chars() {
        match character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()) {
            Some(digit) => digits.push(digit),
            None => {
                return Err(format!(
                    "bytes are written in hexadecimal digits, and `{}` is none",
                    character.escape_debug()
                ));
            }
        }
    }
    if digits.len() % 2 != 0 {
        return Err(format!(
            "bytes are written in pairs of hexadecimal digits, and there are {} digits",
            digits.len()
        ));
    }
    Ok(digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect())
}

/// A reader for one of several words.
pub(crate) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> core::result::Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(match closest(text, &names) {
        Some(meant) => format!("`{}` is not known; did you mean `{meant}`?", shown(text)),
        None => format!("`{}` is not known; there are: {}", shown(text), names.join(", ")),
    })
}

/// The one of `words` that may have been meant.
fn closest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    if text.len() > 64 {
        return None;
    }
    let folded = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&folded(text), &folded(word)), *word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 6)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// A text of the policy in a message: short and printable.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(48).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", short.escape_debug())
}
