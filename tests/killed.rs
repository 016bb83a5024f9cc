//! Restores that are killed, what they leave behind, and what the next one makes of it; beside one that is at work.

mod common;

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};

use common::{Ended, Item, Kind, Sandbox, assert_same, end, is_root, make, noise};
use copal::backend::Local;
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::progress::{Event, Listener};
use copal::restore::{self, Options, Overwrite};

/// Everything below a folder whose name says that it is copal's.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with(".copal-") {
            found.push(entry.path());
        } else if entry.file_type().unwrap().is_dir() {
            found.extend(leftovers(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Runs with something done to a system call.
fn injected(sandbox: &Sandbox, what: &str, words: &[&str]) -> Ended {
    let log = sandbox.path("strace");
    let through = ["strace", "-f", "-qq", "-e", what, "-o", log.to_str().unwrap()];
    let ended = end(sandbox.command_through(&through, words));
    let log = std::fs::read_to_string(log).expect("strace wrote nothing: is it installed?");
    assert!(log.contains("(INJECTED)") || log.contains("killed by SIGKILL"), "nothing was done:\n{log}");
    ended
}

/// A source with what temporary names are given to: files, and a link.
fn sandbox() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    for number in 0..8u64 {
        sandbox.write(format!("source/folder/{number}"), noise(number, 300_000));
    }
    make(&[&sandbox.source()], &[Item::new(0, "a link", Kind::Symlink(b"somewhere".to_vec()))], None);
    sandbox.back_up();
    let from = format!("latest:{}", sandbox.source().display());
    (sandbox, from)
}

#[test]
fn what_a_killed_restore_left_behind_is_removed_by_the_next_one() {
    let (sandbox, from) = sandbox();
    let out = sandbox.path("out");
    // Killed when a file would get its name; the first to get one is what says in the repository that somebody reads.
    let words = ["restore", &from, "-t", "out"];
    injected(&sandbox, "inject=renameat2:signal=KILL:when=2", &words).expect(137);
    let left = leftovers(&out);
    assert!(!left.is_empty());
    // Where it was not told to go, nothing is removed.
    sandbox.run(["restore", &from, "-t", "out", "-n"]).expect(0);
    assert_eq!(leftovers(&out), left);
    sandbox.run(words).expect(0).warns("left behind");
    assert_eq!(leftovers(&out), [] as [PathBuf; 0]);
    assert_same(&sandbox.source().join("folder"), &out.join("folder"));
    // And when something is there.
    for number in 0..8 {
        sandbox.write(format!("out/folder/{number}"), "mine");
    }
    std::fs::remove_file(out.join("a link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", out.join("a link")).unwrap();
    let words = ["restore", &from, "-t", "out", "--overwrite", "if-changed"];
    injected(&sandbox, "inject=renameat,renameat2:signal=KILL:when=2", &words).expect(137);
    assert!(!leftovers(&out).is_empty());
    sandbox.run(words).expect(0).warns("left behind");
    assert_eq!(leftovers(&out), [] as [PathBuf; 0]);
    assert_same(&sandbox.source().join("folder"), &out.join("folder"));
    assert_same(&sandbox.source().join("a link"), &out.join("a link"));
    let ended = sandbox.run(words).expect(0);
    assert!(!ended.err().contains("left behind"), "{ended}");
}

#[test]
fn leftovers_are_of_an_exact_form_and_of_who_restores() {
    let sandbox = Sandbox::of_nobody();
    sandbox.write("source/folder/file", "content");
    sandbox.back_up();
    let from = format!("latest:{}", sandbox.source().display());
    sandbox.run(["restore", &from, "-t", "out"]).expect(0);
    let inside = sandbox.path("out/folder");
    let name = |number: usize| format!(".copal-0123456789abcdef-{number}.tmp");
    let mine = [Item::new(0, name(1), Kind::Fifo), Item::new(0, name(2), Kind::Symlink(b"file".to_vec()))];
    make(&[&inside], &mine, sandbox.owner());
    make(&[&inside], &[Item::new(0, name(3), Kind::Folder)], sandbox.owner());
    std::fs::hard_link(inside.join("file"), inside.join(name(4))).unwrap();
    sandbox.write(format!("out/{}", name(5)), "half");
    let kept = [
        inside.join(name(6)).join("mine"),
        inside.join(".copal-thesis.tmp"),
        inside.join(".copal-0123456789abcdef-1.tmp.old"),
        sandbox.path("out/other").join(name(1)),
    ];
    for path in &kept {
        sandbox.write(path, "mine");
    }
    let foreign = inside.join(name(7));
    if is_root() {
        std::fs::write(&foreign, "root's").unwrap();
    }
    sandbox.run(["restore", &from, "-t", "out"]).expect(0).warns("5 temporary entries");
    for path in &kept {
        assert!(path.exists(), "{} is gone", path.display());
    }
    assert_eq!(foreign.exists(), is_root());
    for number in 1..=4 {
        assert!(inside.join(name(number)).symlink_metadata().is_err(), "{number} is there");
    }
    assert!(!sandbox.path("out").join(name(5)).exists());
    assert!(!std::fs::metadata(inside.join("file")).unwrap().file_type().is_fifo());
    assert_eq!(std::fs::metadata(inside.join("file")).unwrap().nlink(), 1);
}

/// Stops a restore once it has written something, until it is told to go on.
struct Held {
    wrote: Mutex<Option<Sender<()>>>,
    go: Mutex<Receiver<()>>,
}

impl Listener for Held {
    fn event(&self, event: Event<'_>) {
        if let Event::Bytes(_) = event
            && let Some(wrote) = self.wrote.lock().unwrap().take()
        {
            wrote.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
        }
    }
}

#[test]
fn a_restore_at_work_keeps_its_temporary_files() {
    let (sandbox, from) = sandbox();
    // One more with its own leftovers, so that it is seen that they go where nobody is at work.
    for number in 0..8 {
        sandbox.write(format!("out/folder/{number}"), "mine");
    }
    let planted = sandbox.write("out/.copal-0123456789abcdef-1.tmp", "half");
    let key = MasterKey::from_key_file(&std::fs::read_to_string(sandbox.key_file()).unwrap()).unwrap();
    let backend = Local::new(sandbox.repository());
    let repository = copal::repository::open(Box::new(backend), Unlock::KeyFile(&key), None).unwrap();
    repository.sync().unwrap();
    let all = repository.snapshots().unwrap();
    let named = &all.confirmed[0];
    let source = sandbox.source();
    let options = Options {
        target: sandbox.path("out/folder"),
        path: source
            .join("folder")
            .iter()
            .skip(1)
            .map(|name| std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec())
            .collect(),
        overwrite: Overwrite::Always,
        beside: "then".to_owned(),
        ..Options::default()
    };
    let ((wrote, has_written), (go, wait)) = (channel(), channel());
    let held = Held { wrote: Mutex::new(Some(wrote)), go: Mutex::new(wait) };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| restore::restore(&repository, named, &options, &held, &stop));
        has_written.recv().unwrap();
        let of_running = |folder: &Path| -> Vec<PathBuf> {
            leftovers(folder).into_iter().filter(|path| *path != planted).collect()
        };
        let before = of_running(&sandbox.path("out"));
        // The other one goes to a folder above, and through this one.
        let other = sandbox.run(["restore", &from, "-t", "out", "--overwrite", "always"]);
        let after = of_running(&sandbox.path("out"));
        go.send(()).unwrap();
        let restored = running.join().unwrap().unwrap();
        other.expect(0).warns("left behind");
        assert!(!before.is_empty());
        assert!(before.iter().all(|path| after.contains(path)), "{before:?} became {after:?}");
        assert_eq!((restored.files, restored.problems), (8, 0));
    });
    assert_eq!(leftovers(&sandbox.path("out")), [] as [PathBuf; 0]);
    for number in 0..8 {
        let name = format!("folder/{number}");
        assert_same(&source.join(&name), &sandbox.path("out").join(&name));
    }
}

#[test]
fn a_disk_that_does_not_take_everything_is_told_with_one_line() {
    let (sandbox, from) = sandbox();
    let words = ["restore", &from, "-t", "out"];
    let ended = injected(&sandbox, "inject=syncfs:error=EIO", &words).expect(1);
    assert_eq!(ended.err().matches("Input/output error").count(), 1, "{ended}");
    sandbox.run(words).expect(0);
}
