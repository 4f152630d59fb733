//! Times as people read them: how long ago something was. Pure: callers bring the time that counts as now.

/// How long something has been so at `now`, such as "3 m"; both are RFC 3339, in UTC.
pub(super) fn between(since: &str, now: &str) -> Option<String> {
    let seconds = seconds(now)?.saturating_sub(seconds(since)?);
    // A clock that was set meanwhile makes nothing younger than new.
    Some(spelt(u64::try_from(seconds).unwrap_or(0)))
}

/// One number and its unit.
fn spelt(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Seconds since 1970 of `YYYY-MM-DDTHH:MM:SSZ`, as edges and connectors spell times; fractions are passed over.
fn seconds(text: &str) -> Option<i64> {
    let (date, rest) = text.strip_suffix('Z')?.split_once('T')?;
    let clock = rest.split('.').next()?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let in_range = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let is_clock = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    if !in_range || !is_clock {
        return None;
    }
    // Days of the Gregorian calendar, with years that begin in March, so that the leap day is a year's last.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let parts: Vec<_> = text.split(between).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        for (text, right) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-12-01T01:20:13Z", Some(1_796_088_013)),
            ("2026-12-01T01:20:13.5Z", Some(1_796_088_013)),
            ("2026-12-01T01:20:13+01:00", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-12-01", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), right, "{text}");
        }
    }

    #[test]
    fn an_age_has_one_number() {
        let now = "2026-12-03T00:00:00Z";
        for (since, age) in [
            ("2026-12-03T00:00:00Z", "0 s"),
            ("2026-12-02T23:59:01Z", "59 s"),
            ("2026-12-02T23:57:00Z", "3 m"),
            ("2026-12-02T00:00:00Z", "24 h"),
            ("2026-12-01T00:00:00Z", "2 d"),
            ("2027-12-01T00:00:00Z", "0 s"),
        ] {
            assert_eq!(between(since, now).as_deref(), Some(age), "{since}");
        }
        assert_eq!(between("yesterday", now), None);
    }
}
