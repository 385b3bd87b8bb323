//! The values that operators other than those of strings compare: numbers, dates, addresses and bytes.

use std::net::IpAddr;

/// Parses a number as policies and requests write it.
pub(super) fn number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

const DAY: i64 = 86_400_000;

/// Parses a date of ISO 8601 in one of the forms of the W3C, or a number of seconds since 1970. Returns milliseconds
/// since 1970.
///
/// Source: IAM User Guide, "Date condition operators"; W3C note "Date and Time Formats".
pub(super) fn date(text: &str) -> Option<i64> {
    if let Some(seconds) = text.parse::<i64>().ok().filter(|_| text.len() != 4) {
        return seconds.checked_mul(1000);
    }
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    let mut parts = day.split('-');
    let year: i64 = digits(parts.next()?, 4)?;
    let (month, has_month) = parts.next().map_or(Some((1, false)), |month| Some((digits(month, 2)?, true)))?;
    let (day, has_day) = parts.next().map_or(Some((1, false)), |day| Some((digits(day, 2)?, true)))?;
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day).checked_mul(DAY)?;
    match time {
        None => Some(days),
        Some(time) if has_month && has_day => days.checked_add(time_of_day(time)?),
        Some(_) => None,
    }
}

/// Parses a time with its zone.
fn time_of_day(text: &str) -> Option<i64> {
    let (time, offset) = if let Some(time) = text.strip_suffix('Z') {
        (time, 0)
    } else {
        let at = text.rfind(['+', '-'])?;
        let (time, zone) = text.split_at_checked(at)?;
        let (hours, minutes) = zone.get(1..)?.split_once(':')?;
        let minutes = bounded(hours, 23)?.checked_mul(60)?.checked_add(bounded(minutes, 59)?)?;
        (time, if zone.starts_with('-') { minutes } else { -minutes })
    };
    let mut parts = time.split(':');
    let (hours, minutes) = (bounded(parts.next()?, 23)?, bounded(parts.next()?, 59)?);
    let seconds = match parts.next() {
        None => 0,
        Some(seconds) => milliseconds(seconds)?,
    };
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?.checked_add(offset)?;
    if parts.next().is_some() { None } else { minutes.checked_mul(60_000)?.checked_add(seconds) }
}

fn milliseconds(seconds: &str) -> Option<i64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    bounded(whole, 59)?.checked_mul(1000)?.checked_add(thousandths)
}

fn bounded(text: &str, most: i64) -> Option<i64> {
    digits(text, 2).filter(|number| *number <= most)
}

fn digits(text: &str, len: usize) -> Option<i64> {
    let all = text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the number of days from 1970 to a day of the Gregorian calendar, whose years here begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A range of addresses in CIDR notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Parses an address with or without a prefix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => prefix.parse().ok()?,
            Some(_) => return None,
        };
        (prefix <= longest).then_some(Self { address, prefix })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Decodes base64 with padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return None;
    }
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = bytes.get(..bytes.len().checked_sub(padding)?)?;
    if padding > 2 {
        return None;
    }
    let mut decoded = Vec::with_capacity(digits.len());
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    // The rest of the last digit is zero.
    (bits & ((1 << count) - 1) == 0).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal() {
        let good = [("0", 0.0), ("30", 30.0), ("-7", -7.0), ("2.5", 2.5), ("-0.25", -0.25), ("007", 7.0)];
        for (text, expected) in good {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for wrong in ["", "-", ".5", "5.", "1e3", "inf", "NaN", "+1", "0x1", " 1", "1 ", "1,5", "--1", &"9".repeat(400)]
        {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_have_the_forms_of_the_w3c_or_are_seconds() {
        let rows = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970", 0),
            ("1970-01", 0),
            ("1970-01-02", 86_400),
            ("2026-11-29T04:26:25Z", 1_795_926_385),
            ("2026-11-29T04:26Z", 1_795_926_360),
            ("2026-11-29T06:26:25+02:00", 1_795_926_385),
            ("2026-11-28T23:56:25-04:30", 1_795_926_385),
            ("2000-02-29", 951_782_400),
            ("1969-12-31T23:59:59Z", -1),
            ("0001-01-01", -62_135_596_800),
            ("1795926385", 1_795_926_385),
            ("0", 0),
            ("-1", -1),
        ];
        for (text, seconds) in rows {
            assert_eq!(date(text), Some(seconds * 1000), "{text}");
        }
        assert_eq!(date("1970-01-01T00:00:00.25Z"), Some(250));
        assert_eq!(date("1970-01-01T00:00:00.123456Z"), Some(123));
        let wrong = [
            "",
            "T",
            "1970-",
            "1970-1",
            "1970-13",
            "1970-00-01",
            "1970-02-29",
            "1900-02-29",
            "1970-01-32",
            "1970-01-01T",
            "1970-01-01T00Z",
            "1970-01-01T00:00",
            "1970-01-01T24:00Z",
            "1970-01-01T00:60Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00+2:00",
            "1970-01T00:00Z",
            "1970-01-01-01",
            "1970-01-01 00:00Z",
            "tomorrow",
            "12.5",
            "9223372036854775807",
            "*",
        ];
        for text in wrong {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn networks_contain_the_addresses_with_their_prefix() {
        let rows = [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.77/24", "203.0.113.1", true),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.6", false),
            ("203.0.113.7/32", "203.0.113.6", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("2001:DB8:1234:5678::/64", "2001:db8:1234:5678:ffff::1", true),
            ("2001:DB8:1234:5678::/64", "2001:db8:1234:5679::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            ("::ffff:10.0.0.0/104", "10.0.0.1", false),
        ];
        for (network, address, expected) in rows {
            let found = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, expected, "{network} {address}");
        }
        for wrong in ["", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.*", "10.0.0.0/+8", "010.0.0.1", "a"]
        {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn base64_is_canonical() {
        let rows: [(&str, &[u8]); 6] = [
            ("", b""),
            ("QQ==", b"A"),
            ("QUI=", b"AB"),
            ("QUJD", b"ABC"),
            ("+/+/", &[0xfb, 0xff, 0xbf]),
            ("QmluYXJ5VmFsdWVJbkJhc2U2NA==", b"BinaryValueInBase64"),
        ];
        for (text, expected) in rows {
            assert_eq!(base64(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["Q", "QQ", "QQ=", "QR==", "QUJ=", "Q===", "====", "QQ==QUJD", "QU D", "QUJ-", "QUJD\n"] {
            assert_eq!(base64(wrong), None, "{wrong}");
        }
    }
}
