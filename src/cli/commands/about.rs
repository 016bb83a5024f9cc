//! `copal version`, `copal completions`, `copal man`.

use serde::Serialize;

use crate::cli::arguments::{Completions, Man};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::manual;

#[derive(Serialize)]
struct Version {
    version: &'static str,
    format: u8,
    os: &'static str,
    arch: &'static str,
}

/// Says which program this is and which format it writes.
pub fn version(context: &Context<'_>) -> Result<Code, Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        format: crate::format::header::VERSION,
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    if context.global.json {
        context.out.json("version", &version)?;
    } else {
        let Version { version, format, os, arch } = version;
        context.out.write(format!("copal {version} (repository format {format}, {os} {arch})\n"))?;
    }
    Ok(Code::Done)
}

/// Writes a shell's completions.
pub fn completions(context: &Context<'_>, completions: &Completions) -> Result<Code, Failure> {
    context.out.write(manual::completions(completions.shell))?;
    Ok(Code::Done)
}

/// Writes a manual page.
pub fn man(context: &Context<'_>, man: &Man) -> Result<Code, Failure> {
    let page = manual::page(&man.command).map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    match page {
        Some(page) => {
            context.out.write(page)?;
            Ok(Code::Done)
        }
        None => Err(Failure::usage(format!("there is no command {}", man.command.join(" ")))
            .with_hint("See them: copal --help")),
    }
}
