//! Schedules: units that systemd takes, lines that cron runs, and nothing of anybody else's lost. `systemctl` is a script that writes down
//! how it is called; what the units say is asked of systemd's own checks, and a real cron daemon runs a real backup.

mod common;

#[path = "schedule/calendar.rs"]
mod calendar;
#[path = "schedule/cron.rs"]
mod cron;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ended, Sandbox, end, is_root, without_terminal};

/// Notes its words, knows what is enabled and active, and fails when it is told to.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=HERE
echo "$*" >> "$here/log"
if [ "$1" = --user ]; then shift; fi
if [ -e "$here/fails" ]; then echo 'Failed to connect to bus: No medium found' >&2; exit 1; fi
case "$1" in
    show)
        for unit; do :; done
        case "$unit" in
            *.timer)
                [ -e "$here/enabled-$unit" ] && echo UnitFileState=enabled || echo UnitFileState=
                [ -e "$here/active-$unit" ] && echo ActiveState=active || echo ActiveState=inactive
                echo NeedDaemonReload=no
                echo 'NextElapseUSecRealtime=Sun 2100-01-03 03:47:12 UTC' ;;
            *.service)
                echo ActiveState=inactive
                cat "$here/result" 2>/dev/null || echo Result=success ;;
        esac ;;
    enable) shift; if [ "$1" = --now ]; then shift; touch "$here/active-$1"; fi; touch "$here/enabled-$1" ;;
    disable) shift; if [ "$1" = --now ]; then shift; fi; rm -f "$here/active-$1" "$here/enabled-$1" ;;
esac
exit 0
"#;

/// Keeps a crontab in a file; fails when it is told to.
const CRONTAB: &str = r#"#!/bin/sh
here=HERE
echo "$*" >> "$here/crontab-log"
if [ -e "$here/refuses" ]; then echo 'You (ann) are not allowed to use this program (crontab)' >&2; exit 1; fi
case "$1" in
    -l) if [ -e "$here/table" ]; then cat "$here/table"; else echo 'no crontab for ann' >&2; exit 1; fi ;;
    -r) rm "$here/table" ;;
    -) cat > "$here/table" ;;
esac
"#;

/// A sandbox whose `/` is a folder of its own, with a profile that is there.
struct World {
    sandbox: Sandbox,
}

impl World {
    fn of(mut sandbox: Sandbox, programs: &[(&str, &str)]) -> World {
        sandbox.write("home/config/copal/default.toml", "");
        sandbox.write("state/log", "");
        sandbox.write("root/etc/cron.d/other", "# other\n");
        for (name, text) in programs {
            let path = sandbox
                .write(format!("bin/{name}"), text.replace("HERE", sandbox.path("state").to_str().unwrap()));
            make_program(&path);
        }
        let program = sandbox.write("bin/copal", "#!/bin/sh\n");
        make_program(&program);
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", sandbox.path("bin").display());
        let root = sandbox.path("root");
        sandbox.set("PATH", path);
        sandbox.set("COPAL_TEST_ROOT", root);
        sandbox.set("COPAL_TEST_PROGRAM", program);
        World { sandbox }
    }

    /// Where systemd runs, and cron is there too.
    fn with_systemd(sandbox: Sandbox) -> World {
        let world = World::of(sandbox, &[("systemctl", SYSTEMCTL), ("crontab", CRONTAB)]);
        world.sandbox.write("root/run/systemd/system/x", "");
        world
    }

    fn with_cron(sandbox: Sandbox) -> World {
        World::of(sandbox, &[("crontab", CRONTAB)])
    }

    fn run(&self, words: &str) -> Ended {
        let words = ["schedule"].into_iter().chain(words.split(' '));
        let words: Vec<String> = words.map(|word| word.replace('_', " ")).collect();
        end(without_terminal(self.sandbox.command(words)))
    }

