//! What is mounted at, above and below the sources: a mount or unmount changes what a folder is, and no folder tells that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};

/// The mounts of this process.
const LIST: &str = "/proc/self/mountinfo";

/// The list of mounts, kept open: the system tells on it when it changes.
pub struct Mounts {
    file: Option<File>,
    /// Those that matter.
    now: BTreeSet<Vec<u8>>,
}

impl Mounts {
    pub fn new() -> Mounts {
        Mounts { file: File::open(LIST).ok(), now: BTreeSet::new() }
    }

    /// What to wait on; none where the system has no such list.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Reads the list again; whether what matters differs from the time before.
    pub fn changed(&mut self, sources: &[Vec<u8>]) -> bool {
        let mut text = Vec::new();
        if let Some(file) = &mut self.file
            && (file.rewind().is_err() || file.read_to_end(&mut text).is_err())
        {
            return true;
        }
        let now = relevant(&text, sources);
        let differs = now != self.now;
        self.now = now;
        differs
    }
}

/// The mounts at, above and below the sources: number, device, what of it is mounted, and where.
fn relevant(text: &[u8], sources: &[Vec<u8>]) -> BTreeSet<Vec<u8>> {
    let is_in = |path: &[u8], above: &[u8]| {
        let above = above.strip_suffix(b"/").unwrap_or(above);
        path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    let mut found = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').take(5).collect();
        let [number, _, device, root, place] = fields[..] else { continue };
        let place = unescaped(place);
        if sources.iter().any(|source| is_in(&place, source) || is_in(source, &place)) {
            found.insert([number, device, root, &place].join(&b' '));
        }
    }
    found
}

/// A path as it is, of one in which blanks are written as `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                rest = &after[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 22 0:5 / /proc rw - proc proc rw\n\
        31 22 8:1 / /home/ann\\040b/disk rw - ext4 /dev/sda1 rw\n\
        32 22 8:2 /sub /home rw shared:1 - btrfs /dev/sdb rw\n";

    #[test]
    fn mounts_at_above_and_below_the_sources_matter() {
        let places = |source: &str| {
            let list = relevant(LIST, &[source.as_bytes().to_vec()]);
            list.iter().map(|line| String::from_utf8(line.clone()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(places("/home/ann b"), ["22 254:0 / /", "31 8:1 / /home/ann b/disk", "32 8:2 /sub /home"]);
        assert_eq!(places("/home/ann"), ["22 254:0 / /", "32 8:2 /sub /home"]);
        assert_eq!(places("/var"), ["22 254:0 / /"]);
        assert_eq!(places("/").len(), 4);
    }

    #[test]
    fn the_list_of_this_system_is_read_and_stays_the_same() {
        let mut mounts = Mounts::new();
        assert!(mounts.changed(&[b"/".to_vec()]), "there is something at /");
        assert!(!mounts.changed(&[b"/".to_vec()]));
    }
}
