//! The manual pages of a program, one for it and one for each of its commands.
//!
//! Must never have an exit code or a file of its own: both come from the code.
//! Called by `main` and `configuration`.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use servos_keyd::cli::exit;
use std::collections::BTreeSet;
use std::path::Path;

/// Where the daemon looks for its configuration.
pub const CONFIGURATION_FILE: &str = "/etc/servos/keyd.toml";

/// The page about it.
pub const CONFIGURATION_PAGE: &str = "servos-keyd.toml";

/// The section of administrators' commands.
pub const SECTION: &str = "8";

const MANUAL: &str = "ServOS key custody";

/// What stands at the foot of every page.
pub struct Edition {
    /// Year, month and day.
    pub date: String,
    /// The package and its version.
    pub source: String,
}

impl Edition {
    /// The head of a page.
    pub fn title(&self, name: &str, section: &str) -> Roff {
        let mut roff = Roff::new();
        roff.control("TH", [name, section, &self.date, &self.source, MANUAL]);
        roff
    }
}

/// A program, with what its pages end with.
pub struct Program {
    /// Its command line.
    pub command: Command,
    /// The other one.
    pub other: &'static str,
    /// The files it uses, each with what it is.
    pub files: Vec<(String, &'static str)>,
}

impl Program {
    /// Writes its page and those of its commands.
    pub fn write(&self, edition: &Edition, directory: &Path) -> std::io::Result<()> {
        let mut command = self.command.clone();
        command.build();
        self.write_tree(&command, None, edition, directory)
    }

    fn write_tree(
        &self,
        command: &Command,
        above: Option<&str>,
        edition: &Edition,
        directory: &Path,
    ) -> std::io::Result<()> {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let man = Man::new(command.clone()).section(SECTION);
        let mut page = edition.title(&name, SECTION).to_roff().into_bytes();
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut page)?;
        }
        exit_status().to_writer(&mut page)?;
        files(&self.files).to_writer(&mut page)?;
        let below = command.get_subcommands().map(|sub| format!("{name}-{}", sub.get_name()));
        let pages = above.map(str::to_owned).into_iter().chain(below).chain([self.other.to_owned()]);
        let pages = pages.map(|page| (page, SECTION)).chain([(CONFIGURATION_PAGE.to_owned(), "5")]);
        see_also(pages).to_writer(&mut page)?;
        let text = String::from_utf8(page).map_err(std::io::Error::other)?;
        std::fs::write(directory.join(format!("{name}.{SECTION}")), filled(&text))?;
        command.get_subcommands().try_for_each(|sub| self.write_tree(sub, Some(&name), edition, directory))
    }
}

/// Paragraphs of a help text are apart by empty lines, which roff does not want; and each section defines its apostrophe anew.
pub fn filled(text: &str) -> String {
    let (mut page, mut defined) = (String::new(), BTreeSet::new());
    for line in text.lines().map(str::trim_end) {
        if line.contains(".ds Aq ") && !defined.insert(line) {
            continue;
        }
        page.push_str(if line.is_empty() { ".sp" } else { line });
        page.push('\n');
    }
    page
}

fn exit_status() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    let codes = exit::ALL.iter().map(|exit| (exit.code.to_string(), exit.meaning));
    entries(&mut roff, [("0".to_owned(), "done")].into_iter().chain(codes));
    roff
}

/// The files, each with what it is.
pub fn files(files: &[(String, &'static str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    entries(&mut roff, files.iter().map(|(path, what)| (path.clone(), *what)));
    roff
}

fn entries<'t>(roff: &mut Roff, entries: impl Iterator<Item = (String, &'t str)>) {
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
}

/// Other pages, by name and section.
pub fn see_also<'s>(pages: impl Iterator<Item = (String, &'s str)>) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (name, section) in pages {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman(format!("({section})"))]);
    }
    roff.text(line);
    roff.text([roman("Guides: /usr/share/doc/servos-keyd")]);
    roff
}
