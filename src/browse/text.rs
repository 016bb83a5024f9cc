//! A file's text on the screen: what could move the cursor or hide is escaped, long lines are wrapped.

use unicode_width::UnicodeWidthChar;

use super::key::Key;
use crate::terminal::escape::escape;
use crate::terminal::size::show_size;

/// Bytes of a file that are looked at.
pub const TEXT_MOST: usize = 1 << 20;
/// Bytes among which a NUL says that it is no text.
const LOOKED_AT: usize = 8 << 10;
/// Columns from one tabulator stop to the next.
const TAB: usize = 8;

/// A text and what of it is in sight.
#[derive(Debug)]
pub struct Text {
    pub name: String,
    /// What is to be known about it: its size, that only its beginning is shown, that it is damaged behind that.
    pub note: String,
    /// As it is shown.
    body: String,
    /// Begin and end of each row of the screen.
    rows: Vec<(u32, u32)>,
    width: usize,
    pub top: usize,
}

impl Text {
    /// The text of those bytes, of `size` in the file. `broken`: why no more came.
    pub fn new(name: String, bytes: &[u8], size: u64, broken: Option<&str>) -> Text {
        let is_binary = bytes[..bytes.len().min(LOOKED_AT)].contains(&0);
        let mut note = show_size(size);
        let body = if is_binary {
            note = format!("{note}, binary: not shown");
            "This is no text: it holds NUL bytes. Mark it with Space in its folder and restore it with r."
                .to_owned()
        } else {
            if bytes.len() as u64 != size && broken.is_none() {
                note = format!("the first {} of {note}", show_size(bytes.len() as u64));
            }
            printable(whole(bytes, size))
        };
        if let Some(broken) = broken {
            note = format!("{note}, cut off: {broken}");
        }
        Text { name, note, body, rows: Vec::new(), width: 0, top: 0 }
    }

    /// Lines that are printable already.
    pub fn of_lines(name: String, lines: &[String]) -> Text {
        Text { name, note: String::new(), body: lines.join("\n"), rows: Vec::new(), width: 0, top: 0 }
    }

    /// Wraps it for a screen of that size.
    pub fn settle(&mut self, width: usize, height: usize) {
        let width = width.max(1);
        if width != self.width {
            // The same place stays at the top.
            let begin = self.rows.get(self.top).map_or(0, |row| row.0);
            self.rows = wrap(&self.body, width);
            self.width = width;
            self.top = self.rows.partition_point(|row| row.0 <= begin).saturating_sub(1);
        }
        self.top = self.top.min(self.rows.len().saturating_sub(height.max(1)));
    }

    /// The rows in sight.
    pub fn in_sight(&self, height: usize) -> impl Iterator<Item = &str> {
        self.rows
            .iter()
            .skip(self.top)
            .take(height)
            .map(|(begin, end)| self.body.get(*begin as usize..*end as usize).unwrap_or_default())
    }

    /// Rows of the screen that it takes.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Scrolls; whether the key does that. `settle` holds it to the end.
    pub fn key(&mut self, key: Key, page: usize) -> bool {
        self.top = match key {
            Key::Up => self.top.saturating_sub(1),
            Key::Down | Key::Enter => self.top + 1,
            Key::PageUp => self.top.saturating_sub(page.max(1)),
            Key::PageDown | Key::Char(' ') => self.top + page.max(1),
            Key::Home => 0,
            Key::End => self.rows.len(),
            _ => return false,
        };
        true
    }
}

/// Without the first bytes of a character that the end of what was read cut in two.
fn whole(bytes: &[u8], size: u64) -> &[u8] {
    let is_begin = |back: &usize| bytes[bytes.len() - back] & 0xc0 != 0x80;
    let last = (1..=bytes.len().min(3)).find(is_begin).map(|back| bytes.split_at(bytes.len() - back));
    match last {
        Some((before, last)) if bytes.len() as u64 != size => match std::str::from_utf8(last) {
            Err(error) if error.error_len().is_none() => before,
            _ => bytes,
        },
        _ => bytes,
    }
}

