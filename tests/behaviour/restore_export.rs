//! `restore --from-export`: a database's dump of what ExportKeyring left in it, and the master key of its time.
//!
//! Must never show what was given: a wrong file may be the key's. Run by `cargo test`.

use crate::harness::{Installation, KEYD, Outcome, base64, block_on, cell, hex, name};

/// An installation that is lost but for what an application kept: its export, and a value.
fn exported() -> (Installation, Vec<u8>, Vec<u8>) {
    let installation = Installation::made();
    let daemon = installation.serve_for_admin();
    let (export, value) = block_on(async {
        daemon.admin().rotate_key(&name("default")).await.unwrap();
        let client = daemon.component();
        let sealed = client.encrypt(&name("default"), b"s3cret", &cell("1")).await.unwrap();
        (client.export_keyring().await.unwrap().bytes, sealed.ciphertext)
    });
    daemon.stop().expect(0);
    (installation, export, value)
}

fn from_input(place: &Installation, bytes: &[u8]) -> Outcome {
    place.command("restore", &["--from-export", "-"]).input(bytes).run(KEYD)
}

#[test]
fn an_export_is_restored_from_every_form_in_which_a_database_gives_it_out() {
    let (installation, export, value) = exported();
    let wrapped = |text: &str| {
        let lines = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap());
        lines.collect::<Vec<_>>().join("\r\n") + "\r\n"
    };
    for (case, bytes) in [
        ("as it is", export.clone()),
        ("base64", base64(&export).into_bytes()),
        ("base64 in lines", wrapped(&base64(&export)).into_bytes()),
        ("hex", (hex(&export) + "\n").into_bytes()),
        ("bytea", format!("\\x{}\n", hex(&export)).into_bytes()),
        ("quote()", format!("X'{}'\n", hex(&export).to_uppercase()).into_bytes()),
    ] {
        let place = Installation::with_key(installation.key);
        let restored = if case == "base64" {
            let file = place.write_private("export.txt", &bytes);
            place.restore_with(&["--from-export", file.to_str().unwrap()])
        } else {
            from_input(&place, &bytes)
        };
        restored.expect(0).saying(&["8 keys, 9 versions"]).not_saying(&["warning"]);
        assert_eq!(place.backups().len(), 1, "{case}");
        let daemon = place.serve();
        let opened = block_on(async { daemon.component().decrypt(&name("default"), &value, &cell("1")).await });
        assert_eq!(opened.unwrap().plaintext.as_slice(), b"s3cret", "{case}");
        daemon.stop().expect(0);
    }
}

#[test]
fn what_is_no_export_is_refused_by_what_it_is_and_nothing_is_made_or_shown() {
    let (installation, export, _) = exported();
    let place = Installation::with_key(installation.key);
    let key = std::fs::read(place.path("master.key")).unwrap();
    let cut = base64(&export[..export.len() / 3 * 2 / 3 * 3]);
    let mut flipped = export.clone();
    flipped[export.len() / 2] ^= 1;
    for (case, bytes, code, word) in [
        ("nothing", Vec::new(), 65, "is empty"),
        ("the key file", key, 65, "is the text of other bytes than a backup's"),
        ("a line of text", b"ERROR: no such column\n".to_vec(), 65, "is text, but neither hex nor base64"),
        ("escaped", b"SKB1\\000\\000\\000\\001".to_vec(), 65, "bytea_output = 'hex'"),
        ("a store", std::fs::read(installation.store()).unwrap(), 65, "is a store's file"),
        ("cut hex", hex(&export).into_bytes()[1..].to_vec(), 65, "an odd number of hex digits"),
        ("cut", cut.into_bytes(), 74, "damaged"),
        ("flipped", base64(&flipped).into_bytes(), 74, "damaged"),
    ] {
        let before = place.files();
        let refused = from_input(&place, &bytes);
        assert_eq!(refused.code, Some(code), "{case}: {refused:#?}");
        refused.saying(&["standard input: ", word]).not_saying(&[&hex(&place.key), "ERROR: no such column"]);
        assert_eq!(place.files(), before, "{case}");
    }
    let before = place.files();
    place.restore_with(&["--from-export", "/nowhere/export"]).expect(66).saying(&["/nowhere/export"]);
    place.restore_with(&["--from-export", "-", "file.skb1"]).expect(64);
    assert_eq!(place.files(), before);
}

#[test]
fn an_older_export_is_refused_like_an_older_backup_and_the_command_names_it_again() {
    let (installation, _, _) = exported();
    let oldest = std::fs::read(&installation.backups()[0]).unwrap();
    let file = installation.write_private("export.txt", base64(&oldest).as_bytes());
    let refused = installation.restore_with(&["--from-export", file.to_str().unwrap()]).expect(65);
    refused.saying(&[&format!("--older --from-export {}`", file.display())]);
}

#[test]
fn an_export_that_comes_slowly_out_of_a_pipe_is_waited_for_and_a_pipe_of_nobody_s_is_not() {
    let (installation, export, _) = exported();
    let place = Installation::with_key(installation.key);
    let pipe = place.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    place.restore_with(&["--from-export", pipe.to_str().unwrap()]).expect(65).saying(&["is empty"]);
    // Open for both, so that the writer is there before the reader, as behind `<(...)` of a shell.
    let mut writer = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let writing = std::thread::spawn(move || {
        for piece in export.chunks(export.len() / 2) {
            std::thread::sleep(std::time::Duration::from_millis(300));
            std::io::Write::write_all(&mut writer, piece).unwrap();
        }
    });
    place.restore_with(&["--from-export", pipe.to_str().unwrap()]).expect(0).saying(&["8 keys, 9 versions"]);
    writing.join().unwrap();
}
