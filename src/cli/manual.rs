//! Completions for shells and the manual page, made from the same tree of options as the parser.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;

/// The completion script for that shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "copal", &mut out);
    out
}

/// The manual page of the program (no words), or of one of its commands; none when there is no such command.
pub fn page(command: &[String]) -> io::Result<Option<Vec<u8>>> {
    let mut tree = Arguments::command();
    tree.build();
    let wanted = command.iter().try_fold(tree, |tree, name| tree.find_subcommand(name).cloned());
    let Some(wanted) = wanted else { return Ok(None) };
    let mut out = Vec::new();
    clap_mangen::Man::new(wanted).render(&mut out)?;
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_completions_name_the_commands() {
        let whole = String::from_utf8(page(&[]).unwrap().unwrap()).unwrap();
        assert!(whole.contains("restore") && whole.starts_with(".ie"), "{}", &whole[..40]);
        let one = String::from_utf8(page(&["backup".to_owned()]).unwrap().unwrap()).unwrap();
        assert!(one.contains("copal\\-backup") && one.contains("git\\-ignore"), "{one}");
        assert!(page(&["fly".to_owned()]).unwrap().is_none());
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(String::from_utf8(completions(shell)).unwrap().contains("snapshots"));
        }
    }
}
