//! Words as a shell takes them: a command that is shown can be copied and run as it stands.

use super::escape::is_escaped;

/// The word, in quotes where a shell would take it for something else. Bytes that can not be shown are written as bash and zsh read them.
pub fn word(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.chars().any(|c| c != '\\' && is_escaped(c)) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => {
            let mut out = "$'".to_owned();
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => out.extend(['\\', char::from(*byte)]),
                    0x20..=0x7e => out.push(char::from(*byte)),
                    byte => out.push_str(&format!("\\x{byte:02x}")),
                }
            }
            out + "'"
        }
    }
}

/// Words, one after the other.
pub fn line<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>) -> String {
    words.into_iter().map(|each| word(each.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        assert_eq!(line(["copal", "check", "-r", "/srv/a b"]), "copal check -r '/srv/a b'");
        assert_eq!(word(b""), "''");
        for bytes in [&b"it's"[..], b"$HOME `x` \"y\" \\z", b"-n", b"two\nlines", b"\xff\xfe'", b"*?~#"] {
            let shown = word(bytes);
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {shown}")])
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .output()
                .unwrap();
            // `printf` takes a word that begins with a dash for an option: it is only looked at.
            if bytes != b"-n" {
                assert_eq!(output.stdout, bytes, "{shown}");
            }
        }
    }
}
