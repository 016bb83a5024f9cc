//! Commands whose output is saved, beside files and without them.

mod common;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Ended, Sandbox, end, end_child, noise};

/// Backs up the source and what these commands print.
fn back_up(sandbox: &Sandbox, options: &[&str], commands: &[&str]) -> Ended {
    let source = sandbox.source();
    let commands = commands.iter().flat_map(|command| ["--command", command]);
    let words = ["backup"].into_iter().chain(options.iter().copied()).chain(commands).map(OsStr::new);
    sandbox.run(words.chain([source.as_os_str()]))
}

fn give_back(sandbox: &Sandbox, name: &str, code: i32) -> std::path::PathBuf {
    sandbox.run(["restore", "latest", "-t", name]).expect(code);
    sandbox.path(name).join(".commands")
}

fn count(sandbox: &Sandbox) -> usize {
    let all = sandbox.run(["snapshots", "--json"]).expect(0);
    let list = all.messages("snapshot");
    if list.is_empty() { all.json().len() } else { list.len() }
}

#[test]
fn what_commands_print_lies_beside_the_files() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "content");
    let bytes = noise(3, 5 << 20);
    sandbox.write("noise", &bytes);
    let commands = ["noise=cat noise", "b=printf b; echo warned >&2", "a.txt=printf 'x = y'", "empty=true"];
    let ended = back_up(&sandbox, &[], &commands).expect(0);
    ended.warns("b: warned").warns("empty: its command printed nothing");
    let folder = give_back(&sandbox, "out", 0);
    for (name, content) in [("noise", &bytes[..]), ("b", b"b"), ("a.txt", b"x = y"), ("empty", b"")] {
        assert_eq!(std::fs::read(folder.join(name)).unwrap(), content, "{name}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
    assert_eq!(
        std::fs::read(common::below(&sandbox.path("out"), &sandbox.source()).join("file")).unwrap(),
        b"content"
    );
    sandbox.run(["dump", "latest:/.commands/b"]).expect(0).says("b");
    sandbox.run(["snapshots"]).expect(0).says("/.commands/a.txt");
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn commands_alone_are_a_snapshot_too() {
    let sandbox = Sandbox::new();
    sandbox.run(["backup", "--command", "only=echo one"]).expect(0);
    assert_eq!(std::fs::read(give_back(&sandbox, "out", 0).join("only")).unwrap(), b"one\n");
    assert_eq!(std::fs::read_dir(sandbox.path("out")).unwrap().count(), 1);
}

#[test]
fn a_database_is_dumped_by_its_own_program() {
    let sandbox = Sandbox::new();
    let sqlite = |file: &str, words: &str| {
        let mut command = Command::new("sqlite3");
        command.arg(sandbox.path(file)).arg(words);
        end(command).expect(0).out()
    };
    sqlite(
        "a.db",
        "create table t (n integer); with recursive c(n) as (select 1 union all select n + 1 from c where n < 5000) insert into t select n from c",
    );
    let commands =
        ["a.sql=sqlite3 a.db .dump", "a.db=sqlite3 a.db '.backup copy.db' && cat copy.db && rm copy.db"];
    back_up(&sandbox, &[], &commands).expect(0);
    let folder = give_back(&sandbox, "out", 0);
    let sum = "select sum(n) from t";
    assert_eq!(sqlite("out/.commands/a.db", sum), "12502500\n");
    sqlite("again.db", &format!(".read {}", folder.join("a.sql").display()));
    assert_eq!(sqlite("again.db", sum), "12502500\n");
    // A database that is not one: of the two only `.backup` says so by its exit code.
    sandbox.write("a.db", noise(1, 8192));
    let ended = back_up(&sandbox, &[], &commands).expect(3);
    ended.warns("/.commands/a.db: its command (sqlite3) failed with exit code 1").warns("not a database");
}

#[test]
fn a_command_that_fails_leaves_nothing_that_looks_whole_and_the_others_are_saved() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", "content");
    back_up(
        &sandbox,
        &[],
        &["bad=echo whole", "good=echo good", "killed=echo whole", "none=echo whole", "still=echo whole"],
    )
    .expect(0);
    let ended = back_up(
        &sandbox,
        &[],
        &[
            "bad=echo part; echo first >&2; echo 'no \u{1b}[31mpermission' >&2; exit 7",
            "good=echo good",
            "killed=echo part; kill -9 $$",
            "none=/no/such/program",
            "still=exit 1",
        ],
    )
    .expect(3);
    let ended = ended
        .warns("/.commands/bad: its command (echo) failed with exit code 7: first | no \\x1b[31mpermission")
        .warns("/.commands/killed: its command (echo) was ended by signal 9")
        .warns("/.commands/none: its command (/no/such/program) failed with exit code 127")
        .warns("/.commands/still: its command (exit) failed with exit code 1")
        .warns("the snapshot is incomplete: 4 entries could not be read");
    assert!(!ended.err().contains('\u{1b}'));
    let folder = give_back(&sandbox, "out", 3);
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["good"]);
    sandbox.run(["dump", "latest:/.commands/bad"]).expect(1);
    sandbox.run(["check", "--read-data"]).expect(0);
    // And the night after.
    back_up(
        &sandbox,
        &[],
        &["bad=echo whole", "good=echo good", "killed=echo whole", "none=echo whole", "still=echo whole"],
    )
    .expect(0);
    assert_eq!(std::fs::read(give_back(&sandbox, "after", 0).join("bad")).unwrap(), b"whole\n");
}

