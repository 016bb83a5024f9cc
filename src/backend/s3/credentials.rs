//! The keys that requests to an object store are signed with: from the environment, or from a profile in files.

use std::path::PathBuf;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::options::Options;

/// A file that is longer is none of these.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One set of keys.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(super) struct Credentials {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

/// What is found where keys are looked for.
#[derive(Default)]
pub(super) struct Found {
    pub(super) credentials: Option<Credentials>,
    /// The region that goes with them.
    pub(super) region: Option<String>,
}

/// Where keys are looked for, in words.
pub(super) const WHERE: &str =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials by AWS_PROFILE";

/// Looks for keys: the environment's, else those of the profile. Files are read anew each time. Errors: a line, without secrets.
pub(super) fn find(options: &Options) -> Result<Found, String> {
    let name = options.text("AWS_PROFILE");
    let profile = name.as_deref().unwrap_or("default");
    let mut region = options.text("AWS_REGION").or_else(|| options.text("AWS_DEFAULT_REGION"));
    let given = match (options.text("AWS_ACCESS_KEY_ID"), options.text("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => {
            Some(Credentials { key, secret, token: options.text("AWS_SESSION_TOKEN") })
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not".to_owned());
        }
        (None, Some(_)) => {
            return Err("AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not".to_owned());
        }
    };
    let config = read(options, "AWS_CONFIG_FILE", "config")?;
    let title = if profile == "default" { "default".to_owned() } else { format!("profile {profile}") };
    region = region.or_else(|| value(&config, &title, "region"));
    if given.is_some() {
        return Ok(Found { credentials: given, region });
    }
    let keys = read(options, "AWS_SHARED_CREDENTIALS_FILE", "credentials")?;
    let look = |name: &str| value(&keys, profile, name).or_else(|| value(&config, &title, name));
    let credentials = match (look("aws_access_key_id"), look("aws_secret_access_key")) {
        (Some(key), Some(secret)) => Some(Credentials { key, secret, token: look("aws_session_token") }),
        _ if name.is_some() => {
            return Err(format!("there are no keys of the profile {profile:?} (AWS_PROFILE): {WHERE}"));
        }
        _ => None,
    };
    Ok(Found { credentials, region: region.or_else(|| value(&keys, profile, "region")) })
}

/// The text of the file that a variable names, or of that name in `~/.aws`; empty when it is not there.
fn read(options: &Options, variable: &str, name: &str) -> Result<String, String> {
    use std::io::Read;
    let home = || Some(PathBuf::from(options.variable("HOME")?).join(".aws").join(name));
    let Some(path) = options.variable(variable).map(PathBuf::from).or_else(home) else {
        return Ok(String::new());
    };
    let wrong = |error: std::io::Error| format!("{} can not be read: {error}", path.display());
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(wrong(error)),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

/// The value of a name in a section of such a file. The last one counts, as for the tools that write them.
fn value(text: &str, section: &str, name: &str) -> Option<String> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[') {
            let title = title.split(']').next().unwrap_or_default();
            inside = title.split_whitespace().eq(section.split_whitespace());
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == name
        {
            found = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Options {
        let look =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Options::from_environment(&look)
    }

    #[test]
    fn the_environment_counts_before_files_and_a_half_is_told() {
        let both = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "S"), ("AWS_DEFAULT_REGION", "r")];
        let found = find(&options(&both)).unwrap();
        let credentials = found.credentials.unwrap();
        assert_eq!((credentials.key.as_str(), credentials.secret.as_str()), ("A", "S"));
        assert_eq!((credentials.token.as_deref(), found.region.as_deref()), (None, Some("r")));
        for half in &both[..2] {
            let error = find(&options(&[*half])).err().unwrap();
            assert!(error.contains("is not") && !error.contains('\n'), "{error}");
        }
        assert!(find(&options(&[])).unwrap().credentials.is_none());
    }

    #[test]
    fn a_profile_is_found_in_the_files_that_are_named_or_in_the_home() {
        let home = tempfile::tempdir().unwrap();
        let aws = home.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        std::fs::write(
            aws.join("credentials"),
            "# a comment\n[default]\naws_access_key_id = D\naws_secret_access_key=DS\n\n[ work ]\n aws_access_key_id=W\n;aws_access_key_id=X\naws_secret_access_key = W=S\naws_session_token = T\n",
        )
        .unwrap();
        std::fs::write(
            aws.join("config"),
            "[default]\nregion=r1\n[profile work]\nregion = r2\n[work]\nregion=no\n",
        )
        .unwrap();
        let home = home.path().to_str().unwrap();
        let found = find(&options(&[("HOME", home)])).unwrap();
        assert_eq!(found.credentials.as_ref().unwrap().key, "D");
        assert_eq!(found.region.as_deref(), Some("r1"));
        let found = find(&options(&[("HOME", home), ("AWS_PROFILE", "work"), ("AWS_REGION", "r3")])).unwrap();
        let credentials = found.credentials.unwrap();
        assert_eq!((credentials.secret.as_str(), credentials.token.as_deref()), ("W=S", Some("T")));
        assert_eq!(found.region.as_deref(), Some("r3"));
        let error = find(&options(&[("HOME", home), ("AWS_PROFILE", "other")])).err().unwrap();
        assert!(error.contains("other") && !error.contains("DS"), "{error}");
        let elsewhere = [("HOME", home), ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/at/all")];
        assert!(find(&options(&elsewhere)).unwrap().credentials.is_none());
    }
}
