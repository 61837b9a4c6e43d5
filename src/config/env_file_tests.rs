//! Tests of `config::env_file`: one row for each thing that systemd reads in its own way.
//!
//! Must never need a file: the parser takes bytes.
//! Run as `config::env_file::tests`.

use super::*;

const NAMES: [&str; 2] = ["SERVOS_MASTER_KEY", "ACT_MASTER_KEY"];

fn read(content: &str) -> Vec<(&'static str, usize, String)> {
    let memory = LockedMemory::new().unwrap();
    let found = parse(content.as_bytes(), &NAMES, &memory).expect(content);
    let text = |value: LockedBuffer| String::from_utf8(value.expose_bytes().to_vec()).unwrap();
    found.into_iter().map(|found| (found.variable, found.line, text(found.value))).collect()
}

/// The value of the only assignment to `SERVOS_MASTER_KEY`, written behind its `=`.
fn value(written: &str) -> String {
    let found = read(&format!("SERVOS_MASTER_KEY={written}"));
    assert_eq!(found.len(), 1, "{written:?}");
    found[0].2.clone()
}

#[test]
fn values_are_read_as_systemd_reads_them() {
    for (written, read) in [
        ("abc", "abc"),
        ("abc\n", "abc"),
        ("abc\r\n", "abc"),
        ("  abc \t\n", "abc"),
        ("'abc'\n", "abc"),
        ("\"abc\"\r\n", "abc"),
        ("  \"abc\"  \n", "abc"),
        ("'a b'\n", "a b"),
        ("' abc '\n", " abc "),
        ("a b c  \n", "a b c"),
        ("abc=\n", "abc="),
        ("abc # no comment\n", "abc # no comment"),
        ("'abc' \"def\" g\n", "abcdefg"),
        ("abc'def'\n", "abc'def'"),
        ("abc\"def\n", "abc\"def"),
        ("'a\nb'\n", "a\nb"),
        ("'a\\b'\n", "a\\b"),
        ("a\\b\\\\c\n", "ab\\c"),
        ("a\\ \n", "a "),
        ("a \\\n", "a "),
        ("ab\\\ncd\n", "abcd"),
        ("\\\nabc\n", "abc"),
        ("ab\\", "ab"),
        ("\"ab\\\ncd\"\n", "abcd"),
        ("\"a\\\"b\\$c\\`d\\\\e\\nf\"\n", "a\"b$c`d\\e\\nf"),
        ("\"$HOME\"\n", "$HOME"),
        ("", ""),
        ("\n", ""),
        ("''\n", ""),
        ("\"\"", ""),
        ("   \r\n", ""),
    ] {
        assert_eq!(value(written), read, "{written:?}");
    }
}

#[test]
fn a_name_may_stand_behind_blanks_and_export() {
    for content in [
        "SERVOS_MASTER_KEY=k",
        "  SERVOS_MASTER_KEY  =k",
        "\n\n\tSERVOS_MASTER_KEY = k",
        "export SERVOS_MASTER_KEY=k",
        "export\t SERVOS_MASTER_KEY='k'\r\n",
    ] {
        assert_eq!(read(content).len(), 1, "{content:?}");
        assert_eq!(read(content)[0].2, "k", "{content:?}");
    }
}

#[test]
fn what_is_no_assignment_to_ours_is_passed_over() {
    for content in [
        "",
        "\n",
        "# SERVOS_MASTER_KEY=k\n",
        "; SERVOS_MASTER_KEY=k\r\n",
        "   # SERVOS_MASTER_KEY=k",
        "SERVOS_MASTER_KEY\n=k\n",
        "SERVOS_MASTER_KEY k",
        "XSERVOS_MASTER_KEY=k",
        "SERVOS_MASTER_KEYS=k",
        "servos_master_key=k",
        "exportSERVOS_MASTER_KEY=k",
        "export=SERVOS_MASTER_KEY=k",
        "OTHER='\nSERVOS_MASTER_KEY=k\n'\n",
        "OTHER=a\\\nSERVOS_MASTER_KEY=k\n",
    ] {
        assert!(read(content).is_empty(), "{content:?}");
    }
}

#[test]
fn a_comment_ends_with_its_line_even_behind_a_backslash() {
    assert_eq!(read("# note \\\nSERVOS_MASTER_KEY=k\n"), [("SERVOS_MASTER_KEY", 2, "k".to_owned())]);
}

#[test]
fn the_last_assignment_counts_even_if_it_is_empty() {
    assert_eq!(read("SERVOS_MASTER_KEY=a\nX=1\nSERVOS_MASTER_KEY=b\n"), [("SERVOS_MASTER_KEY", 3, "b".to_owned())]);
    assert_eq!(read("SERVOS_MASTER_KEY=a\nSERVOS_MASTER_KEY=\n"), [("SERVOS_MASTER_KEY", 2, String::new())]);
}

#[test]
fn both_names_in_one_file_are_both_found_the_present_name_first() {
    assert_eq!(
        read("ACT_MASTER_KEY=old\r\nPORT=80\r\nSERVOS_MASTER_KEY=new"),
        [("SERVOS_MASTER_KEY", 3, "new".to_owned()), ("ACT_MASTER_KEY", 1, "old".to_owned())]
    );
}

#[test]
fn a_quote_that_is_never_closed_names_its_line() {
    let memory = LockedMemory::new().unwrap();
    for (content, line) in [
        ("SERVOS_MASTER_KEY='abc\n", 1),
        ("X=1\nSERVOS_MASTER_KEY=\"abc", 2),
        ("SERVOS_MASTER_KEY=\"abc\\", 1),
        ("SERVOS_MASTER_KEY=abc\nOTHER='x\n", 2),
    ] {
        let fault = parse(content.as_bytes(), &NAMES, &memory).unwrap_err();
        assert!(matches!(fault, EnvFileFault::UnclosedQuote { line: named } if named == line), "{content:?}: {fault}");
    }
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let memory = LockedMemory::new().unwrap();
    for seed in 0..2_000_u32 {
        // A small generator over the bytes that mean something, so that states meet in all orders.
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let content: Vec<u8> = (0..40)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                b"A=\\'\"\n\r #;x\xff\0="[(state >> 16) as usize % 14]
            })
            .collect();
        let _ = parse(&content, &["A"], &memory);
    }
}
