//! Tests of `swap`.
//!
//! Must never depend on the swap of the machine that they run on.
//! Run by `cargo test`.

use super::*;
use crate::cli::keyctl::doctor::planted::Planted;
use crate::proto::v1::MemoryProtection;

const HEAD: &str = "Filename Type Size Used Priority\n";

/// With a swap file, and the directory that tells of the device it lies on.
fn with_swap(planted: &Planted) -> String {
    let file = planted.write("swap file", "");
    planted.write("proc/swaps", format!("{HEAD}/swap\\040file file 1048572 0 -2\n"));
    let device = file.metadata().unwrap().dev();
    format!("sys/dev/block/{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device))
}

#[test]
fn swap_that_is_open_and_not_encrypted_is_told_with_the_setting_that_keeps_the_daemon_out_of_it() {
    let planted = Planted::well();
    with_swap(&planted);
    let found = planted.sees("swap-unprotected", "swapoff ");
    assert!(found.severity == Severity::Advice && found.text.contains("/swap file"), "{}", found.text);
    let planted = Planted::well().unit("");
    with_swap(&planted);
    planted.sees("swap-unprotected", "MemorySwapMax=0");
    let planted = Planted::well().unit("MemorySwapMax=0\n");
    with_swap(&planted);
    assert!(planted.ids().is_empty());
}

#[test]
fn swap_in_memory_or_on_an_encrypted_disk_is_no_mistake() {
    let planted = Planted::well();
    planted.write("proc/swaps", format!("{HEAD}/dev/zram0 partition 1048572 0 100\n"));
    assert!(planted.ids().is_empty());
    let device = with_swap(&planted);
    planted.write(&format!("{device}/dm/uuid"), "LVM-abc\n");
    planted.write(&format!("{device}/slaves/dm-0/dm/uuid"), "CRYPT-LUKS2-abc\n");
    assert!(planted.ids().is_empty());
    // One of two disks below is not encrypted.
    planted.write(&format!("{device}/slaves/sda3/size"), "1\n");
    planted.sees("swap-unprotected", "swapoff ");
}

#[test]
fn hibernation_is_told_unless_memfd_secret_forbids_it_or_it_is_masked() {
    let mut planted = Planted::well().unit("MemorySwapMax=0\n");
    with_swap(&planted);
    assert!(planted.ids().is_empty(), "memfd_secret in use forbids it");
    planted.status().memory_protection = MemoryProtection::Mlock.into();
    let mend = "systemctl mask hibernate.target hybrid-sleep.target suspend-then-hibernate.target";
    assert_eq!(planted.sees("hibernation", mend).severity, Severity::Advice);
    planted.write("proc/cmdline", "ro resume=/dev/sda2");
    assert_eq!(planted.sees("hibernation", mend).severity, Severity::Problem);
    planted.write("sys/power/state", "freeze mem\n");
    assert!(!planted.ids().contains(&"hibernation"), "a kernel that cannot");
    planted.write("sys/power/state", "freeze mem disk\n");
    std::fs::create_dir_all(planted.at("etc/systemd/system")).unwrap();
    for target in TARGETS {
        std::os::unix::fs::symlink("/dev/null", planted.at(&format!("etc/systemd/system/{target}"))).unwrap();
    }
    assert!(!planted.ids().contains(&"hibernation"));
}

#[test]
fn a_table_that_cannot_be_read_is_said() {
    let planted = Planted::well();
    std::fs::remove_file(planted.at("proc/swaps")).unwrap();
    assert!(planted.ids().is_empty() && planted.not_made().contains("swap: swap and hibernation: /proc/swaps"));
}