    /// How `systemctl` was called since the last time this was asked, but for questions.
    fn calls(&self) -> Vec<String> {
        let log = self.sandbox.path("state/log");
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, "").unwrap();
        text.lines().filter(|line| !line.contains("show ")).map(str::to_owned).collect()
    }

    fn table(&self) -> Option<Vec<u8>> {
        std::fs::read(self.sandbox.path("state/table")).ok()
    }

    /// The folder of the units of whoever runs.
    fn units(&self) -> PathBuf {
        match is_root() && self.sandbox.owner().is_none() {
            true => self.sandbox.path("root/etc/systemd/system"),
            false => self.sandbox.path("home/config/systemd/user"),
        }
    }

    fn unit(&self, name: &str) -> String {
        std::fs::read_to_string(self.units().join(name)).unwrap_or_default()
    }
}

fn make_program(path: &Path) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// An ordinary user's sandbox and, where there is a root, root's.
fn sandboxes() -> Vec<Sandbox> {
    let mut all = vec![Sandbox::of_nobody()];
    if is_root() {
        all.push(Sandbox::empty());
    }
    all
}

#[test]
fn installing_shows_what_it_writes_and_twice_changes_nothing() {
    for sandbox in sandboxes() {
        let world = World::with_systemd(sandbox);
        let user = if world.units().ends_with("user") { "--user " } else { "" };
        let dry =
            world.run("install -n").expect(0).says("copal-default.timer").says("OnCalendar=*-*-* 03:30:00");
        dry.warns("nothing was done");
        assert!(!world.units().join("copal-default.timer").exists() && world.calls().is_empty());
        let done = world.run("install --yes").expect(0).says("Persistent=true").says("SuccessExitStatus=3");
        done.warns("next: 2100-01-03 03:47:12").warns("lies in a folder that is emptied");
        assert_eq!(
            world.calls(),
            [format!("{user}daemon-reload"), format!("{user}enable --now copal-default.timer")]
        );
        let program = world.sandbox.path("bin/copal");
        assert!(
            world
                .unit("copal-default.service")
                .contains(&format!("ExecStart={} run default\n", program.display()))
        );
        let before = (world.unit("copal-default.service"), world.unit("copal-default.timer"));
        let again = world.run("install").expect(0).warns("nothing was changed");
        assert_eq!((again.out(), world.calls()), (String::new(), vec![]));
        assert_eq!((world.unit("copal-default.service"), world.unit("copal-default.timer")), before);
        // Other times: only the timer is another one, and it is started anew.
        world.run("install --at weekly_sat_04:00 --jitter 0 -y -q").expect(0);
        assert_eq!(
            world.calls(),
            [format!("{user}daemon-reload"), format!("{user}restart copal-default.timer")]
        );
        assert_eq!(world.unit("copal-default.service").replace("weekly sat 04:00, jitter 0s", ""), {
            let lines = before.0.replace("daily 03:30, jitter 30m", "");
            let check = |text: &str| text[..text.find("): ").unwrap()].to_owned();
            lines.replace(&check(&lines), &check(&world.unit("copal-default.service")))
        });
        assert!(world.unit("copal-default.timer").contains("OnCalendar=Sat *-*-* 04:00:00"));
        // A timer that somebody stopped is started.
        std::fs::remove_file(world.sandbox.path("state/active-copal-default.timer")).unwrap();
        world.run("list").expect(0).says("off: its timer is not started");
        world.run("install --at weekly_sat_04:00 --jitter 0 -y").expect(0);
        assert_eq!(world.calls(), [format!("{user}enable --now copal-default.timer")]);
    }
}

#[test]
fn nothing_is_written_without_anybody_to_ask_and_a_person_is_asked() {
    let world = World::with_systemd(Sandbox::of_nobody());
    world.run("install").expect(6).warns("--yes").says("write ");
    world.run("install --json").expect(6);
    assert!(!world.units().exists() && world.calls().is_empty());
    let script = |answer: &str| {
        let copal = env!("CARGO_BIN_EXE_copal");
        let line = format!("{copal} schedule install; echo ended with $?");
        let through = ["sh", "-c", "exec script -qec \"$1\" /dev/null", "sh", &line];
        let mut asked = world.sandbox.command_through(&through, [""; 0]);
        asked.env("SHELL", "/bin/sh").stdin(std::process::Stdio::piped());
        common::end_with(asked, answer.as_bytes())
    };
    script("n\n").says("Do that? [y/N]").says("ended with 6");
    assert!(!world.units().exists());
    script("y\n").says("Do that? [y/N]").says("ended with 0");
    assert!(world.unit("copal-default.timer").contains("OnCalendar"));
}

