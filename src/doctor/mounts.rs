//! Disks that should be mounted and are not: the most frequent reason why a repository is not where it was.

use std::path::{Path, PathBuf};

/// The mount point of the system's table below which `folder` lies and on which nothing is mounted.
pub(super) fn unmounted(folder: &Path) -> Option<PathBuf> {
    let table = std::fs::read("/etc/fstab").ok()?;
    let mounted = std::fs::read("/proc/self/mountinfo").ok()?;
    let folder = std::path::absolute(folder).ok()?;
    among(&folder, &String::from_utf8_lossy(&table), &String::from_utf8_lossy(&mounted))
}

fn among(folder: &Path, table: &str, mounted: &str) -> Option<PathBuf> {
    let lines = table.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let points = lines.filter_map(|line| line.split_ascii_whitespace().nth(1)).map(unescaped);
    let mounted: Vec<PathBuf> =
        mounted.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect();
    let missing = |point: &PathBuf| {
        point.is_absolute()
            && point.as_path() != Path::new("/")
            && folder.starts_with(point)
            && !mounted.contains(point)
    };
    points.filter(missing).max_by_key(|point| point.as_os_str().len())
}

/// A path as these tables write it: blanks as octal digits.
fn unescaped(text: &str) -> PathBuf {
    [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_that_is_not_mounted_is_found() {
        let table =
            "# disks\nUUID=1 / ext4 rw 0 1\nUUID=2 /mnt/my\\040disk ext4 noauto 0 2\nUUID=3 none swap\n";
        let root = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let disk = "23 22 8:2 / /mnt/my\\040disk rw - ext4 /dev/sda2 rw\n";
        let folder = Path::new("/mnt/my disk/backup");
        assert_eq!(among(folder, table, root), Some("/mnt/my disk".into()));
        assert_eq!(among(folder, table, &format!("{root}{disk}")), None);
        assert_eq!(among(Path::new("/srv/backup"), table, root), None);
    }
}
