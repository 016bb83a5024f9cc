//! `copal init`: makes an empty repository; and the built-in default one, made at the first backup.

use serde::Serialize;

use crate::backend::Backend;
use crate::cli::arguments::Init;
use crate::cli::context::{Context, Secret, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::secrets::{Origin, Purpose};
use crate::crypto::password::Cost;
use crate::format::limits::{CHUNK_MAX, PACK_TARGET};
use crate::format::slot::Description;
use crate::model::clock::Clock;
use crate::model::{Cutter, Id16};
use crate::repository::{self, Creation, Error};

#[derive(Serialize)]
struct Initialized {
    id: String,
    repository: String,
}

fn cutter(init: &Init) -> Result<Cutter, Failure> {
    let Some(average) = init.average_chunk else { return Ok(Cutter::default()) };
    let bounds = 4096..=CHUNK_MAX as u64 / 4;
    match u32::try_from(average) {
        Ok(size) if size.is_power_of_two() && bounds.contains(&average) => Ok(Cutter::gear(size)),
        _ => Err(Failure::usage("--average-chunk takes a power of two from 4K to 4M, such as 64K or 256K")),
    }
}

/// Who makes a key, for its description.
pub fn description(context: &Context<'_>, label: &str) -> Description {
    let user = String::from_utf8_lossy(&context.user()).into_owned();
    let host = String::from_utf8_lossy(&context.host()).into_owned();
    Description { label: label.to_owned(), made: context.clock.now(), user, host, ..Description::default() }
}

fn create(
    context: &Context<'_>,
    backend: &dyn Backend,
    secret: &Secret,
    cutter: Cutter,
) -> Result<Id16, Failure> {
    let creation = Creation {
        unlock: secret.unlock(),
        cost: Cost::default(),
        cutter,
        pack_target: PACK_TARGET,
        description: description(context, "first"),
    };
    repository::create(backend, &creation, &context.clock).map_err(|error| failure(&error))
}

/// Makes the repository that the options name.
pub fn run(context: &Context<'_>, init: &Init) -> Result<Code, Failure> {
    let cutter = cutter(init)?;
    let backend = context.backend()?;
    // Before a key is made or a password asked for.
    let exists = backend.exists_repository().map_err(|error| failure(&Error::from(error)))?;
    // One that a run which was cut off began is finished with the same password or key.
    if exists && !repository::is_unfinished(&*backend).map_err(|error| failure(&error))? {
        return Err(failure(&Error::Exists { location: backend.location() }));
    }
    if context.is_default_repository() && context.global.origin().is_empty() {
        return create_default(context).map(|()| Code::Done);
    }
    let secret = context.obtain(context.global.origin(), Purpose::New)?;
    let id = create(context, &*backend, &secret, cutter)?;
    if context.global.json {
        context
            .out
            .json("initialized", &Initialized { id: id.to_string(), repository: backend.location() })?;
    } else {
        let how = match secret {
            Secret::Password(_) => "The password is the only way in: nobody can recover it.",
            Secret::Key(_) => "The key file is the only way in: keep a copy of it elsewhere.",
        };
        context.out.write(format!("made a repository at {}\n{how}\n", backend.location()))?;
    }
    Ok(Code::Done)
}

/// Makes the built-in default repository with a key of its own, and says where both are.
pub fn create_default(context: &Context<'_>) -> Result<(), Failure> {
    let backend = context.backend()?;
    let path = context.defaults.key_file()?;
    let origin = Origin { key_file: Some(&path), ..Origin::default() };
    let secret = {
        // The four lines below say it; the general message would say it twice.
        let quiet = Context::new(
            crate::cli::arguments::Global { quiet: true, ..context.global.clone() },
            context.environment,
        );
        quiet.obtain(origin, Purpose::New)?
    };
    create(context, &*backend, &secret, Cutter::default())?;
    context.say(&format!(
        "Made a repository at {}.\nIts key is {}.\nKeep a copy of the key elsewhere: without it nothing can be restored.\nFor another disk: copal init -r /media/DISK/backup, then -r with every command.",
        backend.location(),
        path.display()
    ));
    Ok(())
}
