//! Profiles as a person meets them: made, checked, shown, and taken by other commands.

mod common;
mod profiled;

use std::os::unix::fs::PermissionsExt;

use common::Sandbox;
use profiled::profile;

fn bare() -> Sandbox {
    let sandbox = profiled::bare(Sandbox::new());
    sandbox.write("source/b.tmp", "b");
    sandbox
}

const HOME: &str = "repository = \"REPOSITORY\"\nkey-file = \"KEY\"\n[backup]\nsources = [\"SOURCE\"]\nexclude = [\"*.tmp\"]\n";

#[test]
fn every_command_takes_its_options_from_a_profile() {
    let sandbox = bare();
    profile(&sandbox, "home", HOME);
    sandbox.run(["backup", "--profile", "home", "--tag", "x"]).expect(0);
    let listed = sandbox.run(["ls", "-R", "--profile=home"]).expect(0).out();
    assert!(listed.contains("a.txt") && !listed.contains("b.tmp"), "{listed}");
    let snapshots = sandbox.run(["--profile", "home", "snapshots"]).expect(0).out();
    assert!(snapshots.contains('x'), "{snapshots}");
    let sandbox = sandbox.with("COPAL_PROFILE", "home");
    sandbox.run(["check"]).expect(0);
}

#[test]
fn what_is_typed_counts_before_variables_and_these_before_the_profile() {
    let mut sandbox = bare();
    profile(&sandbox, "home", HOME);
    let other = sandbox.path("other");
    sandbox.run(["init", "-r", other.to_str().unwrap(), "--key-file", "other-key"]).expect(0);
    // The repository of the variable, with the key of the profile: it does not fit.
    sandbox.set("COPAL_REPOSITORY", &other);
    sandbox.run(["snapshots", "--profile", "home"]).expect(12);
    sandbox.set("COPAL_KEY_FILE", "other-key");
    sandbox.run(["snapshots", "--profile", "home"]).expect(0);
    let repository = sandbox.repository();
    sandbox
        .run(["snapshots", "--profile", "home", "-r", repository.to_str().unwrap(), "--key-file", "key"])
        .expect(0);
    // What contradicts something typed is left out.
    profile(&sandbox, "home", &format!("{HOME}[check]\nbudget = \"1m\"\n"));
    sandbox.unset("COPAL_REPOSITORY");
    sandbox.unset("COPAL_KEY_FILE");
    let read = sandbox.run(["check", "--profile", "home", "--read-data", "--json"]).expect(0).summary();
    assert_eq!(read["packs_read"], read["packs"]);
    // Another source; what may be said several times is added to.
    sandbox.unset("COPAL_REPOSITORY");
    sandbox.unset("COPAL_KEY_FILE");
    sandbox.write("more/c.txt", "c");
    sandbox.write("more/c.iso", "c");
    sandbox.write("more/c.tmp", "c");
    sandbox.run(["backup", "--profile", "home", "more", "-e", "*.iso"]).expect(0);
    let listed = sandbox.run(["ls", "-R", "--profile", "home"]).expect(0).out();
    assert!(listed.contains("c.txt") && !listed.contains("a.txt"), "{listed}");
    assert!(!listed.contains("c.iso") && !listed.contains("c.tmp"), "{listed}");
}

