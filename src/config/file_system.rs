//! What kind of file system a place lies on: some keep neither the locks nor the syncs that a store rests on.
//!
//! Must never take a file system for a bad one because it is unknown.
//! Called by `cli`, before it touches a store.

use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::sys::statfs::{FsType, fstatfs};

/// By the magic number of statfs(2). Source: linux/magic.h; CODA, NCP and AFS from their own headers.
const NETWORK: [(i64, &str); 9] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb3"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564C, "ncpfs"),
];

/// Source: linux/magic.h.
const FUSE: i64 = 0x6573_5546;

/// Programs in user space that keep files on another machine, by the type of their mounts.
const NETWORK_OVER_FUSE: [&str; 14] = [
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.mount-s3",
    "fuse.davfs",
    "fuse.davfs2",
    "fuse.curlftpfs",
    "fuse.smbnetfs",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.blobfuse2",
    "fuse.nfs",
];

/// The name of the network file system that the directory at `path` lies on; `None` for any other, and where the system
/// does not tell.
#[must_use]
pub fn network_file_system(path: &Path) -> Option<String> {
    let opened = std::fs::File::open(path).ok()?;
    let kind = fstatfs(&opened).ok()?.filesystem_type();
    let type_of_mount = || {
        let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", opened.as_raw_fd())).ok()?;
        type_in(&facts, &std::fs::read_to_string("/proc/self/mountinfo").ok()?)
    };
    network_kind(kind, type_of_mount)
}

/// The name of a kind of file system, if it is one over a network. What lies behind FUSE only the mount tells.
fn network_kind(kind: FsType, type_of_mount: impl FnOnce() -> Option<String>) -> Option<String> {
    if kind == FsType(FUSE) {
        return type_of_mount().filter(|name| NETWORK_OVER_FUSE.contains(&name.as_str()));
    }
    NETWORK.iter().find(|(magic, _)| kind == FsType(*magic)).map(|(_, name)| (*name).to_owned())
}

/// The type of the mount that a descriptor's facts name. Source: `proc_pid_fdinfo(5)`, `proc_pid_mountinfo(5)`.
fn type_in(facts: &str, table: &str) -> Option<String> {
    let mount = facts.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let line = table.lines().find(|line| line.split(' ').next() == Some(mount))?;
    line.split_once(" - ")?.1.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::statfs;

    #[test]
    fn network_file_systems_are_known_by_number_and_local_ones_pass() {
        let kind = |kind| network_kind(kind, || panic!("the mount is not asked"));
        assert_eq!(kind(statfs::NFS_SUPER_MAGIC).as_deref(), Some("nfs"));
        assert_eq!(kind(statfs::SMB_SUPER_MAGIC).as_deref(), Some("smb"));
        assert_eq!(kind(statfs::CODA_SUPER_MAGIC).as_deref(), Some("coda"));
        for (magic, name) in NETWORK {
            assert_eq!(kind(FsType(magic)).as_deref(), Some(name));
        }
        let local = [
            statfs::EXT4_SUPER_MAGIC,
            statfs::XFS_SUPER_MAGIC,
            statfs::BTRFS_SUPER_MAGIC,
            statfs::TMPFS_MAGIC,
            statfs::OVERLAYFS_SUPER_MAGIC,
            FsType(0),
        ];
        for local in local {
            assert_eq!(kind(local), None, "{local:?}");
        }
    }

    #[test]
    fn behind_fuse_the_mount_s_type_decides() {
        let fuse = |name: Option<&str>| network_kind(FsType(FUSE), || name.map(str::to_owned));
        assert_eq!(fuse(Some("fuse.sshfs")).as_deref(), Some("fuse.sshfs"));
        for local in [Some("fuse.mergerfs"), Some("fuseblk"), Some("virtiofs"), Some("fuse"), None] {
            assert_eq!(fuse(local), None, "{local:?}");
        }
    }

    #[test]
    fn the_type_of_a_mount_is_found_by_its_id() {
        let table = "22 1 254:1 / / rw shared:1 - ext4 /dev/root rw\n\
                     222 22 0:5 / /mnt/a\\040-\\040b rw - fuse.sshfs host:/ rw\n";
        assert_eq!(type_in("pos:\t0\nflags:\t0100000\nmnt_id:\t222\n", table).as_deref(), Some("fuse.sshfs"));
        assert_eq!(type_in("mnt_id:\t22\n", table).as_deref(), Some("ext4"));
        assert_eq!(type_in("mnt_id:\t2\n", table), None);
        assert_eq!(type_in("pos:\t0\n", table), None);
    }

    #[test]
    fn the_system_tells_of_this_machine_s_own_directories() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(Path::new("/proc")), None);
        assert_eq!(network_file_system(&directory.path().join("missing")), None);
        let facts = std::fs::File::open("/proc").unwrap();
        let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", facts.as_raw_fd())).unwrap();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(type_in(&facts, &table).as_deref(), Some("proc"));
    }
}
