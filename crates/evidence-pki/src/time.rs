// SPDX-License-Identifier: Apache-2.0

//! A point in time, always given and never asked of a clock.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use der::DateTime;
use der::asn1::{GeneralizedTime, UtcTime};
use der::{Decode, Encode};

use crate::PkiError;
use crate::cursor::{Item, tag};

/// Seconds since the beginning of 1970 (UTC), to the end of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The last second that a certificate can name.
    pub const MAX: Self = Self(253_402_300_799);

    /// That many seconds after the beginning of 1970; at most [`Time::MAX`].
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// Seconds since the beginning of 1970.
    #[must_use]
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// That many seconds later, at most [`Time::MAX`].
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self::from_unix(self.0.saturating_add(seconds))
    }

    /// That many seconds earlier, but not before 1970.
    #[must_use]
    pub const fn minus(self, seconds: u64) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// Whether it lies in a span, both ends included.
    pub(crate) fn check_within(self, from: Self, until: Self) -> Result<(), PkiError> {
        if self < from {
            return Err(PkiError::NotYetValid(from));
        }
        if self > until {
            return Err(PkiError::Expired(until));
        }
        Ok(())
    }

    /// DER for `Validity` and its like: `UTCTime` up to 2049, `GeneralizedTime` after (RFC 5280,
    /// 4.1.2.5).
    #[must_use]
    pub fn to_der(self) -> Vec<u8> {
        let duration = Duration::from_secs(self.0);
        UtcTime::from_unix_duration(duration)
            .and_then(|time| time.to_der())
            .or_else(|_| GeneralizedTime::from_unix_duration(duration)?.to_der())
            .unwrap_or_default()
    }

    pub(crate) fn from_der(item: Item<'_>) -> Option<Self> {
        let duration = match item.tag {
            tag::UTC_TIME => UtcTime::from_der(item.raw).ok()?.to_unix_duration(),
            tag::GENERALIZED_TIME => GeneralizedTime::from_der(item.raw).ok()?.to_unix_duration(),
            _ => return None,
        };
        Some(Self::from_unix(duration.as_secs()))
    }
}

/// `2026-03-05T10:50:03Z` (RFC 3339), seconds and `Z` only.
impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let time = DateTime::from_str(text).map_err(|_| TimeError)?;
        Ok(Self::from_unix(time.unix_duration().as_secs()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There is a date up to [`Time::MAX`], and no time is later.
        let time = DateTime::from_unix_duration(Duration::from_secs(self.0));
        write!(f, "{}", time.unwrap_or(DateTime::INFINITY))
    }
}

/// A text that is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time like 2026-03-05T10:50:03Z")]
pub struct TimeError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_written() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-05T10:50:03Z", 1_772_707_803),
            ("9999-12-31T23:59:59Z", Time::MAX.unix()),
        ] {
            let time: Time = text.parse().unwrap();
            assert_eq!(time.unix(), unix);
            assert_eq!(time.to_string(), text);
        }
        for text in ["", "2026-03-05", "2026-13-05T10:50:03Z", "2026-03-05T10:50:03+01:00"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn der_changes_its_form_in_2050() {
        let (early, late) = ("2049-12-31T23:59:59Z", "2050-01-01T00:00:00Z");
        for (text, tag) in [(early, tag::UTC_TIME), (late, tag::GENERALIZED_TIME)] {
            let time: Time = text.parse().unwrap();
            let der = time.to_der();
            assert_eq!(der[0], tag);
            assert_eq!(crate::Cursor::new(&der, "time").time(), Ok(time));
        }
    }
}
