//! `docs/servers.md` and `docs/laptops.md`, followed from their beginning to their end as they stand, with the exit codes that they state: in
//! file systems of their own, so that nothing of this machine is changed. And a week of nights with the clock put forward, of which the
//! page for servers shows what an admin hears.

mod common;
mod recipes;

use std::path::Path;
use std::process::Command;

use common::{demand_root, end};
use recipes::{Recipe, recipes};

const SERVERS: &str = include_str!("../docs/servers.md");
const LAPTOPS: &str = include_str!("../docs/laptops.md");

/// Puts file systems of its own over all folders that the guides write to; what is done there is gone with the script.
const ISOLATE: &str = r#"
set -e
mount --make-rprivate /
work=$COPAL_WORK
mount -t tmpfs none "$work"
for folder in etc var root; do
    mkdir -p "$work/$folder.upper" "$work/$folder.work"
    chmod --reference=/$folder "$work/$folder.upper"
    mount -t overlay none -o "lowerdir=/$folder,upperdir=$work/$folder.upper,workdir=$work/$folder.work" /$folder
done
for folder in srv home mnt media; do mkdir -p /$folder; mount -t tmpfs none /$folder; done
mkdir -p /home/ann /mnt/other /media/disk
# It may lie in one of them.
mkdir -p /srv/bin; cp "$COPAL" /srv/bin/copal; export PATH=/srv/bin:$PATH
rm -rf /etc/copal /var/lib/copal /var/lib/copal-state /var/cache/copal
echo letter > /home/ann/letter.txt
hostname > /etc/hostname
set +e
"#;

/// The commands of recipes as one script that says how each ended.
fn script(all: &[Recipe], between: impl Fn(&str) -> &'static str) -> String {
    let mut out = String::new();
    for recipe in all {
        out += between(&recipe.name);
        for (number, (command, _)) in recipe.steps.iter().enumerate() {
            let name = &recipe.name;
            out += &match recipe.more.as_str() {
                // Until it saved what it found, and then what changed.
                "background" => format!(
                    "({command}) & running=$!\n\
                     more_than() {{ for try in $(seq 300); do [ \"$(snapshots)\" -gt \"$1\" ] && break; sleep 0.2; done; }}\n\
                     more_than $saved; date >> ~/letter.txt; more_than $((saved + 1))\n\
                     kill $(pgrep -P $running copal || echo $running); wait $running; echo \"step {name} {number} $?\"\n"
                ),
                _ => format!(
                    "({command}); echo \"step {name} {number} $?\"; echo \"step {name} {number}\" >&2\n"
                ),
            };
        }
    }
    out
}

