//! What of a run asks the repository itself: what guards compare with, and what is protected when one raises an alarm.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::target::Work;
use crate::backend::Space;
use crate::cli::context::{Context, failure};
use crate::cli::exit::Failure;
use crate::cli::{profile, select};
use crate::guards::{self, Numbers, Place, gather};
use crate::model::{Id, Time};
use crate::notices::hide;
use crate::profile::{Profile, Section};
use crate::repository::Repository;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;

/// The options for every command, of one of the profile's repositories.
pub fn words(
    context: &Context<'_>,
    profile: &Profile,
    target: Option<&Section>,
) -> Result<Vec<OsString>, Failure> {
    let mut words = profile::globals(profile, target, &context.defaults, &|_| true)?;
    // What was typed holds for each step.
    let global = &context.global;
    let mut put = |name: &str, value: OsString| {
        let mut word = OsString::from(format!("--{name}="));
        words.retain(|other: &OsString| !other.as_bytes().starts_with(word.as_bytes()));
        word.push(value);
        words.push(word);
    };
    if let Some(folder) = &global.cache_dir {
        put("cache-dir", folder.into());
    }
    let sizes = [
        ("memory", global.memory),
        ("cache-size", global.cache_size),
        ("limit-upload", global.limit_upload),
        ("limit-download", global.limit_download),
    ];
    for (name, size) in sizes {
        if let Some(size) = size {
            put(name, size.to_string().into());
        }
    }
    Ok(words)
}

/// Refuses options that say another repository or secret than the profile does: a run is of its profile.
pub fn refuse_typed(context: &Context<'_>) -> Result<(), Failure> {
    let global = &context.global;
    let variable = |name: &str| (context.environment)(name);
    let path = |path: &Option<std::path::PathBuf>| path.clone().map(OsString::from);
    let options = [
        ("repo", global.repo.clone(), "COPAL_REPOSITORY"),
        ("repository-file", path(&global.repository_file), "COPAL_REPOSITORY_FILE"),
        ("key-file", path(&global.key_file), "COPAL_KEY_FILE"),
        ("password-file", path(&global.password_file), "COPAL_PASSWORD_FILE"),
        ("password-command", global.password_command.clone(), "COPAL_PASSWORD_COMMAND"),
    ];
    match options.into_iter().find(|(_, value, name)| value.is_some() && *value != variable(name)) {
        None => Ok(()),
        Some((option, ..)) => {
            Err(Failure::usage(format!("copal run takes --{option} from the profile alone"))
                .with_hint("To save to another repository too, give the profile one more: [targets.NAME]"))
        }
    }
}

/// What opens that repository.
pub fn context<'e>(context: &'e Context<'e>, words: &[OsString]) -> Result<Context<'e>, Failure> {
    let arguments = profile::arguments_of(words, context.environment)?;
    Ok(Context::new(arguments.global, context.environment))
}

/// Where the repository is, without secrets.
pub fn shown(of: &Context<'_>, profile: &Profile, target: Option<&Section>) -> Result<String, Failure> {
    let words = words(of, profile, target)?;
    let location = context(of, &words)?.location()?;
    Ok(hide(&escape(location.as_bytes())))
}

/// What guards know of a repository before a backup.
pub struct Known {
    pub space: Option<Space>,
    pub newest: Option<Time>,
    /// What the newest snapshot of these sources holds, where no run before is remembered.
    pub places: Vec<Place>,
    pub numbers: Option<Numbers>,
}

/// Asks for it. Nothing where the repository is not there yet.
pub fn known(target: &Context<'_>, work: &Work, is_first: bool) -> Result<Option<Known>, Failure> {
    let backend = target.backend()?;
    if !backend.exists_repository().map_err(|error| failure(&error.into()))? {
        return Ok(None);
    }
    let space = backend.space().ok().flatten();
    let (repository, _) = target.open_to_add_synced()?;
    let all = select::load(target, &repository)?;
    let is_own = |named: &&Named| is_own(&repository, work, named);
    let last = all.confirmed.iter().filter(is_own).max_by_key(|named| named.snapshot.time);
    let (mut places, mut numbers) = (Vec::new(), None);
    if let Some(last) = last.filter(|_| is_first) {
        // Who only adds does not read it.
        if !repository.is_write_only() {
            places = gather::places_of(&repository, &last.snapshot).map_err(|error| failure(&error))?;
        }
        numbers = Some(Numbers::of(&last.snapshot, 0, 0));
    }
    Ok(Some(Known { space, newest: gather::newest(&all, &work.host, repository.writer()), places, numbers }))
}

/// Whether a snapshot is of this host and these sources, by this key.
fn is_own(repository: &Repository, work: &Work, Named { snapshot, .. }: &Named) -> bool {
    snapshot.teller() == repository.writer() && snapshot.host == work.host && snapshot.sources == work.stored
}

/// The first snapshot of these sources that was made since then, if any, of those that are not known.
pub fn first_since(
    target: &Context<'_>,
    work: &Work,
    since: i64,
    known: &[String],
) -> Result<Option<String>, Failure> {
    let (repository, _) = target.open_to_add_synced()?;
    let all = select::load(target, &repository)?;
    let is_new = |named: &&Named| {
        is_own(&repository, work, named)
            && named.snapshot.time.seconds >= since
            && !known.contains(&named.name.to_string())
    };
    let first = all.confirmed.iter().filter(is_new).min_by_key(|named| named.snapshot.time);
    Ok(first.map(|named| named.name.to_string()))
}

/// Keeps the newest snapshot before the alarming one from being forgotten; says what came of it, and its id.
pub fn protect(
    target: &Context<'_>,
    alarming: Option<&str>,
    host: &[u8],
    sources: &[Vec<u8>],
) -> Result<(String, Option<String>), Failure> {
    let (repository, _) = target.open_synced()?;
    let mut all = select::load(target, &repository)?;
    let alarming: Option<Id> = alarming.and_then(Id::parse);
    let shield = guards::protect_before(&repository, &mut all, alarming.as_ref(), host, sources)
        .map_err(|error| failure(&error))?;
    let id = match &shield {
        guards::Shield::Protected(named) | guards::Shield::Already(named) => Some(named.name.to_string()),
        guards::Shield::None => None,
    };
    Ok((shield.words(), id))
}
