//! JSON as Python writes it, a space after each comma and colon: searches look into stored documents as text, and users
//! write what they look for as MLflow's documents have it.

use std::io;

use serde::Serialize;
use serde_json::{Value, ser::Formatter};

/// A document with other characters as they are.
pub fn spaced(value: &Value) -> String {
    write(value, false)
}

/// A document in ASCII: other characters are escaped.
pub fn ascii(value: &Value) -> String {
    write(value, true)
}

fn write(value: &Value, ascii: bool) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Spaced { ascii });
    // A value that was read can be written, and memory takes all of it.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    String::from_utf8(bytes).unwrap_or_default()
}

struct Spaced {
    ascii: bool,
}

fn comma<W: io::Write + ?Sized>(to: &mut W, first: bool) -> io::Result<()> {
    if first { Ok(()) } else { to.write_all(b", ") }
}

impl Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        comma(to, first)
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        comma(to, first)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }

    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, to: &mut W, fragment: &str) -> io::Result<()> {
        if !self.ascii || fragment.is_ascii() {
            return to.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for c in fragment.chars() {
            if c.is_ascii() {
                to.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut units) {
                    write!(to, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_look_as_python_writes_them() {
        let value = json!({"a": [1, 2.0, "é𝄞\n"], "b": {}, "c": [], "d": {"x": null}});
        assert_eq!(spaced(&value), r#"{"a": [1, 2.0, "é𝄞\n"], "b": {}, "c": [], "d": {"x": null}}"#);
        assert_eq!(ascii(&value), r#"{"a": [1, 2.0, "\u00e9\ud834\udd1e\n"], "b": {}, "c": [], "d": {"x": null}}"#);
    }
}
