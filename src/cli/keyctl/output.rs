//! How results look to people: aligned fields and tables, and times.
//!
//! Must never see a secret.
//! Called by the commands of `servos-keyctl`.

pub(super) use crate::cli::plain::plain;
pub(super) use crate::operations::count;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Fields, one a line, their values aligned.
pub(super) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
}

/// A table whose first row is its head; columns are aligned to the left.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A time in RFC 3339, UTC; 0 is a time that is not known.
pub(super) fn time(unix_seconds: i64) -> String {
    rfc3339(unix_seconds).unwrap_or_else(|| "-".to_owned())
}

/// A time as JSON has it: RFC 3339, or null.
pub(super) fn time_value(unix_seconds: i64) -> Value {
    rfc3339(unix_seconds).map_or(Value::Null, Value::String)
}

fn rfc3339(unix_seconds: i64) -> Option<String> {
    if unix_seconds == 0 {
        return None;
    }
    OffsetDateTime::from_unix_timestamp(unix_seconds).ok()?.format(&Rfc3339).ok()
}

/// A size: `512 B`, `1.5 MiB`.
pub(super) fn bytes(number: u64) -> String {
    let tenths = |unit: u64, name: &str| format!("{}.{} {name}", number / unit, number % unit * 10 / unit);
    match number {
        0..0x400 => format!("{number} B"),
        0x400..0x10_0000 => tenths(0x400, "KiB"),
        0x10_0000..0x4000_0000 => tenths(0x10_0000, "MiB"),
        _ => tenths(0x4000_0000, "GiB"),
    }
}

/// A list below a title, with an empty line before it; nothing for no lines.
pub(super) fn push_list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}\n"));
    for line in lines {
        text.push_str(&format!("  - {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc_and_unknown_ones_are_not_1970() {
        assert_eq!(time(1_795_446_000), "2026-11-23T15:00:00Z");
        assert_eq!(time(0), "-");
        assert_eq!(time(i64::MAX), "-");
        assert_eq!(time_value(0), Value::Null);
    }

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        for (number, said) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (8 << 20, "8.0 MiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(bytes(number), said);
        }
        assert!(bytes(u64::MAX).ends_with("GiB"));
    }

    #[test]
    fn nothing_in_a_foreign_text_is_obeyed_by_a_terminal() {
        assert_eq!(plain("record key/0a, größer"), "record key/0a, größer");
        assert_eq!(plain("a\u{1b}[2Jb\n\u{202e}c\u{9b}"), "a\\u{1b}[2Jb\\u{a}\\u{202e}c\\u{9b}");
    }

    #[test]
    fn columns_and_fields_are_aligned() {
        let rows = [vec!["NAME".to_owned(), "ID".to_owned()], vec!["ssh-keys".to_owned(), "0a".to_owned()]];
        assert_eq!(table(&rows), "NAME      ID\nssh-keys  0a\n");
        assert_eq!(fields(&[("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2\n");
        assert_eq!(table(&[]), "");
    }
}
