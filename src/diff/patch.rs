//! What differs between two texts, line by line, as `patch` reads it.

use std::io::Write;
use std::time::Duration;

use similar::TextDiff;

use crate::model::Content;
use crate::repository::{Error, Repository};
use crate::terminal::escape::escape;

/// Longest file of which a patch is made, bytes: both are held, with a word or so for each line.
pub const SIZE_MOST: u64 = 8 << 20;
/// Bytes at the beginning in which a NUL says that a file is no text.
const LOOKED_AT: usize = 8000;
/// How long the shortest patch is looked for; then a longer one will do.
const SEARCH: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patch {
    Same,
    /// One of them is no text.
    Binary,
    Text(Vec<u8>),
}

/// The bytes of a stored file. Errors: of the repository; `Refused` when it is longer than `SIZE_MOST`.
pub fn read(repository: &Repository, content: &Content, size: u64) -> Result<Vec<u8>, Error> {
    if size > SIZE_MOST {
        return Err(Error::Refused(too_long(size)));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    repository.pour(content, size, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// Why no patch is made of a file.
pub fn too_long(size: u64) -> String {
    use crate::terminal::size::show_size;
    format!("it is {} long; patches are made of files up to {}", show_size(size), show_size(SIZE_MOST))
}

/// The patch that makes `after` of `before`, with those names in its head.
pub fn patch(before: &[u8], after: &[u8], names: [&[u8]; 2]) -> Result<Patch, std::io::Error> {
    if before == after {
        return Ok(Patch::Same);
    }
    let is_binary = |bytes: &[u8]| bytes[..bytes.len().min(LOOKED_AT)].contains(&0);
    if is_binary(before) || is_binary(after) {
        return Ok(Patch::Binary);
    }
    let mut out = Vec::new();
    writeln!(out, "--- {}", escape(names[0]))?;
    writeln!(out, "+++ {}", escape(names[1]))?;
    // A line ends with a newline and nothing else, as `patch` has it.
    let lines = |text| <[u8]>::split_inclusive(text, |byte| *byte == b'\n').collect::<Vec<_>>();
    let (before, after) = (lines(before), lines(after));
    let diff = TextDiff::configure().timeout(SEARCH).newline_terminated(true).diff_slices(&before, &after);
    let unified = diff.unified_diff();
    // One by one: as a whole, bytes that are not UTF-8 would be written as something else.
    for hunk in unified.iter_hunks() {
        hunk.to_writer(&mut out)?;
    }
    Ok(Patch::Text(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_the_lines_that_differ() {
        let text = |before: &[u8], after: &[u8]| match patch(before, after, [b"a/x", b"b/x\n"]).unwrap() {
            Patch::Text(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(b"one\ntwo\nthree\n", b"one\n2\nthree\nfour"),
            "--- a/x\n+++ b/x\\n\n@@ -1,3 +1,4 @@\n one\n-two\n+2\n three\n+four\n\\ No newline at end of file\n"
        );
        assert_eq!(text(b"", b"x\n"), "--- a/x\n+++ b/x\\n\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(patch(b"a\0", b"b", [b"a", b"b"]).unwrap(), Patch::Binary);
        assert_eq!(patch(b"a\0", b"a\0", [b"a", b"b"]).unwrap(), Patch::Same);
        assert!(matches!(patch(b"caf\xe9\n", b"caf\xe8\n", [b"a", b"b"]).unwrap(), Patch::Text(text)
            if text.ends_with(b"-caf\xe9\n+caf\xe8\n")));
        assert!(text(b"a\rb\nc\n", b"a\rd\nc\n").ends_with("@@ -1,2 +1,2 @@\n-a\rb\n+a\rd\n c\n"));
    }
}
