//! How long a token lives, the way providers say it: numbers, numbers as text, fractions, moments, nonsense, nothing.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::declaration::Object;

/// A life longer than this is somebody's way to say "for ever"; it is cut here, so that no later sum overflows.
const LIFE_MAX_SECS: f64 = 10.0 * 365.0 * 86_400.0;
/// As seconds the year 5138; as milliseconds 1973.
const MILLISECONDS_FROM: f64 = 1e11;

/// `expires_in`, else `expires_at` (seconds since 1970, or RFC 3339).
pub(super) fn expires_at(object: &Object, sent_at: Timestamp) -> Option<Timestamp> {
    let relative = object.get("expires_in").and_then(|life| after(sent_at, life));
    relative.or_else(|| {
        let value = object.get("expires_at")?;
        let absolute = match value {
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let absolute: Timestamp = absolute.or_else(|| moment(number(value)?))?;
        (absolute > sent_at).then_some(absolute.min(latest(sent_at)?))
    })
}

/// The end of a life given as a number, a text or a fraction. Nothing, nonsense, zero and less mean "the provider does
/// not say": a token just received is not taken for dead, and the first 401 tells. A number that would be more than ten
/// years is a moment where it is a plausible one; else ten years.
pub(super) fn after(sent_at: Timestamp, life: &Value) -> Option<Timestamp> {
    let seconds = number(life)?.floor();
    if seconds < 1.0 {
        return None;
    }
    match Meant::by(seconds, sent_at) {
        Meant::Life => sent_at
            .checked_add(SignedDuration::from_secs(seconds as i64))
            .ok(),
        Meant::Moment(end) => (end > sent_at).then_some(end),
        Meant::ForEver => latest(sent_at),
    }
}

/// What a number of seconds says.
enum Meant {
    /// From now.
    Life,
    /// Since 1970.
    Moment(Timestamp),
    ForEver,
}

impl Meant {
    fn by(seconds: f64, sent_at: Timestamp) -> Self {
        if seconds <= LIFE_MAX_SECS {
            return Self::Life;
        }
        let is_plausible = |moment: &Timestamp| {
            let apart = moment.duration_since(sent_at).as_secs_f64();
            apart.abs() <= LIFE_MAX_SECS
        };
        match moment(seconds).filter(is_plausible) {
            Some(end) => Self::Moment(end),
            None => Self::ForEver,
        }
    }
}

/// Seconds since 1970, or milliseconds where seconds would be thousands of years.
fn moment(seconds: f64) -> Option<Timestamp> {
    if seconds < MILLISECONDS_FROM {
        Timestamp::from_second(seconds as i64).ok()
    } else {
        Timestamp::from_millisecond(seconds as i64).ok()
    }
}

fn latest(sent_at: Timestamp) -> Option<Timestamp> {
    sent_at
        .checked_add(SignedDuration::from_secs(LIFE_MAX_SECS as i64))
        .ok()
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

/// What is odd about the life that was given, as a reason code; the rules are those of [`expires_at`].
pub(super) fn remark(object: &Object, sent_at: Timestamp) -> Option<&'static str> {
    let given = ["expires_in", "expires_at"]
        .into_iter()
        .find_map(|name| object.get(name).filter(|value| !value.is_null()));
    let life = object.get("expires_in").and_then(number);
    let is_moment = life.is_some_and(|life| matches!(Meant::by(life, sent_at), Meant::Moment(_)));
    match (given, expires_at(object, sent_at)) {
        (None, _) => Some("expires_in_absent"),
        (Some(_), None) if is_moment => Some("expires_in_past"),
        (Some(_), None) => Some("expires_in_invalid"),
        (Some(_), Some(_)) if is_moment => Some("expires_in_moment"),
        (Some(_), Some(end)) => (Some(end) >= latest(sent_at)).then_some("expires_in_capped"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn object(value: &Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn expires_in_matrix() {
        let ten_years = 10 * 365 * 86_400;
        let invalid = Some("expires_in_invalid");
        for (value, expected, odd) in [
            (json!(3600), Some(3600), None),
            (json!("3600"), Some(3600), None),
            (json!(" 3600 "), Some(3600), None),
            (json!(3599.9), Some(3599), None),
            (json!("3599.9"), Some(3599), None),
            (json!(0), None, invalid),
            (json!(-5), None, invalid),
            (json!("-5"), None, invalid),
            (json!(0.5), None, invalid),
            (json!("soon"), None, invalid),
            (json!("NaN"), None, invalid),
            (json!("inf"), None, invalid),
            (json!([]), None, invalid),
            (json!(null), None, Some("expires_in_absent")),
            (json!(u64::MAX), Some(ten_years), Some("expires_in_capped")),
            (
                json!("18446744073709551616"),
                Some(ten_years),
                Some("expires_in_capped"),
            ),
            (json!(1e300), Some(ten_years), Some("expires_in_capped")),
        ] {
            let object = object(&json!({ "expires_in": value }));
            let end = expires_at(&object, at(1_000_000)).map(|end| end.as_second() - 1_000_000);
            assert_eq!(end, expected, "{value}");
            assert_eq!(remark(&object, at(1_000_000)), odd, "{value}");
        }
        assert_eq!(expires_at(&Object::new(), at(0)), None);
        assert_eq!(remark(&Object::new(), at(0)), Some("expires_in_absent"));
    }

    #[test]
    fn a_life_that_can_only_be_a_moment_is_one_and_on_record() {
        let now = 1_764_542_400;
        for (value, end, odd) in [
            (
                json!(1_764_546_000),
                Some(1_764_546_000),
                Some("expires_in_moment"),
            ),
            (
                json!("1764546000"),
                Some(1_764_546_000),
                Some("expires_in_moment"),
            ),
            (
                json!(1_764_546_000_000_i64),
                Some(1_764_546_000),
                Some("expires_in_moment"),
            ),
            // Over before it began: nothing is known, and that is on record.
            (json!(1_764_542_400), None, Some("expires_in_past")),
            (json!(1_700_000_000), None, Some("expires_in_past")),
            // Ten years are the longest life; a moment further off is for ever.
            (
                json!(315_360_000),
                Some(now + 315_360_000),
                Some("expires_in_capped"),
            ),
            (
                json!(4_000_000_000_u32),
                Some(now + 315_360_000),
                Some("expires_in_capped"),
            ),
            (json!(63_072_000), Some(now + 63_072_000), None),
        ] {
            let object = object(&json!({ "expires_in": value }));
            assert_eq!(expires_at(&object, at(now)), end.map(at), "{value}");
            assert_eq!(remark(&object, at(now)), odd, "{value}");
        }
        let object = object(&json!({"expires_at": 1_764_546_000_000_i64}));
        assert_eq!(expires_at(&object, at(now)), Some(at(1_764_546_000)));
    }

    #[test]
    fn an_absolute_end_is_understood_where_no_life_is_given() {
        for end in [json!(1_003_600), json!("1003600"), json!("1970-01-12T14:46:40Z")] {
            let object = object(&json!({ "expires_at": end }));
            assert_eq!(expires_at(&object, at(1_000_000)), Some(at(1_003_600)), "{end}");
            assert_eq!(remark(&object, at(1_000_000)), None);
        }
        let past = object(&json!({ "expires_at": 5 }));
        assert_eq!(expires_at(&past, at(1_000_000)), None);
        assert_eq!(remark(&past, at(1_000_000)), Some("expires_in_invalid"));
    }

    proptest! {
        #[test]
        fn no_life_panics_or_outlasts_ten_years(life in any::<f64>()) {
            let end = after(at(1_000_000), &json!(life));
            prop_assert!(end.is_none_or(|end| end > at(1_000_000) && end <= latest(at(1_000_000)).unwrap()));
        }
    }
}
