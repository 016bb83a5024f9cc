//! Screens of all sizes, and folders of very many entries.

use super::{entry, in_folder, new, path, screen, shows, typed};
use crate::browse::key::Key;
use crate::browse::message::{Effect, Reply, Work};
use crate::model::NodeType;

#[test]
fn of_a_long_path_the_end_is_shown() {
    let mut state = in_folder();
    let deep = format!("/home/{}/end of it", "long/".repeat(30));
    state.take(Reply::At { path: path(&deep), seek: None, part: 0 });
    let lines = screen(&mut state, 80, 24);
    assert!(lines[0].starts_with("…") && lines[0].contains("/end of it of 2025-"), "{lines:?}");
    assert!(lines[0].ends_with("00000001)"), "{lines:?}");
    screen(&mut state, 20, 24);
}

#[test]
fn help_and_questions_fit_a_screen_of_80_by_24() {
    let mut state = in_folder();
    state.key(Key::Char('?'));
    let lines = screen(&mut state, 80, 24);
    assert!(lines.iter().any(|line| line.contains("\\xff and so on.")), "{lines:?}");
    state.key(Key::Esc);
    for key in [Key::Char('r'), Key::Enter, Key::Char('n')] {
        state.key(key);
        let lines = screen(&mut state, 80, 24);
        assert!(!lines.iter().any(|line| line.contains('…')), "{lines:?}");
    }
}

#[test]
fn every_screen_is_drawn_at_every_size_with_what_is_chosen_in_sight() {
    let mut states = [new(), in_folder(), in_folder(), in_folder(), in_folder()];
    states[2].key(Key::Char('?'));
    states[3].key(Key::Char('r'));
    let bytes = "日本語 text\n".repeat(50).into_bytes();
    states[4].take(Reply::Text { path: path("/x"), bytes, size: 9, broken: None });
    for state in &mut states {
        for (width, height) in [(1, 1), (2, 2), (5, 3), (10, 4), (20, 5), (40, 6), (80, 24), (200, 60)] {
            screen(state, width, height);
        }
    }
    let mut state = in_folder();
    for height in 1..8 {
        for (key, name) in [(Key::Home, "docs/"), (Key::End, "way")] {
            state.key(key);
            let lines = screen(&mut state, 20, height);
            let chosen: Vec<&String> = lines.iter().filter(|line| line.starts_with('>')).collect();
            assert!(chosen.len() == 1 && chosen[0].contains(name), "{height}: {lines:?}");
        }
    }
}

#[test]
fn a_folder_of_very_many_entries_is_walked_to_its_end() {
    let mut state = new();
    state.key(Key::Enter);
    for part in 0..10 {
        let rows = (0..10_000)
            .map(|number| entry(format!("{:06}", part * 10_000 + number).as_bytes(), NodeType::File));
        state.take(Reply::Rows(rows.collect()));
    }
    state.take(Reply::Listed { after: 0 });
    state.key(Key::End);
    shows(&mut state, "099999");
    state.key(Key::PageUp);
    shows(&mut state, "99980 of 100000 entries");
    typed(&mut state, "/54321");
    shows(&mut state, "054321");
}

#[test]
fn a_longer_folder_is_turned_part_by_part() {
    let mut state = new();
    state.key(Key::Enter);
    let path = Vec::new();
    let rows = |name: &[u8]| Reply::Rows(vec![entry(name, NodeType::File)]);
    state.take(rows(b"first"));
    assert_eq!(state.key(Key::Char('n')), Effect::None, "it is not known yet whether there are more");
    state.take(Reply::Listed { after: 100_002 });
    shows(&mut state, "1 of 1 entry; n: the next of 100002 more");
    assert_eq!(state.key(Key::Char('p')), Effect::None);
    let part = |part| Effect::Work(Work::List { snapshot: 2, path: Vec::new(), part, name: None });
    assert_eq!(state.key(Key::Char('n')), part(1));
    state.take(Reply::At { path, seek: None, part: 1 });
    state.take(rows(b"second"));
    state.take(Reply::Part(2));
    state.take(rows(b"third"));
    state.take(Reply::Listed { after: 0 });
    shows(&mut state, "third");
    shows(&mut state, "1 of 1 entry; p: the 100000 before (200000 in all)");
    assert_eq!(state.folder.as_ref().unwrap().rows.len(), 1, "entries of another part are not in this one");
    assert_eq!(state.key(Key::Char('n')), Effect::None);
    assert_eq!(state.key(Key::Char('p')), part(1));
}
