//! `copal key`: the ways into a repository. Adding and removing them never rewrites data.

use serde::Serialize;

use crate::cli::arguments::{Key, KeyAdd, KeyCommand, KeyRemove, NewSecret};
use crate::cli::commands::init::description;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::secrets::Purpose;
use crate::crypto::password::Cost;
use crate::crypto::{FULL, MasterKey};
use crate::format::slot::{Derivation, Description, Unlock};
use crate::model::Id;
use crate::repository::{EXPORTED_FACT, Repository};
use crate::terminal::table::{Align, Table};
use crate::terminal::{escape::escape, time};

#[derive(Serialize)]
struct Line {
    id: String,
    current: bool,
    kind: &'static str,
    write_only: bool,
    shares_index: bool,
    label: String,
    user_name: String,
    host_name: String,
    created: String,
}

fn kind(derivation: Derivation) -> &'static str {
    match derivation {
        Derivation::Password(_) => "password",
        Derivation::KeyFile => "key file",
    }
}

/// What a key is not good for, behind what kind it is.
fn rights(description: &Description) -> &'static str {
    match (description.writer, description.shares) {
        (FULL, _) => "",
        (_, false) => ", write-only",
        (_, true) => ", write-only, shares the index",
    }
}

fn list(context: &Context<'_>, repository: &Repository) -> Result<Code, Failure> {
    let (slots, problems) = repository.key_slots().map_err(|error| failure(&error))?;
    if context.global.json {
        for slot in &slots {
            let line = Line {
                id: slot.name.to_string(),
                current: slot.current,
                kind: kind(slot.derivation),
                write_only: slot.description.writer != FULL,
                shares_index: slot.description.shares,
                label: slot.description.label.clone(),
                user_name: slot.description.user.clone(),
                host_name: slot.description.host.clone(),
                created: time::iso(slot.description.made),
            };
            context.out.json("key", &line)?;
        }
    } else {
        let mut table = Table::new(&[
            ("", Align::Left),
            ("ID", Align::Left),
            ("Kind", Align::Left),
            ("Label", Align::Left),
            ("Made by", Align::Left),
            ("Made", Align::Left),
        ]);
        for slot in &slots {
            let by = format!("{}@{}", slot.description.user, slot.description.host);
            table.row([
                if slot.current { "*" } else { "" }.to_owned(),
                slot.name.short(),
                format!("{}{}", kind(slot.derivation), rights(&slot.description)),
                escape(slot.description.label.as_bytes()).into_owned(),
                escape(by.as_bytes()).into_owned(),
                time::show(slot.description.made),
            ]);
        }
        context.out.write(table.render(None))?;
    }
    match problems.into_iter().next() {
        None => Ok(Code::Done),
        Some((name, problem)) => Err(failure(&problem).with_hint(format!(
            "Make a new key for whom it belonged to: copal key add. Then it can go: copal key remove {}",
            name.short()
        ))),
    }
}

fn add(context: &Context<'_>, repository: &Repository, wanted: &KeyAdd) -> Result<Id, Failure> {
    let secret = context.obtain(wanted.new.origin(), Purpose::New)?;
    let description = description(context, wanted.label.as_deref().unwrap_or(""));
    let description = Description { shares: wanted.share_index, ..description };
    let added = match wanted.write_only {
        true => repository.add_writer(secret.unlock(), Cost::default(), &description),
        false => repository.add_key(secret.unlock(), Cost::default(), &description),
    };
    added.map_err(|error| failure(&error))
}

fn remove(context: &Context<'_>, repository: &Repository, wanted: &KeyRemove) -> Result<Code, Failure> {
    let (slots, problems) = repository.key_slots().map_err(|error| failure(&error))?;
    let wanted = wanted.id.to_ascii_lowercase();
    let damaged = problems.iter().map(|(name, _)| *name);
    let mut matching: Vec<Id> = slots.iter().map(|slot| slot.name).chain(damaged).collect();
    matching.retain(|name| name.to_string().starts_with(&wanted));
    match matching[..] {
        [name] if name == repository.slot => Err(Failure::new(
            Code::Failed,
            "this key opened the repository just now; remove it with another one",
        )
        .with_hint("To replace it: copal key passwd")),
        [name] => {
            repository.remove_key(&name, &context.clock, &context.host()).map_err(|error| failure(&error))?;
            context.say(&format!("removed key {}", name.short()));
            Ok(Code::Done)
        }
        [] => Err(Failure::usage(format!("no key {wanted}")).with_hint("See them: copal key list")),
        _ => Err(Failure::usage(format!("{wanted} is the beginning of several keys; give more of it"))),
    }
}

fn passwd(context: &Context<'_>, repository: &Repository, new: &NewSecret) -> Result<Code, Failure> {
    let (slots, _) = repository.key_slots().map_err(|error| failure(&error))?;
    let label = slots.iter().find(|slot| slot.current).map_or("", |slot| &slot.description.label);
    let secret = context.obtain(new.origin(), Purpose::New)?;
    let replaced = repository
        .replace_key(secret.unlock(), Cost::default(), &description(context, label), &context.clock)
        .map_err(|error| failure(&error))?;
    if let Some(error) = replaced.left {
        let (new, old) = (replaced.name.short(), replaced.old.short());
        let message = format!(
            "key {new} opens the repository from now on, but the old one, {old}, is still there: {error}"
        );
        return Err(Failure { message, ..failure(&error) }
            .with_hint(format!("Remove it with the new one: copal key remove {old}")));
    }
    context.say(&format!("key {} replaces the one that was used", replaced.name.short()));
    Ok(Code::Done)
}

fn export(context: &Context<'_>, repository: &Repository) -> Result<Code, Failure> {
    // A key of its own: the sheet can be made worthless later by removing that key.
    let key = MasterKey::generate().map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
    repository
        .add_key(Unlock::KeyFile(&key), Cost::default(), &description(context, "recovery sheet"))
        .map_err(|error| failure(&error))?;
    let text = format!(
        "COPAL RECOVERY SHEET\n\nRepository   {}\nPlace        {}\nWritten      {}\n\n\
         Whoever has this sheet and the repository can read everything in it. Keep it where\n\
         neither the machine nor the repository is.\n\n\
         To restore: write the line below into a file, say recovery.key, and run\n\
         \x20   copal restore -r PLACE --key-file recovery.key latest -t OUT\n\n{}",
        repository.id(),
        repository.location(),
        time::show(crate::model::clock::Clock::now(&context.clock)),
        key.to_key_file()
    );
    context.out.write(text)?;
    let _ = repository.index.set_fact(EXPORTED_FACT, b"1");
    Ok(Code::Done)
}

/// Does what `copal key ...` asks.
pub fn run(context: &Context<'_>, key: &Key) -> Result<Code, Failure> {
    let repository = context.open()?;
    match &key.command {
        KeyCommand::List => list(context, &repository),
        KeyCommand::Add(wanted) => {
            let name = add(context, &repository, wanted)?;
            context.say(&format!("added key {}", name.short()));
            Ok(Code::Done)
        }
        KeyCommand::Remove(wanted) => remove(context, &repository, wanted),
        KeyCommand::Passwd(wanted) => passwd(context, &repository, &wanted.new),
        KeyCommand::Export(_) => export(context, &repository),
    }
}
