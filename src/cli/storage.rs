//! What storage on other machines needs to be reached, from the environment.

use std::ffi::OsString;
use std::time::Duration;

use super::environment::Lookup;
use super::exit::Failure;
use super::signals;
use crate::backend::{Options, Patience, s3, ssh};
use crate::program::HIDDEN_VARIABLES;

/// Keys, regions and proxies for object stores, commands in the place of `ssh`, as the environment has them. Variables that only tests set make
/// all waiting short. `is_alone`: nobody may be asked.
pub fn options(environment: Lookup<'_>, is_alone: bool) -> Result<Options, Failure> {
    let mut options = Options {
        s3: s3::Options::from_environment(environment),
        sftp: ssh(environment, is_alone, "COPAL_SFTP_COMMAND")?,
        serve: ssh(environment, is_alone, "COPAL_SERVE_COMMAND")?,
    };
    options.s3 = options.s3.stopped_by(signals::is_stopping);
    options.sftp.patience.stops = signals::is_stopping;
    options.serve.patience.stops = signals::is_stopping;
    if let Some(stall) = test_pause(environment, "COPAL_TEST_STALL_MILLISECONDS") {
        let (first, most, total) = (stall / 1000, stall / 100, stall * 20);
        options.s3 = options.s3.with_waits(stall, Patience { first, most, total, ..options.sftp.patience });
    }
    Ok(options)
}

/// How servers are reached through `ssh`, or by the command of that variable in its place.
fn ssh(environment: Lookup<'_>, is_alone: bool, instead: &'static str) -> Result<ssh::Options, Failure> {
    let line = |name: &'static str| match environment(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(line)) => Ok(Some(line)),
        Some(Err(_)) => Err(Failure::usage(format!("{name} is not UTF-8"))),
    };
    let (ssh, command) = (line("COPAL_SSH_COMMAND")?, line(instead)?);
    let words = ssh::Options::new(
        ssh.as_deref().map(|line| ("COPAL_SSH_COMMAND", line)),
        command.as_deref().map(|line| (instead, line)),
    );
    let told = words.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(ssh::Options {
        // ssh asks at the terminal, or by a window of the program that this variable names.
        asks: !is_alone && (std::fs::File::open("/dev/tty").is_ok() || environment("SSH_ASKPASS").is_some()),
        hidden: HIDDEN_VARIABLES.map(str::to_owned).to_vec(),
        silence: test_pause(environment, "COPAL_TEST_SFTP_SILENCE").unwrap_or(told.silence),
        ..told
    })
}

/// What a variable says in milliseconds.
fn test_pause(environment: Lookup<'_>, name: &str) -> Option<Duration> {
    environment(name).and_then(|text| text.to_str()?.parse().ok()).map(Duration::from_millis)
}
