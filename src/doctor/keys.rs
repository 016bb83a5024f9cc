//! The ways into the repository: key slots, and where the key file lies.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::objects::Problems;
use super::{Finding, Inside, Matter, Next, Severity};
use crate::terminal::escape::escape;

/// Looks at key slots and at the key file.
pub(super) fn look(inside: &Inside<'_>, key_file: Option<&Path>, findings: &mut Vec<Finding>) {
    let (slots, problems) = match inside.repository.key_slots() {
        Ok(listed) => listed,
        Err(error) => (Vec::new(), vec![(Default::default(), error)]),
    };
    let mut told = Problems::default();
    told.add_all(problems.iter().map(|(_, error)| error));
    told.tell(inside.folder, findings);
    let Some(key_file) = key_file else { return };
    let shown = || [escape(key_file.as_os_str().as_bytes()).into_owned()];
    let is_only = slots.len() <= 1 && !inside.memory.exported;
    let device = |path: &Path| std::fs::metadata(path).map(|about| about.dev()).ok();
    let same_disk = inside.folder.is_some_and(|folder| {
        let (key, repository) = (device(key_file), device(folder));
        key.is_some() && key == repository
    });
    let finding = match (same_disk, is_only) {
        (true, true) => Finding::new(
            Severity::Warning,
            Matter::KeySingle,
            "the only key lies on the same disk as the repository: with that disk both are lost",
        ),
        (true, false) => {
            let what = "the key file lies on the same disk as the repository: whoever gets that disk can read everything";
            findings.push(Finding::new(Severity::Note, Matter::KeySameDisk, what).of(shown()));
            return;
        }
        (false, true) => Finding::new(
            Severity::Warning,
            Matter::KeySingle,
            "no copy of the only key was ever made: without that file nothing can be restored",
        ),
        (false, false) => return,
    };
    findings.push(finding.of(shown()).then(Next::copal("key export")));
}
