//! JSON lines for programs: one object a line on standard output, each with a `message_type`.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::escape::{escape, is_escaped};
use crate::locks::lock;

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Whoever read the output has gone (`| head`): end quietly.
    #[error("nobody reads the output any more")]
    Closed,
    /// Something else, such as a full disk: results were lost.
    #[error("cannot write the output: {0}")]
    Io(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> OutputError {
        if error.kind() == ErrorKind::BrokenPipe { OutputError::Closed } else { OutputError::Io(error) }
    }
}

/// One message as it is written.
#[derive(Serialize)]
struct Message<'a, T> {
    message_type: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

/// A name or path as programs get it: as it is when it is UTF-8, else as it is shown to people, with `\xff` for a byte that is none.
pub fn text(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => escape(name),
    }
}

/// The bytes of a name that is not UTF-8, as hexadecimal digits.
pub fn hex(name: &[u8]) -> Option<String> {
    std::str::from_utf8(name).err().map(|_| name.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// JSON with what a terminal must not see written as `\u....`; for a program it is the same.
fn shielded(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        if character != '\\' && is_escaped(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// The text of one line, newline included; `fields` is a struct or map.
pub fn encode(message_type: &str, fields: &impl Serialize) -> Result<Vec<u8>, OutputError> {
    let line = serde_json::to_string(&Message { message_type, fields })
        .map_err(|error| OutputError::Io(error.into()))?;
    let mut line = if line.chars().any(|c| c != '\\' && is_escaped(c)) { shielded(&line) } else { line };
    line.push('\n');
    Ok(line.into_bytes())
}

/// Standard output, or what stands for it; text and JSON lines go through here, since `println!` panics when the reader goes away.
pub struct Output {
    to: Mutex<Box<dyn Write + Send>>,
    written: AtomicBool,
}

impl Output {
    /// The process's standard output, unbuffered beyond a line.
    pub fn stdout() -> Output {
        Output::new(Box::new(io::stdout()))
    }

    /// Any other place.
    pub fn new(to: Box<dyn Write + Send>) -> Output {
        Output { to: Mutex::new(to), written: AtomicBool::new(false) }
    }

    /// Whether anything was written.
    pub fn has_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    /// Writes one JSON line, and passes it on at once.
    pub fn json(&self, message_type: &str, fields: &impl Serialize) -> Result<(), OutputError> {
        let line = encode(message_type, fields)?;
        self.write(&line)
    }

    /// Writes text or raw bytes, and passes them on at once.
    pub fn write(&self, bytes: impl AsRef<[u8]>) -> Result<(), OutputError> {
        self.written.store(true, Ordering::Relaxed);
        let mut to = lock(&self.to);
        to.write_all(bytes.as_ref())?;
        to.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Serialize)]
    struct Sample {
        files_new: u64,
        path: &'static str,
    }

    #[test]
    fn messages_are_one_line_with_their_type_first() {
        let kept = Kept::default();
        let output = Output::new(Box::new(kept.clone()));
        output.json("summary", &Sample { files_new: u64::MAX, path: "a\nb" }).unwrap();
        output.write("text\n").unwrap();
        let expected =
            "{\"message_type\":\"summary\",\"files_new\":18446744073709551615,\"path\":\"a\\nb\"}\ntext\n";
        assert_eq!(String::from_utf8(kept.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn a_reader_that_left_is_told_from_a_full_disk() {
        let closed = Output::new(Box::new(Failing(ErrorKind::BrokenPipe)));
        assert!(matches!(closed.write("x"), Err(OutputError::Closed)));
        let full = Output::new(Box::new(Failing(ErrorKind::StorageFull)));
        assert!(matches!(full.write("x"), Err(OutputError::Io(_))));
    }
}
