//! The import table, as the crate's documentation has it: a markdown table with the columns room, may name, async.
//!
//! Must never take a row that it does not understand for one that allows nothing, or everything.
//! Read by `check`.

use std::collections::{BTreeMap, BTreeSet};

const HEAD: [&str; 3] = ["room", "may name", "async"];

/// Who may name whom.
pub struct Table {
    rows: BTreeMap<String, Row>,
}

struct Row {
    everything: bool,
    names: BTreeSet<String>,
    is_async: bool,
}

impl Table {
    /// Reads the table from the documentation at the head of `src/lib.rs`.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
        let cells = lines.map(|line| {
            let row = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')).unwrap_or_default();
            row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        });
        let rows = cells.skip_while(|cells| *cells != HEAD).skip(2).take_while(|cells| cells.len() == HEAD.len());
        let mut table = Self { rows: BTreeMap::new() };
        for cells in rows.collect::<Vec<_>>() {
            let rooms = quoted(&cells[0]);
            assert!(!rooms.is_empty(), "a row of the import table names no room: {cells:?}");
            for room in rooms {
                let earlier = table.rows.insert(room.clone(), Row::parse(&cells));
                assert!(earlier.is_none(), "the import table has {room} twice");
            }
        }
        assert!(!table.rows.is_empty(), "src/lib.rs holds no import table with the columns {HEAD:?}");
        for (room, row) in &table.rows {
            for name in &row.names {
                assert!(table.has(name), "the row of {room} names {name}, which is no room");
            }
        }
        table
    }

    /// Whether there is such a room.
    pub fn has(&self, room: &str) -> bool {
        self.rows.contains_key(room)
    }

    /// Whether one room may name another. Every room may name itself.
    pub fn allows(&self, room: &str, other: &str) -> bool {
        room == other || self.rows.get(room).is_some_and(|row| row.everything || row.names.contains(other))
    }

    /// Whether a room may be asynchronous.
    pub fn is_async(&self, room: &str) -> bool {
        self.rows.get(room).is_some_and(|row| row.is_async)
    }
}

impl Row {
    fn parse(cells: &[String]) -> Self {
        let names: BTreeSet<String> = quoted(&cells[1]).into_iter().collect();
        let everything = cells[1].starts_with("everything");
        assert!(
            everything || !names.is_empty() || cells[1].starts_with("nothing"),
            "a row of the import table allows neither rooms nor nothing nor everything: {cells:?}"
        );
        let is_async = match cells[2].as_str() {
            "yes" => true,
            "no" | "-" => false,
            other => panic!("async is yes, no or -, not {other}"),
        };
        Self { everything, names, is_async }
    }
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
