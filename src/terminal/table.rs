//! Tables with aligned columns, as wide as their longest cells; on a terminal no wider than that, where columns may give way.

use std::borrow::Cow;
use std::io::IsTerminal;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
    /// Left, and cut in their middle where a terminal is too narrow.
    Cut,
}

/// Stands between the parts of a cell (an escaped name holds none): a space, but on a terminal that is too narrow the first part is shown
/// with the number of the others.
pub const PART: &str = "\n";

/// What a column that is cut keeps at least.
const CUT_LEAST: usize = 8;

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

    /// The text for standard output: cut to fit where that is a terminal, else whole.
    pub fn show(&self) -> String {
        self.render(terminal_width())
    }

    /// The text: heading, a rule, the rows; two spaces between columns, none at line ends, a newline after each line. Where `most` is too
    /// narrow, columns without any cell go, and those that may be cut are cut, the widest first.
    pub fn render(&self, most: Option<usize>) -> String {
        let width = |at: usize| self.rows.iter().map(|row| row[at].replace(PART, " ").width()).max();
        let mut columns: Vec<usize> = (0..self.columns.len()).collect();
        let mut widths: Vec<usize> = columns.iter().map(|at| width(*at).unwrap_or(0)).collect();
        let whole = |columns: &[usize], widths: &[usize]| {
            columns.iter().map(|at| widths[*at]).sum::<usize>() + 2 * columns.len().saturating_sub(1)
        };
        if let Some(most) = most.filter(|most| *most < whole(&columns, &widths)) {
            columns.retain(|at| self.is_empty() || self.rows[1..].iter().any(|row| !row[*at].is_empty()));
            while whole(&columns, &widths) > most {
                let cut = columns.iter().filter(|at| self.columns[**at] == Align::Cut);
                let widest = cut.max_by_key(|at| widths[**at]).filter(|at| widths[**at] > CUT_LEAST);
                let Some(widest) = widest else { break };
                widths[*widest] -= 1;
            }
        }
        let rule = "-".repeat(whole(&columns, &widths).min(most.unwrap_or(RULE_MAX)));
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let start = out.len();
            for at in &columns {
                let (at, cell) = (*at, fit(&row[*at], widths[*at]));
                let padding = " ".repeat(widths[at].saturating_sub(cell.width()));
                let gap = if at == columns[0] { "" } else { "  " };
                match self.columns[at] {
                    Align::Left | Align::Cut => out.extend([gap, &*cell, &padding]),
                    Align::Right => out.extend([gap, &padding, &*cell]),
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

/// The columns of the terminal that standard output is; none when it is none, or does not say.
fn terminal_width() -> Option<usize> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&out)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
}

/// A cell in that width: whole, or its first part and the number of the others, cut in the middle.
fn fit(cell: &str, width: usize) -> Cow<'_, str> {
    let whole = if cell.contains(PART) { Cow::Owned(cell.replace(PART, " ")) } else { Cow::Borrowed(cell) };
    if whole.width() <= width {
        return whole;
    }
    let mut parts = cell.split(PART);
    let first = parts.next().unwrap_or_default();
    let more = match parts.count() {
        0 => String::new(),
        others => format!(" +{others}"),
    };
    Cow::Owned(cut(first, width.saturating_sub(more.len())) + &more)
}

/// A text with `…` in its middle, where it is too wide.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let taken = |characters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        let fits = |character: &char| {
            used += character.width().unwrap_or(0);
            used <= room
        };
        characters.take_while(fits).collect::<Vec<char>>()
    };
    let head = taken(&mut text.chars(), room / 2);
    let mut tail = taken(&mut text.chars().rev(), room - room / 2);
    tail.reverse();
    head.into_iter().chain(['…']).chain(tail).collect()
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
        assert_eq!(table.render(None), expected);
        assert!(!table.is_empty());
    }

    #[test]
    fn what_is_wider_than_the_terminal_is_cut_where_it_may_be() {
        let mut table = Table::new(&[
            ("ID", Align::Left),
            ("Host", Align::Cut),
            ("Tags", Align::Cut),
            ("Size", Align::Right),
            ("Paths", Align::Cut),
        ]);
        let several = ["/home/ann/Documents/letters", "/etc", "/srv"].join(PART);
        table.row(["32c29338", "kiste", "", "1.00 KiB", "/home/ann/日本語/photographs/2026"]);
        table.row(["0badcafe", "kiste", "", "999 B", &several]);
        table.row(["0badcaff", "kiste", "", "999 B", "/etc"]);
        let whole = table.render(None);
        assert!(
            whole.contains("  /home/ann/Documents/letters /etc /srv\n") && whole.contains("Tags"),
            "{whole}"
        );
        assert_eq!(table.render(Some(200)).lines().nth(2), whole.lines().nth(2));
        let expected = "\
            ID        Host       Size  Paths\n\
            --------------------------------------------\n\
            32c29338  kiste  1.00 KiB  /home/an…phs/2026\n\
            0badcafe  kiste     999 B  /home/…letters +2\n\
            0badcaff  kiste     999 B  /etc\n";
        assert_eq!(table.render(Some(44)), expected);
        for most in 0..120 {
            let widest = table.render(Some(most)).lines().map(|line| line.width()).max();
            assert!(widest.is_some_and(|widest| widest <= most.max(36)), "{most}: {widest:?}");
        }
        assert_eq!(cut("abcdef", 5), "ab…ef");
        assert_eq!(cut("日本語日本語", 6), "日…語");
        assert_eq!(cut("abc", 0), "…");
    }
}
