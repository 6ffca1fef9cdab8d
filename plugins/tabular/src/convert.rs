//! Casts between kinds, and timestamps taken apart.

use plinth_sdk::{Field, Kind, Problem};

use crate::frame::{Column, Values, bit};
use crate::options::Part;

use crate::step::Col;

const DAY_US: i64 = 86_400_000_000;

/// Whether a column can be cast at all.
///
/// # Errors
/// `unsupported-cast`.
pub(crate) fn check(col: &Col, to: Kind) -> Result<(), Problem> {
    let from = col.field.kind;
    let possible = from == to
        || match (from, to) {
            (Kind::Binary, _) | (_, Kind::Binary) => false,
            (Kind::TimestampUs, to) => to == Kind::Int64,
            (from, Kind::TimestampUs) => from == Kind::Int64,
            _ => true,
        };
    if possible {
        return Ok(());
    }
    let Field { name, .. } = &col.field;
    let hint = if from == Kind::TimestampUs { "; use date-parts" } else { "" };
    let message = format!("cast: column {name} is {from} and cannot become {to}{hint}");
    Err(Problem::bad_input("unsupported-cast", message).in_column(name))
}

/// Casts a column that [`check`] let through.
///
/// # Errors
/// `bad-value` with the row, where a value has no counterpart: text that is no number, a fraction that should become
/// an integer, a number other than 0 and 1 that should become a boolean.
pub(crate) fn cast(column: Column, rows: usize, field: &Field, to: Kind) -> Result<Column, Problem> {
    if field.kind == to || (field.kind == Kind::TimestampUs && to == Kind::Int64) {
        return Ok(column);
    }
    let bad = |row: usize, value: &dyn std::fmt::Display| {
        let message = format!("cast: column {} holds `{value}`, which is no {}", field.name, to);
        Problem::bad_input("bad-value", message).in_column(&field.name).at_row(row as u64)
    };
    let values = match to {
        Kind::Float64 => Values::F64(numbers(&column, rows, &bad)?),
        Kind::Float32 => Values::F32(numbers(&column, rows, &bad)?.into_iter().map(|value| value as f32).collect()),
        Kind::Int64 | Kind::TimestampUs => Values::I64(integers(&column, rows, &bad)?),
        Kind::Boolean => Values::Bits(flags(&column, rows, &bad)?),
        Kind::Utf8 | Kind::Binary => texts(&column, rows),
    };
    Ok(Column { values, valid: column.valid })
}

type Bad<'a> = &'a dyn Fn(usize, &dyn std::fmt::Display) -> Problem;

fn text_at(column: &Column, row: usize) -> &str {
    std::str::from_utf8(column.bytes_at(row)).unwrap_or("").trim()
}

fn numbers(column: &Column, rows: usize, bad: Bad<'_>) -> Result<Vec<f64>, Problem> {
    Ok(match &column.values {
        Values::F64(values) => values.clone(),
        Values::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Values::I64(values) => values.iter().map(|&value| value as f64).collect(),
        Values::Bits(bits) => (0..rows).map(|row| f64::from(u8::from(bit(bits, row)))).collect(),
        Values::Bytes(..) => {
            let parse = |row: usize| {
                if !column.is_valid(row) {
                    return Ok(0.0);
                }
                let text = text_at(column, row);
                text.parse().map_err(|_| bad(row, &text))
            };
            (0..rows).map(parse).collect::<Result<_, _>>()?
        }
    })
}

fn integers(column: &Column, rows: usize, bad: Bad<'_>) -> Result<Vec<i64>, Problem> {
    let whole = |row: usize, value: f64| {
        // -2^63 is a float and an integer; 2^63 is the first float above every integer.
        let fits = value.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
        if fits { Ok(value as i64) } else { Err(bad(row, &value)) }
    };
    (0..rows)
        .map(|row| {
            if !column.is_valid(row) {
                return Ok(0);
            }
            match &column.values {
                Values::F64(values) => whole(row, values[row]),
                Values::F32(values) => whole(row, f64::from(values[row])),
                Values::I64(values) => Ok(values[row]),
                Values::Bits(bits) => Ok(i64::from(bit(bits, row))),
                Values::Bytes(..) => {
                    let text = text_at(column, row);
                    text.parse().map_err(|_| bad(row, &text))
                }
            }
        })
        .collect()
}

fn flags(column: &Column, rows: usize, bad: Bad<'_>) -> Result<Vec<u8>, Problem> {
    let mut bits = vec![0_u8; rows.div_ceil(8)];
    for row in (0..rows).filter(|&row| column.is_valid(row)) {
        let number = |value: f64| {
            if value == 0.0 || value == 1.0 { Ok(value == 1.0) } else { Err(bad(row, &value)) }
        };
        let flag = match &column.values {
            Values::F64(values) => number(values[row])?,
            Values::F32(values) => number(f64::from(values[row]))?,
            Values::I64(values) => number(values[row] as f64)?,
            Values::Bits(bits) => bit(bits, row),
            Values::Bytes(..) => match text_at(column, row).to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => true,
                "false" | "no" | "0" => false,
                other => return Err(bad(row, &other)),
            },
        };
        bits[row / 8] |= u8::from(flag) << (row % 8);
    }
    Ok(bits)
}

