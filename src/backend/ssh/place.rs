//! Which server, whose account and which folder: what stands after `sftp:` or `copal+ssh:` in a location.

use crate::backend::Error;

/// A folder of another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub user: Option<String>,
    /// A name that `ssh` knows, or an address; without brackets.
    pub host: String,
    pub port: Option<u16>,
    /// Without slashes at its end. One that does not begin with a slash begins at the home folder. Empty: the server's root.
    pub path: String,
    /// As the user wrote it, with the scheme.
    pub text: String,
}

impl Place {
    /// Reads `[USER@]HOST:PATH`, or `//[USER@]HOST[:PORT]/PATH` where PATH begins after that slash: `//host//srv/x` is `/srv/x`, `//host/x` lies
    /// in the home folder. An address of IPv6 stands in brackets.
    ///
    /// Errors: `Unsupported`. Nothing of what was written is told, since the rest may hold a password.
    pub fn parse(rest: &str) -> Result<Place, Error> {
        Place::parse_as("sftp", rest)
    }

    /// The same behind another scheme.
    pub fn parse_as(scheme: &str, rest: &str) -> Result<Place, Error> {
        let place = Place::parse_rest(rest).map_err(|reason| Error::Unsupported {
            object: format!("the location {scheme}:..."),
            reason: reason.replace("SCHEME", scheme),
        })?;
        Ok(Place { text: format!("{scheme}:{rest}"), ..place })
    }

    fn parse_rest(rest: &str) -> Result<Place, &'static str> {
        let (authority, path, is_url) = match rest.strip_prefix("//") {
            Some(url) => {
                let (authority, path) = url.split_once('/').ok_or(
                    "has no folder: write SCHEME://HOST/PATH, or SCHEME://HOST//PATH from the root on",
                )?;
                (authority, path, true)
            }
            None => {
                let (authority, path) =
                    split_at_colon(rest).ok_or("has no folder: write SCHEME:HOST:PATH")?;
                (authority, path, false)
            }
        };
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let has_password = user.is_some_and(|user| user.contains(':'))
            || (!is_url && path.split('/').next().is_some_and(|first| first.contains('@')));
        if has_password {
            return Err(
                "seems to hold a password, which does not belong there: ssh asks for it, or better has a key (a folder with an @ in its name is written ./NAME)",
            );
        }
        let (host, port) = split_port(address, is_url)?;
        Ok(Place {
            user: user.map(checked_user).transpose()?.map(str::to_owned),
            host: checked_host(host)?.to_owned(),
            port,
            path: checked_path(path)?,
            text: String::new(),
        })
    }

    /// The path on the server of what lies at a path below the repository.
    pub fn at(&self, path: &str) -> String {
        if path.is_empty() {
            if self.path.is_empty() { "/".to_owned() } else { self.path.clone() }
        } else {
            format!("{}/{path}", self.path)
        }
    }

    /// What messages call the thing at a path below the repository.
    pub fn named(&self, path: &str) -> String {
        if path.is_empty() {
            self.text.clone()
        } else {
            format!("{}/{path}", self.text.trim_end_matches('/'))
        }
    }
}

/// At the first colon that is not in brackets.
fn split_at_colon(text: &str) -> Option<(&str, &str)> {
    let mut is_inside = false;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => is_inside = true,
            b']' => is_inside = false,
            b':' if !is_inside => return Some((&text[..place], &text[place + 1..])),
            _ => {}
        }
    }
    None
}

fn split_port(address: &str, is_url: bool) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match address.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']').ok_or("has a [ without its ]")?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("?")) })
        }
        None if is_url => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
        None => (address, None),
    };
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(port),
            _ => return Err("has a port that is no number from 1 to 65535"),
        },
    };
    if port.is_some() && !is_url {
        return Err("has a port: write SCHEME://HOST:PORT/PATH");
    }
    Ok((host, port))
}

/// What `ssh` could take for an option, or a command in its configuration for more than a name, is refused.
fn checked_host(host: &str) -> Result<&str, &'static str> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._:%-".contains(&byte);
    match host.bytes().next() {
        None => Err("has no host"),
        Some(b'-') => Err("has a host that begins with -"),
        _ if host.bytes().all(is_good) => Ok(host),
        _ => Err("has a host with characters that no host's name has"),
    }
}

