//! A day of the calendar, as a policy writes it: `2027-01-31`. Days begin and end in UTC.

use std::fmt;
use std::str::FromStr;

/// A day from 1970-01-01 to 9999-12-31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// A text that is not a day: the form is wrong, or the calendar has no such day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a day as YYYY-MM-DD, from 1970-01-01 to 9999-12-31")]
pub struct NotADate;

impl Date {
    /// The last day that can be written.
    const LAST: Date = Date { year: 9999, month: 12, day: 31 };

    fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        ((1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=days).contains(&day)).then_some(Date {
            year,
            month,
            day,
        })
    }

    /// The day, in UTC, of a time in seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn of_unix_time(seconds: u64) -> Date {
        let number = seconds / 86_400;
        if number > Date::LAST.number() {
            return Date::LAST;
        }
        // Years begin in March here, so that the day that is not in every year is the last.
        let days = number + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = (year_of_era + era * 400, if month < 10 { month + 3 } else { month - 9 });
        let year = if month <= 2 { year + 1 } else { year };
        Date { year: year as u16, month: month as u8, day: day as u8 }
    }

    /// The number of days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> u64 {
        let (year, month) = (u64::from(self.year), u64::from(self.month));
        let year = if month <= 2 { year - 1 } else { year };
        let (era, year_of_era) = (year / 400, year % 400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + u64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
    }
}

impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Date, NotADate> {
        let mut parts = text.split('-');
        let mut part = |length: usize| -> Option<u16> {
            let digits = parts.next()?;
            let is_number = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten()
        };
        let (year, month, day) = (part(4), part(2), part(2));
        let rest = parts.next();
        match (year, month, day, rest) {
            (Some(year), Some(month), Some(day), None) => Date::new(year, month as u8, day as u8).ok_or(NotADate),
            _ => Err(NotADate),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn days_are_numbered_without_a_gap() {
        let mut expected = "1970-01-01".parse::<Date>().unwrap();
        for number in 0..=Date::LAST.number() {
            let date = Date::of_unix_time(number * 86_400 + 86_399);
            assert_eq!(date.number(), number);
            assert!(number == 0 || date > expected, "{date}");
            assert_eq!(date.to_string().parse(), Ok(date));
            expected = date;
        }
        assert_eq!(expected, Date::LAST);
        assert_eq!(Date::of_unix_time(u64::MAX), Date::LAST);
        assert_eq!(Date::of_unix_time(1_801_353_599).to_string(), "2027-01-30");
        assert_eq!(Date::of_unix_time(1_801_353_600).to_string(), "2027-01-31");
    }

    #[test]
    fn text_that_is_not_a_day_is_refused() {
        for text in ["2027-02-29", "2100-02-29", "2027-13-01", "2027-00-10", "2027-01-00", "2027-04-31", "1969-12-31"] {
            assert_eq!(text.parse::<Date>(), Err(NotADate), "{text}");
        }
        for text in ["", "2027", "2027-1-31", "31.01.2027", "2027-01-31T00:00:00Z", "2027-01-31-", "+027-01-31"] {
            assert_eq!(text.parse::<Date>(), Err(NotADate), "{text}");
        }
        assert!("2028-02-29".parse::<Date>().is_ok() && "2000-02-29".parse::<Date>().is_ok());
    }
}