#[test]
fn when_only_commands_were_given_and_all_failed_there_is_no_snapshot() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["backup", "--command", "a=exit 1", "--command", "b=echo x; exit 2"]).expect(1);
    ended.warns("/.commands/a").warns("/.commands/b").warns("no snapshot was made");
    assert_eq!(count(&sandbox), 0);
    sandbox.run(["backup", "--command", "a=exit 1", "--command", "b=echo x"]).expect(3);
    assert_eq!(count(&sandbox), 1);
}

#[test]
fn a_second_time_only_what_changed_is_stored_and_is_a_version() {
    let sandbox = Sandbox::new();
    sandbox.write("source/file", noise(9, 1 << 20));
    let mut bytes = noise(4, 20 << 20);
    sandbox.write("data", &bytes);
    let commands = ["dump=cat data", "same=echo same"];
    back_up(&sandbox, &[], &commands).expect(0);
    let again = back_up(&sandbox, &["--json"], &commands).expect(0).summary();
    assert_eq!(
        (again["files_unmodified"].as_u64(), again["data_added"].as_u64()),
        (Some(3), Some(0)),
        "{again}"
    );
    let none = back_up(&sandbox, &["--skip-if-unchanged"], &commands).expect(0);
    none.says("no snapshot was made");
    bytes[10 << 20] ^= 1;
    sandbox.write("data", &bytes);
    let changed = back_up(&sandbox, &["--json"], &commands).expect(0).summary();
    assert_eq!(changed["files_changed"].as_u64(), Some(1), "{changed}");
    let added = changed["data_added"].as_u64().unwrap();
    assert!((1..4 << 20).contains(&added), "{added} bytes of 20 MiB were stored");
    let versions = |name: &str| {
        let path = format!("/.commands/{name}");
        sandbox.run(["versions", "--json", &path]).expect(0).messages("version").len()
    };
    assert_eq!((versions("dump"), versions("same")), (2, 1));
    assert_eq!(std::fs::read(give_back(&sandbox, "out", 0).join("dump")).unwrap(), bytes);
}

#[test]
fn files_beside_a_command_are_taken_over_unread() {
    let sandbox = Sandbox::new().trusting_fresh_files();
    sandbox.write("source/folder/file", "content");
    let source = sandbox.source();
    let words = ["backup", "--command", "a=date +%N"].map(OsStr::new);
    let words = || words.into_iter().chain([source.as_os_str()]);
    sandbox.run(words()).expect(0);
    let (opened, ended) = sandbox.opened(words());
    ended.expect(0);
    assert!(!opened.iter().any(|name| name == "file"), "{opened:?}");
}

