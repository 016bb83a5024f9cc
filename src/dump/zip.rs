//! A zip archive: files, folders and symlinks, for those who have no tar.

use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;

use zip::write::{FullFileOptions, StreamWriter};
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::{Archive, Failed};
use crate::model::{Node, NodeType};
use crate::terminal::escape::escape;
use crate::terminal::time;

/// Size from which a file's lengths need 64 bits; some below the bound, since what does not compress grows a little.
const LARGE: u64 = 0xf000_0000;
/// The field that holds a time in seconds since 1970.
const TIMES: u16 = 0x5455;

/// An output that can be shut: `ZipWriter` ends an archive when it is dropped, and a cut one must not look whole.
struct Gate<'o> {
    out: &'o mut dyn Write,
    is_shut: Rc<Cell<bool>>,
}

impl Write for Gate<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What it writes then is nobody's: it complains on standard error when it can not.
        if self.is_shut.get() { Ok(bytes.len()) } else { self.out.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_shut.get() { Ok(()) } else { self.out.flush() }
    }
}

/// Shuts the gate when it goes.
struct Shut(Rc<Cell<bool>>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

pub struct Zip<'o> {
    // In this order: the gate is shut before the writer goes.
    shut: Shut,
    writer: ZipWriter<StreamWriter<Gate<'o>>>,
}

fn failed(error: zip::result::ZipError) -> Failed {
    Failed::Output(match error {
        zip::result::ZipError::Io(error) => error,
        other => io::Error::other(other),
    })
}

/// A name as zip has it: text.
fn text(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(path) => path.to_owned(),
        Err(_) => escape(path).into_owned(),
    }
}

fn options(node: &Node) -> FullFileOptions<'static, 'static> {
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(node.mode)
        .large_file(node.size >= LARGE);
    let date = time::civil(node.mtime).and_then(|[year, month, day, hour, minute, second]| {
        let part = |number: i16| u8::try_from(number).ok();
        DateTime::from_date_and_time(
            u16::try_from(year).ok()?,
            part(month)?,
            part(day)?,
            part(hour)?,
            part(minute)?,
            part(second)?,
        )
        .ok()
    });
    options = options.last_modified_time(date.unwrap_or_default());
    if let Ok(seconds) = i32::try_from(node.mtime.seconds) {
        let field = [&[1][..], &seconds.to_le_bytes()].concat();
        // Only a hint: the time stands in the entry as well.
        let _ = options.add_extra_field(TIMES, field, false);
    }
    options
}

impl<'o> Zip<'o> {
    pub fn new(out: &'o mut dyn Write) -> Zip<'o> {
        let is_shut = Rc::new(Cell::new(false));
        let gate = Gate { out, is_shut: is_shut.clone() };
        Zip { shut: Shut(is_shut), writer: ZipWriter::new_stream(gate) }
    }
}

impl Archive for Zip<'_> {
    fn add(
        &mut self,
        path: &[u8],
        node: &Node,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        _: Option<&[u8]>,
        content: &mut dyn FnMut(&mut dyn Write) -> Result<(), Failed>,
    ) -> Result<Vec<String>, Failed> {
        let mut lost = Vec::new();
        match node.kind {
            NodeType::File => {
                self.writer.start_file(text(path), options(node)).map_err(failed)?;
                content(&mut self.writer)?;
            }
            NodeType::Directory => self.writer.add_directory(text(path), options(node)).map_err(failed)?,
            NodeType::Symlink => {
                self.writer.add_symlink(text(path), text(&node.target), options(node)).map_err(failed)?;
            }
            _ => lost.push(format!("a zip archive holds no {}", node.kind.name())),
        }
        if !xattrs.is_empty() {
            lost.push("a zip archive holds no attributes".to_owned());
        }
        Ok(lost)
    }

    fn knows_links(&self) -> bool {
        false
    }

    fn cut(&mut self) {
        // Without the list at its end it is none.
    }

    fn finish(self: Box<Self>) -> Result<(), Failed> {
        let Zip { shut, writer } = *self;
        let ended = writer.finish().map_err(failed);
        drop(shut);
        ended.map(drop)
    }
}