#[test]
fn what_was_changed_by_hand_is_kept_unless_it_is_meant() {
    for sandbox in sandboxes() {
        let world = World::with_systemd(sandbox);
        world.run("install -y").expect(0);
        let timer = world.units().join("copal-default.timer");
        let edited = world.unit("copal-default.timer").replace("03:30:00", "05:00:00");
        std::fs::write(&timer, &edited).unwrap();
        world.calls();
        world.run("install --at hourly -y").expect(6).warns("was changed by hand").warns("--force");
        world.run("install -y").expect(6);
        world.run("remove default -y").expect(6);
        assert_eq!((world.unit("copal-default.timer"), world.calls()), (edited, vec![]));
        world.run("list").expect(0).says("was changed by hand since copal wrote it");
        world.run("install --at hourly -y --force").expect(0);
        assert!(world.unit("copal-default.timer").contains("OnCalendar=*-*-* *:00:00"));
        // One that copal never wrote, and one that somebody masked.
        std::fs::write(&timer, "[Timer]\nOnCalendar=daily\n").unwrap();
        world.run("install -y").expect(6).warns("was not written by copal");
        std::fs::remove_file(&timer).unwrap();
        std::os::unix::fs::symlink("/dev/null", &timer).unwrap();
        world.run("install -y").expect(6).warns("was not written by copal");
        assert_eq!(std::fs::read_link(&timer).unwrap(), Path::new("/dev/null"));
        world.run("remove default -f -y").expect(0);
        assert!(!world.units().join("copal-default.service").exists());
    }
}

#[test]
fn removing_leaves_nothing_and_says_when_there_was_none() {
    for sandbox in sandboxes() {
        let world = World::with_systemd(sandbox);
        let user = if world.units().ends_with("user") { "--user " } else { "" };
        world.run("remove default").expect(1).warns("has no schedule");
        world.run("remove default --yes").expect(0);
        world.run("install -y").expect(0);
        world.run("remove default").expect(6);
        world.run("remove default -n").expect(0).says("remove ");
        assert!(world.units().join("copal-default.timer").exists());
        world.calls();
        let removed = world.run("remove default --yes --json").expect(0);
        assert_eq!(removed.summary()["changed"], true);
        assert_eq!(
            world.calls(),
            [format!("{user}disable --now copal-default.timer"), format!("{user}daemon-reload")]
        );
        assert_eq!(std::fs::read_dir(world.units()).unwrap().count(), 0);
        world.run("remove default").expect(1);
    }
}

#[test]
fn a_manager_that_can_not_be_reached_is_told_before_anything_is_written() {
    let world = World::with_systemd(Sandbox::of_nobody());
    world.sandbox.write("state/fails", "");
    world.run("install -y").expect(1).warns("Failed to connect to bus").warns("--with cron");
    assert!(!world.units().exists());
    world.run("install -y --with cron").expect(0);
    world.run("list").expect(0).says("cron");
}

#[test]
fn a_profile_is_run_by_one_of_both() {
    for sandbox in sandboxes() {
        let world = World::with_systemd(sandbox);
        let is_system = !world.units().ends_with("user");
        let file = world.sandbox.path("root/etc/cron.d/copal-default");
        let by_cron = || match is_system {
            true => file.exists(),
            false => world.table().is_some(),
        };
        world.run("install -y --with cron").expect(0);
        assert!(by_cron() && !world.units().join("copal-default.timer").exists());
        world.run("install -y").expect(0);
        assert!(!by_cron() && world.units().join("copal-default.timer").exists());
        world.run("install -y --with cron").expect(0);
        assert!(by_cron() && !world.units().join("copal-default.timer").exists());
        assert_eq!(
            std::fs::read_to_string(world.sandbox.path("root/etc/cron.d/other")).unwrap(),
            "# other\n"
        );
    }
}

