//! `min_ttl`: how long a token must still be good for. `90`, `90s`, `10m` or `1h`.

use std::time::Duration;

use super::problem::Problem;

/// No provider's access token lives longer; asking for more could never be answered.
pub(crate) const MIN_TTL_MAX: Duration = Duration::from_hours(24);

/// Reads the parameter. A caller who does not say leaves it to the account: half of a minute-long token's life is plenty,
/// of an hour-long one's it is a waste.
pub(crate) fn read(text: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let read = parse(text).filter(|ttl| *ttl <= MIN_TTL_MAX);
    read.map(Some).ok_or_else(|| {
        Problem::invalid("min_ttl is a number of seconds, or of s, m or h (90, 90s, 10m, 1h), at most 24h")
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit_secs) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 60 * 60),
        _ => (text, 1),
    };
    // `u64::from_str` would take a leading plus.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits
        .parse::<u64>()
        .ok()?
        .checked_mul(unit_secs)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_minutes_and_hours_are_read() {
        for (text, secs) in [
            ("0", 0),
            ("60", 60),
            ("60s", 60),
            ("10m", 600),
            ("24h", 86_400),
            ("86400", 86_400),
        ] {
            assert_eq!(
                read(Some(text)).unwrap(),
                Some(Duration::from_secs(secs)),
                "{text}"
            );
        }
        assert_eq!(read(None).unwrap(), None);
    }

    #[test]
    fn nonsense_and_too_much_are_refused() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            "1.5",
            "1d",
            "ten",
            "25h",
            "86401",
            "1441m",
            " 60",
            "60 ",
            "6 0",
            "0x10",
            "99999999999999999999",
            "18446744073709551615h",
            "６０",
            "60ß",
        ] {
            assert!(read(Some(text)).is_err(), "{text}");
        }
    }
}
