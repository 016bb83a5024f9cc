//! Completions for shells and the manual page, made from the same tree of options as the parser.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::commands::complete::COMMANDS;

/// What bash asks copal itself: snapshots and paths in them. Bash cuts words at colons, and takes only what comes behind one.
const BASH: &str = r#"
_copal_asking() {
    _copal "$@"
    local offer current="${COMP_WORDS[COMP_CWORD]}" line="${COMP_LINE:0:COMP_POINT}" cuts=""
    if [[ "$current" == -* ]]; then return 0; fi
    if [[ "$COMP_WORDBREAKS" == *:* && ( "$current" == : || "${COMP_WORDS[COMP_CWORD - 1]}" == : ) ]]; then
        cuts=yes
    fi
    local -a offers=()
    while IFS= read -r offer; do
        if [[ -n "$cuts" ]]; then offer="${offer#*:}"; fi
        offers+=("$(printf '%q' "$offer")")
    done < <(COPAL_COMPLETE_LINE="$line" "${COMP_WORDS[0]}" 2>/dev/null </dev/null)
    if ((${#offers[@]} > 0)); then
        COMPREPLY=("${offers[@]}")
        compopt +o default +o bashdefault -o nospace 2>/dev/null
    fi
    return 0
}
complete -F _copal_asking -o bashdefault -o default copal
"#;

/// The same for fish.
const FISH: &str = r#"
function __copal_offers
    set -lx COPAL_COMPLETE_LINE (commandline -cp | string collect)
    copal 2>/dev/null </dev/null
end
complete -c copal -n "__fish_seen_subcommand_from COMMANDS" -f -a "(__copal_offers)"
complete -c copal -n "__fish_seen_subcommand_from diff" -a "(__copal_offers)"
"#;

/// The same for zsh.
const ZSH: &str = r#"
(( $+functions[_copal_offers] )) ||
_copal_offers() {
    local -a offers
    offers=("${(@f)$(COPAL_COMPLETE_LINE="$LBUFFER" copal 2>/dev/null </dev/null)}")
    offers=("${(@)offers:#}")
    if (( $#offers )); then
        compadd -S '' -a offers
    else
        _default
    fi
}
"#;

/// The arguments that are snapshots, as the parser names them.
const SNAPSHOTS: [&str; 5] = ["wanted", "before", "after", "snapshot", "snapshots"];

/// The completion script for that shell. Options and commands stand in it; snapshots and paths in them it asks copal for.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "copal", &mut out);
    match shell {
        Shell::Bash => out.extend_from_slice(BASH.as_bytes()),
        Shell::Fish => {
            // Of `diff` one side may be a folder that is there: files are offered too.
            let names = COMMANDS.iter().map(|(name, _)| *name).filter(|name| *name != "diff");
            let names = names.collect::<Vec<_>>().join(" ");
            out.extend_from_slice(FISH.replace("COMMANDS", &names).as_bytes());
        }
        Shell::Zsh => out = asking_zsh(&String::from_utf8_lossy(&out)).into_bytes(),
        _ => {}
    }
    out
}

/// The script for zsh, with what completes a snapshot in the place of what completes anything.
fn asking_zsh(script: &str) -> String {
    let is_snapshot = |line: &str| {
        let name = line.trim_start_matches(['\'', '*', ':']);
        line.starts_with(['\'']) && SNAPSHOTS.iter().any(|known| name.starts_with(&format!("{known} -- ")))
    };
    let mut out = String::new();
    for line in script.lines() {
        // Before the last lines, which run it.
        if line.starts_with("if [ \"$funcstack") {
            out += ZSH;
        }
        match line.strip_suffix(":_default' \\").filter(|_| is_snapshot(line)) {
            Some(start) => out += &format!("{start}:_copal_offers' \\\n"),
            None => out += &format!("{line}\n"),
        }
    }
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
