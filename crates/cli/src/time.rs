//! Times as they are printed and given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999, which RFC 3339 can still write.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The time in UTC, as RFC 3339 writes it.
pub fn shown(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// Parses a time that has passed: how long ago (`2h`, `7days`), or a date, with the time of day or without.
pub fn past(text: &str) -> Result<SystemTime, String> {
    parse(text, SystemTime::checked_sub)
}

/// Parses a time that is to come: in how long, or a date.
pub fn future(text: &str) -> Result<SystemTime, String> {
    parse(text, SystemTime::checked_add)
}

fn parse(text: &str, from_now: impl Fn(&SystemTime, Duration) -> Option<SystemTime>) -> Result<SystemTime, String> {
    let with_time = |time: &str| humantime::parse_rfc3339_weak(time).ok();
    let of_date = || with_time(text).or_else(|| with_time(&format!("{text} 00:00:00")));
    let of_duration = || from_now(&SystemTime::now(), humantime::parse_duration(text).ok()?);
    of_duration()
        .or_else(of_date)
        .ok_or_else(|| "give it as 90days, as 2026-11-22 or as 2026-11-22T04:36:41Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_durations() {
        let of = |text| shown(past(text).unwrap());
        assert_eq!(of("2026-11-22"), "2026-11-22T00:00:00Z");
        assert_eq!(of("2026-11-22T04:36:41Z"), "2026-11-22T04:36:41Z");
        assert_eq!(of("2026-11-22 04:36:41"), "2026-11-22T04:36:41Z");
        let (before, after) = (past("1h").unwrap(), future("1h").unwrap());
        assert!(before < SystemTime::now() && SystemTime::now() < after);
        for bad in ["", "tomorrow", "2026", "7", "2026-13-01"] {
            assert!(past(bad).is_err() && future(bad).is_err(), "{bad}");
        }
        assert_eq!(shown(UNIX_EPOCH + Duration::from_secs(1 << 40)), "9999-12-31T23:59:59Z");
    }
}
