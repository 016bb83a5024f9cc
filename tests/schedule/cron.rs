//! The real `crontab` and the real cron daemon of Debian. What they keep is put back as it was.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::common::{self, NOBODY, Sandbox, end};
use super::make_program;

/// Where Debian's cron keeps what `crontab` is given.
const SPOOL: &str = "/var/spool/cron/crontabs/nobody";
/// Cron looks once a minute, and a backup takes some time.
const PATIENCE: Duration = Duration::from_secs(130);

/// One test at a time has nobody's crontab.
static ONE: Mutex<()> = Mutex::new(());

/// Nobody's crontab, the files of a folder and a daemon, as they were before when this goes.
struct Kept {
    _one: MutexGuard<'static, ()>,
    table: Option<Vec<u8>>,
    files: Vec<PathBuf>,
    daemon: Option<Child>,
}

impl Kept {
    fn new() -> Kept {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(Path::new("/usr/bin/crontab").exists(), "this test needs cron: run tests/install");
        Kept { _one: one, table: std::fs::read(SPOOL).ok(), files: Vec::new(), daemon: None }
    }

    /// Makes that nobody's crontab, as the program `crontab` leaves it.
    fn set(&self, table: &[u8]) {
        std::fs::write(SPOOL, table).unwrap();
        std::fs::set_permissions(SPOOL, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(SPOOL, Some(NOBODY.0), None).unwrap();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        match self.table.take() {
            Some(table) => self.set(&table),
            None => drop(std::fs::remove_file(SPOOL)),
        }
    }
}

/// A sandbox with a profile of that name.
fn prepared(sandbox: Sandbox, profile: &str) -> Sandbox {
    sandbox.write(format!("home/config/copal/{profile}.toml"), "");
    sandbox.write("source/letter", "dear all");
    sandbox
}

/// What stands in for copal: it takes `run -q PROFILE`, and backs up the source of the sandbox.
fn stand_in(sandbox: &Sandbox, profile: &str) -> PathBuf {
    let shown = |path: PathBuf| path.display().to_string();
    let text = format!(
        "#!/bin/sh\n[ \"$*\" = 'run -q {profile}' ] || exit 9\n\
         export COPAL_REPOSITORY={} COPAL_KEY_FILE={}\nexec {} backup -q --tag \"$(nice)\" {}\n",
        shown(sandbox.repository()),
        shown(sandbox.key_file()),
        env!("CARGO_BIN_EXE_copal"),
        shown(sandbox.source()),
    );
    let path = sandbox.write("stand-in", text);
    make_program(&path);
    path
}

fn snapshots(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot")
}

#[test]
fn root_the_real_crontab_keeps_every_other_byte() {
    common::demand_root();
    let kept = Kept::new();
    let sandbox = prepared(Sandbox::of_nobody(), "default");
    let run =
        |words: &[&str]| end(common::without_terminal(sandbox.command(["schedule"].iter().chain(words))));
    let others = b"# caf\xe9 \xff\nMAILTO=\"\"\n\n1 1 1 1 *\ttrue % \\%\n";
    kept.set(others);
    let install = ["install", "--with", "cron", "-y"];
    run(&install).expect(0);
    let with = std::fs::read(SPOOL).unwrap();
    let at = with.windows(others.len()).position(|part| part == others);
    let block = at.map(|at| String::from_utf8_lossy(&with[at + others.len()..]).into_owned());
    assert_eq!(block.as_deref().map(|block| block.lines().count()), Some(2), "{}", with.escape_ascii());
    run(&install).expect(0).warns("nothing was changed");
    run(&["list"]).expect(0).says("daily 03:30").says("cron");
    run(&["remove", "default", "-y"]).expect(0);
    // Behind the lines that `crontab` puts on top itself; and so also when it is done once more.
    for _ in 0..2 {
        let table = std::fs::read(SPOOL).unwrap();
        let header = String::from_utf8_lossy(&table[..table.len() - others.len()]).into_owned();
        assert!(table.ends_with(others) && header.lines().count() == 3, "{}", table.escape_ascii());
        run(&install).expect(0);
        run(&["remove", "default", "-y"]).expect(0);
    }
    // Nothing was there, and nothing is left.
    std::fs::remove_file(SPOOL).unwrap();
    run(&install).expect(0);
    run(&["remove", "default", "-y"]).expect(0);
    assert!(!Path::new(SPOOL).exists());
}

#[test]
fn root_a_real_cron_daemon_runs_a_real_backup_for_root_and_for_a_user() {
    common::demand_root();
    let mut kept = Kept::new();
    let profile = format!("copal-test-{}", std::process::id());
    let file = PathBuf::from(format!("/etc/cron.d/copal-{profile}"));
    kept.files.push(file.clone());
    let (root, user) = (prepared(Sandbox::new(), &profile), prepared(Sandbox::of_nobody(), &profile));
    for sandbox in [&root, &user] {
        let words = ["schedule", "install", &profile, "--at", "every 1m", "--with", "cron", "-y"];
        let mut command = sandbox.command(words);
        command.env("COPAL_TEST_PROGRAM", stand_in(sandbox, &profile));
        end(common::without_terminal(command)).expect(0);
    }
    assert!(file.exists() && Path::new(SPOOL).exists());
    let mut daemon = Command::new("cron");
    daemon.args(["-f", "-L", "15"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Where one runs already, this one ends at once, and that one does the work.
    kept.daemon = Some(daemon.spawn().unwrap());
    let begin = Instant::now();
    while snapshots(&root).is_empty() || snapshots(&user).is_empty() {
        assert!(
            begin.elapsed() < PATIENCE,
            "cron ran nothing: {:?}",
            kept.daemon.as_mut().unwrap().try_wait()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    for sandbox in [&root, &user] {
        // It ran as a considerate one.
        assert_eq!(snapshots(sandbox)[0]["tags"], serde_json::json!(["19"]));
        common::assert_same(&sandbox.source(), &sandbox.restore("out"));
        let words = ["schedule", "remove", &profile, "-y"];
        end(common::without_terminal(sandbox.command(words))).expect(0);
    }
    assert!(!file.exists());
}