#[test]
fn much_output_takes_little_memory() {
    let sandbox = Sandbox::new();
    let through = ["/bin/sh", "-c", "ulimit -v 3000000; exec \"$@\"", "sh"];
    let line = "big=yes 'a line that comes again and again' | head -c 600000000";
    let mut command =
        sandbox.command_through(&through, ["backup", "--json", "--memory", "64M", "--command", line]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let most = std::thread::spawn(move || {
        let mut most = 0u64;
        // It is gone when its file can not be read any more, or has no memory.
        while let Some(line) = std::fs::read_to_string(&status)
            .ok()
            .and_then(|text| text.lines().find(|line| line.starts_with("VmHWM")).map(str::to_owned))
        {
            most = most.max(line.split_whitespace().nth(1).unwrap().parse().unwrap());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        most
    });
    let summary = end_child(child, "much output".to_owned()).expect(0).summary();
    assert_eq!(summary["total_bytes_processed"].as_u64(), Some(600_000_000));
    let most = most.join().unwrap() >> 10;
    assert!((1..256).contains(&most), "{most} MiB");
}

#[test]
fn a_command_gets_no_secrets_and_nothing_to_read() {
    let sandbox = Sandbox::new().with("COPAL_PASSWORD", "secret-1").with("AWS_SECRET_ACCESS_KEY", "secret-2");
    sandbox.run(["backup", "--command", "env=env; cat"]).expect(0);
    let text = std::fs::read_to_string(give_back(&sandbox, "out", 0).join("env")).unwrap();
    assert!(text.contains("HOME=") && !text.contains("secret-"), "{text}");
    let described = sandbox.run(["snapshots", "--json"]).expect(0).out();
    assert!(!described.contains("cat"), "{described}");
}

#[test]
fn the_time_limit_ends_a_command_and_all_that_it_started() {
    let sandbox = Sandbox::new();
    let slow = "slow=sleep 1000 & echo $! > child; wait";
    let ended = back_up(&sandbox, &["--command-time-limit", "1s"], &[slow, "quick=echo x"]).expect(3);
    ended.warns("/.commands/slow: its command (sleep) took longer than 1s and was ended");
    let child = std::fs::read_to_string(sandbox.path("child")).unwrap();
    assert!(is_gone(child.trim()), "{child}");
}

/// Whether a process ends, within a time that is long enough for anybody to notice its signal.
fn is_gone(id: &str) -> bool {
    let is_there = || {
        std::fs::read_to_string(format!("/proc/{id}/status"))
            .is_ok_and(|status| !status.contains("State:\tZ"))
    };
    assert!(!id.is_empty());
    (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !is_there()
    })
}

#[test]
fn output_that_something_left_behind_holds_open_is_not_taken_for_whole() {
    let sandbox = Sandbox::new();
    let line = "left=sleep 1000 & echo $! > child; echo part";
    back_up(&sandbox, &[], &[line]).expect(3).warns("/.commands/left").warns("still holds its output open");
    let child = std::fs::read_to_string(sandbox.path("child")).unwrap();
    let id = rustix::process::Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn an_interrupt_ends_the_command_too() {
    let sandbox = Sandbox::new();
    let mut command =
        sandbox.command(["backup", "--command", "a=echo $$ > id.new; mv id.new id; sleep 1000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = wait_for(&sandbox.path("id"));
    let own = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(own, rustix::process::Signal::INT).unwrap();
    end_child(child, "interrupted".to_owned()).expect(130);
    assert!(is_gone(id.trim()));
    assert_eq!(count(&sandbox), 0);
}

fn wait_for(path: &Path) -> String {
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return text;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_dry_run_runs_no_command() {
    let sandbox = Sandbox::new();
    let ended = back_up(&sandbox, &["--dry-run"], &["a=touch ran"]).expect(0);
    ended.warns("touch is not run, for a");
    assert!(!sandbox.path("ran").exists());
    sandbox.run(["backup", "-n", "--command", "a=touch ran"]).expect(0);
    assert!(!sandbox.path("ran").exists());
}

#[test]
fn what_can_not_be_a_command_is_refused() {
    let sandbox = Sandbox::new();
    for wrong in ["x", "=x", "a=", "a/b=x", "..=x", ".=x"] {
        back_up(&sandbox, &[], &[wrong]).expect(2);
    }
    back_up(&sandbox, &[], &["a=x", "a=y"]).expect(2).warns("two commands have the name a");
    back_up(&sandbox, &["--command-time-limit", "soon"], &["a=x"]).expect(2);
    sandbox.run_with_input(["backup", "--stdin", "--command", "a=x"], b"").expect(2);
    sandbox.run(["backup", "--command", "a=x", "--stdin-from-command", "--", "true"]).expect(2);
    assert_eq!(count(&sandbox), 0);
}

#[test]
fn root_the_whole_machine_and_commands_go_together_unless_their_folder_is_there() {
    common::demand_root();
    let sandbox = Sandbox::new().trusting_fresh_files();
    // A machine of its own: a root folder with little in it, the program, and what that needs.
    let script = format!(
        "mkdir -p root/repository root/tmp root/home root/etc root/proc; echo x > root/etc/file
        for path in /usr /bin /lib /lib64; do [ -e $path ] && mkdir -p root$path && mount --bind $path root$path; done
        mkdir -p root/dev; mount --bind /dev root/dev; mount -t proc proc root/proc
        cp {} root/copal; cp key root/key; mount --bind repository root/repository
        export COPAL_REPOSITORY=/repository COPAL_KEY_FILE=/key HOME=/home XDG_CACHE_HOME=/home/cache
        in_it() {{ chroot root /copal \"$@\"; }}
        back_up() {{ in_it backup / -x -e /usr -e /bin -e /lib -e /lib64 -e /dev -e /proc -e /copal --command 'a=echo new; date +%N' --command 'z=echo z' \"$@\"; }}
        back_up; back_up --json > second; in_it dump latest:/.commands/a > a
        in_it dump latest:/etc/file > file
        mkdir root/.commands; back_up && exit 9 || [ $? = 2 ]
        back_up --exclude /.commands; in_it ls latest:/.commands > listed
        in_it backup /.commands --command a=true && exit 9 || [ $? = 2 ]",
        env!("CARGO_BIN_EXE_copal")
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-exc", &script])
        .current_dir(sandbox.path(""))
        .env_clear()
        .envs(sandbox.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    end(command).expect(0);
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    assert!(read("a").starts_with("new\n") && read("file") == "x\n");
    let listed = read("listed");
    assert!(listed.contains('a') && listed.contains('z'), "{listed}");
    let second = read("second");
    let second: serde_json::Value = second
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .find(|line| line["message_type"] == "summary")
        .unwrap();
    assert_eq!(second["files_changed"], 1, "{second}");
}