#[test]
fn where_nothing_runs_programs_one_line_says_what_to_do() {
    let world = World::of(Sandbox::of_nobody(), &[]);
    let run = |words: &[&str]| {
        let words = ["schedule"].iter().chain(words);
        end(without_terminal(world.sandbox.command_through(&["env", "PATH=/nothing"], words)))
    };
    run(&["install", "-y"])
        .expect(1)
        .warns("neither systemd runs, nor is there a crontab")
        .warns("apt install cron");
    run(&["install", "-y", "--with", "systemd"]).expect(1).warns("no systemctl");
    run(&["install", "-y", "--with", "cron"]).expect(1).warns("no crontab program");
    run(&["list"]).expect(0).warns("no schedule is installed");
}

#[test]
fn runs_find_the_folders_that_are_found_now() {
    let world = World::with_systemd(Sandbox::of_nobody());
    for means in ["cron", "systemd"] {
        let shown = world.run(&format!("install --with {means} -n")).expect(0).text();
        for (name, below) in [("CONFIG", "config"), ("DATA", "data"), ("CACHE", "cache"), ("STATE", "state")]
        {
            let folder = world.sandbox.path("home").join(below);
            let said = format!("XDG_{name}_HOME={}", folder.display());
            assert!(shown.contains(&said), "{means}: {said}: {shown}");
        }
    }
}

#[test]
fn wrong_words_are_refused() {
    let world = World::with_systemd(Sandbox::of_nobody());
    for (words, says) in [
        ("install --at nightly", "daily 03:30"),
        ("install --at every_7m", "divides"),
        ("install --at monthly_31", "1 to 28"),
        ("install --at every_15m --jitter 15m", "--jitter"),
        ("install --jitter soon", "jitter"),
        ("install a/b", "profile's name"),
        ("install -- -x", "profile's name"),
        ("install --system --user", "--user"),
        ("install --with at", "systemd"),
        ("remove", "PROFILE"),
    ] {
        world.run(words).expect(2).warns(says);
    }
    world.run("install --system -y").expect(1).warns("only root");
    world.run("install missing -y").expect(2).warns("there is no profile missing in ");
    assert!(!world.units().exists());
}

#[test]
fn programs_are_told_what_is_installed_when_it_runs_and_how_it_ended() {
    let world = World::with_systemd(Sandbox::of_nobody());
    world.sandbox.write("home/config/copal/web.2.toml", "");
    assert_eq!(world.run("list --json").expect(0).out(), "");
    let summary = world.run("install --json -y").expect(0).summary();
    assert_eq!(summary["when"], "daily 03:30");
    assert_eq!(
        (&summary["means"], &summary["scope"], &summary["changed"]),
        (&"systemd".into(), &"user".into(), &true.into())
    );
    assert_eq!(summary["next_run"], "2100-01-03T03:47:12+00:00");
    world.run("install web.2 --with cron --at every_15m -y").expect(0);
    for (result, code, told) in
        [("success", 0, "done"), ("success", 3, "incomplete"), ("exit-code", 1, "failed")]
    {
        let text = format!(
            "Result={result}\nExecMainStatus={code}\nExecMainExitTimestamp=Sat 2026-11-28 03:59:00 UTC\n"
        );
        world.sandbox.write("state/result", text);
        let lines = world.run("list --json").expect(0).messages("schedule");
        assert_eq!(lines.len(), 2, "{lines:?}");
        let (first, second) = (&lines[0], &lines[1]);
        assert_eq!((&first["profile"], &first["active"]), (&"default".into(), &true.into()));
        assert_eq!(first["last_result"], told);
        assert_eq!(first["last_run"], "2026-11-28T03:59:00+00:00");
        assert_eq!((&second["profile"], &second["means"]), (&"web.2".into(), &"cron".into()));
        assert!(
            second["delay_seconds"].as_u64().unwrap() < 300 && second["next_run"].is_string(),
            "{second}"
        );
    }
    world.run("list").expect(0).says("failed (exit code 1), 2026-11-28 03:59:00").says("2 schedules");
}

#[test]
fn a_step_that_fails_is_told_and_the_next_run_finishes_it() {
    let world = World::with_systemd(Sandbox::of_nobody());
    let systemctl = world.sandbox.path("bin/systemctl");
    let good = std::fs::read_to_string(&systemctl).unwrap();
    std::fs::write(
        &systemctl,
        good.replace("    enable) ", "    enable) echo 'Access denied' >&2; exit 4 ;;\n    never) "),
    )
    .unwrap();
    world.run("install -y").expect(1).warns("enable --now copal-default.timer` failed: Access denied");
    std::fs::write(&systemctl, good).unwrap();
    world.calls();
    world.run("install -y").expect(0);
    assert_eq!(world.calls(), ["--user enable --now copal-default.timer"]);
}

