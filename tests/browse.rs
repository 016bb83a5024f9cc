//! The browser as a person sees it: the real program in a terminal of 80 columns and 24 rows, which tmux gives it.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ended, Sandbox, end, flip, longest, noise, packs};

/// Longer than anything takes that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal in which something runs, as long as it is looked at.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// Runs `copal browse` there; when it has ended, how is said, and the terminal's mode.
    fn new(sandbox: &Sandbox, options: &[&str]) -> Terminal {
        Terminal::through(sandbox, &[], options)
    }

    /// The same, started by something else.
    fn through(sandbox: &Sandbox, through: &[&str], options: &[&str]) -> Terminal {
        let words = [OsStr::new("browse")].into_iter().chain(options.iter().map(OsStr::new));
        let browse = sandbox.command_through(through, words);
        let terminal = Terminal { socket: sandbox.path("terminal") };
        let mut command = terminal.command(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"]);
        command.arg("-c").arg(sandbox.path("home"));
        command.args(["env", "-i", "TERM=screen"]);
        for (name, value) in browse.get_envs() {
            if let Some(value) = value {
                command.arg([name.as_bytes(), b"=", value.as_bytes()].concat().as_os_str());
            }
        }
        let then = "\"$@\"; echo \"ended with $?\"; stty -a | grep -ow -e '-*icanon' -e '-*echo'; exec cat";
        command.args(["sh", "-c", then, "sh"]).arg(browse.get_program()).args(browse.get_args());
        end(command).expect(0);
        terminal
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(&self.socket).args(words);
        command.env_remove("TMUX").stdin(Stdio::null());
        command
    }

    /// The screen with what makes letters bold, reversed or coloured.
    fn styled(&self) -> String {
        end(self.command(&["capture-pane", "-e", "-p"])).expect(0).out()
    }

    fn screen(&self) -> String {
        end(self.command(&["capture-pane", "-p"])).expect(0).out()
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(began.elapsed() < PATIENCE, "{what} did not come:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the screen shows that.
    #[track_caller]
    fn shows(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// Presses keys, by their names.
    fn press(&self, keys: &[&str]) {
        end(self.command(&[&["send-keys"], keys].concat())).expect(0);
    }

    /// Types letters.
    fn types(&self, text: &str) {
        end(self.command(&["send-keys", "-l", text])).expect(0);
    }

    /// Restores what is chosen or marked to the folder `out` below the home folder, when that is shown.
    #[track_caller]
    fn restores_to_out(&self, when: &str) {
        self.types("r");
        self.shows(when);
        self.press(&["C-u"]);
        self.types("out");
        self.press(&["Enter"]);
        self.shows("Restore? y/n");
        self.types("y");
    }

    /// Waits for the end, and demands that the terminal is as it was.
    #[track_caller]
    fn ends_with(&self, code: i32) -> String {
        let screen = self.until("the end", |screen| screen.contains("\necho") || screen.contains("\n-echo"));
        assert!(screen.contains(&format!("ended with {code}")), "{screen}");
        assert!(
            screen.contains("\nicanon\n") && screen.contains("\necho\n"),
            "the mode is another one\n{screen}"
        );
        let left =
            end(self.command(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])).expect(0).out();
        assert_eq!(left, "0 1\n", "screen and cursor are not as they were");
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

trait AsOs {
    fn as_os_str(&self) -> &OsStr;
}

impl AsOs for Vec<u8> {
    fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(self)
    }
}

/// The line that holds that text.
#[track_caller]
fn line<'s>(screen: &'s str, text: &str) -> &'s str {
    screen.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?} in\n{screen}"))
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{:?}: {error}", path.as_ref()))
}

