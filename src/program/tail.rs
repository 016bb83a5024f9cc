//! The last lines of what a program says, however much that is.

use std::collections::VecDeque;

/// Lines that are kept.
const LINES_MOST: usize = 10;
/// Bytes of a line that are kept; the rest of it is left out.
const LINE_BYTES_MOST: usize = 500;

/// The last lines that are not empty.
#[derive(Default)]
pub struct Tail {
    lines: VecDeque<Vec<u8>>,
    begun: Vec<u8>,
}

impl Tail {
    /// Takes more bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        for (at, part) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                self.end_line();
            }
            let room = LINE_BYTES_MOST - self.begun.len();
            self.begun.extend(&part[..part.len().min(room)]);
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == LINES_MOST {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_vec());
    }

    /// What was kept, without the ends of lines.
    pub fn lines(mut self) -> Vec<Vec<u8>> {
        self.end_line();
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_however_they_come() {
        let text: Vec<u8> = (0..30).flat_map(|number| format!("line {number}\r\n\n").into_bytes()).collect();
        for size in [1, 7, text.len()] {
            let mut tail = Tail::default();
            text.chunks(size).for_each(|piece| tail.take(piece));
            tail.take(b"not ended");
            let lines = tail.lines();
            assert_eq!(lines.len(), LINES_MOST);
            assert_eq!(lines[0], b"line 21");
            assert_eq!(lines[LINES_MOST - 1], b"not ended");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut tail = Tail::default();
        (0..100).for_each(|_| tail.take(&[b'x'; 1000]));
        tail.take(b"\nnext\n");
        assert_eq!(tail.lines(), [vec![b'x'; LINE_BYTES_MOST], b"next".to_vec()]);
    }
}
