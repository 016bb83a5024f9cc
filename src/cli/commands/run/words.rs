//! What a step did, in one line, from its summary.

use serde_json::Value;

use crate::run::Step;
use crate::terminal::size::{show_count, show_duration, show_size};

fn number(summary: &Value, field: &str) -> u64 {
    summary.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// The line of a step that ended well enough to have a summary.
pub fn told(step: Step, summary: &Value) -> String {
    let of = |field| number(summary, field);
    match step {
        Step::Backup => {
            let mut text = format!(
                "{} new, {} changed, {} gone, {} unchanged; {}, {} of it new, stored in {}",
                of("files_new"),
                of("files_changed"),
                of("files_removed"),
                of("files_unmodified"),
                show_size(of("total_bytes_processed")),
                show_size(of("data_added")),
                show_size(of("data_added_packed")),
            );
            match summary.get("snapshot_id").and_then(Value::as_str) {
                Some(id) => text += &format!("; snapshot {}", id.get(..8).unwrap_or(id)),
                None => text += "; no snapshot was made",
            }
            text
        }
        Step::Forget => format!(
            "{} kept, {} forgotten",
            show_count(of("snapshots_kept"), "snapshot"),
            of("snapshots_forgotten")
        ),
        Step::Prune => format!(
            "removed {} and {}, wrote {} anew",
            show_count(of("packs_removed"), "pack"),
            show_size(of("bytes_removed")),
            show_size(of("bytes_rewritten"))
        ),
        Step::Check => format!(
            "{} and {} looked at, {} of {} read ({})",
            show_count(of("snapshots"), "snapshot"),
            show_count(of("files"), "file"),
            of("packs_read"),
            show_count(of("packs"), "pack"),
            show_size(of("bytes_read"))
        ),
        Step::Drill => format!(
            "{} ({}) restored and compared, {} of them with the source too",
            show_count(of("files_restored"), "file"),
            show_size(of("bytes_restored")),
            of("files_compared")
        ),
    }
}

/// What an exit code means, for the line of a step that has nothing else to tell.
pub fn ending(code: u8) -> &'static str {
    match code {
        0 => "done",
        2 => "was called wrongly",
        3 => "done but incomplete",
        5 => "the repository is damaged",
        6 => "refused by a guard",
        10 => "there is no repository",
        11 => "another run is in the way",
        12 => "wrong password or key",
        13 => "the repository's format is unknown",
        130 | 143 => "was stopped",
        128.. => "was ended by a signal",
        _ => "failed",
    }
}

/// How long something waits, roughly.
pub fn later(seconds: u64) -> String {
    let coarse = if seconds > 3600 { seconds / 3600 * 3600 } else { seconds.max(60) / 60 * 60 };
    format!("not due for another {}", show_duration(std::time::Duration::from_secs(coarse)))
}
