//! What can be checked about the code without running it: imports point down, packages stay in their rooms, files are small and say what they are for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the ground up; a room may use the rooms of lower floors. As lib.rs and HOUSE say.
const FLOORS: &[&[&str]] = &[
    &["locks", "model", "network", "progress"],
    &["backend", "compress", "crypto", "files", "format", "index", "patterns", "terminal"],
    &["profile", "program", "repository"],
    &[
        "backup",
        "catalogue",
        "check",
        "diff",
        "doctor",
        "dump",
        "freeze",
        "guards",
        "hooks",
        "mount",
        "parity",
        "prune",
        "repair",
        "restore",
        "retention",
        "schedule",
    ],
    &["browse", "copy", "drill", "import", "notices", "run", "watch", "web"],
    &["cli"],
];

/// Imports that do not point down, with the reason for each. An entry that is not needed any more fails the test.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("model", "format", "a cutter's maximum is held to the format's limit, a constant"),
    ("crypto", "format", "the bounds of the password derivation are constants of the format"),
    (
        "files",
        "format",
        "which inode flags are kept and how long a target may be are constants of the format",
    ),
    ("format", "crypto", "objects are sealed: encoding and opening them needs keys"),
    ("format", "compress", "small objects are compressed before they are sealed"),
];

/// Packages, and calls that stand for one, with the rooms that may name them.
const FENCES: &[(&str, &[&str])] = &[
    ("rusqlite", &["index"]),
    ("reed_solomon_simd", &["format"]),
    ("zstd", &["compress"]),
    ("chacha20poly1305", &["crypto"]),
    ("x25519_dalek", &["crypto"]),
    ("ed25519_dalek", &["crypto"]),
    ("argon2", &["crypto"]),
    ("fuser", &["mount"]),
    ("httparse", &["web"]),
    ("ureq", &["network", "backend", "notices"]),
    // The crypto of ureq's TLS is chosen by it, nothing more.
    ("rustls", &["network"]),
    ("rustls_native_certs", &["network"]),
    ("rusty_s3", &["backend"]),
    ("quick_xml", &["backend"]),
    ("sha2", &["backend"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("similar", &["diff"]),
    ("strsim", &["profile"]),
    ("toml", &["profile"]),
    ("ratatui", &["browse"]),
    // It comes with ratatui, which says in what version.
    ("crossterm", &[]),
    ("tar", &["dump"]),
    ("zip", &["dump"]),
    ("notify", &[]),
];

/// Globs that are allowed, with the reason for each.
const GLOBS: &[(&str, &str)] = &[
    ("rayon::prelude::*", "traits alone, meant to be taken like this; their names would say nothing"),
    ("NodeType::*", "the variants of one enum, inside the one function that lists them all"),
];

/// Where the system is asked for the time.
const CLOCK: &str = "model/clock.rs";

/// Lines that a file has at most.
const LINES_MOST: usize = 400;
/// Files that may be longer, with their bound; to be split when there is a reason to change much in them.
const LONG: &[(&str, usize)] = &[];

struct Source {
    /// Below src/.
    path: String,
    text: String,
    /// The text without tests, comments and the insides of string literals.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// Number and text of each line of code.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(number, line)| (number + 1, line))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Blanks comments and the insides of strings and characters; lines stay where they are.
fn without_words(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut place = 0;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    while place < bytes.len() {
        let rest = &text[place..];
        let after_word = place > 0 && is_word(bytes[place - 1]);
        let raw = rest.strip_prefix('b').filter(|_| !after_word).unwrap_or(rest);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if raw.starts_with("r\"")
            || raw.starts_with("r#") && raw[1..].trim_start_matches('#').starts_with('"') && !after_word
        {
            let fence = raw[1..].len() - raw[1..].trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(fence));
            let begin = rest.len() - raw.len() + 2 + fence;
            rest[begin..].find(&end).map_or(rest.len(), |found| begin + found + end.len())
        } else if rest.starts_with('"') {
            let mut end = 1;
            while end < rest.len() && rest.as_bytes()[end] != b'"' {
                end += if rest.as_bytes()[end] == b'\\' { 2 } else { 1 };
            }
            end + 1
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            escaped.find('\'').map_or(1, |end| end + 3)
        } else if rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
            rest.char_indices().nth(3).map_or(rest.len(), |(end, _)| end)
        } else {
            let length = rest.chars().next().unwrap().len_utf8();
            out.push_str(&rest[..length]);
            place += length;
            continue;
        };
        let length = length.min(rest.len());
        out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        place += length;
    }
    out
}

/// Blanks every item that stands under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..start]);
        let after = &rest[start..];
        let (mut depth, mut end) = (0usize, after.len());
        for (place, c) in after.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => {
                    end = place + 1;
                    break;
                }
                '}' => depth -= 1,
                ';' if depth == 0 => {
                    end = place + 1;
                    break;
                }
                _ => {}
            }
        }
        out.extend(after[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &after[end..];
    }
    out + rest
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&folder(), &mut paths);
    paths.sort();
    assert!(paths.len() > 50, "the source is there");
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let code = without_tests(&without_words(&text));
            Source { path: path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned(), text, code }
        })
        .collect()
}

