//! What people write: the command line, sizes, times, names, key files, patterns, `.gitignore` files.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use copal::backup::exclude::{IfPresent, IgnoreFile, is_cache_tag};
use copal::cli::arguments::{Arguments, wants_json};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::model::{Id, Id16, Time};
use copal::patterns::PatternsBuilder;
use copal::retention::Grouping;
use copal::retention::calendar::{Calendar, Span};
use copal::retention::policy::{Count, Tags};
use copal::terminal::escape::escape;
use copal::terminal::size::{parse_duration, parse_size, show_duration, show_size};
use copal::terminal::{json, time};

/// Longer patterns only cost time.
const TEXT_MAX: usize = 300;
const NOW: Time = Time { seconds: 1_793_710_805, nanos: 0 };

/// A command line, its words between zero bytes.
pub(super) fn arguments(data: &[u8]) -> bool {
    if data.len() > TEXT_MAX {
        return false;
    }
    let words = data.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let typed: Vec<OsString> = std::iter::once(OsString::from("copal")).chain(words).collect();
    let _ = wants_json(&typed);
    match Arguments::read(typed, &|_| None) {
        Ok(_) => true,
        Err(error) => {
            let _ = (error.to_string(), error.exit_code());
            false
        }
    }
}

pub(super) fn arguments_seeds() -> Vec<Vec<u8>> {
    let lines: [&[&str]; 9] = [
        &[
            "backup",
            "/home",
            "--exclude",
            "*.o",
            "--exclude-larger-than",
            "2G",
            "--tag",
            "a",
            "--compression",
            "max",
        ],
        &["restore", "latest:home", "-t", "/tmp/x", "--delete", "--overwrite", "never"],
        &["forget", "--keep-last", "3", "--keep-within", "1y2m3d4h", "--group-by", "host,paths", "--prune"],
        &["prune", "--grace", "0", "--max-unused", "5%", "--max-repack-size", "1.5GiB", "-n"],
        &["check", "--read-data-subset", "2/7"],
        &["check", "--read-data-subset", "5%", "--json"],
        &["ls", "latest~2:etc"],
        &["key", "add", "--new-key-file", "/k"],
        &["snapshots", "-r", "/srv/repository", "--password-file", "/p", "--cache-dir", "/c"],
    ];
    lines.iter().map(|words| words.join("\0").into_bytes()).collect()
}

