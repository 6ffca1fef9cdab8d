//! What a file holds: its columns, their types, and its partitions.

use plinth_sdk::loader::ReadPlan;
use plinth_sdk::{Field, Kind, Problem, Schema, log, objects, options::nearest};
use text_rows::{Guess, Input, Span};

use crate::dialect::{Dialect, Options};
use crate::record::{Follower, split};

/// Looks at a file.
///
/// # Errors
/// `empty-file`, `duplicate-column`, `unknown-column`, `bad-header`, `bad-options`, and the host's.
pub(crate) fn plan(source: &str, options: &Options) -> Result<ReadPlan, Problem> {
    let dialect = Dialect::of(options)?;
    let object = objects::open(source)?;
    let size = object.size();
    let empty = || {
        let message = format!("{source}: the file is empty; a CSV file has at least a header");
        Problem::bad_input("empty-file", message)
    };
    if size == 0 {
        return Err(empty());
    }
    let gzip = Input::is_gzip(&object)?;
    let span = Span { start: 0, end: size, line: 1, gzip };
    let sample = text_rows::sample(source, &object, span, options.sample_bytes)?;
    let (head, head_is_all) = (&sample.head[..], sample.head_is_all);
    let start = text_rows::first_record(head);
    if head[start.0..].is_empty() {
        return Err(empty());
    }
    let (names, data) = read_names(source, head, head_is_all, start, options, &dialect)?;
    check_names(source, &names, options)?;

    let mut columns = vec![Column::default(); names.len()];
    let first = &head[data.0..head.len().min(options.sample_bytes.max(data.0))];
    let first_is_all = head_is_all && data.0 + first.len() == head.len();
    look_at(first, first_is_all, &dialect, &mut columns);
    // Nobody knows whether a piece from within the file starts in a quoted cell, so only those without quotes count.
    let has_quote = |piece: &[u8]| dialect.quote.is_some_and(|quote| piece.contains(&quote));
    for piece in sample.pieces.iter().filter(|piece| !has_quote(piece)) {
        look_at(piece, true, &dialect, &mut columns);
    }
    let fields =
        names.into_iter().zip(columns).map(|(name, column)| {
            let kind = options.types.get(&name).copied().unwrap_or_else(|| {
            if let Some(slip) = column.slip() {
                log::warn(format!(
                    "{source}: column `{name}` is read as text: {} of its sampled values are numbers, and {} not, such \
                     as `{}`; if it should hold numbers, set types: {{{name}: float64}}, and a wrong value is an \
                     error that names its line, or add the value to nulls",
                    column.numbers, column.others, slip.chars().take(40).collect::<String>(),
                ));
            }
            column.guess.kind()
        });
            // Later rows may hold nulls that the sample does not show.
            Field { name, kind, nullable: true }
        });
    let schema = Schema { fields: fields.collect() };
    let records = Span { start: data.0 as u64, end: size.max(data.0 as u64), line: data.1, gzip };
    let partitions = text_rows::split(&object, records, options.partition_bytes, Follower::new(&dialect))?;
    Ok(ReadPlan { schema, partitions })
}

/// The names of the columns, and where the records with data start.
fn read_names(
    source: &str,
    head: &[u8],
    head_is_all: bool,
    start: (usize, u64),
    options: &Options,
    dialect: &Dialect,
) -> Result<(Vec<String>, (usize, u64)), Problem> {
    let bad =
        |why: &str| Problem::bad_input("bad-header", format!("{source}: line {}: the first record {why}", start.1));
    let first =
        split(&head[start.0..], dialect).ok_or_else(|| bad("has a quote that does not close, or text behind one"))?;
    if start.0 + first.end == head.len() && !head_is_all {
        return Err(bad("does not end within a mebibyte; is this a CSV file?"));
    }
    let data = if options.header { (start.0 + first.end, start.1 + first.lines) } else { start };
    let names = match &options.names {
        Some(names) if names.len() != first.cells.len() => {
            return Err(bad(&format!("has {} fields, and names gives {}", first.cells.len(), names.len())));
        }
        Some(names) => names.clone(),
        None => {
            let mut names = Vec::with_capacity(first.cells.len());
            for (index, (cell, _)) in first.cells.iter().enumerate() {
                let name = std::str::from_utf8(cell).map_err(|_| {
                    let column = format!("column {}", index + 1);
                    text_rows::invalid_utf8(source, start.1, &column)
                })?;
                let name = if options.header { name.trim() } else { "" };
                names.push(if name.is_empty() { format!("column_{}", index + 1) } else { name.to_owned() });
            }
            names
        }
    };
    Ok((names, data))
}

