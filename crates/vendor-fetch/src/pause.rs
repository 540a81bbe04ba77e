// SPDX-License-Identifier: Apache-2.0

//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a server asks to be left alone, if it says so in a way that can be read.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(http_date(value)?))?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7, IMF-fixdate) in seconds since 1970. The two obsolete
/// forms are not read: without a pause of the server's there is one of ours.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = text.strip_suffix(" GMT")?.split_once(", ")?.1;
    let mut parts = rest.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let is_sane = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && clock.next().is_none()
        && parts.next().is_none();
    if !is_sane {
        return None;
    }
    // Days since 1970 with years that begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |value| retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(after("120"), Some(120));
        assert_eq!(after(" 0 "), Some(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:00 GMT"), Some(23));
        assert_eq!(after("Wed, 06 Nov 1985 08:50:00 GMT"), Some(0));
        assert_eq!(after("Thu, 29 Feb 1996 00:00:00 GMT"), Some(825_552_000 - 784_111_777));
        for bad in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994", "Sun, 32 Nov 1994 08:49:37 GMT"] {
            // No digits at all read as an empty number, which is none.
            assert_eq!(after(bad), None, "{bad:?}");
        }
        assert_eq!(after("99999999999999999999999"), None);
    }

    proptest! {
        #[test]
        fn anything_is_survived(text in "\\PC{0,60}") {
            let _ = retry_after(&text, UNIX_EPOCH);
            let _ = http_date(&format!("Sun, {text} GMT"));
        }
    }
}
