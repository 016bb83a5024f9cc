//! Tests of where secrets come from.

use std::cell::RefCell;

use super::*;

/// Answers in order; nobody is there when there are no answers.
struct Typed(RefCell<Vec<&'static str>>);

impl Ask for Typed {
    fn is_possible(&self) -> bool {
        !self.0.borrow().is_empty()
    }
    fn ask(&self, _prompt: &str) -> io::Result<Secret> {
        Ok(Secret::new(self.0.borrow_mut().remove(0).into()))
    }
}

fn typed(answers: &[&'static str]) -> Typed {
    Typed(RefCell::new(answers.to_vec()))
}

fn get(
    origin: Origin<'_>,
    purpose: Purpose,
    answers: &[&'static str],
) -> (Result<Credential, Failure>, Vec<String>) {
    let mut warnings = Vec::new();
    let result = obtain(origin, purpose, &typed(answers), &mut |text| warnings.push(text));
    (result, warnings)
}

fn password(text: &[u8]) -> Credential {
    Credential::Password(Secret::new(text.to_vec()))
}

fn file(folder: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn password_files_give_their_first_line_and_warn_when_open_to_all() {
    let folder = tempfile::tempdir().unwrap();
    let closed = file(folder.path(), "a", b" pass\xff word \r\nsecond", 0o600);
    let (result, warnings) =
        get(Origin { password_file: Some(&closed), ..Origin::default() }, Purpose::Open, &[]);
    assert_eq!((result.unwrap(), warnings.len()), (password(b" pass\xff word "), 0));
    let open = file(folder.path(), "b", b"x", 0o644);
    let (result, warnings) =
        get(Origin { password_file: Some(&open), ..Origin::default() }, Purpose::Open, &[]);
    assert_eq!(result.unwrap(), password(b"x"));
    assert!(warnings[0].contains("chmod 600"), "{warnings:?}");
}

#[test]
fn empty_missing_and_endless_secrets_are_refused_with_code_12() {
    let folder = tempfile::tempdir().unwrap();
    let empty = file(folder.path(), "a", b"\nsecond", 0o600);
    let missing = folder.path().join("missing");
    for path in [empty.as_path(), &missing, folder.path(), Path::new("/dev/zero")] {
        let (result, _) =
            get(Origin { password_file: Some(path), ..Origin::default() }, Purpose::New, &["typed"]);
        let failure = result.unwrap_err();
        assert_eq!(failure.code, Code::WrongKey, "{}", failure.message);
    }
    let none = Secret::new(Vec::new());
    assert!(get(Origin { password: Some(&none), ..Origin::default() }, Purpose::Open, &[]).0.is_err());
}

#[test]
fn commands_give_their_first_line_and_must_succeed() {
    let run = |command: &str| {
        get(Origin { password_command: Some(OsStr::new(command)), ..Origin::default() }, Purpose::Open, &[]).0
    };
    assert_eq!(run("printf 'a b\\nc'").unwrap(), password(b"a b"));
    assert!(run("echo a; exit 3").unwrap_err().message.contains("3"));
    assert!(run("true").is_err());
    assert!(run("yes").unwrap_err().message.contains("longer"));
    // Nothing is taken from standard input.
    assert!(run("cat").is_err() || io::stdin().is_terminal());
}

#[test]
fn the_environment_counts_after_files_and_before_the_terminal() {
    let variable = Secret::new(b"v".to_vec());
    let origin = Origin { password: Some(&variable), ..Origin::default() };
    assert_eq!(get(origin, Purpose::Open, &["typed"]).0.unwrap(), password(b"v"));
    let origin = Origin { password_command: Some(OsStr::new("echo c")), ..origin };
    assert_eq!(get(origin, Purpose::Open, &["typed"]).0.unwrap(), password(b"c"));
}

#[test]
fn people_are_asked_once_to_open_and_twice_for_something_new() {
    assert_eq!(get(Origin::default(), Purpose::Open, &["a"]).0.unwrap(), password(b"a"));
    assert_eq!(get(Origin::default(), Purpose::New, &["a", "a"]).0.unwrap(), password(b"a"));
    assert!(get(Origin::default(), Purpose::New, &["a", "b"]).0.unwrap_err().message.contains("differ"));
    assert!(get(Origin::default(), Purpose::New, &[""]).0.is_err());
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let failure = get(Origin::default(), Purpose::Open, &[]).0.unwrap_err();
    assert_eq!(failure.code, Code::WrongKey);
    assert!(failure.hint.unwrap().contains("COPAL_PASSWORD_FILE"));
}

#[test]
fn key_files_are_read_made_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/key");
    let origin = Origin { key_file: Some(&path), ..Origin::default() };
    assert_eq!(get(origin, Purpose::Open, &["a"]).0.unwrap_err().code, Code::WrongKey);
    assert_eq!(get(origin, Purpose::New, &["a"]).0.unwrap(), Credential::NewKeyFile { path: path.clone() });
    write_key_file(&path, b"copal-key-1 00\n").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(write_key_file(&path, b"other").is_err());
    let text = Secret::new(b"copal-key-1 00\n".to_vec());
    assert_eq!(get(origin, Purpose::New, &[]).0.unwrap(), Credential::KeyFile { path: path.clone(), text });
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", Secret::new(b"hunter2".to_vec()), password(b"hunter2"));
    assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
}