fn check_names(source: &str, names: &[String], options: &Options) -> Result<(), Problem> {
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names[..index].iter().position(|there| there == name) {
            let message = format!(
                "{source}: columns {} and {} are both named `{name}`; rename one in the header, or set names",
                first + 1,
                index + 1
            );
            return Err(Problem::bad_input("duplicate-column", message).in_column(name));
        }
    }
    for (name, kind) in &options.types {
        if !names.contains(name) {
            let near = nearest(name, names.iter().map(String::as_str));
            let message = format!("{source}: types names a column `{name}` that is not there{near}");
            return Err(Problem::bad_input("unknown-column", message).in_column(name));
        }
        if *kind == Kind::Binary {
            let message = format!("types: column `{name}` cannot be binary; a CSV file holds text, so use utf8");
            return Err(Problem::bad_input("bad-options", message).in_column(name));
        }
    }
    Ok(())
}

/// What the sampled cells of a column tell.
#[derive(Debug, Clone, Default)]
struct Column {
    guess: Guess,
    numbers: u32,
    others: u32,
    first_other: String,
    /// Whether a cell is of digits and no number, such as 007: then none of them is meant as one.
    codes: bool,
}

impl Column {
    fn take(&mut self, cell: &[u8]) {
        let found = Guess::of(cell);
        self.guess = self.guess.and(found);
        match found {
            Guess::Kind(Kind::Int64 | Kind::Float64) => self.numbers += 1,
            _ if cell.iter().all(u8::is_ascii_digit) => self.codes = true,
            _ => {
                self.others += 1;
                if self.others == 1 {
                    self.first_other = String::from_utf8_lossy(cell).into_owned();
                }
            }
        }
    }

    /// A value that makes text of what looks like numbers, if few do.
    fn slip(&self) -> Option<&str> {
        let few = self.others > 0 && u64::from(self.others) * 20 <= u64::from(self.numbers);
        (few && !self.codes).then_some(&self.first_other)
    }
}

/// Takes records into the guesses; the last one only where it is known to be whole. What is wrong with a record is
/// told when it is read.
fn look_at(mut bytes: &[u8], last_is_whole: bool, dialect: &Dialect, columns: &mut [Column]) {
    while let Some(record) = (!bytes.is_empty()).then(|| split(bytes, dialect)).flatten() {
        bytes = &bytes[record.end..];
        if record.cells.len() != columns.len() || (bytes.is_empty() && !last_is_whole) {
            continue;
        }
        for ((cell, quoted), column) in record.cells.iter().zip(&mut *columns) {
            let null = if *quoted { cell.is_empty() } else { dialect.is_null(cell) };
            if !null {
                column.take(cell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(cells: &[&str]) -> Column {
        let mut column = Column::default();
        (0..20).for_each(|_| column.take(b"1.5"));
        cells.iter().for_each(|cell| column.take(cell.as_bytes()));
        column
    }

    #[test]
    fn one_wrong_value_among_numbers_is_a_slip() {
        assert_eq!(column(&["lots"]).slip(), Some("lots"));
        assert_eq!(column(&[]).slip(), None);
        assert_eq!(column(&["low", "high"]).slip(), None);
        assert_eq!(column(&["lots", "00501"]).slip(), None);
    }
}