#[test]
fn a_person_walks_to_a_file_looks_at_it_and_restores_it() {
    let sandbox = Sandbox::new();
    sandbox.write("source/docs/report.txt", "first line\n\x1b[31mred\nlast line\n");
    sandbox.write("source/docs/other.txt", "other");
    sandbox.write("source/docs/deep/below.txt", "below");
    sandbox.write("source/top.txt", "top");
    sandbox.back_up();
    let terminal = Terminal::new(&sandbox, &[]);
    let screen = terminal.shows("1 of 1 snapshot");
    assert!(line(&screen, &sandbox.source().display().to_string()).starts_with('>'), "{screen}");
    terminal.press(&["Enter"]);
    // What was backed up is shown, not the way there.
    let screen = terminal.shows("top.txt");
    assert!(line(&screen, "docs/").starts_with('>'), "folders come first\n{screen}");
    // 39 and 49 are the terminal's own.
    let styled = terminal.styled().replace("\x1b[39m", "").replace("\x1b[49m", "");
    assert!(styled.contains("\x1b[7m"), "what is chosen is reversed\n{styled:?}");
    for colour in ["\x1b[3", "\x1b[4", "\x1b[9", "\x1b[10", ";3", ";4"] {
        assert!(!styled.contains(colour), "there are colours\n{styled:?}");
    }
    terminal.press(&["Enter"]);
    terminal.shows("report.txt");
    terminal.types("/report");
    terminal.until("the filter", |screen| screen.contains("report.txt") && !screen.contains("other.txt"));
    terminal.press(&["Enter", "Enter"]);
    let screen = terminal.shows("last line");
    assert!(screen.contains("\\x1b[31mred"), "{screen}");
    terminal.press(&["q"]);
    terminal.shows("with \"report\"");
    terminal.press(&["Escape"]);
    terminal.shows("other.txt");
    // The file that was chosen is still chosen: it and the folder are marked.
    terminal.press(&["Space"]);
    terminal.shows("1 marked");
    terminal.press(&["Home", "Space"]);
    terminal.shows("2 marked");
    terminal.types("r");
    terminal.shows("./restored-20");
    terminal.press(&["C-u"]);
    terminal.types("~/out");
    terminal.shows("~/out_");
    terminal.press(&["Enter"]);
    terminal.shows("Restore? y/n");
    assert!(!sandbox.path("home/out").exists(), "before a yes nothing is made");
    terminal.types("y");
    let screen = terminal.shows("restored 2 files");
    assert!(screen.contains(&sandbox.path("home/out").display().to_string()), "{screen}");
    let out = sandbox.path("home/out");
    assert_eq!(text(out.join("report.txt")), "first line\n\x1b[31mred\nlast line\n");
    assert_eq!(text(out.join("deep/below.txt")), "below");
    assert!(!out.join("other.txt").exists() && !out.join("top.txt").exists());
    terminal.press(&["Enter"]);
    terminal.until("the folder", |screen| screen.contains("other.txt") && !screen.contains("marked"));
    terminal.types("q");
    terminal.shows("top.txt");
    terminal.types("q");
    terminal.shows("1 of 1 snapshot");
    terminal.types("q");
    terminal.ends_with(0);
}

#[test]
fn what_is_there_and_differs_is_never_replaced() {
    let sandbox = Sandbox::new();
    sandbox.write("source/folder/a.txt", "stored");
    sandbox.write("source/b.txt", "stored");
    sandbox.back_up();
    sandbox.write("home/out/folder/a.txt", "mine");
    sandbox.write("home/out/b.txt", "mine too");
    let terminal = Terminal::new(&sandbox, &[]);
    let restore = || terminal.restores_to_out("./restored-20");
    terminal.shows("1 of 1 snapshot");
    terminal.press(&["Enter"]);
    terminal.shows("b.txt");
    restore();
    let screen = terminal.shows("nothing was written");
    assert!(screen.contains("not restored: "), "{screen}");
    terminal.press(&["Enter"]);
    terminal.shows("b.txt");
    // A single file is put beside.
    terminal.press(&["End"]);
    terminal.until("the file", |screen| line(screen, "b.txt").starts_with('>'));
    restore();
    terminal.shows("restored 1 file");
    assert_eq!(text(sandbox.path("home/out/folder/a.txt")), "mine");
    assert_eq!(text(sandbox.path("home/out/b.txt")), "mine too");
    let names = std::fs::read_dir(sandbox.path("home/out")).unwrap().map(|entry| entry.unwrap().file_name());
    let beside: Vec<_> = names.filter(|name| name != "b.txt" && name != "folder").collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert_eq!(text(sandbox.path("home/out").join(&beside[0])), "stored");
    terminal.press(&["C-c"]);
    terminal.ends_with(130);
}