/// The program's own sources: no test files.
fn program() -> Vec<Source> {
    sources().into_iter().filter(|source| !source.is_test()).collect()
}

fn report(wrong: Vec<String>, rule: &str) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The modules that lib.rs makes, in its order.
fn modules() -> Vec<String> {
    let lib = fs::read_to_string(folder().join("lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// Rooms that a file names by `crate::`, also inside braces, or by going up with `super::` out of its own room.
fn rooms_named(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let depth = source.path.matches('/').count() + usize::from(!source.path.ends_with("/mod.rs"));
    let line_of = |place: usize| source.code[..place].matches('\n').count() + 1;
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut take = |place: usize, rest: &str| {
        if let Some(list) = rest.strip_prefix('{') {
            let mut nesting = 0;
            let mut begins = true;
            for (offset, c) in list.char_indices() {
                match c {
                    '{' => nesting += 1,
                    '}' if nesting == 0 => break,
                    '}' => nesting -= 1,
                    ',' if nesting == 0 => begins = true,
                    c if begins && c.is_alphabetic() => {
                        found.push((line_of(place), word(&list[offset..])));
                        begins = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push((line_of(place), word(rest)));
        }
    };
    for (place, _) in source.code.match_indices("crate::") {
        take(place, &source.code[place + "crate::".len()..]);
    }
    // `super` once for each folder, and once more for the file: that is the root.
    let up = "super::".repeat(depth);
    for (place, _) in source.code.match_indices(&up) {
        let before = source.code[..place].ends_with("super::");
        let rest = &source.code[place + up.len()..];
        if !up.is_empty() && !before && !rest.starts_with("super::") {
            take(place, rest);
        }
    }
    found
}

#[test]
fn lib_rs_lists_the_rooms_in_the_order_of_the_floors() {
    let listed = modules();
    let floors: Vec<Option<usize>> = listed.iter().map(|room| floor(room)).collect();
    assert!(floors.iter().all(Option::is_some), "a room of lib.rs has no floor in this test: {listed:?}");
    assert!(floors.is_sorted(), "lib.rs is not in the order of the floors: {listed:?}");
    let all: BTreeSet<&str> = FLOORS.iter().flat_map(|rooms| rooms.iter().copied()).collect();
    assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), all);
}

#[test]
fn imports_point_down_but_for_the_stated_exceptions() {
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for source in program() {
        let Some(own) = floor(source.room()) else { continue };
        for (line, room) in rooms_named(&source) {
            if room == source.room() {
                continue;
            }
            let Some(other) = floor(&room) else { continue };
            if other < own {
                continue;
            }
            match EXCEPTIONS.iter().position(|(from, to, _)| *from == source.room() && *to == room) {
                Some(number) => {
                    needed.insert(number);
                }
                None => wrong.push(format!("src/{}:{line} uses {room}", source.path)),
            }
        }
    }
    report(wrong, "imports that do not point down");
    let idle: Vec<String> = (0..EXCEPTIONS.len())
        .filter(|number| !needed.contains(number))
        .map(|number| format!("{:?}", EXCEPTIONS[number]))
        .collect();
    report(idle, "exceptions that nothing needs any more");
}

#[test]
fn exceptions_make_no_circles_except_for_constants() {
    // What floor 1 and 2 rooms take from `format` upwards must be constants: its `limits`, nothing else.
    let mut wrong = Vec::new();
    for source in program() {
        if !EXCEPTIONS.iter().any(|(from, to, _)| *from == source.room() && *to == "format") {
            continue;
        }
        for (number, line) in source.lines() {
            for (place, _) in line.match_indices("crate::format::") {
                if !line[place + "crate::format::".len()..].starts_with("limits::") {
                    wrong.push(format!("src/{}:{number} {}", source.path, line.trim()));
                }
            }
        }
    }
    report(wrong, "more than constants of the format are used from below");
}

#[test]
fn nothing_imports_everything_of_another_place() {
    let mut wrong = Vec::new();
    for source in program() {
        for (number, line) in source.lines() {
            if line.contains("::*") {
                wrong.push(format!("src/{}:{number} {}", source.path, line.trim()));
            }
        }
    }
    let allowed = |line: &String| GLOBS.iter().any(|(glob, _)| line.ends_with(&format!("use {glob};")));
    report(wrong.into_iter().filter(|line| !allowed(line)).collect(), "globs outside tests");
}

#[test]
fn every_package_stays_in_its_room() {
    let mut wrong = Vec::new();
    for source in program() {
        for (package, rooms) in FENCES {
            if rooms.contains(&source.room()) {
                continue;
            }
            for (number, line) in source.lines() {
                let named = line.match_indices(package).any(|(place, _)| {
                    let before = line[..place].chars().next_back();
                    let after = &line[place + package.len()..];
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    !before.is_some_and(|c| is_word(c) || c == ':' || c == '.')
                        && (after.starts_with("::") || line.trim() == format!("use {package};"))
                });
                if named {
                    wrong.push(format!("src/{}:{number} names {package}", source.path));
                }
            }
        }
    }
    report(wrong, "packages outside their rooms");
}

#[test]
fn the_fenced_packages_are_those_of_the_manifest() {
    let manifest = fs::read_to_string(folder().join("../Cargo.toml")).unwrap();
    for (package, rooms) in FENCES {
        let named =
            manifest.lines().any(|line| line.split([' ', '=']).next().unwrap().replace('-', "_") == *package);
        assert_eq!(named, !rooms.is_empty(), "{package}: the fence and Cargo.toml disagree");
    }
}

#[test]
fn only_the_clock_asks_the_system_for_the_time() {
    let mut wrong = Vec::new();
    for source in program().iter().filter(|source| source.path != CLOCK) {
        for (number, line) in source.lines() {
            if line.contains("SystemTime::now")
                || line.contains("UNIX_EPOCH.elapsed")
                || line.contains("Timestamp::now")
                || line.contains("Zoned::now")
            {
                wrong.push(format!("src/{}:{number} {}", source.path, line.trim()));
            }
        }
    }
    report(wrong, "the time is asked for outside model/clock.rs");
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let wrong = sources().into_iter().filter(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        first.strip_prefix("//! ").is_none_or(|words| words.len() < 15)
    });
    report(
        wrong.map(|source| format!("src/{}", source.path)).collect(),
        "files that do not open with `//!` and a purpose",
    );
}

#[test]
fn nothing_panics_on_purpose_outside_tests() {
    let mut wrong = Vec::new();
    for source in program() {
        for (number, line) in source.lines() {
            for word in [
                ".unwrap()",
                ".expect(",
                "panic!(",
                "todo!(",
                "unimplemented!(",
                "unreachable!(",
                ".unwrap_err()",
            ] {
                // The wrapper that fails on purpose does.
                if line.contains(word) && source.path != "backend/fault.rs" {
                    wrong.push(format!("src/{}:{number} {word} in {}", source.path, line.trim()));
                }
            }
        }
    }
    report(wrong, "panics outside tests");
}

#[test]
fn files_are_small_but_for_the_named_ones() {
    let bounds: BTreeMap<&str, usize> = LONG.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        match bounds.get(source.path.as_str()) {
            Some(bound) if lines > *bound => wrong.push(format!("src/{} grew to {lines} lines", source.path)),
            Some(_) if lines <= LINES_MOST => {
                wrong.push(format!("src/{} has {lines} lines and needs no exception", source.path))
            }
            None if lines > LINES_MOST => wrong.push(format!("src/{} has {lines} lines", source.path)),
            _ => {}
        }
    }
    report(wrong, "files longer than they may be");
}

#[test]
fn every_room_stands_in_the_page_on_architecture() {
    let page = folder().join("../docs/architecture.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("docs/architecture.md: {error}"));
    let wrong = modules().into_iter().filter(|room| {
        !text.contains(&format!("`{room}`"))
            && !text.contains(&format!("`{room}/`"))
            && !text.contains(&format!("`{room}.rs`"))
    });
    report(wrong.collect(), "rooms that docs/architecture.md does not name (in back quotes)");
}

#[test]
fn this_test_can_see_what_it_looks_for() {
    let code = without_tests(&without_words(
        "use crate::format::{a, b}; // crate::cli::x\nlet a = \"crate::cli\"; let c = '\"'; let d = b'\\'';\n#[cfg(test)]\nmod tests { fn x() { y.unwrap(); } }\nlet z = r#\"panic!(\"#; q.expect(1);",
    ));
    assert!(
        !code.contains("cli")
            && !code.contains("unwrap")
            && !code.contains("panic!")
            && code.contains(".expect("),
        "{code}"
    );
    assert_eq!(code.lines().count(), 5);
    let source =
        |path: &str, text: &str| Source { path: path.to_owned(), text: String::new(), code: text.to_owned() };
    let rooms = |path: &str, text: &str| {
        rooms_named(&source(path, text)).into_iter().map(|(_, room)| room).collect::<Vec<_>>()
    };
    assert_eq!(
        rooms("index/mod.rs", "use crate::{model::{Id, Time}, cli};\nuse crate::format;"),
        ["model", "cli", "format"]
    );
    assert_eq!(rooms("index/packs.rs", "use super::super::cli::x; use super::schema;"), ["cli"]);
    assert_eq!(rooms("index/mod.rs", "use super::cli;"), ["cli"]);
    assert_eq!(rooms("check.rs", "use super::cli; use crate::backup;"), ["backup", "cli"]);
    assert_eq!(floor("cli"), Some(5));
}
