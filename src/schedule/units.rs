//! What is written: a service and a timer of systemd, a file of cron, a line of a crontab. Texts alone; nothing is read or written here.

use std::time::Duration;

use super::Job;
use super::marker::Marker;
use super::places::Scope;

/// What a unit of the system gives up. Hooks run inside of it, so only what neither a backup nor a hook needs is taken away: see
/// docs/commands.md for what was left out, and why.
const GIVEN_UP: &str = "\
# Given up is what neither a backup nor a hook of one needs. The whole machine is read, a repository may
# be anywhere, and hooks dump databases as other users, mount and take snapshots: no folder is hidden or
# read-only, no user or setuid program is forbidden.
CapabilityBoundingSet=~CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_PACCT CAP_SYSLOG CAP_BPF CAP_PERFMON
RestrictRealtime=yes
LockPersonality=yes
KeyringMode=private
";

/// A word of a unit, in quotes where it holds a space; it holds nothing that has to be escaped.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@+,=".contains(&byte) || byte >= 0x80;
    if text.bytes().all(is_plain) { text.to_owned() } else { format!("\"{text}\"") }
}

fn marker(job: &Job, delay: Option<u16>) -> Marker {
    Marker { profile: job.profile.clone(), when: job.when, jitter: job.jitter, delay }
}

/// The service: one run.
pub fn service(job: &Job) -> String {
    let Job { profile, program, scope, .. } = job;
    let mut text = format!(
        "# What is changed here by hand is never overwritten; better is a drop-in: systemctl {}edit copal-{profile}.service\n\
         [Unit]\nDescription=Backup by copal, profile {profile}\nDocumentation=man:copal(1)\n",
        if *scope == Scope::User { "--user " } else { "" },
    );
    if *scope == Scope::System {
        // Users' managers know nothing of the network.
        text += "Wants=network-online.target\nAfter=network-online.target\n";
    }
    text += "\n[Service]\nType=oneshot\n";
    for (name, value) in &job.environment {
        text += &format!("Environment={}\n", word(&format!("{name}={value}")));
    }
    text += &format!("ExecStart={} run {profile}\n", word(program));
    text += "\
        # 3: the snapshot was made, and something could not be read. Copal's notices and `copal status` tell of it;\n\
        # a failed unit is one whose run saved nothing.\n\
        SuccessExitStatus=3\n\
        # A first backup may take days.\n\
        TimeoutStartSec=infinity\n\
        # Asked to stop, copal ends first, and what it uses to reach a repository after it.\n\
        KillMode=mixed\n\
        Nice=19\nIOSchedulingClass=idle\n";
    // In a user's manager each of these would forbid setuid programs, such as sudo and sendmail in hooks.
    if *scope == Scope::System {
        text += GIVEN_UP;
    }
    marker(job, None).seal(&text)
}

/// The timer that starts it.
pub fn timer(job: &Job) -> String {
    let Job { profile, when, jitter, .. } = job;
    let text = format!(
        "[Unit]\nDescription=Backup by copal, profile {profile}: {when}\nDocumentation=man:copal(1)\n\n\
         [Timer]\nOnCalendar={}\n\
         # So that many machines do not come at once; the same each time.\n\
         RandomizedDelaySec={}\nFixedRandomDelay=true\n\
         # What was missed while the machine was off is made up for.\n\
         Persistent=true\n\n\
         [Install]\nWantedBy=timers.target\n",
        when.on_calendar(),
        jitter.as_secs(),
    );
    marker(job, None).seal(&text)
}

/// The minutes that cron adds in place of a jitter: this machine's and this profile's own.
pub fn delay(job: &Job) -> u16 {
    let jitter = if job.jitter < Duration::from_secs(60) { Duration::ZERO } else { job.jitter };
    job.when.delay(jitter, &[&job.host, &b"\0"[..], job.profile.as_bytes()].concat())
}

