//! Patterns that most people want for a home folder, by what they leave out: nothing of it is anybody's work, and all of it comes back.

/// What a preset leaves out, and what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    pub name: &'static str,
    pub what: &'static str,
    pub patterns: &'static [&'static str],
}

/// The preset that stands for all others.
const ALL: &str = "home";

const PRESETS: [Preset; 4] = [
    Preset {
        name: "caches",
        what: "caches of programs and downloaded packages",
        patterns: &[
            ".cache/",
            ".thumbnails/",
            ".npm/_cacache/",
            ".yarn/cache/",
            ".pnpm-store/",
            ".gradle/caches/",
            ".m2/repository/",
            ".cargo/registry/",
            ".cargo/git/",
            ".rustup/downloads/",
            "go/pkg/mod/",
            ".ccache/",
            ".nv/ComputeCache/",
            ".var/app/*/cache/",
            "snap/*/*/.cache/",
        ],
    },
    Preset {
        name: "trash",
        what: "what was thrown away",
        patterns: &[".local/share/Trash/", ".Trash/", ".Trash-*/", "lost+found/"],
    },
    Preset {
        name: "browsers",
        what: "what browsers keep of pages, not their bookmarks, passwords and settings",
        patterns: &[
            ".mozilla/firefox/*/cache2/",
            ".mozilla/firefox/*/startupCache/",
            ".mozilla/firefox/*/storage/default/http*/cache/",
            ".config/*/*/Cache/",
            ".config/*/*/Code Cache/",
            ".config/*/*/GPUCache/",
            ".config/*/*/Service Worker/CacheStorage/",
            ".config/*/Cache/",
            ".config/*/Code Cache/",
            ".config/*/GPUCache/",
            ".config/*/ShaderCache/",
            ".config/*/GrShaderCache/",
        ],
    },
    Preset {
        name: "builds",
        what: "what compilers and package managers make from sources",
        patterns: &[
            "node_modules/",
            "target/debug/",
            "target/release/",
            "__pycache__/",
            "*.pyc",
            ".pytest_cache/",
            ".mypy_cache/",
            ".ruff_cache/",
            ".tox/",
            ".gradle/",
            "cmake-build-*/",
        ],
    },
];

/// All names, with the one that stands for all.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name).chain([ALL])
}

/// The presets that a name stands for.
pub fn named(name: &str) -> Option<&'static [Preset]> {
    if name == ALL {
        return Some(&PRESETS);
    }
    PRESETS.iter().position(|preset| preset.name == name).map(|at| &PRESETS[at..=at])
}

/// The patterns of a name.
pub fn patterns(name: &str) -> impl Iterator<Item = &'static str> {
    named(name).unwrap_or_default().iter().flat_map(|preset| preset.patterns.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_patterns_and_one_for_all() {
        for name in names() {
            assert!(patterns(name).count() > 3, "{name}");
        }
        assert_eq!(
            patterns("home").count(),
            PRESETS.iter().map(|preset| preset.patterns.len()).sum::<usize>()
        );
        assert!(named("homes").is_none());
    }

    #[test]
    fn presets_leave_out_what_they_say_and_nothing_near_it() {
        let mut builder = crate::patterns::PatternsBuilder::new(None);
        for pattern in patterns("home") {
            builder.add(pattern.as_bytes(), false).unwrap();
        }
        let excludes = crate::backup::exclude::Excludes {
            patterns: builder.build().unwrap(),
            if_present: Vec::new(),
            caches: false,
            larger_than: None,
            git_ignore: false,
        };
        for path in [
            "/home/ann/.cache",
            "/home/ann/src/x/node_modules",
            "/home/ann/src/x/target/debug",
            "/home/ann/.config/google-chrome/Default/Cache",
            "/home/ann/.local/share/Trash",
            "/home/ann/.mozilla/firefox/ab12.default/storage/default/https+++a.org/cache",
        ] {
            assert!(excludes.excluded_entry(path.as_bytes(), true), "{path}");
        }
        for path in [
            "/home/ann",
            "/home/ann/.config/google-chrome/Default",
            "/home/ann/.mozilla/firefox/ab12.default/storage/default/https+++a.org/idb",
            "/home/ann/src/x/target",
            "/home/ann/src/cache",
            "/home/ann/.cargo/bin",
            "/home/ann/go/pkg",
        ] {
            assert!(!excludes.excluded_entry(path.as_bytes(), true), "{path}");
        }
    }
}
