//! `copal web`: a page that shows what is in the repository, until it is told to end.

use serde::Serialize;

use crate::cli::arguments::Web;
use crate::cli::context::{Context, eprint_line, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::problem::Problem;
use crate::cli::{catalogue, signals};
use crate::repository::store;
use crate::terminal::escape::escape;
use crate::web::{self, Options, Server, Watcher};

#[derive(Serialize)]
struct Serving<'a> {
    url: &'a str,
    repository: &'a str,
}

struct Says<'c>(&'c Context<'c>);

impl Watcher for Says<'_> {
    fn problem(&self, request: &str, what: &str) {
        if self.0.global.json {
            // Whoever stopped reading does not stop those who look.
            let _ = self.0.out.json("error", &Problem::new(what, "read", request.as_bytes(), "error"));
        } else {
            eprint_line(&format!("copal: {}: {}", escape(request.as_bytes()), escape(what.as_bytes())));
        }
    }

    fn news(&self, what: &str) {
        self.0.say(what);
    }
}

/// Serves the page, and stays until it is to end.
pub fn run(context: &Context<'_>, wanted: &Web) -> Result<Code, Failure> {
    let stop = signals::stop();
    // Before a password is asked for.
    let server = Server::bind(wanted.listen).map_err(|error| {
        Failure::new(Code::Failed, format!("{} can not be listened on: {error}", wanted.listen))
    })?;
    let (repository, synced) = context.open_to_read()?;
    for problem in &synced.problems {
        context.warn(&problem.to_string());
    }
    let options = Options {
        cache: catalogue::folder(context)?,
        home: context.defaults.home(),
        own: context.own_files().into_iter().map(|(_, id)| id).collect(),
        memory: context.global.memory.unwrap_or(store::MEMORY),
    };
    let location = repository.location();
    if !server.is_loopback() {
        context.warn(&format!(
            "{} is not this machine alone: what is shown can be heard on the network, and nothing can be restored from the page",
            server.address()
        ));
    }
    let page = web::Page::new(repository, options, server.address()).map_err(|error| failure(&error))?;
    let url = page.url();
    if context.global.json {
        context.out.json("serving", &Serving { url: &url, repository: &location })?;
    } else {
        context.out.write(format!("{url}\n"))?;
        context.say("open this address in a browser; it is good for this run only. To end: Ctrl-C");
    }
    let host = context.host();
    server.run(&page, &context.clock, &host, &Says(context), stop).map_err(|error| failure(&error))?;
    Ok(Code::Done)
}
