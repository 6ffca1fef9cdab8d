//! Tables as JSON, exact to the bit: what a case gives a plugin, and what it expects back.
//!
//! `{"columns": [{"name": "x", "kind": "float64", "nullable": true, "values": [1.5, null, "NaN", -0.0]}]}`. What JSON has
//! no number for is a text: `"NaN"`, `"Infinity"`, `"-Infinity"`, and `"NaN:7ff8000000000001"` for a NaN of other bits
//! than the usual. Binary values are hexadecimal.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use plinth_ext::{Batch, Field, Kind, Schema};
use serde_json::{Map, Value, json};

use crate::CaseError;

/// Reads a table.
///
/// # Errors
/// [`CaseError::Table`] names the column and the value that is not of its kind.
pub fn from_json(table: &Value) -> Result<Batch, CaseError> {
    let bad = |what: String| CaseError::Table { what };
    let columns = table.get("columns").and_then(Value::as_array).ok_or_else(|| bad("it has no `columns`".into()))?;
    let (mut fields, mut arrays, mut rows) = (Vec::new(), Vec::new(), None);
    for column in columns {
        let text = |key: &str| column.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| bad(format!("a column has no `name`: {column}")))?;
        let kind = text("kind").and_then(Kind::from_name).ok_or_else(|| {
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            bad(format!("column `{name}` has no `kind` of {}", known.join(", ")))
        })?;
        let values = column.get("values").and_then(Value::as_array);
        let values = values.ok_or_else(|| bad(format!("column `{name}` has no `values`")))?;
        let nullable = column.get("nullable").and_then(Value::as_bool).unwrap_or(true);
        if *rows.get_or_insert(values.len()) != values.len() {
            return Err(bad(format!("column `{name}` has {} values, others have {}", values.len(), rows.unwrap_or(0))));
        }
        arrays.push(array(kind, values).map_err(|value| bad(format!("column `{name}`: {value} is no {kind}")))?);
        fields.push(Field::new(name, kind, nullable));
    }
    let schema = Schema::new(fields).map_err(|error| bad(error.to_string()))?;
    Batch::new(schema, arrays, rows.unwrap_or(0)).map_err(|error| bad(error.to_string()))
}

/// Writes a table; [`from_json`] gives back the same bits.
pub fn to_json(rows: &Batch) -> Value {
    let columns = rows.schema().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let values: Vec<Value> = (0..rows.num_rows()).map(|row| cell(column, field.kind, row)).collect();
        json!({"name": field.name, "kind": field.kind.name(), "nullable": field.nullable, "values": values})
    });
    json!({"columns": columns.collect::<Vec<_>>()})
}

/// One value, or the value that is not of the kind.
fn all<'a, T>(values: &'a [Value], read: impl Fn(&'a Value) -> Option<T>) -> Result<Vec<Option<T>>, &'a Value> {
    let one = |value| if Value::is_null(value) { Ok(None) } else { read(value).map(Some).ok_or(value) };
    values.iter().map(one).collect()
}

fn array(kind: Kind, values: &[Value]) -> Result<ArrayRef, &Value> {
    Ok(match kind {
        Kind::Boolean => Arc::new(BooleanArray::from(all(values, Value::as_bool)?)),
        Kind::Int64 => Arc::new(Int64Array::from(all(values, Value::as_i64)?)),
        Kind::TimestampUs => {
            Arc::new(TimestampMicrosecondArray::from(all(values, Value::as_i64)?).with_timezone("UTC"))
        }
        Kind::Float32 => Arc::new(Float32Array::from(all(values, single)?)),
        Kind::Float64 => Arc::new(Float64Array::from(all(values, double)?)),
        Kind::Utf8 => Arc::new(StringArray::from(all(values, Value::as_str)?)),
        Kind::Binary => {
            let bytes = all(values, |value| value.as_str().and_then(unhex))?;
            Arc::new(BinaryArray::from_iter(bytes))
        }
    })
}

fn cell(column: &dyn Array, kind: Kind, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match kind {
        Kind::Boolean => column.as_boolean().value(row).into(),
        Kind::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        Kind::TimestampUs => column.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        Kind::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            match value.is_nan() && value.to_bits() != 0x7fc0_0000 {
                true => format!("NaN:{:08x}", value.to_bits()).into(),
                false => number(f64::from(value)),
            }
        }
        Kind::Float64 => number(column.as_primitive::<Float64Type>().value(row)),
        Kind::Utf8 => column.as_string::<i32>().value(row).into(),
        Kind::Binary => hex(column.as_binary::<i32>().value(row)).into(),
    }
}

/// A float64, exactly.
pub(crate) fn number(value: f64) -> Value {
    if value.is_finite() {
        return value.into();
    }
    match value.to_bits() {
        0x7ff8_0000_0000_0000 => "NaN".into(),
        bits if value.is_nan() => format!("NaN:{bits:016x}").into(),
        _ if value > 0.0 => "Infinity".into(),
        _ => "-Infinity".into(),
    }
}

/// What [`number`] wrote.
pub(crate) fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::from_bits(0x7ff8_0000_0000_0000)),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            other => {
                let bits = u64::from_str_radix(other.strip_prefix("NaN:")?, 16).ok()?;
                Some(f64::from_bits(bits)).filter(|value| value.is_nan())
            }
        },
        _ => None,
    }
}