/// Runs a script isolated from the machine, and demands the exit codes of the recipes.
fn follow(all: &[Recipe], script: &str) -> common::Ended {
    let mut command = Command::new("unshare");
    command.args(["-m", "bash", "-c", script]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", "/root").env("TZ", "UTC");
    let work = tempfile::tempdir().unwrap();
    command.env("COPAL", env!("CARGO_BIN_EXE_copal")).env("LC_ALL", "C").env("COPAL_WORK", work.path());
    command.current_dir("/").stdin(std::process::Stdio::null());
    let ended = end(command);
    let out = ended.out();
    for recipe in all {
        for (number, (line, code)) in recipe.steps.iter().enumerate() {
            let said = format!("step {} {number} {code}", recipe.name);
            assert!(out.lines().any(|line| line == said), "{said}: {line}\n{ended}");
        }
    }
    ended
}

#[test]
fn root_the_page_for_servers_leads_to_backups_by_schedule() {
    demand_root();
    let all = recipes(SERVERS);
    let between = |name: &str| match name {
        "remove" => "test -e /etc/cron.d/copal-server && echo scheduled\n",
        _ => "",
    };
    let end = "test -e /etc/cron.d/copal-server || echo unscheduled\ncmp /etc/hostname /tmp/trial/hostname && echo restored; rm -rf /tmp/trial\n";
    // The second repository is added to the profile as the page says.
    let added = SERVERS.split("## A second repository").nth(1).unwrap();
    let target = &added[added.find("```toml\n").unwrap() + 8..];
    let target = &target[..target.find("```").unwrap()];
    let script = script(&all, between).replacen(
        "(copal init -r /mnt/other/backup",
        &format!("cat >> /etc/copal/server.toml <<'END'\n{target}END\n(copal init -r /mnt/other/backup"),
        1,
    );
    let out = follow(&all, &format!("{ISOLATE}rm -rf /tmp/trial\n{script}{end}")).out();
    assert!(out.contains("server: success, 1m ago; next 2"), "{out}");
    for said in ["scheduled", "unscheduled", "restored"] {
        assert!(out.lines().any(|line| line == said), "{said}: {out}");
    }
}

#[test]
fn root_the_page_for_laptops_leads_to_work_saved_by_itself() {
    demand_root();
    let all = recipes(LAPTOPS);
    let between = |name: &str| match name {
        "watch" => {
            "snapshots() { copal snapshots --json --profile home | grep -c '\"short_id\"'; }\nsaved=$(snapshots)\n\
             printf '[watch]\\nquiet-period = \"1s\"\\nevery = \"0s\"\\n' >> ~/.config/copal/home.toml\n"
        }
        "back" => "snapshots > /home/ann/count\n",
        _ => "",
    };
    let script = script(&all, between);
    let end = "cat ~/count; cat ~/found/letter.txt\n";
    // As an ordinary user from here on.
    let body = format!("cd ~\n{script}{end}").replace('\'', "'\\''");
    let whole = format!(
        "{ISOLATE}chown -R nobody:nogroup /home/ann /media/disk\nexport HOME=/home/ann\n\
         exec setpriv --reuid nobody --regid nogroup --clear-groups bash -c '{body}'\n"
    );
    let out = follow(&all, &whole).out();
    assert!(out.ends_with("letter\n"), "{out}");
}

/// What the mails of a week begin with, by night.
fn mails(text: &str) -> Vec<String> {
    text.split("========\n").map(str::trim).filter(|mail| !mail.is_empty()).map(str::to_owned).collect()
}

#[test]
fn root_in_a_week_of_nights_an_admin_hears_of_the_two_that_failed_and_of_nothing_else() {
    demand_root();
    let folder = tempfile::Builder::new().prefix("copal-test-").tempdir_in("/var/tmp").unwrap();
    let place = folder.path();
    let program = env!("CARGO_BIN_EXE_copal");
    let run = |day: u32, words: &[&str]| {
        let mut command = Command::new("faketime");
        command.args(["-f", &format!("@2026-03-{day:02} 02:30:00"), program]).args(words);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TZ", "UTC")
            .env("LC_ALL", "C");
        for (name, below) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_DATA_HOME", "data"),
        ] {
            command.env(name, place.join(below));
        }
        command.env("HOME", place).current_dir(place).stdin(std::process::Stdio::null());
        end(command)
    };
    let write = |name: &str, text: &str| {
        let path = place.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let mailer = place.join("sendmail");
    write("sendmail", "#!/bin/sh\ncat >> \"${0%/*}/mails\"; echo ======== >> \"${0%/*}/mails\"\n");
    std::fs::set_permissions(&mailer, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (etc, home) = (place.join("etc"), place.join("home"));
    write("etc/hosts", "127.0.0.1 localhost\n");
    write("home/ann/letter.txt", "Dear reader,\n");
    run(1, &["init", "-r", "backup", "--key-file", "server.key"]).expect(0);
    // As the page has it, with places of its own.
    let page = &SERVERS[SERVERS.find("description = \"db1, every night\"").unwrap()..];
    let page = &page[..page.find("```").unwrap()];
    let profile = page
        .replace("/srv/backup", place.join("backup").to_str().unwrap())
        .replace("/etc/copal/server.key", place.join("server.key").to_str().unwrap())
        .replace("\"/etc\"", &format!("{etc:?}"))
        .replace("\"/home\"", &format!("{home:?}"))
        .replace("mail = \"root\"", &format!("mail = \"root\"\nprogram = {mailer:?}"));
    write("config/copal/server.toml", &profile);
    std::fs::set_permissions(
        place.join("config/copal/server.toml"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let mut heard = Vec::new();
    for night in 1..=7u32 {
        write("home/ann/letter.txt", &format!("Dear reader,\nnight {night}\n"));
        match night {
            3 => std::fs::rename(place.join("backup"), place.join("unplugged")).unwrap(),
            5 => {
                std::fs::rename(&home, place.join("emptied")).unwrap();
                std::fs::create_dir(&home).unwrap();
            }
            _ => {}
        }
        let ended = run(night, &["run", "-q", "server"]);
        let code = match night {
            3 => 10,
            5 => 6,
            _ => 0,
        };
        let ended = ended.expect(code);
        // What cron would mail.
        assert_eq!(ended.out(), "", "night {night}");
        assert_eq!(ended.err().is_empty(), code == 0, "night {night}: {ended}");
        match night {
            3 => std::fs::rename(place.join("unplugged"), place.join("backup")).unwrap(),
            5 => {
                std::fs::remove_dir_all(&home).unwrap();
                std::fs::rename(place.join("emptied"), &home).unwrap();
            }
            _ => {}
        }
        let all = mails(&std::fs::read_to_string(place.join("mails")).unwrap_or_default());
        for mail in all.into_iter().skip(heard.len()) {
            heard.push((night, mail));
        }
    }
    let nights: Vec<u32> = heard.iter().map(|(night, _)| *night).collect();
    assert_eq!(nights, [3, 5]);
    assert_eq!(
        run(7, &["snapshots", "--json", "--profile", "server"]).expect(0).messages("snapshot").len(),
        5
    );
    run(7, &["status", "server", "--max-age", "26h"]).expect(0);
    // The page shows these mails, with the places of the example.
    let shown: Vec<String> = heard
        .iter()
        .map(|(night, mail)| format!("Night {night}:\n\n```\n{}\n```\n", as_on_the_page(mail, place)))
        .collect();
    let shown = shown.join("\n");
    let (begin, end) = ("<!-- week -->\n", "<!-- end of the week -->");
    let begins = SERVERS.find(begin).unwrap() + begin.len();
    let ends = SERVERS.find(end).unwrap();
    if std::env::var_os("COPAL_WRITE_DOCS").is_some() {
        let whole = format!("{}\n{}\n\n{}", &SERVERS[..begins], shown.trim(), &SERVERS[ends..]);
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers.md"), whole).unwrap();
    } else {
        assert_eq!(shown.trim(), SERVERS[begins..ends].trim(), "COPAL_WRITE_DOCS=1 writes the page anew");
    }
}

/// A mail with what differs from run to run taken out.
fn as_on_the_page(mail: &str, place: &Path) -> String {
    let mut out = Vec::new();
    let host = String::from_utf8(Command::new("hostname").output().unwrap().stdout).unwrap();
    for line in mail.lines() {
        let line = line
            .replace(place.join("backup").to_str().unwrap(), "/srv/backup")
            .replace(place.join("home").to_str().unwrap(), "/home")
            .replace(place.join("etc").to_str().unwrap(), "/etc")
            .replace(host.trim(), "db1");
        if line.starts_with("Message-ID:")
            || line.starts_with("From:")
            || line.starts_with("MIME")
            || line.starts_with("Content-")
            || line.starts_with("Auto-")
            || line.starts_with("Date:")
        {
            continue;
        }
        out.push(always_the_same(line.trim_end()));
    }
    out.join("\n")
}

/// Lengths of time and the name of the run are never the same.
fn always_the_same(line: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(['(', ')', ',', ';']);
        let number = bare.strip_suffix("ms").or_else(|| bare.strip_suffix('s')).unwrap_or_default();
        if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return word.replace(bare, "1s");
        }
        match bare.len() == 36 && bare.matches('-').count() == 4 {
            true => "7d89ac00-5eca-441c-bbcf-e7d462e3a40f".to_owned(),
            false => word.to_owned(),
        }
    };
    line.split(' ').map(word).collect::<Vec<String>>().join(" ")
}