#[test]
fn a_crontab_keeps_every_other_byte() {
    for others in [
        &b""[..],
        b"# mine\nMAILTO=ann@example.org\nPATH=/bin\n\n*/5 * * * *   check \\% % x\n",
        b"5 4 * * * true",
        b"# \xff\xfe caf\xe9\n@reboot /opt/\xe9\n",
    ] {
        let world = World::with_cron(Sandbox::of_nobody());
        let table = world.sandbox.write("state/table", others);
        if others.is_empty() {
            std::fs::remove_file(&table).unwrap();
        }
        let end = if others.is_empty() || others.ends_with(b"\n") { "" } else { "\n" };
        let whole = [others, end.as_bytes()].concat();
        world.run("install -n").expect(0).says("change your crontab");
        assert_eq!(world.table().unwrap_or_default(), others);
        let shown = world.run("install --at daily_03:30 -y").expect(0).out();
        assert_eq!(shown.lines().filter(|line| line.starts_with("  + ")).count(), 2, "{shown}");
        let first = world.table().unwrap();
        assert!(first.starts_with(&whole), "{}", first.escape_ascii());
        let line = String::from_utf8_lossy(&first[whole.len()..]).into_owned();
        let program = world.sandbox.path("bin/copal");
        assert!(line.ends_with(&format!("{} run -q default\n", program.display())), "{line}");
        world.run("install -y").expect(0).warns("nothing was changed");
        assert_eq!(world.table().unwrap(), first);
        world.sandbox.write("home/config/copal/web.toml", "");
        world.run("install web -y").expect(0);
        world.run("install --at hourly -y").expect(0);
        assert!(world.table().unwrap().starts_with(&whole));
        // By hand.
        let both = world.table().unwrap();
        let at = both.windows(8).rposition(|part| part == b" run -q ").unwrap();
        let edited = [&both[..at], b" -v run -q ", &both[at + 8..]].concat();
        std::fs::write(&table, &edited).unwrap();
        world.run("remove web -y").expect(6).warns("changed by hand");
        assert_eq!(world.table(), Some(edited));
        world.run("remove web -y --force").expect(0);
        world.run("remove default -y").expect(0);
        assert_eq!(world.table().unwrap_or_default(), whole);
    }
}

#[test]
fn a_crontab_that_can_not_be_read_is_never_replaced() {
    let world = World::with_cron(Sandbox::of_nobody());
    world.sandbox.write("state/table", "* * * * * true\n");
    world.sandbox.write("state/refuses", "");
    world.run("install -y").expect(1).warns("not allowed").warns("is not replaced");
    world.run("remove default -y").expect(1).warns("not allowed");
    world.run("list").expect(3).warns("not allowed");
    let log = std::fs::read_to_string(world.sandbox.path("state/crontab-log")).unwrap();
    assert!(log.lines().all(|line| line == "-l"), "{log}");
    assert_eq!(world.table().unwrap(), b"* * * * * true\n");
    // It breaks off in the middle.
    let half = "#!/bin/sh\nprintf '* * * * * tr'\necho 'input/output error' >&2\nexit 1\n";
    world.sandbox.write("bin/crontab", half);
    world.run("install -y").expect(1).warns("input/output error");
}

#[test]
fn a_crontab_that_somebody_changes_meanwhile_is_not_replaced() {
    let world = World::with_cron(Sandbox::of_nobody());
    world.sandbox.write("state/table", "* * * * * true\n");
    // Each time it was shown, somebody adds a line.
    let crontab = world.sandbox.path("bin/crontab");
    let text = std::fs::read_to_string(&crontab).unwrap();
    let adds = "cat \"$here/table\"; echo '# more' >> \"$here/table\"; else";
    std::fs::write(&crontab, text.replace("cat \"$here/table\"; else", adds)).unwrap();
    world.run("install -y").expect(11).warns("changed by somebody else").warns("Run it again");
    assert_eq!(world.table().unwrap(), b"* * * * * true\n# more\n# more\n");
}

