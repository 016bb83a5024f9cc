//! Which program speaks with the server, and for how long what is waited for.

use std::time::Duration;

use crate::backend::{Error, Patience};

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program that takes the options and arguments of OpenSSH's `ssh`, and options of the user's own.
    pub ssh: Vec<String>,
    /// A program that speaks the protocol on its standard input and output, in the place of `ssh`; host, user and port are not told to it.
    pub command: Option<Vec<String>>,
    /// Whether somebody is there whom `ssh` may ask for a password.
    pub asks: bool,
    /// Variables of the environment that neither gets.
    pub hidden: Vec<String>,
    /// A connection over which nothing came for so long, though something was asked, is given up. Longer than any disk takes to sync.
    pub silence: Duration,
    /// A connection that does not stand after so long is given up; five times as long where a person may be asked for a password
    /// (`greeting_most`).
    pub greeting: Duration,
    /// How often and how long is tried what a lost connection let fail.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ssh: vec!["ssh".to_owned()],
            command: None,
            asks: false,
            hidden: Vec::new(),
            silence: Duration::from_secs(5 * 60),
            greeting: Duration::from_secs(2 * 60),
            patience: Patience::default(),
        }
    }
}

impl Options {
    /// How long it may take until the server greets.
    pub fn greeting_most(&self) -> Duration {
        self.greeting * if self.asks { 5 } else { 1 }
    }

    /// With the words of these lines, which are split as a shell does (`split`). Errors: `Unsupported` with the name of the line.
    pub fn new(ssh: Option<(&str, &str)>, command: Option<(&str, &str)>) -> Result<Options, Error> {
        let words = |(name, line): (&str, &str)| {
            split(line).filter(|words| !words.is_empty()).ok_or_else(|| Error::Unsupported {
                object: name.to_owned(),
                reason: "is no command: it is empty, or a quotation mark has no end".to_owned(),
            })
        };
        let mut options = Options::default();
        if let Some(ssh) = ssh {
            options.ssh = words(ssh)?;
        }
        options.command = command.map(words).transpose()?;
        Ok(options)
    }
}

/// The words of a line as a shell finds them: between blanks, quoted by `'` or `"`, single characters by `\`. Nothing else has a meaning.
/// None when a quotation has no end.
pub fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        char => word.push(char),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            char @ ('"' | '\\' | '$' | '`') => word.push(char),
                            char => word.extend(['\\', char]),
                        },
                        char => word.push(char),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            char if char.is_whitespace() => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, words) in [
            ("ssh", vec!["ssh"]),
            ("  ssh  -F /etc/x\t-v ", vec!["ssh", "-F", "/etc/x", "-v"]),
            ("a'b c'd \"e f\"", vec!["ab cd", "e f"]),
            (r#"a\ b "c\"d\e" '\'"#, vec!["a b", "c\"d\\e", "\\"]),
            ("'' \"\"", vec!["", ""]),
            ("", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
            // The shell's own word on it.
            let told = std::process::Command::new("sh")
                .args(["-c", &format!("for word in {line}; do printf '%s\\n' \"$word\"; done")])
                .output()
                .unwrap();
            let lines = words.iter().map(|word| format!("{word}\n")).collect::<String>();
            assert_eq!(String::from_utf8(told.stdout).unwrap(), lines, "{line}");
        }
        for line in ["'", "\"", "a 'b", "\\", "\"\\"] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_command_is_refused_by_its_name() {
        for (name, options) in [
            ("COPAL_SSH_COMMAND", Options::new(Some(("COPAL_SSH_COMMAND", "ssh '-F")), None)),
            ("COPAL_SFTP_COMMAND", Options::new(None, Some(("COPAL_SFTP_COMMAND", "  ")))),
        ] {
            let error = options.unwrap_err();
            assert!(
                matches!(error, Error::Unsupported { .. }) && error.to_string().starts_with(name),
                "{error}"
            );
        }
        let options = Options::new(Some(("x", "ssh -v")), Some(("y", "server"))).unwrap();
        assert_eq!(
            (options.ssh, options.command),
            (vec!["ssh".into(), "-v".into()], Some(vec!["server".into()]))
        );
    }
}
