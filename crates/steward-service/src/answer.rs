// SPDX-License-Identifier: Apache-2.0

//! Which form of an answer a client wants (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};

/// A form in which certificates can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Pem,
    /// DER `PkiPath`: `SEQUENCE OF Certificate`, the leaf last.
    Path,
    /// DER, one certificate.
    Certificate,
}

impl Form {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Pem => "application/pem-certificate-chain",
            Self::Path => "application/pkix-pkipath",
            Self::Certificate => "application/pkix-cert",
        }
    }

    /// The one of `offered` that the client likes best; the first that it likes as much as any other, and
    /// the first of all if it does not say. `None` if it takes none of them.
    pub(crate) fn choose(headers: &HeaderMap, offered: &[Self]) -> Option<Self> {
        let mut ranges = Vec::new();
        for value in headers.get_all(header::ACCEPT) {
            ranges.extend(value.to_str().ok()?.split(',').filter_map(Range::read));
        }
        if ranges.is_empty() {
            return offered.first().copied();
        }
        let mut best: Option<(Self, u16)> = None;
        for form in offered {
            let quality = quality_of(form.media_type(), &ranges);
            if quality > best.map_or(0, |(_, quality)| quality) {
                best = Some((*form, quality));
            }
        }
        best.map(|(form, _)| form)
    }
}

/// A media range with its quality in thousandths.
struct Range<'a> {
    name: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let quality = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .map_or(Some(1.0), |quality| quality.parse::<f32>().ok())?;
        Some(Self { name, quality: (quality.clamp(0.0, 1.0) * 1000.0) as u16 })
    }

    /// How precisely it names that type; `None` if it does not.
    fn precision(&self, media_type: &str) -> Option<u8> {
        let (kind, _) = media_type.split_once('/')?;
        match self.name.split_once('/')? {
            ("*", "*") => Some(0),
            (name, "*") if name.eq_ignore_ascii_case(kind) => Some(1),
            _ if self.name.eq_ignore_ascii_case(media_type) => Some(2),
            _ => None,
        }
    }
}

/// The quality in the most precise range that names the type; zero if none does.
fn quality_of(media_type: &str, ranges: &[Range<'_>]) -> u16 {
    ranges
        .iter()
        .filter_map(|range| Some((range.precision(media_type)?, range.quality)))
        .max_by_key(|(precision, _)| *precision)
        .map_or(0, |(_, quality)| quality)
}

/// The media type of a body, without parameters and in lower case.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_they_like_best() {
        let offered = [Form::Json, Form::Pem, Form::Path];
        for (accept, wanted) in [
            ("", Some(Form::Json)),
            ("*/*", Some(Form::Json)),
            ("application/*", Some(Form::Json)),
            ("application/pem-certificate-chain", Some(Form::Pem)),
            ("Application/PEM-certificate-chain; q=0.4, */*;q=0.1", Some(Form::Pem)),
            ("application/json;q=0, */*", Some(Form::Pem)),
            ("application/json;q=0.5, application/pkix-pkipath", Some(Form::Path)),
            ("text/html, application/xml", None),
            ("application/json;q=0", None),
            ("application/json;q=x", Some(Form::Json)),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(Form::choose(&headers, &offered), wanted, "{accept}");
        }
    }

    #[test]
    fn parameters_of_types_do_not_matter() {
        let mut headers = HeaderMap::new();
        assert_eq!(content_type(&headers), None);
        headers.insert(header::CONTENT_TYPE, "Application/PKCS10; x=y".parse().unwrap());
        assert_eq!(content_type(&headers).as_deref(), Some("application/pkcs10"));
    }
}
