//! Rows as a table for a person: as wide as its content, numbers to the right.

use std::io::{self, Write};

/// Rows whose cells decide how wide a column is; cells of later ones may stand out.
const ROWS_FOR_WIDTH: usize = 1_000;
/// Characters of a cell that a terminal shows.
const CELL_CHARS: usize = 60;

/// A table in the making.
pub(super) struct Grid<W: Write> {
    to: W,
    header: Vec<String>,
    numbers: Vec<bool>,
    /// The first rows, until the widths are known.
    first: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    /// Rows to show; none is all of them, as in a file.
    max: Option<usize>,
    rows: u64,
}

impl<W: Write> Grid<W> {
    pub(super) fn new(to: W, header: Vec<String>, numbers: Vec<bool>, max: Option<usize>) -> Self {
        Self { to, header, numbers, first: Vec::new(), widths: None, max, rows: 0 }
    }

    /// Leaves a line free before it.
    pub(super) fn separate(&mut self) -> io::Result<()> {
        writeln!(self.to)
    }

    /// How many of the next rows will be looked at.
    pub(super) fn room(&self, rows: usize) -> usize {
        let shown = usize::try_from(self.rows).unwrap_or(usize::MAX);
        self.max.map_or(rows, |max| max.saturating_sub(shown).min(rows))
    }

    /// Takes the cells of the first rows of a batch of `rows`.
    pub(super) fn add(&mut self, cells: Vec<Vec<String>>, rows: usize) -> io::Result<()> {
        self.rows += rows as u64;
        for mut row in cells {
            if self.max.is_some() {
                row.iter_mut().for_each(shorten);
            }
            match &self.widths {
                Some(widths) => line(&mut self.to, &row, widths, &self.numbers)?,
                None => self.first.push(row),
            }
            if self.first.len() == ROWS_FOR_WIDTH {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Writes what is left; gives the number of rows, and of those shown.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64)> {
        if self.widths.is_none() {
            self.begin()?;
        }
        self.to.flush()?;
        let shown = self.max.map_or(self.rows, |max| self.rows.min(max as u64));
        Ok((self.rows, shown))
    }

    fn begin(&mut self) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|at| {
                let cells = self.first.iter().map(|row| &row[at]).chain([&self.header[at]]);
                cells.flat_map(|cell| cell.lines()).map(|line| line.chars().count()).max().unwrap_or(0)
            })
            .collect();
        line(&mut self.to, &self.header, &widths, &self.numbers)?;
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        line(&mut self.to, &rule, &widths, &self.numbers)?;
        for row in std::mem::take(&mut self.first) {
            line(&mut self.to, &row, &widths, &self.numbers)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

/// One row; a cell of several lines takes as many.
fn line(to: &mut impl Write, cells: &[String], widths: &[usize], numbers: &[bool]) -> io::Result<()> {
    let height = cells.iter().map(|cell| cell.lines().count()).max().unwrap_or(1).max(1);
    for nth in 0..height {
        let mut text = String::new();
        for (at, ((cell, width), number)) in cells.iter().zip(widths).zip(numbers).enumerate() {
            if at > 0 {
                text.push(' ');
            }
            let part = cell.lines().nth(nth).unwrap_or_default().replace(['\r', '\t'], " ");
            let pad = " ".repeat(width.saturating_sub(part.chars().count()));
            text.push_str(&if *number { format!("{pad}{part}") } else { format!("{part}{pad}") });
        }
        writeln!(to, "{}", text.trim_end())?;
    }
    Ok(())
}

fn shorten(cell: &mut String) {
    // Text of several lines, such as a plan, was laid out by whoever wrote it.
    if !cell.contains('\n')
        && let Some((end, _)) = cell.char_indices().nth(CELL_CHARS)
    {
        cell.truncate(end);
        cell.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(max: Option<usize>, rows: &[[&str; 2]]) -> (String, u64, u64) {
        let mut out = Vec::new();
        let mut grid = Grid::new(&mut out, vec!["name".into(), "n".into()], vec![false, true], max);
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        let room = grid.room(cells.len());
        grid.add(cells.into_iter().take(room).collect(), rows.len()).unwrap();
        let (all, some) = grid.finish().unwrap();
        (String::from_utf8(out).unwrap(), all, some)
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let (text, all, some) = shown(None, &[["a", "1"], ["long name", "200"]]);
        assert_eq!(text, "name        n\n--------- ---\na           1\nlong name 200\n");
        assert_eq!((all, some), (2, 2));
    }

    #[test]
    fn a_terminal_shows_some_rows_and_counts_all() {
        let long = "x".repeat(100);
        let (text, all, some) = shown(Some(1), &[[&long, "1"], ["b", "2"], ["c", "3"]]);
        assert_eq!((all, some, text.lines().count()), (3, 1, 3));
        assert!(text.contains(&format!("{}…", "x".repeat(60))), "{text}");
    }
}
