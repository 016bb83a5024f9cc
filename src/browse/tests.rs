//! Keys and replies go in, effects and screens come out; no terminal is needed.

mod sizes;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::key::Key;
use super::message::{Effect, Entry, Outcome, Path, Progress, Reply, Row, Version, Work};
use super::over::Over;
use super::snapshot::SnapshotRow;
use super::state::State;
use crate::model::{NodeType, Time};

fn path(text: &str) -> Path {
    text.split('/').filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect()
}

fn snapshot(number: i64, sources: &[&str]) -> SnapshotRow {
    SnapshotRow {
        id: format!("{number:08}"),
        time: Time::new(1_764_000_000 + number * 86_400, 0),
        host: "laptop".to_owned(),
        tags: if number == 0 { "weekly".to_owned() } else { String::new() },
        size: 1 << 20,
        paths: sources.join(", "),
        sources: sources.iter().map(|source| source.as_bytes().to_vec()).collect(),
        is_incomplete: false,
    }
}

fn entry(name: &[u8], kind: NodeType) -> Row {
    let mtime = Time::new(1_764_000_000, 0);
    Row::Entry(Entry { name: name.to_vec(), kind, size: 1234, mtime, target: b"to".to_vec(), remark: None })
}

fn new() -> State {
    let rows = vec![snapshot(0, &["/home/ann"]), snapshot(1, &["/home/ann"]), snapshot(2, &["/a", "/b"])];
    State::new(rows, String::new())
}

/// In the folder /home/ann of the snapshot 1.
fn in_folder() -> State {
    let mut state = new();
    keys(&mut state, &[Key::Down, Key::Enter]);
    state.take(Reply::At { path: path("/home/ann"), seek: None, part: 0 });
    state.take(Reply::Rows(vec![
        entry(b"a.txt", NodeType::File),
        entry(b"docs", NodeType::Directory),
        entry(b"new\nline\xff", NodeType::File),
        entry(b"way", NodeType::Symlink),
    ]));
    state.take(Reply::Listed { after: 0 });
    state
}

/// Presses keys; what the last one wants.
fn keys(state: &mut State, keys: &[Key]) -> Effect {
    keys.iter().fold(Effect::None, |_, key| state.key(*key))
}

fn typed(state: &mut State, text: &str) -> Effect {
    text.chars().fold(Effect::None, |_, character| state.key(Key::Char(character)))
}