/// The fields and, behind `user`, the command.
fn cron_line(job: &Job, user: &str) -> String {
    let mut words = vec!["nice".to_owned(), "-n".into(), "19".into()];
    if !job.environment.is_empty() {
        words.push("env".into());
        words.extend(job.environment.iter().map(|(name, value)| format!("{name}={value}")));
    }
    // Quiet: cron sends by mail whatever is said.
    words.extend([job.program.as_str(), "run", "-q", &job.profile].map(str::to_owned));
    let words: Vec<String> = words.iter().map(|text| word(text)).collect();
    format!("{} {user}{}\n", job.when.cron(delay(job)), words.join(" "))
}

/// The two lines of a user's crontab.
pub fn crontab(job: &Job) -> String {
    marker(job, Some(delay(job))).seal(&cron_line(job, ""))
}

/// The file of the system's cron.
pub fn cron_file(job: &Job) -> String {
    let text = format!(
        "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n{}",
        cron_line(job, "root ")
    );
    marker(job, Some(delay(job))).seal(&text)
}

/// The name of that file: cron passes over names with dots. Different profiles have different names.
pub fn cron_name(profile: &str) -> String {
    format!("copal-{}", profile.replace('_', "__").replace('.', "_d"))
}

#[cfg(test)]
mod tests {
    use super::super::marker::{State, state};
    use super::*;

    fn job(scope: Scope) -> Job {
        Job {
            profile: "web-1".into(),
            when: "daily 03:30".parse().unwrap(),
            jitter: Duration::from_secs(1800),
            scope,
            program: "/opt/my tools/copal".into(),
            environment: vec![("XDG_CONFIG_HOME".into(), "/srv/c d".into())],
            host: b"kiste".to_vec(),
        }
    }

    #[test]
    fn all_that_is_written_is_known_again() {
        for scope in [Scope::System, Scope::User] {
            let job = job(scope);
            for text in [service(&job), timer(&job), crontab(&job), cron_file(&job)] {
                let State::Ours(marker) = state(text.as_bytes()) else { panic!("{text}") };
                assert_eq!((marker.profile, marker.when), ("web-1".to_owned(), job.when));
            }
        }
    }

    #[test]
    fn units_say_what_is_meant() {
        let text = service(&job(Scope::System));
        for line in [
            "ExecStart=\"/opt/my tools/copal\" run web-1",
            "Environment=\"XDG_CONFIG_HOME=/srv/c d\"",
            "SuccessExitStatus=3",
            "Nice=19",
            "IOSchedulingClass=idle",
            "Type=oneshot",
            "TimeoutStartSec=infinity",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("CapabilityBoundingSet") && !service(&job(Scope::User)).contains("Capability"));
        let text = timer(&job(Scope::User));
        for line in ["OnCalendar=*-*-* 03:30:00", "RandomizedDelaySec=1800", "Persistent=true"] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn cron_runs_it_quietly_at_a_minute_of_its_own() {
        let mut job = job(Scope::System);
        let minutes = usize::from(delay(&job)) + 30;
        let line = format!(
            "{} {} * * * root nice -n 19 env \"XDG_CONFIG_HOME=/srv/c d\" \"/opt/my tools/copal\" run -q web-1",
            minutes % 60,
            3 + minutes / 60
        );
        assert_eq!(cron_file(&job).lines().last(), Some(&*line));
        job.environment.clear();
        job.program = "/usr/bin/copal".into();
        job.jitter = Duration::from_secs(59);
        assert!(crontab(&job).ends_with("\n30 3 * * * nice -n 19 /usr/bin/copal run -q web-1\n"));
    }

    #[test]
    fn files_of_cron_have_names_that_cron_reads_and_no_two_profiles_share_one() {
        let names = ["a.b", "a_b", "a_d", "a__b", "a_.b", "a._b", "a-b", "a_db", "a..b"];
        let made: std::collections::BTreeSet<String> = names.iter().map(|name| cron_name(name)).collect();
        assert_eq!(made.len(), names.len(), "{made:?}");
        let is_read = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        assert!(made.iter().all(|name| name.bytes().all(is_read)), "{made:?}");
        assert_eq!(cron_name("default"), "copal-default");
    }
}
