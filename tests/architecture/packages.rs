//! The packages hold the same files: the list of the .deb and that of the .rpm, and each file of `packaging` that has to be there.
//!
//! Must never pass because a list is empty. Run by `cargo test`.

use std::collections::BTreeSet;
use std::path::Path;

const MANIFEST: &str = include_str!("../../Cargo.toml");

/// What one of the two has by its distribution's own rules.
const DEBIAN_ALONE: [&str; 2] = ["packaging/deb/copyright", "packaging/deb/lintian-overrides"];
const RPM_ALONE: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// The directory of completions for zsh, which the two name differently.
const ZSH: [(&str, &str); 2] =
    [("zsh/site-functions/", "zsh/COMPLETIONS/"), ("zsh/vendor-completions/", "zsh/COMPLETIONS/")];

/// Source, destination from the root, and mode.
type File = (String, String, String);

fn assets(manifest: &str, package: &str) -> Vec<toml::Value> {
    let manifest: toml::Table = toml::from_str(manifest).unwrap();
    manifest["package"]["metadata"][package]["assets"].as_array().unwrap().clone()
}

fn text(asset: &toml::Value, key: &str) -> String {
    asset[key].as_str().unwrap().to_owned()
}

/// The files of a package, without those it has alone.
fn files(manifest: &str, package: &str, alone: &[&str]) -> BTreeSet<File> {
    let mut files = BTreeSet::new();
    let mut left_out = BTreeSet::new();
    for asset in assets(manifest, package) {
        let source = text(&asset, "source");
        if let Some(known) = alone.iter().find(|known| **known == source) {
            left_out.insert(*known);
            continue;
        }
        let destination = text(&asset, "dest");
        let destination = ZSH.iter().fold(destination, |dest, (theirs, ours)| dest.replace(theirs, ours));
        files.insert((source, destination.trim_start_matches('/').to_owned(), text(&asset, "mode")));
    }
    assert_eq!(left_out.len(), alone.len(), "{package} has only {left_out:?} of {alone:?}");
    files
}

/// What only one of the two packages holds.
fn differences(manifest: &str) -> Vec<File> {
    let (deb, rpm) = (files(manifest, "deb", &DEBIAN_ALONE), files(manifest, "generate-rpm", &RPM_ALONE));
    assert!(deb.len() > 15, "{deb:?}");
    deb.symmetric_difference(&rpm).cloned().collect()
}

#[test]
fn both_packages_hold_the_same_files_at_the_same_places_with_the_same_modes() {
    assert_eq!(differences(MANIFEST), []);
    for (from, to) in [
        ("/usr/lib/tmpfiles.d/servos-keyd.conf", "/usr/lib/tmpfiles.d/keyd.conf"),
        ("/SECURITY.md\", dest = \"/usr", "/README.md\", dest = \"/usr"),
        ("\"/usr/bin/servos-keyctl\", mode = \"755\"", "\"/usr/bin/servos-keyctl\", mode = \"700\""),
    ] {
        let planted = MANIFEST.replacen(from, to, 1);
        assert!(planted != MANIFEST && !differences(&planted).is_empty(), "{from} could be {to}");
    }
}

#[test]
fn every_unit_and_every_other_file_for_systemd_is_in_the_packages() {
    let sources: BTreeSet<String> = assets(MANIFEST, "deb").iter().map(|asset| text(asset, "source")).collect();
    let mut found = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_directory = entry.file_type().unwrap().is_dir();
        let source = format!("packaging/systemd/{name}{}", if is_directory { "/*" } else { "" });
        assert!(sources.contains(&source), "{source} is in no package");
        found += 1;
    }
    assert!(found > 4, "{found}");
}

#[test]
fn what_documents_lead_to_beside_the_programs_is_in_the_packages() {
    let sources: BTreeSet<String> = assets(MANIFEST, "deb").iter().map(|asset| text(asset, "source")).collect();
    for example in ["compose", "kubernetes", "prometheus", "grafana"] {
        let source = format!("packaging/{example}/*");
        assert!(sources.contains(&source), "{source} is in no package");
    }
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/container")).unwrap() {
        let source = format!("packaging/container/{}", entry.unwrap().file_name().into_string().unwrap());
        assert!(sources.contains(&source), "{source} is in no package");
    }
    for source in ["proto/servos/keyd/v1/*", "docs/images/*", "target/packaging/documents/docs/*.md"] {
        assert!(sources.contains(source), "{source} is in no package");
    }
}

