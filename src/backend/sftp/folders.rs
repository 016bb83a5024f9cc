//! Folders on a server: those of a repository, for the owner alone, and what else lies where one is to be made.

use super::request::{READ, Request};
use super::session::{Open, Session};
use super::{FOLDER_MODE, Pending, Place, list};
use crate::backend::layout::{TEMPORARY, is_strange};
use crate::backend::ssh::link::Trouble;
use crate::backend::{Error, Kind};

/// A folder that is being opened, to be synced later.
pub struct Opening(Option<Pending>);

/// A folder that is open, where the server lets it be.
pub struct Folder(Option<Open>);

/// Opens a folder as a file, where the server can sync files.
pub fn open(session: &Session, path: &str) -> Result<Opening, Trouble> {
    let open = Request::Open { path, flags: READ, mode: None };
    Ok(Opening(if session.extensions().sync { Some(session.send(open)?) } else { None }))
}

impl Opening {
    pub fn wait(self, session: &Session) -> Result<Folder, Trouble> {
        let handle = self.0.map(|pending| session.handle(pending)).transpose()?;
        Ok(Folder(handle.and_then(Result::ok).map(|handle| session.opened(handle, 0))))
    }
}

impl Folder {
    /// Makes entries put into it or removed from it durable; none where that can not be had.
    pub fn sync(&self, session: &Session) -> Result<Option<Pending>, Trouble> {
        let Some(open) = &self.0 else { return Ok(None) };
        Ok(Some(session.send(Request::Sync(&open.handle))?))
    }
}

/// Syncs a folder, as far as the server can.
pub fn sync(session: &Session, path: &str, object: String) -> Result<(), Trouble> {
    let folder = open(session, path)?.wait(session)?;
    match folder.sync(session)?.map(|pending| session.done(pending)).transpose()? {
        Some(Err(status)) if !status.is_unsupported() => Err(status.sort(object, "sync").into()),
        _ => Ok(()),
    }
}

/// Makes the folders that an object needs, and that somebody removed: only where there is a repository, and not in the place where its disk is
/// mounted at other times. Whether there is one.
pub fn make_missing(session: &Session, place: &Place, folder: &str) -> Result<bool, Trouble> {
    session.forget_folders();
    let looks: Vec<Pending> = [Kind::Config, Kind::Keys]
        .iter()
        .map(|kind| session.send(Request::Look(&place.at(kind.folder()))))
        .collect::<Result<_, _>>()?;
    let mut is_there = false;
    for look in looks {
        is_there |= session.attributes(look)?.is_ok_and(|seen| seen.is_folder());
    }
    if is_there {
        let above = folder.split('/').next().unwrap_or(folder);
        make(session, place, &[TEMPORARY, above])?;
        if above != folder {
            make(session, place, &[folder])?;
        }
    }
    Ok(is_there)
}

/// Makes these folders, for the owner alone, all at once, and syncs those above; those that are there stay as they are.
pub fn make(session: &Session, place: &Place, folders: &[&str]) -> Result<(), Trouble> {
    let send_all = |folders: &[&str], request: &dyn Fn(&str) -> Result<Pending, Trouble>| {
        folders.iter().map(|folder| request(&place.at(folder))).collect::<Result<Vec<_>, _>>()
    };
    let making = send_all(folders, &|path| Ok(session.send(Request::MakeFolder(path, FOLDER_MODE))?))?;
    let (mut made, mut not_made) = (Vec::new(), Vec::new());
    for (folder, pending) in folders.iter().zip(making) {
        match session.done(pending)? {
            Ok(()) => made.push(*folder),
            Err(status) => not_made.push((*folder, status)),
        }
    }
    // The server's umask may have taken bits away. A server without modes refuses.
    for pending in send_all(&made, &|path| Ok(session.send(Request::SetMode(path, FOLDER_MODE))?))? {
        let _ = session.done(pending)?;
    }
    // Servers do not say whether there was one already.
    let looks: Vec<&str> = not_made.iter().map(|(folder, _)| *folder).collect();
    let looks = send_all(&looks, &|path| Ok(session.send(Request::Look(path))?))?;
    for ((folder, status), look) in not_made.into_iter().zip(looks) {
        if session.attributes(look)?.is_err() {
            return Err(session.sort(&status, &place.at(""), 0, place.named(folder), "make"));
        }
    }
    // All of them lie in one.
    let above = folders.first().and_then(|folder| folder.rsplit_once('/')).map_or("", |(above, _)| above);
    sync(session, &place.at(above), place.named(above))
}

/// Refuses a folder with other things in it, as a local one is. Whether there is a folder.
pub fn refuse_strangers(session: &Session, place: &Place) -> Result<bool, Trouble> {
    let path = place.at("");
    if session.attributes(session.send(Request::Look(&path))?)?.is_err() {
        return Ok(false);
    }
    let mut strange = None;
    list::folders(session, &[(place.at(""), place.named(""))], &mut |_, listed| {
        let name = String::from_utf8_lossy(&listed.name);
        if is_strange(&name) {
            strange.get_or_insert_with(|| name.escape_debug().to_string());
        }
    })?;
    match strange {
        None => Ok(true),
        Some(name) => Err(Error::Occupied { object: place.text.clone(), name }.into()),
    }
}

/// Makes the repository's folder, and those above it that are missing.
pub fn make_root(session: &Session, place: &Place) -> Result<(), Trouble> {
    let path = place.at("");
    let above = |path: &str| path.trim_end_matches('/').rsplit_once('/').map(|(above, _)| above.to_owned());
    let mut missing = vec![path.clone()];
    while let Some(next) = missing.last().and_then(|path| above(path)).filter(|path| !path.is_empty()) {
        if session.attributes(session.send(Request::Look(&next))?)?.is_ok() {
            break;
        }
        missing.push(next);
    }
    for path in missing.iter().rev() {
        match session.done(session.send(Request::MakeFolder(path, FOLDER_MODE))?)? {
            Ok(()) => {
                let _ = session.done(session.send(Request::SetMode(path, FOLDER_MODE))?)?;
                let above = above(path).filter(|above| !above.is_empty());
                let above = above.unwrap_or_else(|| if path.starts_with('/') { "/" } else { "." }.to_owned());
                sync(session, &above, place.text.clone())?;
            }
            // Somebody else may have made it just now.
            Err(status) if session.attributes(session.send(Request::Look(path))?)?.is_err() => {
                let above = above(path).unwrap_or_default();
                let object = place.text.clone();
                return Err(session.sort(&status, &above, 0, object, "make"));
            }
            Err(_) => {}
        }
    }
    Ok(())
}
