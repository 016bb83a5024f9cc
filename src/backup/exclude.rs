//! What a backup leaves out: patterns, `.gitignore` files, caches that say so (`CACHEDIR.TAG`), folders that hold a marker, large files. Decides; reads nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::patterns::Patterns;

/// The file name that marks a cache folder, <https://bford.info/cachedir/>.
pub const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";
/// What that file begins with.
const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// The file name that `--git-ignore` looks for in each folder.
pub const GIT_IGNORE_NAME: &[u8] = b".gitignore";

/// Whether a file named `CACHEDIR.TAG` that begins with `first_bytes` (43 are enough) marks its folder as a cache.
pub fn is_cache_tag(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(CACHE_TAG_SIGNATURE)
}

/// `--exclude-if-present NAME[:CONTENT]`: a folder is left out when it holds a file of that name (that begins with CONTENT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfPresent {
    name: Vec<u8>,
    content: Vec<u8>,
}

impl IfPresent {
    /// Reads `NAME` or `NAME:CONTENT`.
    pub fn parse(text: &[u8]) -> Result<IfPresent, &'static str> {
        let (name, content) = match text.iter().position(|byte| *byte == b':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &b""[..]),
        };
        match name {
            b"" | b"." | b".." => Err("a file name is needed before the colon"),
            _ if name.contains(&b'/') => Err("a file name is needed, not a path"),
            _ => Ok(IfPresent { name: name.to_vec(), content: content.to_vec() }),
        }
    }

    /// The name of the marking file.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many of the file's first bytes decide; 0 when its being there is enough.
    pub fn content_length(&self) -> usize {
        self.content.len()
    }

    /// Whether a file that begins with `first_bytes` marks its folder.
    pub fn is_marked_by(&self, first_bytes: &[u8]) -> bool {
        first_bytes.starts_with(&self.content)
    }
}

/// Everything that leaves entries out, as asked for on the command line.
#[derive(Clone, Debug)]
pub struct Excludes {
    /// `--exclude`, `--iexclude`, `--exclude-file`.
    pub patterns: Patterns,
    /// `--exclude-if-present`.
    pub if_present: Vec<IfPresent>,
    /// `--exclude-caches`.
    pub caches: bool,
    /// `--exclude-larger-than`, in bytes.
    pub larger_than: Option<u64>,
    /// `--git-ignore`.
    pub git_ignore: bool,
}

impl Default for Excludes {
    /// Nothing is left out.
    fn default() -> Excludes {
        Excludes {
            patterns: Patterns::none(),
            if_present: Vec::new(),
            caches: false,
            larger_than: None,
            git_ignore: false,
        }
    }
}

impl Excludes {
    /// Whether the patterns leave out `path` (absolute) or a folder that it lies in.
    pub fn excluded(&self, path: &[u8], is_directory: bool) -> bool {
        self.patterns.matches(path, is_directory)
    }

    /// The same for a walk from the top that never enters an excluded folder; faster.
    pub fn excluded_entry(&self, path: &[u8], is_directory: bool) -> bool {
        self.patterns.matches_entry(path, is_directory)
    }

    /// Whether a regular file of that size is left out.
    pub fn too_large(&self, size: u64) -> bool {
        self.larger_than.is_some_and(|most| size > most)
    }

    /// Whether an entry of that name can mark its folder to be left out.
    pub fn is_marker(&self, name: &[u8]) -> bool {
        self.caches && name == CACHE_TAG_NAME || self.if_present.iter().any(|marker| marker.name == name)
    }

    /// Whether a folder's entries have to be looked through for markers before any of them is saved.
    pub fn looks_for_markers(&self) -> bool {
        self.caches || self.git_ignore || !self.if_present.is_empty()
    }

    /// Bytes that are equal exactly when the same entries are left out, for the key of a cache (the texts of `.gitignore` files apart).
    pub fn digest_input(&self) -> Vec<u8> {
        let mut out =
            vec![1, u8::from(self.caches), u8::from(self.git_ignore), u8::from(self.larger_than.is_some())];
        out.extend(self.larger_than.unwrap_or(0).to_le_bytes());
        out.extend((self.if_present.len() as u64).to_le_bytes());
        for marker in &self.if_present {
            for part in [&marker.name, &marker.content] {
                out.extend((part.len() as u64).to_le_bytes());
                out.extend(part);
            }
        }
        out.extend(self.patterns.digest_input());
        out
    }
}

/// The rules of one folder's `.gitignore` and, behind them, those of the folders above.
#[derive(Debug)]
pub struct IgnoreFile {
    rules: Gitignore,
    above: Option<Arc<IgnoreFile>>,
}