/// What a screen of that size shows.
fn screen(state: &mut State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    state.size = (width, height);
    state.settle();
    terminal.draw(|frame| draw(state, frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[track_caller]
fn shows(state: &mut State, text: &str) {
    let lines = screen(state, 80, 24);
    assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in\n{}", lines.join("\n"));
}

/// The folder is wanted, or the part of it with that name.
fn list(snapshot: usize, text: &str, name: &[u8]) -> Effect {
    let name = (!name.is_empty()).then(|| name.to_vec());
    Effect::Work(Work::List { snapshot, path: path(text), part: 0, name })
}

#[test]
fn snapshots_are_shown_newest_first_and_filtered() {
    let mut state = new();
    let lines = screen(&mut state, 80, 24);
    assert!(lines[2].starts_with('>') && lines[2].contains("/a, /b"), "{lines:?}");
    assert!(lines[4].contains("weekly") && lines[22].contains("1 of 3 snapshots"), "{lines:?}");
    typed(&mut state, "/weekly");
    let lines = screen(&mut state, 80, 24);
    assert!(lines[2].contains("weekly") && lines[3].is_empty() && lines[22] == "/weekly_", "{lines:?}");
    assert_eq!(keys(&mut state, &[Key::Enter, Key::Enter]), list(0, "/home/ann", b""), "of one source: it");
}

#[test]
fn a_snapshot_of_several_sources_begins_at_the_root() {
    assert_eq!(keys(&mut new(), &[Key::Enter]), list(2, "/", b""));
}

#[test]
fn folders_come_first_or_all_by_name_and_names_are_escaped() {
    let mut state = in_folder();
    let lines = screen(&mut state, 80, 24);
    assert!(lines[0].starts_with("/home/ann of 2025-"), "{lines:?}");
    assert!(lines[2].ends_with("docs/") && lines[3].ends_with("a.txt"), "{lines:?}");
    assert!(lines[4].ends_with("new\\nline\\xff") && lines[5].ends_with("way -> to"), "{lines:?}");
    assert!(lines[2].starts_with('>'), "nothing was chosen before: the first is");
    state.key(Key::Char('s'));
    let lines = screen(&mut state, 80, 24);
    assert!(lines[2].ends_with("a.txt") && lines[3].ends_with("docs/"), "{lines:?}");
    assert!(lines[3].starts_with('>'), "what was chosen stays chosen");
}

#[test]
fn the_way_goes_down_up_and_back() {
    let mut state = in_folder();
    assert_eq!(state.key(Key::Enter), list(1, "/home/ann/docs", b""));
    assert_eq!(state.key(Key::Left), list(1, "/home/ann", b"docs"));
    state.take(Reply::Rows(vec![entry(b"a.txt", NodeType::File), entry(b"zoo", NodeType::Directory)]));
    state.take(Reply::Rows(vec![entry(b"docs", NodeType::Directory)]));
    assert_eq!(state.folder.as_ref().unwrap().chosen_path(), Some(path("/home/ann/docs")));
    assert_eq!(state.key(Key::Backspace), list(1, "/home", b"ann"));
    assert_eq!(state.key(Key::Left), list(1, "/", b"home"));
    assert_eq!(state.key(Key::Left), Effect::Stop, "the root was still being read");
    assert!(state.folder.is_none());
    assert_eq!(state.list.chosen(), Some(1), "the snapshot that was looked at");
    let mut state = in_folder();
    state.key(Key::Enter);
    state.take(Reply::Listed { after: 0 });
    assert_eq!(state.key(Key::Char('q')), list(1, "/home/ann", b"docs"));
    state.take(Reply::Listed { after: 0 });
    assert_eq!(state.key(Key::Char('q')), Effect::None);
    assert_eq!(state.key(Key::Char('q')), Effect::End { is_interrupted: false });
}

#[test]
fn a_filter_in_a_folder_is_typed_kept_and_gone() {
    let mut state = in_folder();
    typed(&mut state, "/LINE");
    shows(&mut state, "/LINE_");
    state.key(Key::Enter);
    shows(&mut state, "1 of 4 entries with \"LINE\"");
    // A letter is a command again.
    let wanted = vec![b"home".to_vec(), b"ann".to_vec(), b"new\nline\xff".to_vec()];
    assert_eq!(state.key(Key::Char('v')), Effect::Work(Work::Versions { snapshot: 1, path: wanted }));
    state.take(Reply::Stopped);
    assert_eq!(state.key(Key::Esc), Effect::None);
    shows(&mut state, "a.txt");
}

#[test]
fn damage_is_named_where_it_is_and_the_rest_is_shown() {
    let mut state = new();
    keys(&mut state, &[Key::Down, Key::Enter]);
    state.take(Reply::Rows(vec![
        entry(b"whole", NodeType::File),
        Row::Broken("lost: no pack holds the tree 12".to_owned()),
    ]));
    state.take(Reply::Listed { after: 34567 });
    let lines = screen(&mut state, 80, 24);
    assert!(
        lines[2].contains("! lost: no pack holds the tree 12") && lines[3].ends_with("whole"),
        "{lines:?}"
    );
    assert!(lines[22].contains("n: the next of 34567 more"), "{lines:?}");
    assert_eq!(state.damaged.len(), 1);
    keys(&mut state, &[Key::Home, Key::Enter]);
    shows(&mut state, "See what is hit: copal check");
    state.key(Key::Enter);
    assert!(matches!(state.over, Over::None));
}

#[test]
fn a_text_is_looked_at_and_left() {
    let mut state = in_folder();
    keys(&mut state, &[Key::Down]);
    let work = Work::Read { snapshot: 1, path: path("/home/ann/a.txt") };
    assert_eq!(state.key(Key::Char('t')), Effect::Work(work.clone()));
    shows(&mut state, "reading the file ... (Esc stops it)");
    let bytes = (1..100).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    state.take(Reply::Text { path: path("/home/ann/a.txt"), bytes, size: 9, broken: None });
    shows(&mut state, "line 20");
    state.key(Key::End);
    shows(&mut state, "line 99");
    shows(&mut state, "lines 80 to 99 of 99");
    state.key(Key::Char('q'));
    assert_eq!(state.key(Key::Enter), Effect::Work(work), "back in the folder, at the same entry");
    let broken = Some("damaged: packs/12".to_owned());
    state.take(Reply::Text { path: path("/x"), bytes: b"begin".to_vec(), size: 9, broken });
    shows(&mut state, "cut off: damaged: packs/12");
    assert_eq!(state.damaged.len(), 1);
}

#[test]
fn what_is_no_file_says_what_it_is() {
    let mut state = in_folder();
    keys(&mut state, &[Key::End, Key::Enter]);
    shows(&mut state, "a symlink to to");
    keys(&mut state, &[Key::Home, Key::Char('t')]);
    shows(&mut state, "no file: dir");
}

#[test]
fn a_version_is_shown_in_its_snapshot_and_back_is_where_one_was() {
    let mut state = in_folder();
    keys(&mut state, &[Key::Down, Key::Char('v')]);
    let version = |snapshot, note: &str| Version {
        kind: NodeType::File,
        size: 99,
        mtime: Time::new(1_764_000_000, 0),
        first: Time::new(1_764_000_000, 0),
        last: Time::new(1_764_000_000, 0),
        snapshot,
        count: 2,
        note: note.to_owned(),
    };
    let versions = vec![version(1, ""), version(0, "renamed from /home/ann/b.txt")];
    state.take(Reply::Versions {
        path: path("/home/ann/a.txt"),
        versions,
        doubts: vec!["a doubt".to_owned()],
    });
    shows(&mut state, "a doubt");
    state.key(Key::Down);
    shows(&mut state, "renamed from /home/ann/b.txt");
    assert_eq!(state.key(Key::Enter), list(0, "/home/ann", b"a.txt"));
    state.take(Reply::Rows(vec![entry(b"0", NodeType::File), entry(b"a.txt", NodeType::File)]));
    state.take(Reply::Listed { after: 0 });
    assert_eq!(state.folder.as_ref().unwrap().chosen_path(), Some(path("/home/ann/a.txt")));
    assert_eq!(state.key(Key::Esc), list(1, "/home/ann", b"a.txt"));
}

#[test]
fn what_is_marked_is_restored_after_a_question() {
    let mut state = in_folder();
    keys(&mut state, &[Key::Char(' '), Key::Char(' ')]);
    let lines = screen(&mut state, 80, 24);
    assert!(
        lines[2].starts_with(" *") && lines[3].starts_with(" *") && lines[4].starts_with('>'),
        "{lines:?}"
    );
    assert!(lines[22].contains("2 marked"), "{lines:?}");
    state.key(Key::Char('r'));
    shows(&mut state, "2 marked entries");
    shows(&mut state, "./restored-1970-01-01T");
    keys(&mut state, &[Key::Clear, Key::Enter]);
    shows(&mut state, "name a folder");
    typed(&mut state, "/out?q");
    assert_eq!(state.key(Key::Enter), Effect::None, "not without a yes");
    shows(&mut state, "Restore? y/n");
    assert_eq!(state.key(Key::Enter), Effect::None, "Enter is no yes");
    let paths = vec![path("/home/ann/a.txt"), path("/home/ann/docs")];
    let work = Work::Restore { snapshot: 1, paths, target: "/out?q".to_owned() };
    assert_eq!(state.key(Key::Char('y')), Effect::Work(work));
    state.take(Reply::Progress(Progress {
        files: 7,
        bytes: 1 << 20,
        problems: 1,
        now: "/home/x".to_owned(),
    }));
    shows(&mut state, "7 files, 1.00 MiB, 1 problem");
    assert_eq!(state.key(Key::Char('q')), Effect::None, "only Esc stops it");
    assert_eq!(state.key(Key::Esc), Effect::Stop);
    let lines = vec!["stopped: 7 files were restored before".to_owned()];
    state.take(Reply::Restored(Outcome { lines, problems: 1, ..Outcome::default() }));
    shows(&mut state, "stopped: 7 files");
    assert_eq!((state.problems, state.marks.len()), (1, 2), "what is not whole stays marked");
    state.key(Key::Esc);
    keys(&mut state, &[Key::Char('r'), Key::Enter, Key::Char('y')]);
    state.take(Reply::Restored(Outcome { is_whole: true, ..Outcome::default() }));
    assert!(state.marks.is_empty());
}

#[test]
fn no_restore_without_a_yes_and_marks_are_of_one_snapshot() {
    let mut state = in_folder();
    for no in [&[Key::Esc][..], &[Key::Enter, Key::Esc], &[Key::Enter, Key::Char('n')]] {
        state.key(Key::Char('r'));
        assert_eq!(keys(&mut state, no), Effect::None);
        shows(&mut state, "nothing was restored");
    }
    state.key(Key::Char(' '));
    assert!(state.marks.contains(&path("/home/ann/docs")));
    keys(&mut state, &[Key::Esc, Key::Down, Key::Enter]);
    state.take(Reply::At { path: path("/home/ann"), seek: None, part: 0 });
    state.take(Reply::Rows(vec![entry(b"a.txt", NodeType::File)]));
    let folder = state.folder.as_ref().unwrap();
    assert_eq!((folder.snapshot, folder.chosen_path()), (0, Some(path("/home/ann/a.txt"))));
    state.key(Key::Char('r'));
    shows(&mut state, "/home/ann/a.txt");
    keys(&mut state, &[Key::Esc, Key::Char(' ')]);
    shows(&mut state, "the marks in the other snapshot are gone");
    assert_eq!((state.marked_in, state.marks.len()), (0, 1));
}

#[test]
fn esc_stops_reading_and_ctrl_c_ends_everywhere() {
    let mut state = new();
    state.key(Key::Enter);
    assert_eq!(state.key(Key::Esc), Effect::Stop);
    state.take(Reply::Rows(vec![entry(b"a", NodeType::File)]));
    state.take(Reply::Stopped);
    shows(&mut state, "stopped");
    state.key(Key::Down);
    shows(&mut state, "not all of it was read");
    assert!(state.folder.is_some(), "what was read stays");
    let end = Effect::End { is_interrupted: true };
    for before in
        [&[][..], &[Key::Char('?')], &[Key::Char('/')], &[Key::Char('r')], &[Key::Char('r'), Key::Enter]]
    {
        let mut state = in_folder();
        keys(&mut state, before);
        assert_eq!(state.key(Key::Interrupt), end, "{before:?}");
    }
}

#[test]
fn what_is_pasted_is_typed_and_presses_no_keys() {
    let mut state = in_folder();
    state.paste("r\ny");
    assert!(matches!(state.over, Over::None));
    state.key(Key::Char('/'));
    state.paste("a.t\nxt");
    shows(&mut state, "/a.txt_");
    keys(&mut state, &[Key::Esc, Key::Char('r'), Key::Clear]);
    state.paste("/some/where\n");
    shows(&mut state, "/some/where_");
}

#[test]
fn a_failure_is_told_and_what_was_there_stays() {
    let mut state = in_folder();
    state.key(Key::Char('v'));
    state.take(Reply::Failed("storage:\nit is gone".to_owned()));
    shows(&mut state, "storage:\\nit is gone");
    state.key(Key::Enter);
    shows(&mut state, "docs/");
    assert!(state.busy.is_none());
}

#[test]
fn help_is_shown_and_goes_with_any_key() {
    let mut state = in_folder();
    state.key(Key::Char('?'));
    shows(&mut state, "Ctrl-C");
    assert_eq!(state.key(Key::Char('q')), Effect::None);
    shows(&mut state, "docs/");
    typed(&mut state, "/?");
    shows(&mut state, "/?_");
}
