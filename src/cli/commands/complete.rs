//! What a shell offers while a command is typed: snapshots, and paths in them. In bounded time, silently, and without asking anybody.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::mpsc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::arguments::{Arguments, Global};
use crate::cli::context::{Context, absolute};
use crate::cli::{environment, paths, select};
use crate::model::{Id, NodeType};
use crate::repository::Repository;
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::json::Output;

/// The variable that holds what is typed so far, up to the cursor.
pub const VARIABLE: &str = "COPAL_COMPLETE_LINE";
/// How long a person waits for an offer at most.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Most offers.
const OFFERS: usize = 500;

/// Commands whose arguments are snapshots, and whether a path may follow.
pub const COMMANDS: [(&str, bool); 13] = [
    ("ls", true),
    ("diff", true),
    ("dump", true),
    ("cat", true),
    ("restore", true),
    ("snapshots", false),
    ("drill", false),
    ("stats", false),
    ("forget", false),
    ("tag", false),
    ("protect", false),
    ("unprotect", false),
    ("undelete", false),
];

/// Writes what is offered for the word that a command line ends with, a zero behind each: names may hold anything else. Whatever goes
/// wrong, there is just nothing to offer.
pub fn run(line: &OsString) {
    let line = line.as_bytes().to_vec();
    let (done, offers) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(crate::repository::caught(|| Ok(offer(&words(&line)))).ok().flatten());
    });
    // What takes longer is given up with the process.
    if let Ok(Some(offers)) = offers.recv_timeout(PATIENCE) {
        let text: Vec<u8> =
            offers.into_iter().take(OFFERS).flat_map(|offer| [offer, vec![0]].concat()).collect();
        let _ = Output::stdout().write(text);
    }
}

/// The words of a command line as a shell takes them, the last one unfinished; empty when a new one begins.
fn words(line: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut quote, mut has_word) = (Vec::new(), Vec::new(), None, false);
    let mut bytes = line.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', None | Some(b'"')) => {
                word.extend(bytes.next());
                has_word = true;
            }
            (byte, Some(end)) if byte == end => quote = None,
            (byte, Some(_)) => word.push(byte),
            (b'$', None) if bytes.as_slice().first() == Some(&b'\'') => {
                bytes.next();
                word.extend(with_escapes(&mut bytes));
                has_word = true;
            }
            (b'\'' | b'"', None) => (quote, has_word) = (Some(byte), true),
            (b' ' | b'\t' | b'\n', None) => {
                if has_word {
                    words.push(std::mem::take(&mut word));
                }
                has_word = false;
            }
            (byte, None) => {
                word.push(byte);
                has_word = true;
            }
        }
    }
    words.push(word);
    words
}

/// What stands in `$'...'` of bash and zsh up to its end, which is taken too.
fn with_escapes(bytes: &mut std::slice::Iter<'_, u8>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(&byte) = bytes.next() {
        let escaped = match byte {
            b'\'' => break,
            b'\\' => bytes.next().copied(),
            byte => {
                out.push(byte);
                continue;
            }
        };
        let mut digits = |most: usize, base: u32, begin: u32| {
            let rest = bytes.as_slice().iter().take(most);
            let values = rest.map_while(|byte| char::from(*byte).to_digit(base)).collect::<Vec<_>>();
            bytes.by_ref().take(values.len()).for_each(drop);
            values.iter().fold(begin, |value, digit| value * base + digit) as u8
        };
        match escaped {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'a') => out.push(7),
            Some(b'b') => out.push(8),
            Some(b'v') => out.push(11),
            Some(b'f') => out.push(12),
            Some(b'e' | b'E') => out.push(27),
            Some(b'x') => out.push(digits(2, 16, 0)),
            Some(digit @ b'0'..=b'7') => out.push(digits(2, 8, u32::from(digit - b'0'))),
            other => out.extend(other),
        }
    }
    out
}

/// Whether a word of that command is an option whose value follows.
fn takes_value(tree: &clap::Command, command: &str, word: &[u8]) -> bool {
    let Ok(word) = std::str::from_utf8(word) else { return false };
    let Some(sub) = tree.find_subcommand(command) else { return false };
    let is_named = |argument: &clap::Arg| match word.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => word
            .strip_prefix('-')
            .is_some_and(|short| short.chars().count() == 1 && argument.get_short() == short.chars().next()),
    };
    sub.get_arguments()
        .chain(tree.get_arguments())
        .any(|argument| is_named(argument) && argument.get_action().takes_values())
}

