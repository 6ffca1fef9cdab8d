//! Rows on their way out: CSV, JSON Lines or Parquet, batch by batch.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use arrow_array::{
    Array,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use plinth_core::codes;
use plinth_ext::{Batch, Kind, Schema};
use serde_json::{Map, Value};

use crate::output::{Failure, Stdout, io_failure};

/// A file format, told by the end of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.csv`, `.csv.gz`, `.tsv`
    Csv,
    /// `.jsonl`, `.ndjson`
    JsonLines,
    /// `.parquet`
    Parquet,
}

impl Format {
    /// The format of a file by its name.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, end)| end) {
            Some("csv" | "tsv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            Some("parquet" | "pq") => Ok(Self::Parquet),
            _ => Err(Failure::new(codes::USAGE, format!("the format of `{}` is not known", path.display()))
                .hint("name a file that ends in .csv, .jsonl or .parquet")),
        }
    }

    /// The loader plugin that reads it.
    pub(crate) const fn loader(self) -> &'static str {
        match self {
            Self::Csv => "load-csv",
            Self::JsonLines => "load-jsonl",
            Self::Parquet => "load-parquet",
        }
    }
}

/// Where rows go.
pub(crate) enum Sink {
    Csv(Box<arrow_csv::Writer<Box<dyn Write + Send>>>, Schema),
    JsonLines(Box<dyn Write + Send>),
    Parquet(Box<plinth_table::Writer<Box<dyn Write + Send>>>),
}

impl Sink {
    /// A file, or CSV to stdout.
    pub(crate) fn open(path: Option<&Path>, schema: &Schema, json: bool) -> Result<Self, Failure> {
        let (format, to): (Format, Box<dyn Write + Send>) = match path {
            None if json => (Format::JsonLines, Box::new(Stdout::default())),
            None => (Format::Csv, Box::new(Stdout::default())),
            Some(path) => {
                let format = Format::of(path)?;
                let file = File::create(path).map_err(|error| io_failure(&path.display().to_string(), &error))?;
                (format, Box::new(BufWriter::new(file)))
            }
        };
        Ok(match format {
            Format::Csv => {
                let writer = arrow_csv::WriterBuilder::new().with_header(true).build(to);
                Self::Csv(Box::new(writer), schema.clone())
            }
            Format::JsonLines => Self::JsonLines(to),
            Format::Parquet => Self::Parquet(Box::new(plinth_table::Writer::new(to, schema.clone())?)),
        })
    }

    /// Writes rows.
    pub(crate) fn write(&mut self, rows: &Batch) -> Result<(), Failure> {
        match self {
            Self::Csv(writer, _) => writer.write(rows.arrow()).map_err(|error| arrow(&error)),
            Self::JsonLines(to) => (0..rows.num_rows())
                .try_for_each(|row| writeln!(to, "{}", Value::Object(object(rows, row))))
                .map_err(|error| io_failure("output", &error)),
            Self::Parquet(writer) => Ok(writer.write(rows)?),
        }
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut to = match self {
            Self::Csv(mut writer, schema) => {
                // The header is written with the first rows; a table without any has one, too.
                writer.write(Batch::empty(schema).arrow()).map_err(|error| arrow(&error))?;
                writer.into_inner()
            }
            Self::JsonLines(to) => to,
            Self::Parquet(writer) => writer.finish()?,
        };
        to.flush().map_err(|error| io_failure("output", &error))
    }
}

/// One row as JSON; what JSON cannot hold (NaN, infinity) is null.
pub(crate) fn object(rows: &Batch, row: usize) -> Map<String, Value> {
    let fields = rows.schema().fields().iter().zip(rows.columns());
    fields.map(|(field, column)| (field.name.clone(), cell(column, field.kind, row))).collect()
}

/// One value as JSON.
pub(crate) fn cell(column: &dyn Array, kind: Kind, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match kind {
        Kind::Boolean => column.as_boolean().value(row).into(),
        Kind::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        Kind::TimestampUs => column.as_primitive::<TimestampMicrosecondType>().value(row).into(),
        Kind::Float32 => f64::from(column.as_primitive::<Float32Type>().value(row)).into(),
        Kind::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        Kind::Utf8 => column.as_string::<i32>().value(row).into(),
        Kind::Binary => String::from_utf8_lossy(column.as_binary::<i32>().value(row)).into(),
    }
}

fn arrow(error: &arrow_schema::ArrowError) -> Failure {
    match error {
        arrow_schema::ArrowError::IoError(_, io) => io_failure("output", io),
        other => Failure::new(codes::BAD_TABLE, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
    use plinth_ext::Field;

    use super::*;

    fn rows() -> Batch {
        let schema =
            Schema::new(vec![Field::new("x", Kind::Float64, true), Field::new("label", Kind::Utf8, false)]).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(vec![Some(0.5), None])), Arc::new(StringArray::from(vec!["a,b", "c"]))];
        Batch::new(schema, columns, 2).unwrap()
    }

    #[test]
    fn every_format_holds_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        for (name, expected) in [
            ("a.csv", "x,label\n0.5,\"a,b\"\n,c\n"),
            ("a.jsonl", "{\"x\":0.5,\"label\":\"a,b\"}\n{\"x\":null,\"label\":\"c\"}\n"),
        ] {
            let path = dir.path().join(name);
            let mut sink = Sink::open(Some(&path), rows().schema(), false).unwrap();
            sink.write(&rows()).unwrap();
            sink.finish().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        }
        let path = dir.path().join("a.parquet");
        let mut sink = Sink::open(Some(&path), rows().schema(), false).unwrap();
        sink.write(&rows()).unwrap();
        sink.finish().unwrap();
        assert_eq!(plinth_table::Table::open(&path).unwrap().read_all().unwrap(), rows());
    }

    #[test]
    fn a_table_without_rows_has_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let sink = Sink::open(Some(&path), rows().schema(), false).unwrap();
        sink.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x,label\n");
    }

    #[test]
    fn times_are_written_in_csv() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let schema = Schema::new(vec![Field::new("at", Kind::TimestampUs, true)]).unwrap();
        let times = TimestampMicrosecondArray::from(vec![Some(1_711_614_140_500_000), None]);
        let times = times.with_data_type(Kind::TimestampUs.to_arrow());
        let mut sink = Sink::open(Some(&path), &schema, false).unwrap();
        sink.write(&Batch::new(schema.clone(), vec![Arc::new(times)], 2).unwrap()).unwrap();
        sink.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "at\n2024-03-28T08:22:20.500Z\n\"\"\n");
    }

    #[test]
    fn an_unknown_format_names_the_known_ones() {
        let failure = Format::of(Path::new("rows.xlsx")).unwrap_err();
        assert_eq!(failure.code, codes::USAGE);
        assert_eq!(Format::of(Path::new("rows.csv.gz")).unwrap(), Format::Csv);
    }
}
