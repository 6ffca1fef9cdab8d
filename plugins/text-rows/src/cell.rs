//! Cells of text as values. Every function takes the whole cell or answers `None`.

const DAY_US: i64 = 86_400_000_000;

/// Powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// A decimal integer.
#[inline]
pub fn int(cell: &[u8]) -> Option<i64> {
    let (negative, digits) = match cell {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // 18 digits always fit; longer ones are rare and take the checked road.
    if digits.len() > 18 {
        return std::str::from_utf8(cell).ok()?.parse().ok();
    }
    let mut value = 0_i64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// A floating-point number, correctly rounded; `inf` and `nan` in any case are numbers.
#[inline]
pub fn float(cell: &[u8]) -> Option<f64> {
    simple_float(cell).or_else(|| std::str::from_utf8(cell).ok()?.parse().ok())
}

/// A number of up to 15 digits and a small exponent: mantissa and power of ten are exact, so one division or
/// multiplication rounds correctly. `None` for everything else.
#[inline]
fn simple_float(cell: &[u8]) -> Option<f64> {
    let (negative, rest) = match cell {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut mantissa = 0_u64;
    let mut digits = 0_usize;
    let mut fraction = 0_usize;
    let mut point = false;
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            digits += 1;
            fraction += usize::from(point);
        } else if byte == b'.' && !point {
            point = true;
        } else {
            return None;
        }
    }
    // 15 digits lie below 2^53, up to 19 fit the mantissa and may still.
    if digits == 0 || digits > 19 || mantissa > 1 << 53 || fraction > 22 {
        return None;
    }
    let value = mantissa as f64 / POWERS[fraction];
    Some(if negative { -value } else { value })
}

/// `true` or `false`, in lower case, upper case or capitalised.
#[inline]
pub fn boolean(cell: &[u8]) -> Option<bool> {
    match cell {
        b"true" | b"True" | b"TRUE" => Some(true),
        b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

/// Microseconds since 1970 of `YYYY-MM-DD`, optionally followed by `T` or a space, `HH:MM[:SS[.fraction]]`, and `Z`
/// or an offset such as `+02:00`. Without an offset it is taken as UTC. Digits beyond microseconds must be zero.
pub fn timestamp(cell: &[u8]) -> Option<i64> {
    let (date, rest) = cell.split_first_chunk::<10>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else { return None };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (month, day) = (two(m1, m2)?, two(d1, d2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let date_us = days_from_civil(year, month, day) * DAY_US;
    let [b'T' | b't' | b' ', time @ ..] = rest else {
        return rest.is_empty().then_some(date_us);
    };
    let [h1, h2, b':', n1, n2, time @ ..] = time else { return None };
    let (hour, minute) = (two(*h1, *h2)?, two(*n1, *n2)?);
    let (second, time) = match time {
        [b':', s1, s2, time @ ..] => (two(*s1, *s2)?, time),
        time => (0, time),
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction_us, zone) = fraction(time)?;
    let offset_min = offset(zone)?;
    let minutes = hour * 60 + minute - offset_min;
    Some(date_us + (minutes * 60 + second) * 1_000_000 + fraction_us)
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

fn fraction(time: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = time else { return Some((0, time)) };
    let end = digits.iter().position(|digit| !digit.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 || digits[..end].iter().skip(6).any(|&digit| digit != b'0') {
        return None;
    }
    let us = (0..6).fold(0, |us, at| us * 10 + digits[..end].get(at).map_or(0, |digit| i64::from(digit - b'0')));
    Some((us, &digits[end..]))
}

/// Minutes east of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *zone {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, two(h1, h2)?, 0),
        [sign, h1, h2, n1, n2] | [sign, h1, h2, b':', n1, n2] => (sign, two(h1, h2)?, two(n1, n2)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    match sign {
        b'+' => Some(hours * 60 + minutes),
        b'-' => Some(-(hours * 60 + minutes)),
        _ => None,
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. Years are taken to start in March, so that the leap day
/// is the last of its year, in eras of 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_are_read_in_their_usual_spellings() {
        let base = 1_711_614_140_000_000;
        for (text, expected) in [
            ("2024-03-28 08:22:20+00:00", base),
            ("2024-03-28T08:22:20Z", base),
            ("2024-03-28 08:22:20", base),
            ("2024-03-28T10:22:20.5+02:00", base + 500_000),
            ("2024-03-28T03:52:20.123456000-0430", base + 123_456),
            ("2024-03-28 08:22", base - 20_000_000),
            ("1970-01-01", 0),
            ("1969-12-31 23:59:59.999999", -1),
            ("2000-02-29", 951_782_400_000_000),
            ("0001-01-01", -62_135_596_800_000_000),
        ] {
            assert_eq!(timestamp(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2024",
            "2024-13-01",
            "2023-02-29",
            "2024-03-28x",
            "2024-03-28 24:00:00",
            "2024-03-28 08:60",
            "2024-03-28T08:22:20.",
            "2024-03-28T08:22:20.1234567",
            "2024-03-28T08:22:20+25:00",
            "28-03-2024 08:22",
            "2024-03-28 08:22:20 ",
            "1900-02-29",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn integers_are_whole_or_nothing() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-17", Some(-17)),
            ("+5", Some(5)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("1.0", None),
            ("1e3", None),
            (" 1", None),
        ] {
            assert_eq!(int(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn floats_are_rounded_correctly(mantissa in any::<i64>(), digits in 0_usize..25, exponent in -30_i32..30) {
            let fixed = format!("{:.digits$}", mantissa as f64 / 1e12);
            prop_assert_eq!(float(fixed.as_bytes()), fixed.parse().ok());
            let scientific = format!("{mantissa}e{exponent}");
            prop_assert_eq!(float(scientific.as_bytes()), scientific.parse().ok());
        }

        #[test]
        fn any_float_survives_being_written(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(float(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(cell in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (int(&cell), float(&cell), boolean(&cell), timestamp(&cell));
        }
    }
}