/// The versions that stand behind `before` in a text.
fn versions_behind<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let rests = text.split(before).skip(1);
    let ends = |rest: &'a str| rest.find(|c: char| !c.is_ascii_digit() && c != '.').map_or(rest, |end| &rest[..end]);
    rests.map(ends).filter(|version| version.starts_with(|c: char| c.is_ascii_digit())).collect()
}

#[test]
fn images_are_named_by_the_version_that_is_built_and_commands_name_no_version_of_a_package() {
    let named = [
        include_str!("../../packaging/compose/compose.yaml"),
        include_str!("../../packaging/kubernetes/store.yaml"),
        include_str!("../../packaging/kubernetes/sidecar.yaml"),
        include_str!("../../packaging/kubernetes/hostpath.yaml"),
    ];
    for file in named {
        let versions = versions_behind(file, "image: localhost/servos-keyd:");
        assert!(!versions.is_empty(), "{file}");
        assert!(versions.iter().all(|version| *version == env!("CARGO_PKG_VERSION")), "{versions:?}");
    }
    let documents = [
        include_str!("../../README.md"),
        include_str!("../../docs/operator-guide.md"),
        include_str!("../../docs/operations.md"),
    ];
    for document in documents {
        assert!(document.contains("servos-keyd_*.deb"));
        assert_eq!(versions_behind(document, "servos-keyd_"), [""; 0]);
        assert_eq!(versions_behind(document, "servos-keyd-"), [""; 0]);
    }
    assert_eq!(versions_behind("dpkg -i servos-keyd_9.0.1-1_amd64.deb", "servos-keyd_"), ["9.0.1"]);
}

#[test]
fn a_package_never_overwrites_what_an_operator_configured() {
    // dpkg takes every file below /etc for a configuration.
    for asset in assets(MANIFEST, "generate-rpm") {
        let is_kept = asset.get("config").is_some_and(|config| config.as_str() == Some("noreplace"));
        assert_eq!(text(&asset, "dest").starts_with("/etc/"), is_kept, "{asset:?}");
    }
}

#[test]
fn both_packages_say_the_same_when_they_are_removed() {
    // What the .deb says last, for before a purge it says something else when it is removed.
    let said = |script: &'static str| script.rsplit("cat <<'END'\n").next().unwrap().split("\nEND").next().unwrap();
    let deb = said(include_str!("../../packaging/deb/postrm"));
    assert_eq!(deb, said(include_str!("../../packaging/rpm/postun")));
    for word in ["stays", "/etc/systemd/system/servos-keyd*.d", "once more"] {
        assert!(deb.contains(word), "{deb}");
    }
}

#[test]
fn no_script_of_a_package_reads_or_makes_a_key_or_a_store_or_removes_more_than_a_socket() {
    let scripts = [
        include_str!("../../packaging/deb/postinst"),
        include_str!("../../packaging/deb/prerm"),
        include_str!("../../packaging/deb/postrm"),
        include_str!("../../packaging/rpm/post"),
        include_str!("../../packaging/rpm/preun"),
        include_str!("../../packaging/rpm/postun"),
    ];
    for script in scripts {
        let done = script
            .split("cat <<'END'")
            .flat_map(|part| part.split_once("\nEND").map_or(part, |(_, rest)| rest).lines());
        for line in done.map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with("echo ")) {
            for word in ["servos.env", "master.key", "servos-keyctl", "servos-keyd init", "chmod", "chown"] {
                assert!(!line.contains(word), "{line}");
            }
            let removes = line.starts_with("rm ").then_some(line);
            assert!(
                removes.is_none_or(|line| line == "rm -f /run/servos/keyd.sock /run/servos/keyd-admin.sock"),
                "{line}"
            );
        }
    }
}