fn texts(column: &Column, rows: usize) -> Values {
    use std::io::Write as _;
    let mut offsets = vec![0_u32];
    let mut bytes = Vec::new();
    for row in 0..rows {
        if column.is_valid(row) {
            // Writing to memory cannot fail.
            let _ = match &column.values {
                Values::F64(values) => write!(bytes, "{}", values[row]),
                Values::F32(values) => write!(bytes, "{}", values[row]),
                Values::I64(values) => write!(bytes, "{}", values[row]),
                Values::Bits(bits) => write!(bytes, "{}", bit(bits, row)),
                Values::Bytes(..) => bytes.write_all(column.bytes_at(row)),
            };
        }
        offsets.push(bytes.len() as u32);
    }
    Values::Bytes(offsets, bytes)
}

/// Takes a timestamp column apart: one column for each part.
pub(crate) fn date_parts(column: &Column, rows: usize, parts: &[Part]) -> Vec<Column> {
    let Values::I64(stamps) = &column.values else { return Vec::new() };
    let one = |part: Part| {
        let value = |row: usize| if column.is_valid(row) { part_of(stamps[row], part) } else { 0.0 };
        Column { values: Values::F64((0..rows).map(value).collect()), valid: column.valid.clone() }
    };
    parts.iter().map(|&part| one(part)).collect()
}

fn part_of(stamp_us: i64, part: Part) -> f64 {
    let day = stamp_us.div_euclid(DAY_US);
    let time_s = stamp_us.rem_euclid(DAY_US) / 1_000_000;
    let (year, month, day_of_month) = civil(day);
    // 1970-01-01 was a Thursday.
    let weekday = (day + 3).rem_euclid(7);
    let value = match part {
        Part::Year => year,
        Part::Quarter => (month - 1) / 3 + 1,
        Part::Month => month,
        Part::Day => day_of_month,
        Part::DayOfYear => day - days_to(year) + 1,
        Part::Weekday => weekday,
        Part::IsWeekend => i64::from(weekday >= 5),
        Part::Hour => time_s / 3600,
        Part::Minute => time_s / 60 % 60,
        Part::Second => time_s % 60,
        Part::EpochDays => return stamp_us as f64 / DAY_US as f64,
    };
    value as f64
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years are taken to start in March,
/// so that the leap day is the last of its year, in eras of 400 years.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day_of_month)
}

/// Days from 1970-01-01 to the first day of a year.
fn days_to(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
}

/// Widens numbers to `f64`; nothing else is a number.
pub(crate) fn widen(values: Values) -> Values {
    match values {
        Values::I64(values) => Values::F64(values.into_iter().map(|value| value as f64).collect()),
        Values::F32(values) => Values::F64(values.into_iter().map(f64::from).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(stamp_us: i64) -> [f64; 8] {
        [Part::Year, Part::Month, Part::Day, Part::DayOfYear, Part::Weekday, Part::Hour, Part::Minute, Part::Second]
            .map(|part| part_of(stamp_us, part))
    }

    #[test]
    fn timestamps_come_apart_before_and_after_the_epoch_and_around_leap_days() {
        assert_eq!(parts(0), [1970.0, 1.0, 1.0, 1.0, 3.0, 0.0, 0.0, 0.0]);
        assert_eq!(parts(-1), [1969.0, 12.0, 31.0, 365.0, 2.0, 23.0, 59.0, 59.0]);
        assert_eq!(parts(1_709_208_000_000_000), [2024.0, 2.0, 29.0, 60.0, 3.0, 12.0, 0.0, 0.0]);
        assert_eq!(parts(951_868_800_000_000), [2000.0, 3.0, 1.0, 61.0, 2.0, 0.0, 0.0, 0.0]);
        assert_eq!(part_of(1_711_843_200_000_000, Part::IsWeekend), 1.0);
    }

    #[test]
    fn text_that_is_no_number_is_named_with_its_row() {
        let column = Column { values: Values::Bytes(vec![0, 2, 5], b"12n/a".to_vec()), valid: None };
        let field = Field { name: "age".to_owned(), kind: Kind::Utf8, nullable: false };
        let refused = cast(column, 2, &field, Kind::Int64).unwrap_err();
        assert_eq!(
            (refused.row, refused.message.as_str()),
            (Some(1), "cast: column age holds `n/a`, which is no int64")
        );
    }

    #[test]
    fn fractions_do_not_become_integers_silently() {
        let column = Column { values: Values::F64(vec![1.0, 2.5]), valid: None };
        let field = Field { name: "x".to_owned(), kind: Kind::Float64, nullable: false };
        assert_eq!(cast(column.clone(), 1, &field, Kind::Int64).unwrap().values, Values::I64(vec![1]));
        assert_eq!(cast(column, 2, &field, Kind::Int64).unwrap_err().row, Some(1));
    }
}
