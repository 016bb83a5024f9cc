//! `copal serve`: a repository's folder for copal on another machine, over standard input and output.

use std::io::IsTerminal;

use crate::backend::serve::{Problem, Rights, serve};
use crate::cli::arguments::Serve;
use crate::cli::exit::{Code, Failure};

/// Serves until whoever asks hangs up.
pub fn run(wanted: &Serve) -> Result<Code, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::usage("serve speaks with copal on another machine, and not with people")
            .with_hint(
                "Let ssh start it: copal snapshots -r copal+ssh://HOST/PATH. docs/storage.md says how.",
            ));
    }
    let rights = Rights {
        folder: wanted.folder.clone(),
        append_only: wanted.append_only,
        read_only: wanted.read_only,
        quota: wanted.quota,
    };
    match serve(std::io::stdin().lock(), std::io::stdout(), &rights) {
        Ok(()) => Ok(Code::Done),
        Err(problem @ Problem::Stranger) => Err(Failure::usage(problem.to_string())),
        Err(problem @ Problem::Refused(_)) => Err(Failure::new(Code::Refused, problem.to_string())),
        Err(problem) => Err(Failure::new(Code::Failed, problem.to_string())),
    }
}