impl IgnoreFile {
    /// Reads the text of `folder`'s `.gitignore`; `above` is what holds for the folder itself. Lines that git itself could not
    /// use are skipped and returned, numbered from 1.
    pub fn read(folder: &[u8], text: &[u8], above: Option<Arc<IgnoreFile>>) -> (Arc<IgnoreFile>, Vec<usize>) {
        let mut builder = GitignoreBuilder::new(as_path(folder));
        let mut skipped = Vec::new();
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let added = std::str::from_utf8(line).is_ok_and(|line| builder.add_line(None, line).is_ok());
            if !added {
                skipped.push(at + 1);
            }
        }
        // Each line was compiled by itself above; all together fail only by size, and then nothing is ignored.
        let rules = builder.build().unwrap_or_else(|_| {
            skipped.push(0);
            Gitignore::empty()
        });
        (Arc::new(IgnoreFile { rules, above }), skipped)
    }

    /// Whether the rules ignore `path` (absolute, below the folder); the nearest file that says anything counts. For a walk from
    /// the top that never enters an ignored folder.
    pub fn ignores(&self, path: &[u8], is_directory: bool) -> bool {
        let mut next = Some(self);
        while let Some(file) = next {
            match file.rules.matched(as_path(path), is_directory) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => next = file.above.as_deref(),
            }
        }
        false
    }
}

/// Bytes as the path they are.
fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns::PatternsBuilder;

    fn with_patterns(list: &[&str]) -> Excludes {
        let mut builder = PatternsBuilder::new(None);
        for pattern in list {
            builder.add(pattern.as_bytes(), false).unwrap();
        }
        Excludes { patterns: builder.build().unwrap(), ..Excludes::default() }
    }

    #[test]
    fn nothing_is_left_out_by_default() {
        let excludes = Excludes::default();
        assert!(!excludes.excluded(b"/a", true) && !excludes.excluded_entry(b"/a", false));
        assert!(!excludes.too_large(u64::MAX) && !excludes.looks_for_markers());
    }

    #[test]
    fn patterns_leave_out_what_lies_below_too() {
        let excludes = with_patterns(&["node_modules"]);
        assert!(excludes.excluded(b"/p/node_modules/x/y.js", false));
        assert!(excludes.excluded_entry(b"/p/node_modules", true));
    }

    #[test]
    fn markers_are_read_and_matched() {
        let named = IfPresent::parse(b".nobackup").unwrap();
        assert!(named.is_marked_by(b"") && named.content_length() == 0 && named.name() == b".nobackup");
        let holding = IfPresent::parse(b"tag:yes: really").unwrap();
        assert!(holding.is_marked_by(b"yes: really\n") && !holding.is_marked_by(b"yes"));
        assert_eq!(holding.content_length(), 11);
        for wrong in [&b""[..], b":x", b"a/b", b".."] {
            assert!(IfPresent::parse(wrong).is_err());
        }
        assert!(is_cache_tag(b"Signature: 8a477f597d28d172789f06886806bc55\n# by x"));
        assert!(!is_cache_tag(b"Signature: 8a477f597d28d172789f06886806bc5"));
    }

    #[test]
    fn git_ignore_files_are_relative_and_the_nearest_counts() {
        let (top, skipped) = IgnoreFile::read(b"/p", b"# comment\n*.o\n/build\ntarget/\n!keep.o\r\n", None);
        assert!(skipped.is_empty());
        for (path, is_directory, expected) in [
            (&b"/p/a.o"[..], false, true),
            (b"/p/s/a.o", false, true),
            (b"/p/keep.o", false, false),
            (b"/p/build", false, true),
            (b"/p/s/build", false, false),
            (b"/p/target", false, false),
            (b"/p/s/target", true, true),
            (b"/p/\xff.o", false, true),
        ] {
            assert_eq!(top.ignores(path, is_directory), expected, "{}", path.escape_ascii());
        }
        let (below, _) = IgnoreFile::read(b"/p/s", b"!a.o\n/build\n", Some(top));
        assert!(!below.ignores(b"/p/s/a.o", false) && below.ignores(b"/p/s/b.o", false));
        assert!(below.ignores(b"/p/s/build", true) && below.ignores(b"/p/s/t/target", true));
    }

    #[test]
    fn lines_that_git_ignore_cannot_hold_are_skipped_and_numbered() {
        let (file, skipped) = IgnoreFile::read(b"/p", b"a\n\xff\n[z-a]\nb\n", None);
        assert_eq!(skipped, [2, 3]);
        assert!(file.ignores(b"/p/a", false) && file.ignores(b"/p/b", false));
    }

    #[test]
    fn digest_input_changes_with_every_part() {
        let marked = |text: &[u8]| Excludes {
            if_present: vec![IfPresent::parse(text).unwrap()],
            ..Excludes::default()
        };
        let all = [
            Excludes::default(),
            with_patterns(&["a"]),
            with_patterns(&["a", "b"]),
            marked(b"a"),
            marked(b"a:b"),
            Excludes { caches: true, ..Excludes::default() },
            Excludes { git_ignore: true, ..Excludes::default() },
            Excludes { larger_than: Some(0), ..Excludes::default() },
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.digest_input(), other.digest_input());
            }
        }
    }
}