fn checked_user(user: &str) -> Result<&str, &'static str> {
    let is_bad = |char: char| char.is_control() || char.is_whitespace() || "'\"`$;&<>|(){}".contains(char);
    match user.chars().next() {
        None => Err("has no user before the @"),
        Some('-') => Err("has a user that begins with -"),
        _ if user.contains(is_bad) || user.ends_with('\\') => {
            Err("has a user with characters that no user's name has")
        }
        _ => Ok(user),
    }
}

fn checked_path(path: &str) -> Result<String, &'static str> {
    if path.is_empty() {
        return Err("has no folder after the host");
    }
    if path.chars().any(char::is_control) {
        return Err("has a folder with control characters in its name");
    }
    if path == "~" || path.starts_with("~/") {
        return Err(
            "has a ~, which servers do not know: a path without a slash at its beginning begins at the home folder",
        );
    }
    Ok(path.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<String>, String, Option<u16>, String) {
        let place = Place::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(place.text, format!("sftp:{text}"));
        (place.user, place.host, place.port, place.path)
    }

    #[test]
    fn both_forms_are_read() {
        for (text, user, host, port, path) in [
            ("nas:backup", None, "nas", None, "backup"),
            ("nas:/srv/backup/", None, "nas", None, "/srv/backup"),
            ("me@nas:a/b", Some("me"), "nas", None, "a/b"),
            ("me@corp@nas:a", Some("me@corp"), "nas", None, "a"),
            ("[::1]:/x", None, "::1", None, "/x"),
            ("me@[fe80::1%eth0]:x", Some("me"), "fe80::1%eth0", None, "x"),
            ("nas:with:colon", None, "nas", None, "with:colon"),
            ("nas:./a@b", None, "nas", None, "./a@b"),
            ("nas:/", None, "nas", None, ""),
            ("//nas/backup", None, "nas", None, "backup"),
            ("//me@nas:2222//srv/backup", Some("me"), "nas", Some(2222), "/srv/backup"),
            ("//[::1]:22/a@b", None, "::1", Some(22), "a@b"),
            ("//[::1]/x", None, "::1", None, "x"),
        ] {
            assert_eq!(
                read(text),
                (user.map(str::to_owned), host.to_owned(), port, path.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_could_be_an_option_or_a_password_is_refused_and_not_told() {
        for text in [
            "",
            "nas",
            "nas:",
            ":path",
            "//nas",
            "//nas/",
            "///path",
            "@nas:x",
            "//:22/x",
            "//nas:0/secret",
            "//nas:99999/secret",
            "//nas:+22/secret",
            "//nas:/secret",
            "-oProxyCommand=secret:x",
            "secret@-nas:x",
            "-secret@nas:x",
            "//-secret/x",
            "//-secret@nas/x",
            "me:secret@nas:x",
            "me:secret@nas/x",
            "//me:secret@nas/x",
            "//me:secret@nas:22//x",
            "na s:secret",
            "nas;secret:x",
            "$(secret)@nas:x",
            "secret\\@nas:x",
            "nas:~/secret",
            "nas:~",
            "nas:a\nsecret",
            "nas:a\0secret",
            "[::1:secret",
            "//[::1]secret/x",
            "[::1]:22",
            "[nas]secret:x",
        ] {
            // The last but one is a folder named 22.
            if text == "[::1]:22" {
                assert_eq!(read(text).3, "22");
                continue;
            }
            let error = Place::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            let told = error.to_string();
            assert!(matches!(error, Error::Unsupported { .. }), "{text}: {told}");
            assert!(
                told.starts_with("the location sftp:...: has ") || told.contains("seems to hold"),
                "{told}"
            );
            assert!(!told.contains("secret") && !told.contains('\n'), "{text:?}: {told}");
        }
    }

    #[test]
    fn paths_on_the_server_and_names_in_messages_hang_together() {
        let relative = Place::parse("me@nas:backup/").unwrap();
        assert_eq!((relative.at(""), relative.at("keys")), ("backup".into(), "backup/keys".into()));
        assert_eq!(relative.named("keys"), "sftp:me@nas:backup/keys");
        let root = Place::parse("//nas//").unwrap();
        assert_eq!((root.at(""), root.at("keys")), ("/".into(), "/keys".into()));
    }
}