fn single(value: &Value) -> Option<f32> {
    if let Some(bits) = value.as_str().and_then(|text| text.strip_prefix("NaN:")) {
        return u32::from_str_radix(bits, 16).ok().map(f32::from_bits).filter(|value| value.is_nan());
    }
    let wide = double(value)?;
    #[expect(clippy::cast_possible_truncation, reason = "only values that float32 holds are taken")]
    let narrow = wide as f32;
    (f64::from(narrow) == wide || wide.is_nan()).then_some(narrow)
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// JSON for people: small things on one line, big ones spread out.
pub fn pretty(value: &Value) -> String {
    let mut text = String::new();
    spread(value, 0, &mut text);
    text.push('\n');
    text
}

/// Longest line that a list or an object is kept on.
const LINE: usize = 110;

fn spread(value: &Value, depth: usize, to: &mut String) {
    let line = value.to_string();
    let plain = |list: &[Value]| list.iter().all(|value| !value.is_array() && !value.is_object());
    let inner = "  ".repeat(depth + 1);
    let outer = "  ".repeat(depth);
    match value {
        Value::Array(list) if !list.is_empty() && line.len() > LINE => {
            to.push('[');
            // Scalars in lines, everything else one below the other.
            let mut width = usize::MAX;
            for (at, value) in list.iter().enumerate() {
                let length = value.to_string().len() + 2;
                let wraps = !plain(list) || width.saturating_add(length) > LINE;
                to.push_str(if at == 0 { "" } else { "," });
                if wraps {
                    to.push('\n');
                    to.push_str(&inner);
                    width = inner.len();
                } else {
                    to.push(' ');
                }
                width += length;
                spread(value, depth + 1, to);
            }
            to.push('\n');
            to.push_str(&outer);
            to.push(']');
        }
        Value::Object(map) if !map.is_empty() && (depth == 0 || line.len() > LINE) => {
            to.push('{');
            object(map, depth, &inner, to);
            to.push('\n');
            to.push_str(&outer);
            to.push('}');
        }
        _ => to.push_str(&line),
    }
}

fn object(map: &Map<String, Value>, depth: usize, inner: &str, to: &mut String) {
    for (at, (key, value)) in map.iter().enumerate() {
        to.push_str(if at == 0 { "\n" } else { ",\n" });
        to.push_str(inner);
        to.push_str(&Value::from(key.as_str()).to_string());
        to.push_str(": ");
        spread(value, depth + 1, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_bit_for_bit() {
        let table = json!({"columns": [
            {"name": "f", "kind": "float64", "nullable": true,
                "values": [1.5, null, "NaN", -0.0, "Infinity", "NaN:fff8000000000001", 5e-324]},
            {"name": "s", "kind": "float32", "nullable": false,
                "values": [1.5, 0.0, "NaN", -0.0, "-Infinity", "NaN:7fc00001", 0.10000000149011612]},
            {"name": "i", "kind": "int64", "nullable": false, "values": [i64::MIN, i64::MAX, 0, -1, 1, 2, 3]},
            {"name": "t", "kind": "timestamp-us", "nullable": false, "values": [0, 1, 2, 3, 4, 5, 6]},
            {"name": "b", "kind": "boolean", "nullable": true, "values": [true, false, null, true, true, true, true]},
            {"name": "u", "kind": "utf8", "nullable": false, "values": ["", "é", "a,b", "\"", "\u{0}", "x", "y"]},
            {"name": "x", "kind": "binary", "nullable": false, "values": ["", "ff00", "", "", "", "", "0a"]},
        ]});
        let rows = from_json(&table).unwrap();
        assert_eq!(to_json(&rows).to_string(), table.to_string());
        let again: Value = serde_json::from_str(&pretty(&table)).unwrap();
        assert_eq!(again.to_string(), table.to_string());
    }

    #[test]
    fn what_is_no_value_of_its_kind_is_named() {
        for (kind, value, said) in [
            ("int64", json!(1.5), "1.5 is no int64"),
            ("float32", json!(0.1), "0.1 is no float32"),
            ("float64", json!("nan"), "\"nan\" is no float64"),
            ("float64", json!("NaN:7ff0000000000000"), "is no float64"),
            ("binary", json!("f"), "\"f\" is no binary"),
            ("utf8", json!(1), "1 is no utf8"),
        ] {
            let table = json!({"columns": [{"name": "c", "kind": kind, "values": [value]}]});
            let error = from_json(&table).unwrap_err().to_string();
            assert!(error.contains("column `c`") && error.contains(said), "{error}");
        }
        for (table, said) in [
            (json!({}), "no `columns`"),
            (json!({"columns": [{"kind": "utf8", "values": []}]}), "no `name`"),
            (json!({"columns": [{"name": "c", "kind": "text", "values": []}]}), "kind"),
            (json!({"columns": [{"name": "c", "kind": "utf8"}]}), "no `values`"),
            (json!({"columns": [{"name": "c", "kind": "utf8", "values": [null], "nullable": false}]}), "c"),
        ] {
            assert!(from_json(&table).unwrap_err().to_string().contains(said), "{table}");
        }
    }
}
