//! Writes what the packages carry beside the binaries: manual pages and completions, from the command lines themselves.
//!
//! Must never name a hidden command, nor say what the code or the documents do not.
//! Run by `packaging/build`: `manuals DIRECTORY`. The pages bear the date of `SOURCE_DATE_EPOCH`. Run by hand, when a command
//! line has changed: `manuals --markdown docs/commands.md`.

mod configuration;
mod markdown;
mod page;

use clap::Command;
use clap_complete::shells::{Bash, Fish, Zsh};
use page::{Edition, Program};
use servos_keyd::cli::{keyctl, keyd};
use servos_keyd::config::settings::Config;
use std::error::Error;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(directory), None, None) => PathBuf::from(directory),
        (Some(flag), Some(file), None) if flag == "--markdown" => {
            return Ok(std::fs::write(file, markdown::page(&[keyd::command(), keyctl::command()]))?);
        }
        _ => return Err("usage: manuals DIRECTORY, or manuals --markdown FILE".into()),
    };
    let edition = edition()?;
    let manuals = made(&directory.join("man"))?;
    for program in programs() {
        program.write(&edition, &manuals)?;
        write_completions(&program.command, &directory)?;
    }
    configuration::write(&edition, &manuals)?;
    Ok(())
}

fn made(directory: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    Ok(directory.to_owned())
}

fn edition() -> Result<Edition, Box<dyn Error>> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").map_err(|_| "SOURCE_DATE_EPOCH is not set")?;
    let date = OffsetDateTime::from_unix_timestamp(seconds.parse()?)?.date().to_string();
    Ok(Edition { date, source: concat!("servos-keyd ", env!("CARGO_PKG_VERSION")).to_owned() })
}

fn programs() -> [Program; 2] {
    let config = Config::default();
    let file = |path: &Path, what: &'static str| (path.display().to_string(), what);
    let components = file(&config.socket.path, "the components' socket");
    let operators = config.socket.admin_path.as_deref().map(|path| file(path, "the operators' socket"));
    let stored = [
        file(&config.store.path, "the store"),
        file(&config.store.mark, "its high-water mark"),
        file(&config.backup.dir, "its backups"),
    ];
    let given = [
        (page::CONFIGURATION_FILE.to_owned(), "the configuration"),
        ("/etc/servos/servos.env".to_owned(), "the master key of a ServOS that had one before"),
        ("/etc/servos/master.key".to_owned(), "the master key that servos-keyctl generate-key makes"),
    ];
    let all: Vec<_> = given.into_iter().chain([components]).chain(operators).chain(stored).collect();
    [
        Program { command: shown(&keyd::command()), other: "servos-keyctl", files: all.clone() },
        Program { command: shown(&keyctl::command()), other: "servos-keyd", files: all },
    ]
}

/// The same command line without what is hidden: completions would offer it.
fn shown(command: &Command) -> Command {
    let kept = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()).map(shown);
    // clap keeps names for ever, and this program ends at once.
    let name: &'static str = command.get_name().to_owned().leak();
    let mut copy = Command::new(name)
        .disable_help_subcommand(true)
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()))
        .subcommand_required(command.is_subcommand_required_set())
        .subcommands(kept);
    if command.get_version().is_some() {
        copy = copy.version(env!("CARGO_PKG_VERSION"));
    }
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        copy = copy.long_about(about.clone());
    }
    copy
}

fn write_completions(command: &Command, directory: &Path) -> std::io::Result<()> {
    let name = command.get_name();
    let mut command = command.clone();
    clap_complete::generate_to(Fish, &mut command, name, made(&directory.join("fish"))?)?;
    clap_complete::generate_to(Zsh, &mut command, name, made(&directory.join("zsh"))?)?;
    let bash = made(&directory.join("bash"))?;
    let named_by_clap = clap_complete::generate_to(Bash, &mut command, name, &bash)?;
    // bash-completion looks for a file that is named as the command is.
    // clap_complete writes the program's own name in two ways where it has a hyphen, and finds no command below the first then.
    let text = std::fs::read_to_string(&named_by_clap)?;
    let text = text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
    std::fs::remove_file(&named_by_clap)?;
    std::fs::write(bash.join(name), text)
}
