//! A sandbox whose repository and key only a profile names, and what tests of `copal run` ask of it.
#![allow(dead_code)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::Sandbox;

/// A profile to begin with.
pub const BASE: &str = "repository = \"REPOSITORY\"\nkey-file = \"KEY\"\n[backup]\nsources = [\"SOURCE\"]\n";

/// Takes away what else names repository and key.
pub fn bare(mut sandbox: Sandbox) -> Sandbox {
    sandbox.unset("COPAL_REPOSITORY");
    sandbox.unset("COPAL_KEY_FILE");
    sandbox.write("source/a.txt", "a");
    sandbox
}

/// Writes a profile, with the sandbox's places for the words in capitals.
pub fn profile_at(sandbox: &Sandbox, place: &str, text: &str) {
    let text = text
        .replace("SOURCE", sandbox.source().to_str().unwrap())
        .replace("REPOSITORY", sandbox.repository().to_str().unwrap())
        .replace("KEY", sandbox.key_file().to_str().unwrap())
        .replace("HERE", sandbox.path("").to_str().unwrap().trim_end_matches('/'));
    write_with_mode(sandbox, place, &text, 0o600);
}

/// Writes the profile of that name.
pub fn profile(sandbox: &Sandbox, name: &str, text: &str) {
    profile_at(sandbox, &format!("home/config/copal/{name}.toml"), text);
}

pub fn write_with_mode(sandbox: &Sandbox, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = sandbox.write(name, text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The sources of all snapshots, as JSON says them.
pub fn snapshots(sandbox: &Sandbox) -> Vec<String> {
    let ended = sandbox.run(["snapshots", "--json", "--profile", "home"]).expect(0);
    ended.messages("snapshot").iter().map(|line| line["paths"].to_string()).collect()
}

/// A file's text; nothing when it is not there.
pub fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_default()
}

pub fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