#[test]
fn odd_names_are_escaped_and_restored_as_they_are() {
    let sandbox = Sandbox::new();
    let names = [&b"new\nline"[..], b"caf\xe9", b"\x1b[2Jgone", b"st*r [x]", b"back\\slash"];
    for name in names {
        sandbox.write(Path::new("source").join(OsStr::from_bytes(name)), name);
    }
    sandbox.write("source/strr x", "another");
    sandbox.back_up();
    let terminal = Terminal::new(&sandbox, &[]);
    terminal.shows("1 of 1 snapshot");
    terminal.press(&["Enter"]);
    let screen = terminal.shows("strr x");
    for shown in ["new\\nline", "caf\\xe9", "\\x1b[2Jgone", "st*r [x]", "back\\\\slash"] {
        assert_eq!(screen.matches(shown).count(), 1, "{shown}\n{screen}");
    }
    // All but the last one by name, which is `strr x`.
    terminal.press(&["Space", "Space", "Space", "Space", "Space"]);
    terminal.shows("5 marked");
    terminal.restores_to_out("5 marked entries");
    terminal.shows("restored 5 files");
    let out = sandbox.path("home/out");
    for name in names {
        assert_eq!(std::fs::read(out.join(OsStr::from_bytes(name))).unwrap(), name);
    }
    assert!(!out.join("strr x").exists());
    terminal.press(&["C-c"]);
    terminal.ends_with(130);
}

fn versions(sandbox: &Sandbox, options: &[&str]) {
    sandbox.write("source/docs/report.txt", "the first version");
    sandbox.back_up();
    sandbox.write("source/docs/report.txt", "the second version, which is longer");
    sandbox.back_up();
    let terminal = Terminal::new(sandbox, options);
    terminal.shows("1 of 2 snapshots");
    terminal.press(&["Enter"]);
    terminal.shows("docs/");
    terminal.press(&["Enter"]);
    terminal.shows("report.txt");
    terminal.types("v");
    let screen = terminal.shows("1 of 2 versions");
    assert!(screen.contains("35 B") && screen.contains("17 B"), "{screen}");
    terminal.press(&["Down"]);
    terminal.shows("2 of 2 versions");
    terminal.press(&["Enter"]);
    let screen = terminal.until("the folder", |screen| screen.contains("1 of 1 entry"));
    assert!(line(&screen, "report.txt").contains("17 B"), "{screen}");
    terminal.press(&["Enter"]);
    terminal.shows("the first version");
    terminal.types("q");
    terminal.shows("1 of 1 entry");
    // Back is the snapshot where one was before.
    terminal.types("q");
    terminal.shows("35 B");
    terminal.press(&["C-c"]);
    terminal.ends_with(130);
}

#[test]
fn versions_are_shown_and_one_leads_to_its_snapshot() {
    let sandbox = Sandbox::new();
    versions(&sandbox, &[]);
    let files = std::fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(files.into_iter().any(|name| name.to_string_lossy().ends_with(".catalogue.db")), "it was filled");
}

#[test]
fn versions_are_found_without_the_catalogue_too() {
    versions(&Sandbox::new(), &["--no-catalogue"]);
}

#[test]
fn damage_is_told_where_it_is_and_by_the_end() {
    let sandbox = Sandbox::new();
    sandbox.write("source/bad", noise(1, 3_000_000));
    sandbox.back_up();
    let before = packs(&sandbox);
    sandbox.write("source/good", "this is whole");
    sandbox.back_up();
    // The pack of the large file's bytes.
    let pack = longest(before);
    flip(&pack);
    let terminal = Terminal::new(&sandbox, &[]);
    terminal.shows("1 of 2 snapshots");
    terminal.press(&["Enter"]);
    terminal.shows("1 of 2 entries");
    terminal.types("r");
    terminal.shows("./restored-20");
    terminal.press(&["Enter"]);
    terminal.shows("Restore? y/n");
    terminal.types("y");
    let screen = terminal.shows("could not be restored whole");
    assert!(screen.contains("the repository is damaged") && screen.contains("packs/"), "{screen}");
    terminal.press(&["Enter"]);
    terminal.shows("1 of 2 entries");
    terminal.press(&["End", "Enter"]);
    terminal.shows("this is whole");
    terminal.types("q");
    terminal.shows("2 of 2 entries");
    terminal.press(&["C-c"]);
    let screen = terminal.ends_with(5);
    assert!(screen.contains("the repository is damaged"), "{screen}");
}

#[test]
fn a_folder_that_is_damaged_is_named_and_the_others_are_shown() {
    let sandbox = Sandbox::new();
    sandbox.write("source/a/old", "old");
    sandbox.back_up();
    let before = packs(&sandbox);
    sandbox.write("source/b/new", "new");
    sandbox.back_up();
    // What came with the first snapshot alone is gone: its pages, and the page of `a`.
    for pack in before {
        std::fs::remove_file(pack).unwrap();
    }
    let terminal = Terminal::new(&sandbox, &[]);
    terminal.shows("1 of 2 snapshots");
    terminal.press(&["Enter"]);
    terminal.shows("1 of 2 entries");
    terminal.press(&["Enter"]);
    let screen = terminal.shows("1 of 1 entry");
    assert!(screen.contains(">! "), "{screen}");
    terminal.types("q");
    terminal.shows("1 of 2 entries");
    terminal.press(&["End", "Enter"]);
    terminal.until("the other folder", |screen| screen.contains(" new") && screen.contains("1 of 1 entry"));
    terminal.press(&["C-c"]);
    terminal.ends_with(5);
}

