//! What `copal backup` is told to save and to leave out: paths, lists of paths, patterns.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::backup;
use crate::backup::commands::FOLDER;
use crate::backup::exclude::Excludes;
use crate::backup::presets;
use crate::cli::arguments::Backup;
use crate::cli::context::{Context, absolute};
use crate::cli::exit::{Code, Failure};
use crate::cli::expand::expand;
use crate::patterns::PatternsBuilder;
use crate::terminal::escape::escape;

fn read_lines(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let result = if path.as_os_str() == "-" {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut text).map(|_| text)
    } else {
        std::fs::read(path)
    };
    result.map_err(|error| Failure::usage(format!("{} can not be read: {error}", path.display())))
}

/// All sources as absolute paths; those that are not there are an error before anything is done.
pub fn sources(context: &Context<'_>, wanted: &Backup) -> Result<Vec<Vec<u8>>, Failure> {
    let mut typed: Vec<OsString> = wanted.sources.clone();
    for file in &wanted.files_from {
        for line in read_lines(file)?.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let paths = expand(line)?;
            if paths.is_empty() {
                context.warn(&format!("nothing matches {} in {}", escape(line), file.display()));
            }
            typed.extend(paths);
        }
    }
    for (files, separator) in [(&wanted.files_from_verbatim, b'\n'), (&wanted.files_from_raw, 0)] {
        for file in files {
            let text = read_lines(file)?;
            typed.extend(
                text.split(|byte| *byte == separator)
                    .filter(|line| !line.is_empty())
                    .map(|line| OsString::from_vec(line.to_vec())),
            );
        }
    }
    if typed.is_empty() && !wanted.command.is_empty() {
        return Ok(Vec::new());
    }
    if typed.is_empty() {
        return Err(Failure::usage("there is nothing to back up: the lists of files name nothing"));
    }
    let mut paths = Vec::new();
    for source in &typed {
        let path = absolute(source)?;
        if let Some(why) = backup::source_problem(&path) {
            let shown = escape(&path).into_owned();
            return Err(match why {
                crate::model::Unread::Vanished => Failure::usage(format!("{shown} does not exist")),
                why => Failure::new(Code::Failed, format!("{shown}: {}", why.words())),
            });
        }
        paths.push(as_stored(PathBuf::from(OsString::from_vec(path))));
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Refuses what could not be told from the output of commands.
pub fn refuse_commands_folder(
    wanted: &Backup,
    sources: &[Vec<u8>],
    excludes: &Excludes,
) -> Result<(), Failure> {
    let folder = [b"/", FOLDER].concat();
    let shown = escape(&folder);
    if wanted.command.is_empty() {
        return Ok(());
    }
    let is_in = |source: &Vec<u8>| source == &folder || source.starts_with(&[&folder[..], b"/"].concat());
    if let Some(source) = sources.iter().find(|source| is_in(source)) {
        let message = format!(
            "{} can not be saved together with commands: their output is kept as {shown}",
            escape(source)
        );
        return Err(Failure::usage(message).with_hint("Save one of the two by a backup of its own."));
    }
    let is_met = sources.iter().any(|source| source == b"/") && backup::source_problem(&folder).is_none();
    if is_met && !excludes.excluded_entry(&folder, true) {
        let message = format!("{shown} is there, and the output of commands is kept under that name");
        return Err(
            Failure::usage(message).with_hint(format!("Rename it, or leave it out: --exclude {shown}"))
        );
    }
    Ok(())
}

/// A source as it is stored: folders on the way are walked as they are, and a symlink among them would end the walk.
pub fn as_stored(path: PathBuf) -> Vec<u8> {
    let path = match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    };
    path.into_os_string().into_vec()
}

/// What the options leave out.
pub fn excludes(context: &Context<'_>, wanted: &Backup) -> Result<Excludes, Failure> {
    let home = context.defaults.home();
    let mut builder = PatternsBuilder::new(home.as_ref().map(|home| home.as_os_str().as_bytes()));
    let bad = |error: crate::patterns::PatternError| Failure::usage(error.to_string());
    for pattern in wanted.exclude_preset.iter().flat_map(|name| presets::patterns(name)) {
        builder.add(pattern.as_bytes(), false).map_err(bad)?;
    }
    for file in &wanted.exclude_file {
        builder.add_lines(&read_lines(file)?, false).map_err(bad)?;
    }
    for pattern in &wanted.exclude {
        builder.add(pattern.as_bytes(), false).map_err(bad)?;
    }
    for pattern in &wanted.iexclude {
        builder.add(pattern.as_bytes(), true).map_err(bad)?;
    }
    Ok(Excludes {
        patterns: builder.build().map_err(bad)?,
        if_present: wanted.exclude_if_present.clone(),
        caches: wanted.exclude_caches,
        larger_than: wanted.exclude_larger_than,
        git_ignore: wanted.git_ignore,
    })
}
