//! Who backs up a small folder, again and again.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use copal::backend::Kind;
use copal::backup::{self, Options};
use copal::compress::Level;
use copal::repository::{Error, Repository};

use super::actor::Actor;
use super::handle::Context;
use super::random::Random;
use super::world::{Failure, Folder};

/// Options with one thread for each kind of work.
pub fn options(host: &[u8], sources: Vec<PathBuf>) -> Options {
    Options {
        sources: sources.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        host: host.to_vec(),
        user: b"user".to_vec(),
        level: Level::FAST,
        workers: 1,
        uploaders: 1,
        // Of that follows one compressor.
        memory: 32 << 20,
        ..Options::default()
    }
}

pub struct Writer {
    host: Vec<u8>,
    folder: Folder,
    /// Folders that all writers have, which never change.
    common: Arc<Vec<Folder>>,
    /// Which of them is backed up too.
    beside: Option<usize>,
    repository: Option<Repository>,
    caches: u64,
    pub blind: Vec<Kind>,
    /// Takes it that nothing is absent that was not before: a guard that is not there.
    pub careless: bool,
}

impl Writer {
    pub fn new(number: usize, path: &Path, common: &Arc<Vec<Folder>>, random: &mut Random) -> Writer {
        let folder = Folder::new(path.join(format!("writer-{number}")), random, 8);
        Writer {
            host: format!("host {number}").into_bytes(),
            folder,
            common: common.clone(),
            beside: random.percent(50).then(|| random.below(common.len() as u64) as usize),
            repository: None,
            caches: 0,
            blind: Vec::new(),
            careless: false,
        }
    }

    /// Perhaps begins with another cache: a fresh one, or one that was put aside long ago.
    fn change_cache(&mut self, context: &Context, random: &mut Random) {
        let (cache, old) = (context.folder.join("cache"), context.folder.join("old"));
        let killed = context.folder.join("killed");
        if killed.exists() {
            self.repository = None;
            let _ = fs::remove_dir_all(&cache);
            fs::rename(&killed, &cache).unwrap();
        }
        match random.below(8) {
            0 => {
                self.repository = None;
                let _ = fs::remove_dir_all(&cache);
                context.note("begins with an empty cache", 0);
            }
            1 if cache.exists() => {
                self.repository = None;
                let _ = fs::remove_dir_all(&old);
                fs::create_dir_all(&old).unwrap();
                for entry in fs::read_dir(&cache).unwrap() {
                    let path = entry.unwrap().path();
                    fs::copy(&path, old.join(path.file_name().unwrap())).unwrap();
                }
                self.caches += 1;
            }
            2 if old.exists() => {
                self.repository = None;
                let _ = fs::remove_dir_all(&cache);
                fs::rename(&old, &cache).unwrap();
                context.note("begins with the cache of long ago", self.caches);
            }
            3 | 4 => self.repository = None,
            _ => {}
        }
    }
}

impl Actor for Writer {
    fn name(&self) -> &'static str {
        "writer"
    }

    fn blind(&self) -> &[Kind] {
        &self.blind
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        let mut random = context.round_random();
        if random.percent(75) {
            let times = 1 + random.below(3);
            self.folder.change(&mut random, times);
        }
        if random.percent(15) {
            self.beside = random.percent(60).then(|| random.below(self.common.len() as u64) as usize);
        }
        self.change_cache(context, &mut random);
        let mut sources = vec![(self.folder.path.clone(), self.folder.files.clone())];
        if let Some(beside) = self.beside {
            sources.push((self.common[beside].path.clone(), self.common[beside].files.clone()));
        }
        let model = Arc::new(sources);
        let mut options = options(&self.host, model.iter().map(|(path, _)| path.clone()).collect());
        options.skip_if_unchanged = random.percent(15);
        options.force = random.percent(8);
        options.checkpoint_seconds = *random.pick(&[0.0, 60.0, 1e9]);
        let repository = match self.repository.take() {
            Some(repository) => repository,
            None => context.open(Some(&context.folder.join("cache")))?,
        };
        if self.careless {
            repository.sync()?;
            let absence = repository.absence()?;
            for (name, known) in repository.index.facts_with_prefix("absence ")? {
                repository.index.set_fact(&name, &[&absence[..], &known[32..]].concat())?;
            }
        }
        let hears = context.hears();
        let outcome = backup::backup(&repository, &options, &context.clock, &hears, &AtomicBool::new(false))?;
        let summary = &outcome.snapshot.summary;
        if summary.files_unmodified > 0 {
            context.simulation.world().count("backups that took files over");
        }
        if summary.files_new + summary.files_changed > 0 && summary.bytes_new == 0 {
            context.simulation.world().count("backups whose new files others had");
        }
        if outcome.snapshot.incomplete {
            let what = format!("incomplete: {:?}", hears.problems.lock().unwrap());
            context.simulation.fail(Failure::Unexplained(what));
        }
        match (outcome.name, outcome.parent) {
            (Some(name), _) => context.saved(name, model),
            (None, Some(parent)) => {
                // It says that the parent has it all.
                let world = context.simulation.world();
                let same = world.find(parent.name).is_none_or(|saved| saved.model == model);
                drop(world);
                if !same {
                    context
                        .simulation
                        .fail(Failure::Loss("a changed folder was taken for unchanged".to_owned()));
                }
            }
            (None, None) => unreachable!("nothing was saved"),
        }
        self.repository = Some(repository);
        Ok(())
    }
}
