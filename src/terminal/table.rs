//! Tables with aligned columns, as wide as their longest cells.

use unicode_width::UnicodeWidthStr;

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// The rule under the headings does not wrap on the narrowest terminal that is common.
const RULE_MAX: usize = 79;

/// Rows under a heading. Cells are printed as they are: escape names first.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        Table {
            columns: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()],
        }
    }

    /// Adds a row; missing cells are empty, and cells beyond the columns are dropped.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let mut row: Vec<String> = cells.into_iter().take(self.columns.len()).map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Whether there is no row but the heading.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The text: heading, a rule, the rows; two spaces between columns, none at line ends, a newline after each line.
    pub fn render(&self) -> String {
        let width = |at: usize| self.rows.iter().map(|row| row[at].width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let whole = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let rule = "-".repeat(whole.min(RULE_MAX));
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let start = out.len();
            for (at, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[at] - cell.width());
                let gap = if at == 0 { "" } else { "  " };
                match self.columns[at] {
                    Align::Left => out.extend([gap, cell, &padding]),
                    Align::Right => out.extend([gap, &padding, cell]),
                }
            }
            out.truncate(start + out[start..].trim_end_matches(' ').len());
            out.push('\n');
            if number == 0 {
                out.extend([rule.as_str(), "\n"]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(&[("Name", Align::Left), ("Size", Align::Right), ("Tags", Align::Left)]);
        assert!(table.is_empty());
        table.row(["日本", "1.00 KiB", "a, b"]);
        table.row(["Grüße", "5 B"]);
        let expected =
            "Name       Size  Tags\n---------------------\n日本   1.00 KiB  a, b\nGrüße       5 B\n";
        assert_eq!(table.render(), expected);
        assert!(!table.is_empty());
    }
}