#[test]
fn the_screen_may_change_its_size_and_help_is_there() {
    let sandbox = Sandbox::new();
    for number in 0..60 {
        sandbox.write(format!("source/file {number:02}"), "x");
    }
    sandbox.back_up();
    let terminal = Terminal::new(&sandbox, &[]);
    terminal.shows("1 of 1 snapshot");
    terminal.press(&["Enter"]);
    terminal.shows("1 of 60 entries");
    terminal.press(&["End"]);
    terminal.shows("60 of 60 entries");
    end(terminal.command(&["resize-window", "-x", "30", "-y", "8"])).expect(0);
    let screen = terminal.until("the smaller screen", |screen| {
        screen.lines().count() <= 8
            && screen.contains("?:help")
            && screen.contains(">")
            && screen.contains("file 59")
    });
    assert!(!screen.contains("file 40"), "{screen}");
    end(terminal.command(&["resize-window", "-x", "80", "-y", "24"])).expect(0);
    terminal.shows("file 41");
    terminal.types("?");
    terminal.shows("the end, also amid something");
    terminal.types("x");
    terminal.shows("60 of 60 entries");
    terminal.press(&["C-c"]);
    terminal.ends_with(130);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    let terminal = Terminal::new(&sandbox, &[]);
    terminal.shows("1 of 1 snapshot");
    let shell = end(terminal.command(&["display-message", "-p", "#{pane_pid}"])).expect(0).out();
    let mut command = Command::new("pkill");
    command.args(["-TERM", "-P", shell.trim()]);
    end(command).expect(0);
    terminal.ends_with(143);
}

#[test]
fn it_ends_with_its_terminal() {
    // With the signal that says so, and in a session that gets none.
    for through in [&[][..], &["setsid"]] {
        let sandbox = Sandbox::new();
        sandbox.write("source/file", "x");
        sandbox.back_up();
        let terminal = Terminal::through(&sandbox, through, &[]);
        terminal.shows("1 of 1 snapshot");
        let shell = end(terminal.command(&["display-message", "-p", "#{pane_pid}"])).expect(0).out();
        let mut command = Command::new("pgrep");
        command.args(["-P", shell.trim()]);
        let process = PathBuf::from("/proc").join(end(command).expect(0).out().trim());
        assert!(process.exists());
        drop(terminal);
        let began = Instant::now();
        let is_there = || {
            let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
            // Nobody may be there to take it away.
            !state.is_empty() && !state.contains(") Z ")
        };
        while is_there() {
            assert!(began.elapsed() < PATIENCE, "it goes on without a terminal: {process:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn what_a_restore_did_is_told_when_it_is_ended_amid_it() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "x");
    sandbox.back_up();
    // It waits for the disk until the key is pressed.
    let slow =
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=syncfs", "-e", "inject=syncfs:delay_enter=5s"];
    let terminal = Terminal::through(&sandbox, &slow, &[]);
    terminal.shows("1 of 1 snapshot");
    terminal.press(&["Enter"]);
    terminal.shows("1 of 1 entry");
    terminal.restores_to_out("./restored-20");
    terminal.shows("restoring ... (Esc stops it)");
    terminal.until("the file", |_| sandbox.path("home/out/file").exists());
    terminal.press(&["C-c"]);
    let screen = terminal.ends_with(130);
    assert!(screen.contains("restored 1 file") && screen.contains("home/out"), "{screen}");
    assert_eq!(text(sandbox.path("home/out/file")), "x");
}

#[test]
fn without_a_terminal_it_says_so_before_anything_else() {
    let says = |ended: Ended, text: &str| {
        assert!(ended.err().starts_with(&format!("copal: {text}")), "{ended}");
        ended.expect(2);
    };
    let sandbox = Sandbox::empty();
    says(sandbox.run(["browse"]), "browse needs a terminal");
    says(sandbox.run(["browse", "--no-catalogue"]), "browse needs a terminal");
    sandbox.run(["browse", "--json"]).expect(2).warns("\"message\":\"browse is for a person");
}
