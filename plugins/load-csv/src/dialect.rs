//! Options, and the dialect that they describe.

use std::collections::BTreeMap;

use plinth_sdk::{Kind, Problem};
use serde::Deserialize;

/// Options of the loader; `options.json` describes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Whether the first record names the columns.
    pub header: bool,
    /// Names of the columns, in place of the header's.
    pub names: Option<Vec<String>>,
    /// One ASCII character.
    pub delimiter: String,
    /// One ASCII character, or nothing.
    pub quote: String,
    /// Unquoted cells that stand for a missing value.
    pub nulls: Vec<String>,
    /// Types of columns by name.
    pub types: BTreeMap<String, Kind>,
    /// Bytes at the start of the file that types are inferred from.
    pub sample_bytes: usize,
    /// About how many bytes one partition has.
    pub partition_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header: true,
            names: None,
            delimiter: ",".to_owned(),
            quote: "\"".to_owned(),
            nulls: ["", "NA", "N/A", "null", "NULL", "NaN", "nan"].map(str::to_owned).to_vec(),
            types: BTreeMap::new(),
            sample_bytes: 1 << 20,
            partition_bytes: 8 << 20,
        }
    }
}

/// How records are written.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    nulls: Vec<Vec<u8>>,
    /// Whether some null starts with this byte.
    starts_null: [bool; 256],
    pub(crate) empty_is_null: bool,
}

impl Dialect {
    /// Checks the options.
    ///
    /// # Errors
    /// `bad-options`.
    pub(crate) fn of(options: &Options) -> Result<Self, Problem> {
        let bad = |why: String| Problem::bad_input("bad-options", why);
        let one = |name: &str, text: &str| match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
            _ => Err(bad(format!("{name} `{text}` must be one ASCII character"))),
        };
        let delimiter = one("delimiter", &options.delimiter)?;
        let quote = if options.quote.is_empty() { None } else { Some(one("quote", &options.quote)?) };
        if quote == Some(delimiter) {
            return Err(bad(format!("delimiter and quote are both `{}`", options.delimiter)));
        }
        let mut starts_null = [false; 256];
        let nulls: Vec<Vec<u8>> = options.nulls.iter().map(|null| null.as_bytes().to_vec()).collect();
        for null in &nulls {
            if let Some(&first) = null.first() {
                starts_null[usize::from(first)] = true;
            }
        }
        let empty_is_null = nulls.iter().any(Vec::is_empty);
        Ok(Self { delimiter, quote, nulls, starts_null, empty_is_null })
    }

    /// Whether an unquoted cell stands for a missing value.
    #[inline]
    pub(crate) fn is_null(&self, cell: &[u8]) -> bool {
        match cell.first() {
            None => self.empty_is_null,
            Some(&first) => self.starts_null[usize::from(first)] && self.nulls.iter().any(|null| null == cell),
        }
    }
}
