//! `copal stats`: how much is stored, and how little room it takes.

use serde::Serialize;

use crate::backend::Kind;
use crate::cli::arguments::Stats;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{catalogue, select};
use crate::repository::snapshots::Named;
use crate::terminal::size::{show_count, show_size};

#[derive(Serialize, Default)]
struct Numbers {
    snapshots_count: u64,
    /// Bytes that restoring every chosen snapshot would write.
    total_restore_size: u64,
    total_file_count: u64,
    /// Bytes in storage, all kinds of objects.
    total_size: u64,
    packs_size: u64,
    packs_count: u64,
    index_size: u64,
    chunks_count: u64,
    /// Plain bytes of all chunks, each counted once.
    chunks_size: u64,
    compression_ratio: f64,
    cache_size: u64,
    catalogue_size: u64,
}

/// Counts what is stored.
pub fn run(context: &Context<'_>, stats: &Stats) -> Result<Code, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let (repository, synced) = context.open_synced()?;
    for problem in &synced.problems {
        context.warn(&problem.to_string());
    }
    let all = select::load(context, &repository)?;
    let host = stats.host.as_ref().map(|host| host.as_bytes());
    let chosen: Vec<Named> = match stats.snapshots.is_empty() {
        true => all
            .confirmed
            .iter()
            .filter(|named| host.is_none_or(|host| named.snapshot.host == host))
            .cloned()
            .collect(),
        false => stats
            .snapshots
            .iter()
            .map(|text| select::find(context, &all, text, host))
            .collect::<Result<_, _>>()?,
    };
    let mut numbers = Numbers { snapshots_count: chosen.len() as u64, ..Numbers::default() };
    for named in &chosen {
        numbers.total_restore_size += named.snapshot.summary.bytes;
        numbers.total_file_count += named.snapshot.summary.files;
    }
    let failed = |error| failure(&error);
    for kind in Kind::ALL {
        numbers.total_size += repository.usage(kind).map_err(failed)?.0;
    }
    (numbers.packs_size, numbers.packs_count) = repository.usage(Kind::Packs).map_err(failed)?;
    numbers.index_size = repository.usage(Kind::Index).map_err(failed)?.0;
    let mut plain = 0u64;
    let index = |error| failure(&crate::repository::Error::Index(error));
    repository
        .index
        .packs(&mut |pack| plain += pack.blocks.iter().map(|block| u64::from(block.plain)).sum::<u64>())
        .map_err(index)?;
    numbers.chunks_size = plain;
    numbers.chunks_count = repository.index.chunk_count().map_err(index)?;
    numbers.compression_ratio =
        if numbers.packs_size > 0 { plain as f64 / numbers.packs_size as f64 } else { 1.0 };
    numbers.cache_size = repository.index.database_bytes().map_err(index)?;
    numbers.catalogue_size = catalogue::bytes(context, &repository).unwrap_or(0);
    if context.global.json {
        context.out.json("stats", &numbers)?;
        return Ok(Code::Done);
    }
    let text = format!(
        "snapshots      {}\nfiles in them  {}\nsize of them   {}\nstored         {} in {}, {} of index\nchunks         {}, {} before compression ({:.2} times)\nlocal cache    {}, {} of the catalogue of paths\n",
        numbers.snapshots_count,
        numbers.total_file_count,
        show_size(numbers.total_restore_size),
        show_size(numbers.packs_size),
        show_count(numbers.packs_count, "pack"),
        show_size(numbers.index_size),
        numbers.chunks_count,
        show_size(numbers.chunks_size),
        numbers.compression_ratio,
        show_size(numbers.cache_size),
        show_size(numbers.catalogue_size),
    );
    context.out.write(text)?;
    Ok(Code::Done)
}
