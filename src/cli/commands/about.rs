//! `copal version`, `copal completions`, `copal man`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use crate::cli::arguments::{Completions, Man};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::cli::manual;
use crate::terminal::escape;
use crate::terminal::json;

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

/// Files that were written.
#[derive(Serialize)]
struct Written<'a> {
    folder: &'a str,
    files: Vec<&'a str>,
}

/// Writes a shell's completions, or those of all.
pub fn completions(context: &Context<'_>, completions: &Completions) -> Result<Code, Failure> {
    match (&completions.all, completions.shell) {
        (Some(folder), _) => return write_all(context, folder, &manual::all_completions()),
        (None, Some(shell)) => context.out.write(manual::completions(shell))?,
        // The parser wants one of them.
        (None, None) => return Err(Failure::usage("say which shell")),
    }
    Ok(Code::Done)
}

/// Writes a manual page, or all of them.
pub fn man(context: &Context<'_>, man: &Man) -> Result<Code, Failure> {
    let failed = |error: std::io::Error| Failure::new(Code::Failed, error.to_string());
    if let Some(folder) = &man.all {
        return write_all(context, folder, &manual::pages().map_err(failed)?);
    }
    match manual::page(&man.command).map_err(failed)? {
        Some(page) => {
            context.out.write(page)?;
            Ok(Code::Done)
        }
        None => Err(Failure::usage(format!("there is no command {}", man.command.join(" ")))
            .with_hint("See them: copal --help")),
    }
}

/// Writes files into a folder, which is made when it is not there; what is there under their names is replaced.
fn write_all(context: &Context<'_>, folder: &Path, files: &[(String, Vec<u8>)]) -> Result<Code, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        let shown = escape::path(path);
        Failure::new(Code::Failed, format!("{shown} can not be written: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    let shown = json::text(folder.as_os_str().as_bytes());
    if context.global.json {
        let files = files.iter().map(|(name, _)| name.as_str()).collect();
        context.out.json("written", &Written { folder: &shown, files })?;
    } else {
        let shown = escape::path(folder);
        context.out.write(format!("wrote {} files into {shown}\n", files.len()))?;
    }
    Ok(Code::Done)
}
