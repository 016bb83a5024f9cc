//! A POSIX (pax) tar archive. What the old header has no room for stands in records before it, as GNU tar, bsdtar and Python read them.

use std::io::Write;

use tar::{EntryType, Header};

use super::{Archive, Failed};
use crate::model::{Node, NodeType, Time};

/// Bytes of a block: everything is padded to that.
const BLOCK: usize = 512;
/// Largest number that the old header's fields for sizes and times, and for owners and devices, hold as text.
const NUMBER_MOST: u64 = 0o777_7777_7777;
const OWNER_MOST: u32 = 0o777_7777;

pub struct Tar<'o> {
    out: &'o mut dyn Write,
    /// It ends within the bytes of a file.
    is_within: bool,
}

/// Counts down the bytes of a file.
struct Counted<'o> {
    out: &'o mut dyn Write,
    left: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.left = self.left.saturating_sub(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Records of an entry, as they are written: length, name, value.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, name: &[u8], value: &[u8]) {
        // The length counts its own digits.
        let rest = name.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(&[name, b"=", value, b"\n"].concat());
    }
}

/// A time as records have it: seconds and nanoseconds, as one decimal number.
fn decimal(time: Time) -> String {
    match (time.seconds, time.nanos) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanos) if seconds >= 0 => format!("{seconds}.{nanos:09}"),
        (seconds, nanos) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    }
}

/// Puts bytes into a field of the header, or into a record where they do not fit.
fn put(field: &mut [u8], bytes: &[u8], name: &[u8], records: &mut Records) {
    let part = bytes.len().min(field.len());
    field[..part].copy_from_slice(&bytes[..part]);
    if part < bytes.len() {
        records.add(name, bytes);
    }
}

impl<'o> Tar<'o> {
    pub fn new(out: &'o mut dyn Write) -> Tar<'o> {
        Tar { out, is_within: false }
    }

    fn pad(&mut self, length: u64) -> Result<(), Failed> {
        let over = (length % BLOCK as u64) as usize;
        if over > 0 {
            self.out.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }

    fn records(&mut self, records: &Records) -> Result<(), Failed> {
        if records.0.is_empty() {
            return Ok(());
        }
        self.announce(records.0.len())?;
        self.out.write_all(&records.0)?;
        self.pad(records.0.len() as u64)
    }

    /// Writes the header of records of that many bytes.
    fn announce(&mut self, length: usize) -> Result<(), Failed> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_size(length as u64);
        if let Some(fields) = header.as_ustar_mut() {
            fields.name[..9].copy_from_slice(b"PaxHeader");
        }
        header.set_cksum();
        Ok(self.out.write_all(header.as_bytes())?)
    }
}

impl Archive for Tar<'_> {
    fn add(
        &mut self,
        path: &[u8],
        node: &Node,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        link: Option<&[u8]>,
        content: &mut dyn FnMut(&mut dyn Write) -> Result<(), Failed>,
    ) -> Result<Vec<String>, Failed> {
        let (mut header, mut records, mut lost) = (Header::new_ustar(), Records::default(), Vec::new());
        if node.device.0.max(node.device.1) > OWNER_MOST {
            return Ok(vec!["its device numbers are larger than an archive can hold".to_owned()]);
        }
        let has_content = node.kind == NodeType::File && link.is_none();
        let kind = match (node.kind, link) {
            (_, Some(_)) => EntryType::Link,
            (NodeType::Directory, _) => EntryType::Directory,
            (NodeType::Symlink, _) => EntryType::Symlink,
            (NodeType::Fifo, _) => EntryType::Fifo,
            (NodeType::CharacterDevice, _) => EntryType::Char,
            (NodeType::BlockDevice, _) => EntryType::Block,
            _ => EntryType::Regular,
        };
        header.set_entry_type(kind);
        header.set_mode(node.mode);
        let size = if has_content { node.size } else { 0 };
        header.set_size(size);
        if size > NUMBER_MOST {
            records.add(b"size", size.to_string().as_bytes());
        }
        for (name, id) in [("uid", node.uid), ("gid", node.gid)] {
            if id > OWNER_MOST {
                records.add(name.as_bytes(), id.to_string().as_bytes());
            }
        }
        header.set_uid(node.uid.into());
        header.set_gid(node.gid.into());
        let seconds = u64::try_from(node.mtime.seconds).unwrap_or(0);
        header.set_mtime(seconds.min(NUMBER_MOST));
        if node.mtime.nanos != 0 || node.mtime.seconds != seconds as i64 || seconds > NUMBER_MOST {
            records.add(b"mtime", decimal(node.mtime).as_bytes());
        }
        let mut name = path.to_vec();
        if node.kind == NodeType::Directory {
            name.push(b'/');
        }
        if let Some(fields) = header.as_ustar_mut() {
            put(&mut fields.name, &name, b"path", &mut records);
            let target = link.unwrap_or(&node.target);
            put(&mut fields.linkname, target, b"linkpath", &mut records);
            // These end with a zero.
            put(&mut fields.uname[..31], &node.user, b"uname", &mut records);
            put(&mut fields.gname[..31], &node.group, b"gname", &mut records);
        }
        if matches!(node.kind, NodeType::CharacterDevice | NodeType::BlockDevice) && link.is_none() {
            header.set_device_major(node.device.0)?;
            header.set_device_minor(node.device.1)?;
        }
        for (name, value) in xattrs.iter().filter(|_| link.is_none()) {
            match name.contains(&b'=') {
                // The name of a record ends at the first one.
                true => lost
                    .push(format!("attribute {}: an archive can not keep it", String::from_utf8_lossy(name))),
                false => records.add(&[b"SCHILY.xattr.", &**name].concat(), value),
            }
        }
        header.set_cksum();
        self.records(&records)?;
        self.out.write_all(header.as_bytes())?;
        if has_content {
            let mut counted = Counted { out: &mut *self.out, left: size };
            let written = content(&mut counted);
            self.is_within = counted.left > 0;
            if !self.is_within {
                self.pad(size)?;
            }
            written?;
        }
        Ok(lost)
    }

    fn knows_links(&self) -> bool {
        true
    }

    fn cut(&mut self) {
        // Those who read tar archives take one that stops between two entries for whole, though it lacks the end.
        if !self.is_within {
            let _ = self.announce(BLOCK);
        }
    }

    fn finish(self: Box<Self>) -> Result<(), Failed> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        for length in [1, 5, 6, 85, 86, 87, 88, 980, 985, 990, 995, 9990] {
            let mut records = Records::default();
            records.add(b"path", &vec![b'x'; length]);
            let text = String::from_utf8(records.0).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len(), "{length}");
        }
    }

    #[test]
    fn times_before_1970_are_negative_numbers() {
        for (time, expected) in [
            (Time::new(5, 0), "5"),
            (Time::new(5, 7), "5.000000007"),
            (Time::new(-1, 0), "-1"),
            (Time::new(-2, 500_000_000), "-1.500000000"),
            (Time::new(-1, 999_999_999), "-0.000000001"),
        ] {
            assert_eq!(decimal(time), expected);
        }
    }
}
