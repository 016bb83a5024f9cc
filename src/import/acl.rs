//! Access lists: from the text of other programs to the attribute in which Linux keeps them.

use std::collections::BTreeMap;

use crate::model::Node;

/// Names of the attributes that hold them: for the entry itself, and for what is made in a folder.
pub const NAMES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Entries of one list that are taken.
const ENTRIES_MOST: usize = 4096;

/// The bytes of the attribute for a list such as `user::rw-,user:ann:r--:1001,group::r--,mask::r--,other::---`, with commas or line ends
/// between. Whose entry it is must be said by number, in its own place or after a name. None when that makes no sense.
pub fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for line in text.split([',', '\n']) {
        // What stands after it is a remark.
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut fields = line.split(':').map(str::trim);
        let (tag, whose, rights) = (fields.next()?, fields.next()?, fields.next()?);
        let number = fields.next().filter(|number| !number.is_empty());
        let whose = match (whose, number) {
            ("", None) => None,
            (_, Some(number)) | (number, None) => Some(number.parse::<u32>().ok()?),
        };
        let (tag, id) = match (tag, whose) {
            ("user" | "u", None) => (0x01, u32::MAX),
            ("user" | "u", Some(id)) => (0x02, id),
            ("group" | "g", None) => (0x04, u32::MAX),
            ("group" | "g", Some(id)) => (0x08, id),
            ("mask" | "m", None) => (0x10, u32::MAX),
            ("other" | "o", None) => (0x20, u32::MAX),
            _ => return None,
        };
        let mut bits = 0;
        for right in rights.bytes() {
            bits |= match right {
                b'r' => 4,
                b'w' => 2,
                b'x' => 1,
                b'-' => 0,
                _ => return None,
            };
        }
        entries.push((tag, id, bits));
    }
    // The kernel has them in this order.
    entries.sort_unstable();
    if entries.is_empty() || entries.len() > ENTRIES_MOST {
        return None;
    }
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, id, bits) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Some(bytes)
}

/// Adds a list of rights as the attribute that it is; one that can not be read is named as unread.
pub fn add_acl(node: &mut Node, attributes: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: &[u8], text: &[u8]) {
    match bytes(text) {
        Some(bytes) => drop(attributes.insert(name.to_vec(), bytes)),
        None => node.unread.push(format!("attribute {}", String::from_utf8_lossy(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_give_the_bytes_of_the_system() {
        // As Linux gave them for this list.
        let expected = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x05\0\x67\x12\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
        for text in [
            "user::rwx\nuser:4711:r-x\ngroup::r-x\nmask::r-x\nother::r-x\n",
            "user::rwx\nuser:ann:r-x:4711\ngroup::r-x\nmask::r-x\nother::r-x",
            "other::r-x,mask::rx,user:4711:r-x #effective:r-x,group::r-x,user::rwx",
        ] {
            assert_eq!(bytes(text.as_bytes()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_none() {
        for text in ["", "user", "user::rwz", "user:ann:r-x", "who::r--", "mask:5:r--", "\u{e9}", "user:-1:r"]
        {
            assert_eq!(bytes(text.as_bytes()), None, "{text}");
        }
    }
}
