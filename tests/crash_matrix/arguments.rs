//! What the matrix is told: how much, which seed, and which case alone.
//!
//! Must never take a word that it does not know for one that it does.
//! Read by `main`.

use super::faults::Fault;
use super::operations::OPERATIONS;
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: crash_matrix [--full] [--seed N] [--only OPERATION[/CUT[/CUT]|/FAULT]]";

/// What is run.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    pub full: bool,
    pub seed: u64,
    pub only: Option<Only>,
}

/// What is run alone.
#[derive(Clone, Debug, Default)]
pub struct Only {
    /// The operation's name.
    pub operation: String,
    /// The number of a cut in it, and that of a cut in its repair.
    pub cut: Option<usize>,
    pub second: Option<usize>,
    pub fault: Option<Fault>,
}

impl Arguments {
    /// `None` where cargo only asks what tests there are.
    ///
    /// # Errors
    /// What is wrong with a word.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut arguments = Self { seed: u64::from(since.subsec_nanos()), ..Self::default() };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--full" => arguments.full = true,
                "--seed" => arguments.seed = value()?.parse().map_err(|_| format!("no seed\n{USAGE}"))?,
                "--only" => arguments.only = Some(case(&value()?)?),
                "--list" => return Ok(None),
                // What cargo test and its like hand to every test binary.
                "--quiet" | "-q" | "--nocapture" | "--show-output" => {}
                other => return Err(format!("{other}: not known\n{USAGE}")),
            }
        }
        Ok(Some(arguments))
    }

    /// The command that runs the same again.
    pub fn replay(&self, case: Option<&str>) -> String {
        let full = if self.full { " --full" } else { "" };
        let only = case.map(|case| format!(" --only {case}")).unwrap_or_default();
        format!("cargo test --features fault-injection --test crash_matrix -- --seed {}{full}{only}", self.seed)
    }
}

fn case(text: &str) -> Result<Only, String> {
    let mut parts = text.split('/');
    let operation = parts.next().unwrap_or_default().to_owned();
    if OPERATIONS.iter().all(|known| known.name != operation) {
        let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        return Err(format!("no operation {operation}; there are {}", names.join(", ")));
    }
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number"));
    let mut only = Only { operation, ..Only::default() };
    match parts.next() {
        Some(fault) if fault.contains('.') => only.fault = Some(fault.parse()?),
        cut => only.cut = cut.map(number).transpose()?,
    }
    only.second = parts.next().map(number).transpose()?;
    Ok(only)
}
