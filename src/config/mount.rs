//! Whether a file is mounted by itself, as containers are given single files: then a renamed replacement does not reach it.
//!
//! Must never be what trust rests on: it only tells how a change of the file reaches the daemon.
//! Called by `config::key_source`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether the file that `path` leads to, symbolic links followed, is a mount point. Where the system does not tell, it
/// is none.
pub fn is_mount_point(path: &Path) -> bool {
    match (path.canonicalize(), std::fs::read("/proc/self/mountinfo")) {
        (Ok(resolved), Ok(table)) => is_listed(resolved.as_os_str().as_bytes(), &table),
        _ => false,
    }
}

/// Source: `proc_pid_mountinfo(5)`; the fifth field of a line is the mount point.
fn is_listed(path: &[u8], table: &[u8]) -> bool {
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.into_iter().any(|point| unescaped(point) == path)
}

/// Blanks, line ends and backslashes stand there as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = (*first == b'\\').then(|| behind.split_at_checked(3)).flatten();
        match escaped.and_then(|(digits, behind)| Some((octal(digits)?, behind))) {
            Some((byte, behind)) => {
                bytes.push(byte);
                rest = behind;
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r"
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 22 0:5 / /proc rw,nosuid - proc proc rw
88 22 254:1 /srv/servos.env /etc/servos/servos.env ro,relatime - ext4 /dev/root rw
89 22 254:1 /srv/old//deleted /etc/servos/master.key rw master:3 propagate_from:2 - ext4 /dev/root rw
90 22 254:1 /srv/key /mnt/a\040b\011c\012d\134e rw - ext4 /dev/root rw
91 22 254:1 /srv/key /mnt/f\134040g rw - ext4 /dev/root rw
92 22 254:1 /srv/key /mnt/\303\274 rw - ext4 /dev/root rw
93 22 254:1 /srv/key /mnt/odd\04 rw - ext4 /dev/root rw
94 22 254:1 /srv/key /mnt/odd\999 rw - ext4 /dev/root rw
95 22 254:1 /srv/key
";

    #[test]
    fn a_mount_point_is_found_by_its_whole_unescaped_path() {
        for (path, expected) in [
            ("/", true),
            ("/etc/servos/servos.env", true),
            ("/etc/servos/master.key", true),
            ("/mnt/a b\tc\nd\\e", true),
            (r"/mnt/f\040g", true),
            ("/mnt/ü", true),
            (r"/mnt/odd\04", true),
            (r"/mnt/odd\999", true),
            // Where something is mounted from, above or below a mount point, or named in another field.
            ("/srv/servos.env", false),
            ("/etc/servos", false),
            ("/etc/servos/servos.env.next", false),
            ("/etc/servos/servos", false),
            (r"/mnt/a\040b\011c\012d\134e", false),
            ("/dev/root", false),
            ("/srv/key", false),
            ("", false),
        ] {
            assert_eq!(is_listed(path.as_bytes(), TABLE.as_bytes()), expected, "{path}");
        }
        assert!(!is_listed(b"/etc", b""));
    }

    #[test]
    fn the_systems_own_table_tells_a_mount_from_a_file_through_symbolic_links_too() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("key"), directory.path().join("link"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        assert!(is_mount_point(Path::new("/proc")));
        assert!(is_mount_point(&link));
        assert!(!is_mount_point(&file));
        assert!(!is_mount_point(&directory.path().join("missing")));
    }
}