/// One value; the first byte says of which kind.
pub(super) fn text(data: &[u8]) -> bool {
    let Some((kind, bytes)) = data.split_first() else { return false };
    let kind = kind % 12;
    if kind < 2 {
        return shown(kind, bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match kind {
        2 => parse_size(text).is_ok_and(|size| !show_size(size).is_empty()),
        3 => parse_duration(text).is_ok_and(|length| {
            assert_eq!(parse_duration(&show_duration(length)), Ok(length));
            true
        }),
        4 => time::parse(text, NOW).is_ok_and(|moment| {
            assert!(moment.start <= moment.last && moment.last.nanos < 1_000_000_000);
            for time in [moment.start, moment.last] {
                let _ = (time::show(time), time::iso(time), time::local_zone(time));
            }
            true
        }),
        5 => Span::parse(text).is_ok_and(|span| {
            assert!(span.is_zero() || Span::parse(&span.to_string()) == Ok(span));
            true
        }),
        6 => Count::parse(text).is_ok(),
        7 => Grouping::parse(text).is_ok(),
        8 => {
            let tags = Tags::parse(text);
            assert!(!tags.0.is_empty());
            let _ = tags.are_in(&[text.to_owned()]);
            true
        }
        9 => {
            // People may write capitals; storage never does.
            let same = |id: &dyn std::fmt::Display| assert_eq!(id.to_string(), text.to_ascii_lowercase());
            let short = Id16::parse(text).inspect(|id| same(id));
            let id = Id::parse(text).inspect(|id| same(id));
            short.is_some() || id.is_some()
        }
        10 => MasterKey::from_key_file(text).is_some_and(|key| {
            assert!(MasterKey::from_key_file(&key.to_key_file()) == Some(key));
            true
        }),
        _ => Level::parse(text).is_some() | Calendar::parse(text).is_ok(),
    }
}

/// What is shown of bytes that are not copal's own, and of any time.
fn shown(kind: u8, bytes: &[u8]) -> bool {
    if kind == 0 {
        let text = escape(bytes);
        assert!(!text.chars().any(char::is_control), "{text:?}");
        let line = json::encode("item", &std::collections::BTreeMap::from([("path", json::text(bytes))]));
        let line = String::from_utf8(line.expect("a line")).expect("JSON is text");
        assert!(
            line.ends_with('\n') && !line.trim_end_matches('\n').chars().any(char::is_control),
            "{line:?}"
        );
        let _ = (json::hex(bytes), is_cache_tag(bytes));
        return true;
    }
    let Some(seconds) = bytes.first_chunk() else { return false };
    let time = Time::new(i64::from_le_bytes(*seconds), 999_999_999);
    let _ = (time::show(time), time::iso(time), time::local_zone(time));
    true
}

pub(super) fn text_seeds() -> Vec<Vec<u8>> {
    let key = format!("# sheet\n{}", super::secret().to_key_file());
    let values: [(u8, &str); 16] = [
        (0, "a\u{1b}[31m\u{202e}\\n\n"),
        (1, "12345678"),
        (2, "1.5MiB"),
        (3, "1w2d3h4m5s6ms"),
        (4, "2026-11-01T14:00:05.5+01:00"),
        (4, "3 days ago"),
        (4, "2026-11-01 14:00"),
        (4, "yesterday"),
        (5, "2y5m7d3h"),
        (6, "unlimited"),
        (7, "host,paths,tags"),
        (8, "a,b,,c"),
        (9, "00112233445566778899aabbccddeeff"),
        (9, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        (10, &key),
        (11, "19"),
    ];
    values.iter().map(|(kind, text)| [&[*kind][..], text.as_bytes()].concat()).collect()
}

/// Lines of patterns, then a zero byte, then paths between zero bytes.
pub(super) fn patterns(data: &[u8]) -> bool {
    if data.len() > TEXT_MAX {
        return false;
    }
    let mut parts = data.split(|byte| *byte == 0);
    let lines = parts.next().unwrap_or_default();
    let mut builder = PatternsBuilder::new(Some(b"/home/ann"));
    if builder.add_lines(lines, data.len() % 2 == 1).is_err() {
        return false;
    }
    let Ok(patterns) = builder.build() else { return false };
    for path in parts {
        let absolute = [b"/", path].concat();
        for is_directory in [false, true] {
            let below = patterns.matches(&absolute, is_directory);
            // Whoever walks from the top sees the same, unless a folder above is matched already.
            assert!(below || !patterns.matches_entry(&absolute, is_directory));
        }
    }
    let idle = patterns.idle();
    assert!(idle.len() <= patterns.len());
    true
}

pub(super) fn patterns_seeds() -> Vec<Vec<u8>> {
    [
        "*.o\n!keep.o\n\0a/b.o\0keep.o",
        "/home/*/tmp/\n# no\n\n~/x\0home/ann/tmp\0home/ann/x",
        "**/a/**\n[a-z]?[!0-9]\\*\0x/a/y\0bc*",
        "~\nfoo/bar\n\\!x\n \\ \0foo/bar\0!x",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}

/// The text of a `.gitignore`, then a zero byte, then paths between zero bytes; also what marks a folder.
pub(super) fn ignore(data: &[u8]) -> bool {
    if data.len() > TEXT_MAX {
        return false;
    }
    let mut parts = data.split(|byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let _ = IfPresent::parse(text).map(|marker| {
        assert!(marker.is_marked_by(&text[marker.name().len()..]) || marker.content_length() > 0)
    });
    let (above, _) = IgnoreFile::read(b"/folder", text, None);
    let (file, skipped) = IgnoreFile::read(b"/folder/below", text, Some(above));
    for path in parts {
        let path = [b"/folder/below/", path].concat();
        let _ = (file.ignores(&path, false), file.ignores(&path, true));
    }
    skipped.is_empty()
}

pub(super) fn ignore_seeds() -> Vec<Vec<u8>> {
    [
        "*.o\n!keep.o\n/target/\n\0a.o\0keep.o\0target",
        "a/**/b\n\\#x\n[a-c]*\r\n \0a/x/b\0#x",
        ".nobackup:yes\0x",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
