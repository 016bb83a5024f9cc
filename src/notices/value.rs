//! Values that may be secrets, such as a token or the URL of a webhook: written in the profile, or in a file of their own.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::terminal::escape::path as shown;

/// The longest value that is read from a file.
const BYTES_MAX: u64 = 64 << 10;
/// The permission of all users to read.
const READ_BY_ALL: u32 = 0o004;

/// A value, or the file whose first line it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    File(PathBuf),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(_) => f.write_str("Text(hidden)"),
            Value::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl Value {
    /// The value; what is unwise about its file goes to `warnings`.
    pub fn read(&self, warnings: &mut Vec<String>) -> Result<String, String> {
        match self {
            Value::Text(text) => Ok(text.clone()),
            Value::File(path) => read(path, warnings).map_err(|what| format!("{}: {what}", shown(path))),
        }
    }
}

fn read(path: &Path, warnings: &mut Vec<String>) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    if about.is_file() && about.permissions().mode() & READ_BY_ALL != 0 {
        warnings.push(format!("{} can be read by every user of this machine; chmod 600 it", shown(path)));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() { Err("its first line is empty".to_owned()) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_files_that_only_their_owner_should_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, " Bearer hunter2 \r\nsecond\n").unwrap();
        let value = Value::File(path.clone());
        for (mode, count) in [(0o600, 0), (0o640, 0), (0o644, 1)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let mut warnings = Vec::new();
            assert_eq!(value.read(&mut warnings).unwrap(), "Bearer hunter2");
            assert_eq!(warnings.len(), count);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(value.read(&mut Vec::new()).unwrap_err().contains("empty"));
        for path in [folder.path().join("missing"), folder.path().into()] {
            assert!(Value::File(path).read(&mut Vec::new()).is_err());
        }
        assert_eq!(format!("{:?}", Value::from("hunter2")), "Text(hidden)");
    }
}
