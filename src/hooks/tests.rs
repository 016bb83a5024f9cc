//! Tests of hooks: their order, what they are told, and how they fail.

use std::os::unix::fs::PermissionsExt;

use super::start::What;
use super::*;

/// A run that ends with a code and keeps what it saw.
#[derive(Default)]
struct Sample {
    code: u8,
    panics: bool,
    stops: Option<&'static AtomicBool>,
    worked: bool,
    lines: Vec<String>,
    json: Vec<u8>,
}

impl Run for Sample {
    fn work(&mut self) -> u8 {
        self.worked = true;
        self.lines.push("work".into());
        if let Some(stop) = self.stops {
            stop.store(true, Ordering::Relaxed);
        }
        assert!(!self.panics, "on purpose");
        self.code
    }

    fn about(&mut self, _: Moment, code: Option<u8>, _: &[Ran]) -> About {
        let outcome = code.map(|code| ("COPAL_OUTCOME".to_owned(), format!("o{code}").into()));
        About { profile: "nightly".into(), variables: outcome.into_iter().collect(), json: self.json.clone() }
    }

    fn line(&mut self, moment: Moment, text: &str) {
        self.lines.push(format!("{}: {text}", moment.name()));
    }

    fn stopped(&self) -> u8 {
        130
    }
}

fn shell(text: &str) -> Hook {
    Hook::new(Command::Shell(text.into()))
}

fn words(words: &[&str]) -> Hook {
    Hook::new(Command::Words(words.iter().map(OsString::from).collect()))
}

/// Hooks that say what they are told.
fn telling() -> Hooks {
    let list =
        || vec![shell("echo $COPAL_HOOK $COPAL_PROFILE ${COPAL_EXIT_CODE-none} ${COPAL_OUTCOME-none}")];
    Hooks { before: list(), after: list(), failed: list(), finally: list() }
}

fn go(hooks: &Hooks, sample: &mut Sample) -> Ended {
    around(hooks, sample, &AtomicBool::new(false))
}

/// A `before` hook alone; its lines and what went wrong with it.
fn alone(hook: Hook) -> (Vec<String>, Option<Problem>) {
    let mut sample = Sample { json: b"{}".to_vec(), ..Sample::default() };
    let mut ended = go(&Hooks { before: vec![hook], ..Hooks::default() }, &mut sample);
    let lines = sample.lines.iter().filter_map(|line| line.strip_prefix("before: ").map(str::to_owned));
    (lines.collect(), ended.hooks.remove(0).problem)
}

#[test]
fn a_run_without_hooks_is_the_run() {
    let mut sample = Sample { code: 5, ..Sample::default() };
    let ended = go(&Hooks::default(), &mut sample);
    assert_eq!((ended.code, ended.began, ended.hooks.len()), (5, true, 0));
}

#[test]
fn hooks_surround_the_run_and_are_told_how_it_went() {
    for (code, middle) in [(0, "after"), (3, "after"), (1, "failed"), (5, "failed"), (130, "failed")] {
        let mut sample = Sample { code, ..Sample::default() };
        let ended = go(&telling(), &mut sample);
        let expected = [
            "before: before nightly none none".to_owned(),
            "work".to_owned(),
            format!("{middle}: {middle} nightly {code} o{code}"),
            format!("finally: finally nightly {code} o{code}"),
        ];
        assert_eq!(sample.lines, expected);
        assert_eq!((ended.code, ended.began), (code, true));
        assert!(ended.hooks.iter().all(|ran| ran.problem.is_none()));
    }
}

#[test]
fn a_before_that_fails_keeps_the_run_from_beginning() {
    let hooks = Hooks { before: vec![shell("echo one"), shell("exit 9"), shell("echo three")], ..telling() };
    let mut sample = Sample::default();
    let ended = go(&hooks, &mut sample);
    assert_eq!((ended.code, ended.began, sample.worked), (1, false, false));
    assert_eq!(sample.lines, ["before: one", "failed: failed nightly 1 o1", "finally: finally nightly 1 o1"]);
    let problems: Vec<String> = ended.problems().collect();
    assert_eq!(problems, ["hook before 2 (exit) failed with exit code 9"]);
}

#[test]
fn an_after_that_fails_makes_the_run_incomplete_and_the_others_change_nothing() {
    let bad = || vec![shell("exit 1"), shell("echo goes on")];
    let hooks = Hooks { after: bad(), ..telling() };
    let mut sample = Sample::default();
    assert_eq!(go(&hooks, &mut sample).code, 3);
    assert_eq!(sample.lines[2..], ["after: goes on", "finally: finally nightly 3 o3"]);
    for code in [0, 1] {
        let hooks = Hooks { failed: bad(), finally: bad(), ..Hooks::default() };
        let mut sample = Sample { code, ..Sample::default() };
        let ended = go(&hooks, &mut sample);
        assert_eq!(ended.code, code);
        assert_eq!(ended.problems().count(), 1 + usize::from(code));
        assert_eq!(sample.lines.last().unwrap(), "finally: goes on");
    }
}