/// The bytes as text: lines stay, tabulators become spaces, and what is no printable character is escaped.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut column = 0;
    for chunk in bytes.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\n' => {
                    out.push('\n');
                    column = 0;
                }
                '\r' if characters.peek() == Some(&'\n') => {}
                '\t' => {
                    let stop = TAB - column % TAB;
                    out.extend(std::iter::repeat_n(' ', stop));
                    column += stop;
                }
                '\\' => {
                    out.push('\\');
                    column += 1;
                }
                _ => {
                    let mut buffer = [0; 4];
                    let shown = escape(character.encode_utf8(&mut buffer).as_bytes()).into_owned();
                    column += shown.chars().map(width).sum::<usize>();
                    out.push_str(&shown);
                }
            }
        }
        if !chunk.invalid().is_empty() {
            let shown = escape(chunk.invalid());
            column += shown.len();
            out.push_str(&shown);
        }
    }
    out
}

fn width(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// Where each row begins and ends. A line that ends the text makes no empty row behind it.
fn wrap(body: &str, most: usize) -> Vec<(u32, u32)> {
    let mut rows = Vec::new();
    let mut begin = 0;
    for line in body.split_inclusive('\n') {
        let text = line.strip_suffix('\n').unwrap_or(line);
        let (mut from, mut columns) = (0, 0);
        for (place, character) in text.char_indices() {
            let wide = width(character);
            if columns + wide > most && place > from {
                rows.push(((begin + from) as u32, (begin + place) as u32));
                (from, columns) = (place, 0);
            }
            columns += wide;
        }
        rows.push(((begin + from) as u32, (begin + text.len()) as u32));
        begin += line.len();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], width: usize) -> Vec<String> {
        let mut text = Text::new("x".to_owned(), bytes, bytes.len() as u64, None);
        text.settle(width, 10);
        text.in_sight(100).map(str::to_owned).collect()
    }

    #[test]
    fn nothing_in_a_text_moves_the_cursor() {
        assert_eq!(shown(b"a\x1b[2Jb\r\nc\rd\n", 80), ["a\\x1b[2Jb", "c\\rd"]);
        assert_eq!(shown(b"caf\xe9 \\ \xff\xfe\n", 80), ["caf\\xe9 \\ \\xff\\xfe"]);
        assert_eq!(shown("gpj.\u{202e}exe".as_bytes(), 80), ["gpj.\\u{202e}exe"]);
        assert_eq!(shown(b"\ta\tb\n", 80), ["        a       b"]);
        assert_eq!(shown(b"", 80), [""; 0]);
        assert_eq!(shown(b"\n\n", 80), ["", ""]);
    }

    #[test]
    fn long_lines_are_wrapped_by_columns() {
        assert_eq!(shown(b"abcdefg\nhi", 3), ["abc", "def", "g", "hi"]);
        assert_eq!(shown("日本語".as_bytes(), 5), ["日本", "語"]);
        assert_eq!(shown("日本".as_bytes(), 1), ["日", "本"], "wider than the screen: one a row");
    }

    #[test]
    fn the_place_stays_when_the_screen_changes_and_the_end_is_the_end() {
        let body: Vec<u8> = (0..100).flat_map(|line| format!("line {line:04}\n").into_bytes()).collect();
        let mut text = Text::new("x".to_owned(), &body, body.len() as u64, None);
        text.settle(80, 10);
        text.key(Key::PageDown, 50);
        text.settle(80, 10);
        text.settle(5, 10);
        assert_eq!(text.in_sight(2).collect::<Vec<_>>(), ["line ", "0050"]);
        text.key(Key::End, 10);
        text.settle(5, 10);
        assert_eq!(text.in_sight(100).last(), Some("0099"));
        assert_eq!(text.in_sight(100).count(), 10);
    }

    #[test]
    fn what_is_no_text_and_what_is_cut_says_so() {
        let binary = Text::new("x".to_owned(), b"\x7fELF\0\0", 6, None);
        assert!(binary.note.contains("binary"), "{}", binary.note);
        let cut = Text::new("x".to_owned(), b"abc", 5 << 20, None);
        assert_eq!(cut.note, "the first 3 B of 5.00 MiB");
        let begin = |bytes: &[u8], size| Text::new("x".to_owned(), bytes, size, None).body;
        assert_eq!(begin("日本".as_bytes(), 99), "日本");
        assert_eq!(begin(&"日本".as_bytes()[..5], 99), "日", "the rest of it comes later");
        assert_eq!(begin(&"日本".as_bytes()[..4], 99), "日");
        assert_eq!(begin(&"日本".as_bytes()[..5], 5), "日\\xe6\\x9c", "that is all there is");
        assert_eq!(begin(b"a\xff", 99), "a\\xff");
        let broken = Text::new("x".to_owned(), b"abc", 9, Some("damaged: packs/1"));
        assert_eq!(broken.note, "9 B, cut off: damaged: packs/1");
    }
}