#[test]
fn a_slip_in_a_profile_names_file_line_and_what_was_meant() {
    let sandbox = bare();
    for (text, expected) in [
        ("repositry = \"x\"\n", ":1: unknown key \"repositry\": did you mean repository?"),
        ("\n[backup]\n\nexclud = \"x\"\n", ":4: unknown key \"exclud\" in [backup]: did you mean exclude?"),
        ("[bakcup]\n", ":1: unknown section \"bakcup\": did you mean backup?"),
        ("[backup]\ncompression = \"hard\"\n", ":2: compression = \"hard\": write off, fast, auto, max"),
        ("[backup]\none-file-system = \"yes\"\n", ":2: one-file-system must be true or false, and is a text"),
        (
            "[backup]\nexclude-preset = [\"homes\"]\n",
            ":2: exclude-preset = \"homes\": possible values are caches",
        ),
        ("[backup]\nsources = [\"relative\"]\n", ":2: the source \"relative\" does not begin with / or ~/"),
        ("memory = \"1K\"\n", ":1: memory = \"1K\": at least 64.0 MiB are needed"),
        ("[prune]\nevery = \"often\"\n", ":2: every = \"often\": "),
        ("json = true\n", ":1: unknown key \"json\""),
        ("[backup\n", ":1: "),
    ] {
        profile(&sandbox, "home", text);
        for words in [["snapshots", "--profile", "home"], ["profile", "check", "home"]] {
            let told = sandbox.run(words).expect(2).err();
            assert!(told.contains(&format!("home.toml{expected}")), "{text}: {told}");
            assert_eq!(told.lines().next().unwrap().matches("home.toml").count(), 1, "{told}");
        }
    }
    profile(&sandbox, "home", "repo = \"/x\"\nrepository-file = \"/y\"\n");
    let told = sandbox.run(["profile", "check"]).expect(2).err();
    assert!(told.contains("contradict each other"), "{told}");
    profile(&sandbox, "home", HOME);
    let told = sandbox.run(["snapshots", "--profile", "hom"]).expect(2).err();
    assert!(told.contains("there is no profile hom in ") && told.contains("There are: home"), "{told}");
}

