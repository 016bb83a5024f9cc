//! Whether this machine runs on its battery.

use std::path::Path;

/// Where the system tells it.
pub const SUPPLIES: &str = "/sys/class/power_supply";

/// Whether it does: a battery of the machine itself is being used up, and nothing gives power from outside. A machine without one does not.
pub fn is_on_battery(supplies: &Path) -> bool {
    let Ok(list) = std::fs::read_dir(supplies) else { return false };
    let mut discharging = false;
    for supply in list.flatten() {
        let read = |name: &str| std::fs::read_to_string(supply.path().join(name)).unwrap_or_default();
        let is = |name: &str, value: &str| read(name).trim() == value;
        match read("type").trim() {
            // Of a mouse or a keyboard.
            "Battery" if is("scope", "Device") => {}
            "Battery" => discharging |= is("status", "Discharging"),
            "Mains" | "USB" | "Wireless" if is("online", "1") => return false,
            _ => {}
        }
    }
    discharging
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of supplies, each with its files.
    fn supplies(list: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, files) in list {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            for (file, text) in *files {
                std::fs::write(folder.path().join(name).join(file), format!("{text}\n")).unwrap();
            }
        }
        folder
    }

    #[test]
    fn only_a_battery_of_its_own_that_is_used_up_counts() {
        let battery: (&str, &[(&str, &str)]) = ("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        let full: (&str, &[(&str, &str)]) = ("BAT0", &[("type", "Battery"), ("status", "Full")]);
        let mouse: (&str, &[(&str, &str)]) =
            ("hid", &[("type", "Battery"), ("status", "Discharging"), ("scope", "Device")]);
        let plugged: (&str, &[(&str, &str)]) = ("AC", &[("type", "Mains"), ("online", "1")]);
        let unplugged: (&str, &[(&str, &str)]) = ("AC", &[("type", "Mains"), ("online", "0")]);
        for (list, expected) in [
            (&[][..], false),
            (&[battery], true),
            (&[battery, plugged], false),
            (&[battery, unplugged, mouse], true),
            (&[full, unplugged], false),
            (&[mouse], false),
        ] {
            assert_eq!(is_on_battery(supplies(list).path()), expected, "{list:?}");
        }
        assert!(!is_on_battery(Path::new("/nonexistent")));
    }
}
