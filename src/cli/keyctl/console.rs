//! Where the tool reads from and prints to: the one place that knows the process's input and output.
//!
//! Must never buffer what it reads or writes: secrets pass through it.
//! Called by every command of `servos-keyctl`; tests hand in their own.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::paper::Desk;
use crate::cli::plain::{plain_json, plain_json_line, plain_lines};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

/// Input, output, and what is known of them.
pub(super) struct Console {
    pub(super) input: Box<dyn Read>,
    pub(super) output: Box<dyn Write>,
    pub(super) errors: Box<dyn Write>,
    /// Whether a person sits at the input.
    pub(super) input_is_terminal: bool,
    /// Whether a person looks at the output.
    pub(super) output_is_terminal: bool,
    /// Whether a person looks at what is said beside it.
    pub(super) errors_is_terminal: bool,
    /// Whether to print JSON.
    pub(super) json: bool,
}

impl Console {
    /// The process's own. The standard library's handles keep what passes in buffers that are never wiped, so their
    /// descriptors are used without them.
    pub(super) fn of_process() -> Self {
        let unbuffered = |descriptor: &dyn AsFd| descriptor.as_fd().try_clone_to_owned().map(File::from);
        Self {
            input: match unbuffered(&io::stdin()) {
                Ok(file) => Box::new(file),
                Err(_) => Box::new(io::empty()),
            },
            output: match unbuffered(&io::stdout()) {
                Ok(file) => Box::new(file),
                Err(_) => Box::new(io::stdout()),
            },
            errors: Box::new(io::stderr()),
            input_is_terminal: io::stdin().is_terminal(),
            output_is_terminal: io::stdout().is_terminal(),
            errors_is_terminal: io::stderr().is_terminal(),
            json: false,
        }
    }

    /// Where a key on paper is typed.
    pub(super) fn desk(&mut self) -> Desk<'_> {
        let Self { input, errors, input_is_terminal, .. } = self;
        Desk { input: input.as_mut(), errors: errors.as_mut(), input_is_terminal: *input_is_terminal }
    }

    /// Writes bytes to the output as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.output.write_all(bytes).and_then(|()| self.output.flush());
        written.map_err(|error| Failure::say(exit::DAMAGED, format!("cannot write to standard output: {error}")))
    }

    /// Prints a result: the value where JSON is asked for, the text elsewhere.
    pub(super) fn result(&mut self, value: &Value, text: &str) -> Result<(), Failure> {
        let line = if self.json { plain_json(value) + "\n" } else { format!("{}\n", text.trim_end()) };
        self.write(line.as_bytes())
    }

    /// Prints a value as one line, for who reads one after the other.
    pub(super) fn json_line(&mut self, value: &Value) -> Result<(), Failure> {
        self.write((plain_json_line(value) + "\n").as_bytes())
    }

    /// Tells a person something beside the result. Programs that asked for JSON are spared it.
    pub(super) fn hint(&mut self, text: &str) {
        if !self.json {
            self.note(text);
        }
    }

    /// Writes a line to standard error; there is nowhere left to report that this failed.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.errors, "{text}");
    }

    /// Writes to standard error as it is, for what is drawn over again.
    pub(super) fn draw(&mut self, text: &str) {
        let _ = self.errors.write_all(text.as_bytes()).and_then(|()| self.errors.flush());
    }

    /// Prints why the command ended, and what to do next.
    pub(super) fn failure(&mut self, failure: &Failure) {
        if self.json {
            let exit = failure.exit.code;
            let value = json!({"error": {"message": failure.message, "hint": failure.hint, "exit": exit}});
            return self.note(&plain_json(&value));
        }
        self.note(&plain_lines(&format!("servos-keyctl: {}", failure.message)));
        if let Some(hint) = &failure.hint {
            self.note(&plain_lines(&format!("  {hint}")));
        }
    }

    /// Asks a person to type `word`, unless `yes` was given on the command line.
    ///
    /// Fails with [`exit::USAGE`] where nobody can be asked, and with [`exit::NO`] for any other answer.
    pub(super) fn confirm(&mut self, question: &str, word: &str, yes: bool) -> Result<(), Failure> {
        self.check_confirmable(yes)?;
        if yes {
            return Ok(());
        }
        self.note(question);
        let _ = write!(self.errors, "Type {word} to go on: ");
        let _ = self.errors.flush();
        if self.line()?.trim() == word {
            return Ok(());
        }
        Err(Failure::say(exit::NO, "not confirmed; nothing was changed"))
    }

    /// Refuses early what [`Self::confirm`] would refuse where nobody can be asked: before anything is made.
    pub(super) fn check_confirmable(&self, yes: bool) -> Result<(), Failure> {
        if yes || self.input_is_terminal {
            return Ok(());
        }
        let failure = Failure::say(exit::USAGE, "this must be confirmed, and the input is no terminal");
        Err(failure.with_hint("add --yes if you mean it"))
    }

    /// Reads a line of at most 256 bytes, one byte at a time: what follows it is not ours.
    fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < 256 {
            match self.input.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => break,
                Ok(_) => line.extend_from_slice(&byte),
                Err(error) => return Err(Failure::say(exit::DAMAGED, format!("cannot read the answer: {error}"))),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}