/// What is offered for the last of these words.
fn offer(words: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let (current, before) = words.split_last()?;
    let mut tree = Arguments::command();
    tree.build();
    let is_command = |word: &&Vec<u8>| COMMANDS.iter().any(|(name, _)| name.as_bytes() == word.as_slice());
    let command = String::from_utf8(before.iter().skip(1).find(is_command)?.clone()).ok()?;
    let (_, has_path) = COMMANDS.iter().find(|(name, _)| *name == command)?;
    if current.starts_with(b"-") || takes_value(&tree, &command, before.last()?) {
        return None;
    }
    let typed = before.iter().map(|word| OsString::from_vec(word.clone()));
    let matches = tree.ignore_errors(true).try_get_matches_from(typed).ok()?;
    let (_, below) = matches.subcommand()?;
    let mut global = Global::from_arg_matches(below).ok()?;
    global.quiet = true;
    global.verbose = 0;
    global.complete(&environment::process).ok()?;
    // Neither a person nor a program is asked for a password here.
    if global.password_command.is_some() {
        return None;
    }
    let mut context = Context::new(global, &environment::process);
    context.is_alone = true;
    if context.asks() {
        return None;
    }
    let host = below.try_get_one::<OsString>("host").ok().flatten().cloned();
    let host = host.as_ref().map(|host| host.as_bytes());
    let repository = context.open().ok()?;
    let all = repository.snapshots().ok()?;
    let at = below.try_get_one::<String>("at").ok().flatten();
    let (snapshot, path) = paths::wanted(current, at.map(String::as_str));
    match path {
        Some(path) if *has_path => {
            let named = select::find_holding(&context, &all, &snapshot, host, Some(&path)).ok()?;
            // The snapshot as it is typed, with its colon.
            let typed = if at.is_some() { &[][..] } else { current.get(..current.len() - path.len())? };
            let found = below_path(&repository, &named, &path)?;
            Some(found.into_iter().map(|path| [typed, &path].concat()).collect())
        }
        Some(_) => None,
        None => {
            let begin = std::str::from_utf8(current).ok()?;
            let found = snapshots(&all, command == "undelete", begin, *has_path);
            Some(found.into_iter().map(String::into_bytes).collect())
        }
    }
}

/// The snapshots whose names begin so.
fn snapshots(all: &Snapshots, forgotten: bool, begin: &str, has_path: bool) -> Vec<String> {
    let list = if forgotten { &all.forgotten } else { &all.confirmed };
    let end = if has_path { ":" } else { "" };
    let latest = (!forgotten && !list.is_empty()).then(|| "latest".to_owned());
    let names = list.iter().rev().map(|named| match begin.len() > 8 {
        true => named.name.to_string(),
        false => named.name.short().to_string(),
    });
    latest
        .into_iter()
        .chain(names)
        .filter(|name| name.starts_with(&begin.to_ascii_lowercase()))
        .map(|name| name + end)
        .collect()
}

/// Paths that begin as typed: from the snapshot's root, from where the person stands, or from a source.
fn below_path(repository: &Repository, named: &Named, typed: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (folder, begin) = match typed.iter().rposition(|byte| *byte == b'/') {
        Some(end) => typed.split_at(end + 1),
        None => (&[][..], typed),
    };
    if !folder.is_empty() {
        let names = paths::find(repository, named, folder).ok()?;
        return Some(entries(repository, named.snapshot.root, &names, folder, begin));
    }
    let here = absolute(std::ffi::OsStr::new(".")).ok()?;
    let names: Vec<Vec<u8>> =
        here.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    let mut found = entries(repository, named.snapshot.root, &names, b"", begin);
    for source in &named.snapshot.sources {
        let name = source.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if !name.is_empty() && name.starts_with(begin) {
            found.push([name, b"/"].concat());
        }
    }
    if begin.is_empty() {
        found.push(b"/".to_vec());
    }
    found.sort();
    found.dedup();
    Some(found)
}

/// Entries of a folder whose names begin so, after `typed`; a folder's with a slash.
fn entries(repository: &Repository, root: Id, names: &[Vec<u8>], typed: &[u8], begin: &[u8]) -> Vec<Vec<u8>> {
    let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let tree = match slices.is_empty() {
        true => Some(root),
        false => repository.find_node(root, &slices).ok().flatten().and_then(|node| node.tree),
    };
    let Some(tree) = tree else { return Vec::new() };
    let nodes = repository.nodes(tree).filter_map(Result::ok);
    let found = nodes.filter(|node| node.name.starts_with(begin)).map(|node| {
        let end = if node.kind == NodeType::Directory { &b"/"[..] } else { b"" };
        [typed, &node.name, end].concat()
    });
    found.take(OFFERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_does() {
        for (line, expected) in [
            ("copal ls ", &["copal", "ls", ""][..]),
            ("copal ls lat", &["copal", "ls", "lat"]),
            ("copal ls latest:a\\ b", &["copal", "ls", "latest:a b"]),
            ("copal ls 'latest:a b' \"x'", &["copal", "ls", "latest:a b", "x'"]),
            ("copal -r '' ls", &["copal", "-r", "", "ls"]),
            ("copal ls a$'\\n\\'\\x41\\101b\\\\'c", &["copal", "ls", "a\n'AAb\\c"]),
            ("copal ls $'open\\t", &["copal", "ls", "open\t"]),
            ("copal ls $x\"$'y\"", &["copal", "ls", "$x$'y"]),
            ("", &[""]),
        ] {
            let found: Vec<String> =
                words(line.as_bytes()).into_iter().map(|word| String::from_utf8(word).unwrap()).collect();
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn every_command_that_takes_snapshots_is_a_command() {
        let tree = Arguments::command();
        for (name, _) in COMMANDS {
            assert!(tree.find_subcommand(name).is_some(), "{name}");
        }
    }
}
