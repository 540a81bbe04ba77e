// SPDX-License-Identifier: Apache-2.0

//! `Range` and `Content-Range` (RFC 9110, 14), of bytes and of one range.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: there is no such header, or one that need not be understood.
    All,
    /// These bytes, of which there is at least one.
    Part(Range<u64>),
    /// Bytes that there are not.
    None,
}

/// What a `Range` header asks for of a content of that length. Of several ranges none is served: answering
/// with everything is allowed, and simpler for both.
pub(crate) fn asked(header: Option<&str>, length: u64) -> Asked {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Asked::All;
    };
    let Some((first, last)) = spec.split_once('-') else { return Asked::All };
    match (number(first), number(last), first.trim().is_empty(), last.trim().is_empty()) {
        (Some(first), Some(last), ..) if last < first => Asked::All,
        (Some(first), ..)
            if first >= length && (number(last).is_some() || last.trim().is_empty()) =>
        {
            Asked::None
        }
        (Some(first), Some(last), ..) => Asked::Part(first..last.saturating_add(1).min(length)),
        (Some(first), None, _, true) => Asked::Part(first..length),
        (None, Some(0), true, _) => Asked::None,
        (None, Some(_), true, _) if length == 0 => Asked::None,
        (None, Some(count), true, _) => Asked::Part(length.saturating_sub(count)..length),
        _ => Asked::All,
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `bytes 0-99/1000` or `bytes 0-99/*`: which bytes a body is, and of how many.
pub(crate) fn content_range(header: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let end = last.checked_add(1).filter(|end| *end > first)?;
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total).filter(|total| *total >= end)?),
    };
    Some((first..end, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_the_rfc_says() {
        for (header, wanted) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-499", Asked::Part(0..500)),
            ("bytes=500-", Asked::Part(500..1000)),
            ("bytes=500-5000", Asked::Part(500..1000)),
            ("bytes=-1", Asked::Part(999..1000)),
            ("bytes=-5000", Asked::Part(0..1000)),
            ("bytes=999-", Asked::Part(999..1000)),
            ("bytes=1000-", Asked::None),
            ("bytes=5000-6000", Asked::None),
            ("bytes=-0", Asked::None),
            ("bytes=5-4", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("bytes=", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=a-b", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("items=0-1", Asked::All),
        ] {
            assert_eq!(asked(Some(header), 1000), wanted, "{header}");
        }
        assert_eq!(asked(None, 1000), Asked::All);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::None);
    }

    #[test]
    fn content_ranges_are_what_the_rfc_says() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0..100, Some(1000))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5..6, None)));
        for bad in [
            "",
            "bytes 0-99",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes */10",
            "bytes 0-18446744073709551615/*",
            "bytes a-b/c",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parts_lie_within_the_content(header: String, length: u64) {
            for header in [header.clone(), format!("bytes={header}")] {
                if let Asked::Part(part) = asked(Some(&header), length) {
                    proptest::prop_assert!(part.start < part.end && part.end <= length);
                }
            }
            if let Some((part, total)) = content_range(&header) {
                proptest::prop_assert!(part.start < part.end);
                proptest::prop_assert!(total.is_none_or(|total| part.end <= total));
            }
        }

        #[test]
        fn every_range_that_is_there_is_served(first in 0u64..1000, count in 1u64..1000) {
            let header = format!("bytes={first}-{}", first + count - 1);
            let wanted = Asked::Part(first..(first + count).min(1000));
            proptest::prop_assert_eq!(asked(Some(&header), 1000), wanted);
            let header = format!("bytes {first}-{}/5000", first + count - 1);
            let wanted = Some((first..first + count, Some(5000)));
            proptest::prop_assert_eq!(content_range(&header), wanted);
        }
    }
}
