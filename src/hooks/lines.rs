//! Bytes as they come from a pipe, cut into lines of bounded length.

/// A line has at most that many bytes; the rest of it is left out.
pub const LINE_BYTES_MAX: usize = 4096;
/// Stands where something was left out.
const CUT: &[u8] = "\u{2026}".as_bytes();

/// The line that has begun.
#[derive(Default)]
pub struct Lines {
    begun: Vec<u8>,
    is_cut: bool,
    is_line: bool,
}

impl Lines {
    /// Takes more bytes, and gives each line that ended, without its end.
    pub fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.add(&rest[..at]);
            self.is_line = true;
            self.end(each);
            rest = &rest[at + 1..];
        }
        self.add(rest);
    }

    /// Gives the last line when it was not ended.
    pub fn end(&mut self, each: &mut dyn FnMut(&[u8])) {
        if self.is_line {
            if self.is_cut {
                self.begun.extend(CUT);
            } else if self.begun.last() == Some(&b'\r') {
                self.begun.pop();
            }
            each(&self.begun);
        }
        *self = Lines { begun: std::mem::take(&mut self.begun), ..Lines::default() };
        self.begun.clear();
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.begun.len();
        self.is_line |= !bytes.is_empty();
        self.is_cut |= bytes.len() > room;
        self.begun.extend(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.take(piece, &mut |line| all.push(line.to_vec()));
        }
        lines.end(&mut |line| all.push(line.to_vec()));
        all
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let text = b"one\n\ntwo \xff\r\nthree";
        let expected: Vec<Vec<u8>> =
            [&b"one"[..], b"", b"two \xff", b"three"].iter().map(|line| line.to_vec()).collect();
        for at in 0..=text.len() {
            assert_eq!(lines(&[&text[..at], &text[at..]]), expected, "{at}");
        }
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_not() {
        let long = vec![b'x'; 3 * LINE_BYTES_MAX];
        let all = lines(&[&long, &long, b"\nnext"]);
        assert_eq!(all[0], [&long[..LINE_BYTES_MAX], CUT].concat());
        assert_eq!(all[1..], [b"next".to_vec()]);
        let full = vec![b'y'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&full, b"\n"]), [full]);
    }
}
