//! Reads what the runs have of a field: all of it, or what has changed.

use plinth_store::{Cells, Dialect, StoreError, Tx};

use super::{
    super::{super::sql::Query, condition::Column, rank::SortKey, sets::INDEXED_CHARS},
    Field,
    values::{Coding, NO_NUMBER, NO_TEXT, NO_TIME, Stretches, Texts, Values},
};
use crate::{
    TrackingError,
    runs::{among, padded},
};

/// Numbers of runs beyond this, which only a damaged catalog has, are not kept.
const RID_MAX: i64 = 1 << 31;
/// Runs that are read by one query.
const READ_AT_ONCE: usize = 500;

/// A row's run, if it can be kept.
fn run(row: &dyn Cells) -> Result<Option<usize>, StoreError> {
    let rid = row.int_at(0)?;
    Ok((0..RID_MAX).contains(&rid).then_some(rid as usize))
}

/// A row's second column, and what is made of it.
fn number(row: &dyn Cells) -> Result<f64, StoreError> {
    Ok(if row.int_at(2)? == 1 { f64::NAN } else { row.real_at(1)? })
}

/// What a run is within: two texts as one.
fn scope(row: &dyn Cells, text: &mut String) -> Result<(), StoreError> {
    text.clear();
    text.push_str(row.text_at(1)?);
    text.push(' ');
    text.push_str(row.text_at(2)?);
    Ok(())
}

/// As [`scope`] puts it.
pub(super) fn scope_text(lifecycle: &str, experiment_id: &str) -> String {
    format!("{lifecycle} {experiment_id}")
}

/// Reads all of a field; nothing if it cannot be kept, or takes more than so many bytes.
pub(super) fn all(tx: &mut dyn Tx, field: &Field, bytes_max: usize) -> Result<Option<Values>, TrackingError> {
    let mut fits = true;
    let mut text = String::new();
    let values = match field {
        Field::Key(SortKey::Metric(key)) => {
            let mut numbers = Stretches::new(NO_NUMBER);
            let sql = "SELECT rid, value, is_nan FROM latest_metrics WHERE key = $1";
            tx.each(sql, &[key.into()], &mut |row| {
                match run(row)? {
                    Some(rid) => numbers.set(rid, number(row)?),
                    None => fits = false,
                }
                Ok(())
            })?;
            Values::Numbers(numbers)
        }
        Field::Key(SortKey::Column(column @ (Column::Start | Column::End))) => {
            let mut times = Stretches::new(NO_TIME);
            let name = column.sql();
            tx.each(&format!("SELECT r.rid, {name} FROM runs r WHERE {name} IS NOT NULL"), &[], &mut |row| {
                match (run(row)?, row.int_at(1)?) {
                    (None, _) | (_, NO_TIME) => fits = false,
                    (Some(rid), time) => times.set(rid, time),
                }
                Ok(())
            })?;
            Values::Times(times)
        }
        _ => {
            let mut coding = Coding::new();
            let queries = match field {
                Field::Scope => vec![("SELECT rid, lifecycle, experiment_id FROM runs".to_owned(), vec![])],
                Field::Key(SortKey::Pair(table, key)) => {
                    // As the index by value has them, and then those that are in the other.
                    let part = |sign: &str| {
                        let order = if sign == "<=" { " ORDER BY value" } else { "" };
                        let sql = format!(
                            "SELECT rid, value FROM {table} WHERE key = $1 AND LENGTH(value) {sign} {INDEXED_CHARS}{order}"
                        );
                        (sql, vec![key.into()])
                    };
                    vec![part("<="), part(">")]
                }
                Field::Key(SortKey::Column(column)) => {
                    vec![(format!("SELECT r.rid, {} FROM runs r", column.sql()), vec![])]
                }
                Field::Key(SortKey::Metric(_)) => unreachable!("numbers are read above"),
            };
            for (sql, parameters) in queries {
                tx.each(&sql, &parameters, &mut |row| {
                    match run(row)? {
                        _ if coding.text_bytes() > bytes_max => fits = false,
                        None => fits = false,
                        Some(rid) if *field == Field::Scope => {
                            scope(row, &mut text)?;
                            coding.set(rid, &text);
                        }
                        Some(rid) => coding.set(rid, row.text_at(1)?),
                    }
                    Ok(())
                })?;
            }
            let (codes, texts) = coding.finish();
            Values::Texts(codes, texts)
        }
    };
    Ok((fits && values.bytes() <= bytes_max).then_some(values))
}

/// Reads a field of some runs again; says whether it could be kept.
pub(super) fn again(tx: &mut dyn Tx, field: &Field, rids: &[i64], values: &mut Values) -> Result<bool, TrackingError> {
    let mut fits = rids.iter().all(|rid| (0..RID_MAX).contains(rid));
    if !fits {
        return Ok(false);
    }
    rids.iter().for_each(|rid| values.forget(*rid as usize));
    let mut text = String::new();
    for part in rids.chunks(READ_AT_ONCE) {
        let mut query = Query { dialect: Dialect::Sqlite, parameters: padded(part) };
        let among = among(query.parameters.len());
        let sql = match field {
            Field::Key(SortKey::Metric(key)) => format!(
                "SELECT rid, value, is_nan FROM latest_metrics WHERE rid IN {among} AND key = {}",
                query.bind(key)
            ),
            Field::Key(SortKey::Pair(table, key)) => {
                format!("SELECT rid, value FROM {table} WHERE rid IN {among} AND key = {}", query.bind(key))
            }
            Field::Key(SortKey::Column(column)) => {
                let name = column.sql();
                format!("SELECT r.rid, {name} FROM runs r WHERE r.rid IN {among} AND {name} IS NOT NULL")
            }
            Field::Scope => format!("SELECT rid, lifecycle, experiment_id FROM runs WHERE rid IN {among}"),
        };
        tx.each(&sql, &query.parameters, &mut |row| {
            let rid = row.int_at(0)? as usize;
            match values {
                Values::Numbers(numbers) => numbers.set(rid, number(row)?),
                Values::Times(times) => match row.int_at(1)? {
                    NO_TIME => fits = false,
                    time => times.set(rid, time),
                },
                Values::Texts(codes, texts) => {
                    let code = if *field == Field::Scope {
                        scope(row, &mut text)?;
                        code(texts, &text)
                    } else {
                        code(texts, row.text_at(1)?)
                    };
                    match code {
                        NO_TEXT => fits = false,
                        code => codes.set(rid, code),
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(fits)
}

fn code(texts: &mut Texts, text: &str) -> u32 {
    texts.code(text).unwrap_or(NO_TEXT)
}
