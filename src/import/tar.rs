//! A tar archive read from a stream: ustar headers, pax records, GNU's long names. Strict: what is not understood is an error, what comes
//! before the end-of-archive mark must be whole, and no header, however long it claims to be, takes more memory than a bound.
//!
//! Of its own, though the package `tar` is there for writing: that one takes records of any length into memory, takes an archive that ends
//! between two entries for whole, and gives sizes from records only where it also gives names (docs/decisions/0012-import.md).

use std::io::{ErrorKind, Read};

use super::Error;
use super::records::Records;

/// Bytes of a block: everything is padded to that.
const BLOCK: usize = 512;
/// Longest records, and longest long name, that are taken, bytes: all attributes of a file are in them.
const HEADER_MOST: u64 = 8 << 20;
/// Headers that may stand before one entry.
const HEADERS_MOST: usize = 16;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry, as header and records say. Its content follows in the stream.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub user: Vec<u8>,
    pub group: Vec<u8>,
    /// Bytes of content that follow.
    pub size: u64,
    /// Seconds, and nanoseconds where a record has them.
    pub mtime: (i64, u32),
    /// Of a symlink; of a hard link the path of the other name.
    pub target: Vec<u8>,
    pub device: (u64, u64),
    /// The records that are not told above.
    pub records: Records,
}

/// An archive that is read.
pub struct Archive<R> {
    input: R,
    /// Bytes of the present entry's content that were not read, and of the padding after it.
    left: u64,
    padding: u64,
    /// Records for all entries that follow.
    global: Records,
}

/// What comes before an entry and belongs to it.
#[derive(Default)]
struct Before {
    records: Records,
    long_path: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    pub fn new(input: R) -> Archive<R> {
        Archive { input, left: 0, padding: 0, global: Records::default() }
    }

    /// The next entry; none at the end of the archive, when all that follows it is read too.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let mut before = Before::default();
        for _ in 0..HEADERS_MOST {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                self.end()?;
                return Ok(None);
            }
            let header = Header::check(&block)?;
            match header.kind() {
                b'x' => before.records = Records::parse(&self.header_data(&header)?)?,
                b'g' => {
                    let records = Records::parse(&self.header_data(&header)?)?;
                    self.global.merge(records);
                }
                b'L' => before.long_path = Some(text(&self.header_data(&header)?).to_vec()),
                b'K' => before.long_target = Some(text(&self.header_data(&header)?).to_vec()),
                _ => return self.entry(&header, before).map(Some),
            }
        }
        Err(Error::Origin("the archive makes no sense: too many headers before an entry".to_owned()))
    }

    /// Reads on in the present entry's content; 0 at its end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        self.fill(&mut buffer[..most])?;
        self.left -= most as u64;
        Ok(most)
    }

    fn entry(&mut self, header: &Header<'_>, before: Before) -> Result<Entry, Error> {
        let mut records = self.global.clone();
        records.merge(before.records);
        let path = records.take(b"path").or(before.long_path).unwrap_or_else(|| header.path());
        let wrong = |what: &str| Error::entry(&path, what);
        if records.has_prefix(b"GNU.sparse.") {
            return Err(wrong("sparse files as GNU tar writes them are not understood"));
        }
        let kind = match header.kind() {
            // Very old archives tell folders by the end of their names.
            0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | b'7' | 0 => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharacterDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(wrong("sparse files as GNU tar writes them are not understood")),
            _ => return Err(wrong("an entry of a kind that is not understood")),
        };
        let mut number = |name: &[u8], field: std::ops::Range<usize>| match records.take(name) {
            Some(digits) => decimal(&digits).ok_or_else(|| wrong("a record that is no number")),
            None => header
                .number(field)
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| wrong("a number in its header makes no sense")),
        };
        let size = number(b"size", 124..136)?;
        let uid = number(b"uid", 108..116)?;
        let gid = number(b"gid", 116..124)?;
        let mtime = match records.take(b"mtime") {
            Some(text) => super::records::time(&text).ok_or_else(|| wrong("its time makes no sense"))?,
            None => (header.number(136..148).ok_or_else(|| wrong("its time makes no sense"))?, 0),
        };
        let field = |range| header.number(range).unwrap_or(-1);
        let mode = u32::try_from(field(100..108)).map_err(|_| wrong("its mode makes no sense"))?;
        let device = match kind {
            Kind::CharacterDevice | Kind::BlockDevice => (
                u64::try_from(field(329..337)).map_err(|_| wrong("its device makes no sense"))?,
                u64::try_from(field(337..345)).map_err(|_| wrong("its device makes no sense"))?,
            ),
            _ => (0, 0),
        };
        if kind != Kind::File && size != 0 && kind != Kind::HardLink {
            // GNU tar's folders once had sizes of another meaning; nobody writes them.
            return Err(wrong("content where there can be none"));
        }
        if size > i64::MAX as u64 {
            return Err(wrong("its size makes no sense"));
        }
        let target = records.take(b"linkpath").or(before.long_target);
        let target = target.unwrap_or_else(|| text(&header.0[157..257]).to_vec());
        let user = records.take(b"uname").unwrap_or_else(|| header.name(265..297));
        let group = records.take(b"gname").unwrap_or_else(|| header.name(297..329));
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(Entry { path, kind, mode, uid, gid, user, group, size, mtime, target, device, records })
    }

    /// What stands in the blocks after a header that belongs to the next one.
    fn header_data(&mut self, header: &Header<'_>) -> Result<Vec<u8>, Error> {
        let length = header.number(124..136).and_then(|length| u64::try_from(length).ok());
        let Some(length) = length.filter(|length| *length <= HEADER_MOST) else {
            return Err(Error::Origin(format!(
                "the archive makes no sense: a header of more than {HEADER_MOST} bytes"
            )));
        };
        let mut data = vec![0; length.next_multiple_of(BLOCK as u64) as usize];
        self.fill(&mut data)?;
        data.truncate(length as usize);
        Ok(data)
    }

    /// Passes over what is left of the present entry.
    fn skip(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 16 * BLOCK];
        while self.read(&mut buffer)? > 0 {}
        self.left = std::mem::take(&mut self.padding);
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Reads what follows the end: zeros that fill up the last record, and nothing else.
    fn end(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 16 * BLOCK];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) if buffer[..read].iter().all(|byte| *byte == 0) => {}
                Ok(_) => return Err(Error::Origin("something follows the end of the archive".to_owned())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Cut(error.to_string())),
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.input.read_exact(buffer).map_err(|error| {
            Error::Cut(match error.kind() {
                ErrorKind::UnexpectedEof => "the archive ends early".to_owned(),
                _ => error.to_string(),
            })
        })
    }
}