#[test]
fn root_has_a_file_of_its_own_for_each_profile_where_cron_runs() {
    common::demand_root();
    let world = World::with_cron(Sandbox::empty());
    world.sandbox.write("home/config/copal/web.2.toml", "");
    let file = world.sandbox.path("root/etc/cron.d/copal-web_d2");
    world.run("install web.2 --at monthly_1_04:00 -y").expect(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().last().unwrap().contains(" 4 1 * * root nice -n 19 "), "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(world.table(), None);
    world.run("list").expect(0).says("web.2").says("system");
    // Root's own crontab is another thing.
    world.run("install web.2 --user -y").expect(0);
    assert!(file.exists() && world.table().is_some());
    world.run("remove web.2 --user -y").expect(0);
    assert!(file.exists() && world.table().is_none());
    std::fs::write(&file, text.replace("root nice", "root ionice nice")).unwrap();
    world.run("remove web.2 -y").expect(6).warns("copal-web_d2 was changed by hand");
    world.run("remove web.2 -y --force").expect(0);
    assert!(!file.exists());
    std::fs::remove_dir_all(world.sandbox.path("root/etc/cron.d")).unwrap();
    world.run("install -y").expect(1).warns("/etc/cron.d").warns("--user");
}

#[test]
fn root_a_backup_and_a_drill_work_without_what_the_systems_unit_gives_up() {
    common::demand_root();
    let world = World::with_systemd(Sandbox::new());
    world.run("install -y").expect(0);
    let service = world.unit("copal-default.service");
    let line = service.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=~CAP_")).unwrap();
    let dropped: Vec<String> =
        line.split(" CAP_").map(|name| format!("-{}", name.to_ascii_lowercase())).collect();
    let through = ["setpriv", "--bounding-set", &dropped.join(",")];
    let source = world.sandbox.source();
    // Somebody else's, setuid, and in a repository that is not root's.
    let file = world.sandbox.write("source/private/tool", "#!/bin/sh\n");
    std::os::unix::fs::chown(&file, Some(common::NOBODY.0), Some(common::NOBODY.1)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o4700)).unwrap();
    std::os::unix::fs::chown(world.sandbox.repository(), Some(common::NOBODY.0), None).unwrap();
    let run = |words: &[&str]| end(world.sandbox.command_through(&through, words)).expect(0);
    run(&["backup", source.to_str().unwrap()]);
    run(&["restore", "latest", "-t", "out"]);
    common::assert_same(&source, &common::below(&world.sandbox.path("out"), &source));
}

#[test]
fn systemd_itself_finds_nothing_wrong_with_the_units() {
    for sandbox in sandboxes() {
        let world = World::with_systemd(sandbox);
        let is_user = world.units().ends_with("user");
        world.run("install -y --at every_20m").expect(0);
        let verify = |folder: &Path| {
            let mut command = Command::new("systemd-analyze");
            command.args(if is_user { &["--user"][..] } else { &[] }).args(["verify", "--man=no"]);
            command.args(["service", "timer"].map(|kind| folder.join(format!("copal-default.{kind}"))));
            command.env("XDG_RUNTIME_DIR", world.sandbox.path("home")).env("LC_ALL", "C");
            command.env("HOME", world.sandbox.path("home"));
            end(command)
        };
        let good = verify(&world.units()).expect(0);
        assert_eq!(good.text(), "");
        // It does look: an option that it does not know, and a calendar that is none.
        for (kind, from, to) in
            [("service", "Nice=", "Niceness="), ("timer", "OnCalendar=*", "OnCalendar=often")]
        {
            let bad = world.sandbox.path(format!("bad-{kind}"));
            std::fs::create_dir(&bad).unwrap();
            for each in ["service", "timer"] {
                let name = format!("copal-default.{each}");
                let text = world.unit(&name);
                let text = if each == kind { text.replace(from, to) } else { text };
                std::fs::write(bad.join(name), text).unwrap();
            }
            assert_ne!(verify(&bad).text(), "", "{kind}");
        }
    }
}