#[test]
fn a_run_that_is_stopped_still_has_its_last_hooks() {
    static WHILE_WORKING: AtomicBool = AtomicBool::new(false);
    let mut sample = Sample { code: 130, stops: Some(&WHILE_WORKING), ..Sample::default() };
    let ended = around(&telling(), &mut sample, &WHILE_WORKING);
    assert_eq!(ended.code, 130);
    assert_eq!(sample.lines[2..], ["failed: failed nightly 130 o130", "finally: finally nightly 130 o130"]);

    // It was all done when the signal came: what follows a good run is not begun, and that is said.
    static AT_THE_END: AtomicBool = AtomicBool::new(false);
    let mut sample = Sample { stops: Some(&AT_THE_END), ..Sample::default() };
    let ended = around(&telling(), &mut sample, &AT_THE_END);
    assert_eq!(ended.code, 130);
    assert_eq!(sample.lines[2..], ["finally: finally nightly 130 o130"]);
    assert!(ended.problems().next().unwrap().contains("not begun"));

    let before = AtomicBool::new(true);
    for hooks in [telling(), Hooks { before: vec![], ..telling() }] {
        let mut sample = Sample::default();
        let ended = around(&hooks, &mut sample, &before);
        assert_eq!((ended.code, ended.began, sample.worked), (130, false, false));
        assert_eq!(sample.lines, ["failed: failed nightly 130 o130", "finally: finally nightly 130 o130"]);
    }
}

#[test]
fn a_panic_of_the_run_goes_on_after_the_last_hooks() {
    let mut sample = Sample { panics: true, ..Sample::default() };
    let caught = catch_unwind(AssertUnwindSafe(|| go(&telling(), &mut sample)));
    assert!(caught.is_err());
    assert_eq!(sample.lines[2..], ["failed: failed nightly 1 o1", "finally: finally nightly 1 o1"]);
}

#[test]
fn a_hook_gets_the_description_its_folder_and_its_variables() {
    let folder = tempfile::tempdir().unwrap();
    let (lines, problem) = alone(Hook {
        folder: Some(folder.path().into()),
        environment: vec![("MINE".into(), "a b".into()), ("COPAL_PASSWORD".into(), "given".into())],
        ..shell("cat; echo; pwd -P; echo \"$MINE\" $COPAL_PASSWORD")
    });
    assert!(problem.is_none());
    let place = folder.path().canonicalize().unwrap();
    assert_eq!(lines, ["{}", place.to_str().unwrap(), "a b given"]);
    let (lines, _) = alone(words(&["/bin/echo", "a  b", "$HOME"]));
    assert_eq!(lines, ["a  b $HOME"]);
}

#[test]
fn what_hooks_print_is_made_fit_for_a_terminal() {
    let (lines, _) = alone(shell("printf 'caf\\351 \\033[31mred\\nC:\\\\x\\tno end'"));
    assert_eq!(lines, ["caf\\xe9 \\x1b[31mred", "C:\\x\tno end"]);
    let (lines, _) = alone(shell("head -c 100000 /dev/zero | tr '\\0' x"));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with("x\u{2026}") && lines[0].len() < 5000);
}

#[test]
fn each_way_to_fail_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    let nowhere = folder.path().join("no\nwhere");
    let slow = Hook { time_limit: Duration::from_millis(200), ..shell("PGPASSWORD=hunter2 sleep 600") };
    for (hook, says) in [
        (words(&[]), "names no program"),
        (
            words(&["copal-no-such-program"]),
            "(copal-no-such-program) can not be started: there is no such program",
        ),
        (words(&[plain.to_str().unwrap()]), "chmod +x"),
        (Hook { folder: Some(nowhere), ..words(&["true"]) }, "no\\nwhere is not there"),
        (shell("kill -9 $$"), "(kill) was ended by signal 9"),
        (shell("copal-no-such-program --token x"), "(copal-no-such-program) failed with exit code 127"),
        (slow, "hook before 1 (sleep) took longer than 200ms and was ended; give it a longer"),
    ] {
        let (_, problem) = alone(hook);
        let text = problem.unwrap().to_string();
        assert!(text.contains(says), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("token") && !text.contains('\n'), "{text}");
    }
}

#[test]
fn a_hook_that_runs_when_the_stop_comes_is_ended() {
    static STOP: AtomicBool = AtomicBool::new(false);
    /// Asks to stop as soon as a hook says something.
    struct Asking(Sample);
    impl Run for Asking {
        fn work(&mut self) -> u8 {
            self.0.work()
        }
        fn about(&mut self, moment: Moment, code: Option<u8>, ran: &[Ran]) -> About {
            self.0.about(moment, code, ran)
        }
        fn line(&mut self, moment: Moment, text: &str) {
            STOP.store(true, Ordering::Relaxed);
            self.0.line(moment, text);
        }
        fn stopped(&self) -> u8 {
            143
        }
    }
    let mut run = Asking(Sample::default());
    let ended = around(&Hooks { before: vec![shell("echo begun; sleep 600")], ..telling() }, &mut run, &STOP);
    assert_eq!((ended.code, run.0.worked), (143, false));
    assert!(matches!(ended.hooks[0].problem, Some(Problem { what: What::Stopped, .. })));
    assert_eq!(run.0.lines.len(), 3);
}
