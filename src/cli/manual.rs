//! Completions for shells and the manual page, made from the same tree of options as the parser.

use std::io;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::{Generator, Shell};

use super::arguments::Arguments;
use super::commands::complete::COMMANDS;

/// What bash asks copal itself: snapshots and paths in them. Bash takes only what comes behind the last place where it cuts words, or
/// behind a quote that is open, and takes it as it is.
const BASH: &str = r#"
_copal_asking() {
    _copal "$@"
    local offer char quote="" word="" part="" line="${COMP_LINE:0:COMP_POINT}" i
    if [[ "${COMP_WORDS[COMP_CWORD]}" == -* ]]; then return 0; fi
    local outside=""
    for ((i = 0; i < ${#line}; i++)); do
        char="${line:i:1}"
        if [[ "$char" == \\ && "$quote" != \' ]]; then
            ((i += 1))
            char="${line:i:1}"
        elif [[ -n "$quote" && "$char" == "$quote" ]]; then
            quote="" part="$outside$part"
            continue
        elif [[ -z "$quote" && ( "$char" == \" || "$char" == \' ) ]]; then
            quote="$char" outside="$part" part=""
            continue
        elif [[ -z "$quote" && "$char" == [$' \t\n'] ]]; then
            word="" part=""
            continue
        elif [[ -z "$quote" && "$COMP_WORDBREAKS" == *"$char"* ]]; then
            word+="$char" part=""
            continue
        fi
        word+="$char" part+="$char"
    done
    local -a offers=()
    while IFS= read -r -d "" offer; do
        offer="${offer:${#word} - ${#part}}"
        case "$quote" in
            \') offer="${offer//\'/\'\\\'\'}" ;;
            \") offer="${offer//\\/\\\\}" offer="${offer//\"/\\\"}" offer="${offer//\$/\\\$}" offer="${offer//\`/\\\`}" ;;
            *) printf -v offer '%q' "$offer" ;;
        esac
        offers+=("$offer")
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
    for offer in (copal 2>/dev/null </dev/null | string split0)
        # A name with a line end or a tab in it can not be offered.
        string match -q -r '[[:cntrl:]]' -- $offer; or printf '%s\n' $offer
    end
end
complete -c copal -n "__fish_seen_subcommand_from COMMANDS" -f -a "(__copal_offers)"
complete -c copal -n "__fish_seen_subcommand_from diff" -a "(__copal_offers)"
"#;

/// The same for zsh.
const ZSH: &str = r#"
(( $+functions[_copal_offers] )) ||
_copal_offers() {
    local -a offers
    offers=("${(@0)$(COPAL_COMPLETE_LINE="$LBUFFER" copal 2>/dev/null </dev/null)}")
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

/// The completions for every shell, each with the name under which its shell looks for it.
pub fn all_completions() -> Vec<(String, Vec<u8>)> {
    let shells = Shell::value_variants().iter();
    shells.map(|shell| (shell.file_name("copal"), completions(*shell))).collect()
}

/// The tree of commands as the pages have it: without `help`, which has no page.
fn tree() -> Command {
    let mut tree = Arguments::command().disable_help_subcommand(true);
    tree.build();
    tree
}

/// The manual page of the program (no words), or of one of its commands; none when there is no such command.
pub fn page(command: &[String]) -> io::Result<Option<Vec<u8>>> {
    let mut above = Vec::new();
    let mut place = tree();
    for name in command {
        let Some(found) = place.find_subcommand(name).cloned() else { return Ok(None) };
        above.push(page_name(&place));
        place = found;
    }
    render(&place, &above).map(Some)
}

/// Every manual page with the name of its file: `copal.1`, and one for each command and each other name of it.
pub fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    collect(&tree(), &mut Vec::new(), &mut out)?;
    Ok(out)
}

fn collect(place: &Command, above: &mut Vec<String>, out: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let name = page_name(place);
    out.push((format!("{name}.1"), render(place, above)?));
    if let Some(parent) = above.last() {
        for alias in place.get_visible_aliases() {
            out.push((format!("{parent}-{alias}.1"), format!(".so man1/{name}.1\n").into_bytes()));
        }
    }
    above.push(name);
    for command in place.get_subcommands().filter(|command| !command.is_hide_set()) {
        collect(command, above, out)?;
    }
    above.pop();
    Ok(())
}

/// `copal-key-add` of `copal key add`.
fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// A page, which ends with the names of those above it.
fn render(command: &Command, above: &[String]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let source = concat!("copal ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).date(" ").source(source).manual("copal").render(&mut out)?;
    if !above.is_empty() {
        let names: Vec<String> =
            above.iter().map(|name| format!("\\fB{}\\fR(1)", name.replace('-', "\\-"))).collect();
        out.extend_from_slice(format!(".SH \"SEE ALSO\"\n{}\n", names.join(", ")).as_bytes());
    }
    Ok(out)
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
    #[test]
    fn every_page_that_a_page_names_is_there() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["copal.1", "copal-backup.1", "copal-key-add.1", "copal-cat.1"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        let mut referred = 0;
        for (name, text) in &pages {
            let text = String::from_utf8(text.clone()).unwrap().replace("\\-", "-").replace("\\fR", "");
            if let Some(other) = text.strip_prefix(".so man1/") {
                assert!(names.contains(&other.trim()), "{name} stands for {other}");
                continue;
            }
            let whole = |word: &str| word.contains("copal") && word.contains("(1)");
            for word in text.split_whitespace().filter(|word| whole(word)) {
                let other = word.split("(1)").next().unwrap().replace("\\fB", "") + ".1";
                assert!(names.contains(&other.as_str()), "{name} names {other}");
                referred += 1;
            }
        }
        // Each but the first is named by the one above it, and names at least that.
        assert!(referred >= 2 * (names.len() - 2), "only {referred} references in {} pages", names.len());
    }

    #[test]
    fn a_page_says_where_it_belongs() {
        let words = ["key".to_owned(), "add".to_owned()];
        let text = String::from_utf8(page(&words).unwrap().unwrap()).unwrap();
        assert!(text.ends_with(".SH \"SEE ALSO\"\n\\fBcopal\\fR(1), \\fBcopal\\-key\\fR(1)\n"), "{text}");
    }

    #[test]
    fn completions_have_the_names_that_shells_look_for() {
        let names: Vec<String> = all_completions().into_iter().map(|(name, _)| name).collect();
        for name in ["copal.bash", "_copal", "copal.fish"] {
            assert!(names.iter().any(|known| known == name), "{names:?}");
        }
    }
}