#[test]
fn a_profile_that_others_can_write_or_a_secret_that_all_can_read_is_refused() {
    let sandbox = bare();
    profile(&sandbox, "home", HOME);
    let file = sandbox.path("home/config/copal/home.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let told = sandbox.run(["snapshots", "--profile", "home"]).expect(6).err();
    assert!(told.contains("can be written by others"), "{told}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(sandbox.key_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = sandbox.run(["snapshots", "--profile", "home"]).expect(6).err();
    assert!(told.contains("home.toml:2: ") && told.contains("can be read by every user"), "{told}");
    std::fs::set_permissions(sandbox.key_file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    sandbox.run(["snapshots", "--profile", "home"]).expect(0);
}

#[test]
fn a_new_profile_is_sound_and_never_written_over() {
    let sandbox = bare();
    let (repository, key) = (sandbox.repository(), sandbox.key_file());
    let words = |name: &'static str| {
        let (repository, key) = (repository.to_str().unwrap(), key.to_str().unwrap());
        ["profile", "new", name, "-r", repository, "--key-file", key, "source"].map(str::to_owned)
    };
    let told = sandbox.run(words("home")).expect(0).out();
    assert!(told.contains("copal run home --dry-run"), "{told}");
    let file = sandbox.path("home/config/copal/home.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    sandbox.run(["profile", "check"]).expect(0);
    let text = std::fs::read_to_string(&file).unwrap();
    for section in ["backup", "forget", "prune", "check", "drill", "schedule"] {
        assert!(text.contains(&format!("\n[{section}]\n")), "{section}: {text}");
    }
    sandbox.run(["backup", "--profile", "home"]).expect(0);
    let before = std::fs::read(&file).unwrap();
    sandbox.run(words("home")).expect(6);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    sandbox.run(words("a b")).expect(2);
    let listed = sandbox.run(["profile", "list"]).expect(0).out();
    assert!(listed.contains("home  What is saved of home"), "{listed}");
}

#[test]
fn a_new_profile_for_a_write_only_key_does_what_that_may() {
    let sandbox = bare();
    let (repository, key) = (sandbox.repository(), sandbox.key_file());
    let (repository, key) = (repository.to_str().unwrap(), key.to_str().unwrap());
    let words =
        ["key", "add", "-r", repository, "--key-file", key, "--write-only", "--new-key-file", "web.key"];
    sandbox.run(words).expect(0);
    sandbox.write("source/file", "kept");
    let words =
        ["profile", "new", "web", "--write-only", "-r", repository, "--key-file", "web.key", "source"];
    sandbox.run(words).expect(0);
    let text = std::fs::read_to_string(sandbox.path("home/config/copal/web.toml")).unwrap();
    assert!(["[forget]", "[prune]", "[check]", "[drill]"].iter().all(|part| !text.contains(part)), "{text}");
    let ran = sandbox.run(["run", "web"]).expect(0);
    assert!(ran.text().contains("; snapshot "), "{ran}");
    // With all that others do, it would be told so every night.
    let words = ["profile", "new", "all", "-r", repository, "--key-file", "web.key", "source"];
    sandbox.run(words).expect(0);
    sandbox.run(["run", "all"]).expect(6);
}

#[test]
fn what_is_inherited_is_shown_with_where_it_comes_from() {
    let sandbox = bare();
    profile(
        &sandbox,
        "ground",
        "repository = \"REPOSITORY\"\nkey-file = \"KEY\"\n[backup]\nexclude = [\"*.tmp\"]\n",
    );
    profile(
        &sandbox,
        "home",
        "inherit = \"ground\"\n[backup]\nsources = \"SOURCE\"\nexclude = [\"...\", \"*.iso\"]\n",
    );
    let shown = sandbox.run(["profile", "show", "home"]).expect(0).out();
    assert!(shown.contains("exclude = [\"*.tmp\", \"*.iso\"]\n"), "{shown}");
    let repository = shown.lines().find(|line| line.starts_with("repository")).unwrap();
    assert!(repository.ends_with("ground.toml:1"), "{repository}");
    sandbox.run(["backup", "--profile", "home"]).expect(0);
    // What is shown is a profile itself.
    profile(&sandbox, "again", &shown);
    sandbox.run(["profile", "check", "again"]).expect(0);
}

#[test]
fn a_notice_that_could_not_be_sent_is_told_by_the_check() {
    let sandbox = bare();
    let notices = "[notices.admin]\nmail = \"root\"\nprogram = \"/no/such/sendmail\"\n";
    profile(&sandbox, "home", &format!("{HOME}{notices}"));
    sandbox.run(["profile", "check"]).expect(3).warns("/no/such/sendmail");
    for (text, expected) in [
        (
            "[notices.a]\nwhen = \"always\"\n",
            ":6: [notices.a] needs one of ping, webhook, mail, desktop = true",
        ),
        (
            "[notices.a]\nping = \"https://x/\"\nwhen = \"never\"\n",
            ":8: when = \"never\": possible values are always",
        ),
        ("[notices.a]\nmial = \"root\"\n", ":7: unknown key \"mial\" in [notices.a]: did you mean mail?"),
        ("[hooks]\nbefor = \"x\"\n", ":7: unknown key \"befor\" in [hooks]: did you mean before?"),
        ("[guards]\nignore = [\"mass\"]\n", ":7: \"mass\" is no kind of alarm: source-empty, "),
        ("[log]\nsize = \"1M\"\n", ":6: [log] needs a file"),
        ("[targets.x]\nexclude = \"y\"\n", ":7: unknown key \"exclude\" in [targets.x]"),
    ] {
        profile(&sandbox, "home", &format!("{HOME}{text}"));
        let told = sandbox.run(["profile", "check"]).expect(2).err();
        assert!(told.contains(&format!("home.toml{expected}")), "{text}: {told}");
    }
}

#[test]
fn presets_leave_out_what_nobody_misses() {
    let sandbox = bare();
    for name in [".cache/x", "p/node_modules/m.js", "p/main.js", ".local/share/Trash/files/t"] {
        sandbox.write(format!("source/{name}"), "x");
    }
    profile(&sandbox, "home", &HOME.replace("exclude =", "exclude-preset = [\"home\"]\nexclude ="));
    sandbox.run(["backup", "--profile", "home"]).expect(0);
    let listed = sandbox.run(["ls", "-R", "--profile", "home"]).expect(0).out();
    assert!(listed.contains("main.js"), "{listed}");
    for gone in ["m.js\n", ".cache", "Trash", "b.tmp"] {
        assert!(!listed.replace("main.js", "").contains(gone), "{gone}: {listed}");
    }
    sandbox.run(["backup", "--profile", "home", "--exclude-preset", "homes"]).expect(2);
}