/// The bytes before the first zero.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number in a record.
fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A header block whose sum is right.
struct Header<'b>(&'b [u8; BLOCK]);

impl Header<'_> {
    fn check(block: &[u8; BLOCK]) -> Result<Header<'_>, Error> {
        let header = Header(block);
        let sum: i64 = block
            .iter()
            .enumerate()
            .map(|(place, byte)| i64::from(if (148..156).contains(&place) { b' ' } else { *byte }))
            .sum();
        match header.number(148..156) == Some(sum) {
            true => Ok(header),
            false => Err(Error::Origin(
                "this is no tar archive, or it is damaged: a header's sum is wrong".to_owned(),
            )),
        }
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    fn is_ustar(&self) -> bool {
        self.0[257..263] == *b"ustar\0"
    }

    /// A number as octal digits, or with its first bit set as bytes, which may be negative (GNU). None when it makes no sense.
    fn number(&self, field: std::ops::Range<usize>) -> Option<i64> {
        let bytes = &self.0[field];
        if bytes[0] & 0x80 != 0 {
            // The first bit is the mark, the second one the sign.
            let number = bytes
                .iter()
                .skip(1)
                .fold(i128::from(bytes[0] & 0x7f), |sum, byte| sum << 8 | i128::from(*byte));
            let is_negative = bytes[0] & 0x40 != 0;
            let number = if is_negative { number - (1 << (8 * bytes.len() - 1)) } else { number };
            return i64::try_from(number).ok();
        }
        let digits = text(bytes).trim_ascii();
        if digits.is_empty() {
            return Some(0);
        }
        i64::from_str_radix(std::str::from_utf8(digits).ok().filter(|text| !text.starts_with(['+', '-']))?, 8)
            .ok()
    }

    fn path(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = text(&self.0[345..500]);
        match self.is_ustar() && !prefix.is_empty() {
            true => [prefix, b"/", name].concat(),
            false => name.to_vec(),
        }
    }

    /// The name of an owner; very old archives have none.
    fn name(&self, field: std::ops::Range<usize>) -> Vec<u8> {
        match self.0[257..262] == *b"ustar" {
            true => text(&self.0[field]).to_vec(),
            false => Vec::new(),
        }
    }
}
