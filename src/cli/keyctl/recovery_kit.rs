//! `servos-keyctl recovery-kit`: the master key for paper, whole or as shares, as text or as a page.
//!
//! Must never print a key that it did not check, nor to a file or pipe, unless told so; nor replace anything.
//! Called by `keyctl::execute`, before there is a runtime: it empties the environment of keys.

use super::check_key_sources::{Looker, PlaceArguments};
use super::console::Console;
use super::durable_file::{self, Replace};
use super::kit::{self, Form, Kit};
use super::opener::Opener;
use super::output::{count, fields};
use super::socket::SocketArguments;
use super::{kit_page, kit_text};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::key;
use crate::cli::offered_key::Offered;
use crate::config::key_source::KeySource;
use crate::config::key_source_error::shell_quoted;
use crate::custody::id::Fingerprint;
use crate::custody::keys::MasterKey;
use crate::custody::shares::{MOST_SHARES, Plan, Share, combine, split};
use crate::sys::locked::LockedMemory;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Args)]
pub(super) struct RecoveryKitArguments {
    /// The key: a key file, or an env file with SERVOS_MASTER_KEY= or ACT_MASTER_KEY= in it; else the sources that the
    /// daemon would read
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Make N shares, any K of which are needed; 1/1 is the whole key on one sheet
    #[arg(long, value_name = "K/N", default_value = "1/1", value_parser = plan)]
    shares: Plan,

    /// One page for a browser to print, with a QR code for each share; the default for a FILE named *.html
    #[arg(long, conflicts_with = "text")]
    html: bool,

    /// Plain text of 80 columns
    #[arg(long)]
    text: bool,

    /// A new file, of mode 0600; a directory, for a file for each share; or - for standard output [default: the
    /// terminal]
    #[arg(long, value_name = "FILE_OR_DIR")]
    out: Option<PathBuf>,

    /// Make the kit of a key that cannot be checked against a daemon or a store now, or is another
    #[arg(long)]
    unchecked: bool,

    #[command(flatten)]
    place: PlaceArguments,
}

/// Reads `K/N`. Says nothing of the text: it may be anything.
fn plan(text: &str) -> Result<Plan, String> {
    let numbers = text.split_once('/').and_then(|(needed, count)| Some((needed.parse().ok()?, count.parse().ok()?)));
    let (needed, count): (u8, u8) = numbers.ok_or("two numbers are needed, as in 2/3: 2 shares of 3 give the key")?;
    Plan::new(needed, count).ok_or_else(|| match needed {
        1 if count > 1 => {
            "several shares of which one is enough are the key several times: make 2/3, or print 1/1 more than once"
                .to_owned()
        }
        _ => format!("there are 1 to {MOST_SHARES} shares, and not more are needed than there are"),
    })
}

/// Where the kit goes.
enum Target<'a> {
    Output,
    File(&'a Path),
    Directory(&'a Path),
}

/// Checks the key, and makes its kit.
pub(super) fn run(
    console: &mut Console,
    socket: &SocketArguments,
    arguments: &RecoveryKitArguments,
) -> Result<(), Failure> {
    let target = target(console, arguments)?;
    let as_page = arguments.html || (!arguments.text && is_page(arguments.out.as_deref()));
    let asks_nothing = arguments.place.store.is_some() || arguments.unchecked;
    let looker = Looker::new(&arguments.place, arguments.key_file.is_none() || !asks_nothing)?;
    let Some(offered) = looker.sources(arguments.key_file.as_deref())? else {
        let failure = Failure::say(exit::MISSING, "no master key is to be found, so there is nothing to print");
        return Err(failure.with_hint("name the file that holds it with --key-file"));
    };
    let opener = match arguments.unchecked {
        true => None,
        false => Some(checked(console, socket, &looker, &offered)?),
    };
    let kit = made(&offered, arguments.shares, opener.as_ref(), &looker.memory)?;
    let layout = |shares: &[Share]| match as_page {
        true => kit_page::page(&kit, shares, &looker.memory),
        false => kit_text::sheets(&kit, shares, &looker.memory),
    };
    let files = match target {
        Target::Output => {
            console.write(layout(&kit.shares)?.as_bytes())?;
            return told(console, &kit, &[], opener.as_ref());
        }
        Target::File(file) => vec![(file.to_owned(), layout(&kit.shares)?)],
        Target::Directory(directory) => {
            let one = |share: &Share| {
                let name = file_name(&kit, share, as_page);
                let text: Zeroizing<String> = layout(std::slice::from_ref(share))?;
                Ok((directory.join(name), text))
            };
            kit.shares.iter().map(one).collect::<Result<_, Failure>>()?
        }
    };
    for (file, _) in &files {
        durable_file::check_absent(file, Replace::Never)?;
    }
    for (file, text) in &files {
        durable_file::write(file, text.as_bytes(), Replace::Never)?;
    }
    let files: Vec<PathBuf> = files.into_iter().map(|(file, _)| file).collect();
    told(console, &kit, &files, opener.as_ref())
}

fn is_page(out: Option<&Path>) -> bool {
    out.and_then(Path::extension).is_some_and(|end| end.eq_ignore_ascii_case("html") || end.eq_ignore_ascii_case("htm"))
}

fn target<'a>(console: &Console, arguments: &'a RecoveryKitArguments) -> Result<Target<'a>, Failure> {
    match arguments.out.as_deref() {
        Some(out) if out == Path::new("-") && console.json => {
            let failure = Failure::say(exit::USAGE, "a kit on standard output is no JSON");
            Err(failure.with_hint("give --out FILE, or leave --json out"))
        }
        Some(out) if out == Path::new("-") => Ok(Target::Output),
        Some(out) if out.is_dir() => Ok(Target::Directory(out)),
        Some(out) => {
            durable_file::check_absent(out, Replace::Never)?;
            Ok(Target::File(out))
        }
        None if console.output_is_terminal && !console.json && !arguments.html => Ok(Target::Output),
        None => {
            let message = "a recovery kit is the key itself, and goes to a pipe or a file only if that is said";
            Err(Failure::say(exit::USAGE, message).with_hint(
                "add --out FILE (or a directory, for a file for each share), or --out - for standard output",
            ))
        }
    }
}

/// The key opens what is there now: else the kit would be of no use on its day.
fn checked(
    console: &mut Console,
    socket: &SocketArguments,
    looker: &Looker<'_>,
    offered: &Offered,
) -> Result<Opener, Failure> {
    const UNCHECKED: &str = "to make a kit of it all the same, add --unchecked";
    let (given, opener) = looker.look(console, socket, Some(offered)).map_err(|failure| {
        let hint = failure.hint.map_or(UNCHECKED.to_owned(), |hint| format!("{hint}; {UNCHECKED}"));
        Failure { hint: Some(hint), message: format!("the key cannot be checked: {}", failure.message), ..failure }
    })?;
    if let Some(given) = &given {
        given.warnings.iter().for_each(|warning| console.hint(&format!("warning: {warning}")));
    }
    let expected = opener.fingerprints.join(" or ");
    if opener.opens != Some(true) {
        let given = given.map(|given| given.fingerprint).unwrap_or_default();
        let failure = Failure::say(exit::NO, format!("key {given} does not open this store, key {expected} does"));
        return Err(failure.with_hint(format!("name the file of that key with --key-file; {UNCHECKED}")));
    }
    // The first is the key in use, which the rotation is to end.
    let is_new = given.as_ref().is_some_and(|given| opener.fingerprints.first() != Some(&given.fingerprint));
    if opener.fingerprints.len() > 1 && is_new {
        console.hint(
            "warning: this is the new key of a rotation that is pending: if that is aborted, the kit is of no use",
        );
    } else if opener.fingerprints.len() > 1 {
        let message = format!("the master key is being rotated, and the store opens under {expected} until that ends");
        return Err(Failure::say(exit::NO, message).with_hint(
            "make the kit of the new key: name the file that holds it, which ends in .next, with --key-file; or end the \
             rotation first, as `servos-keyctl rotate status` says",
        ));
    }
    Ok(opener)
}

fn made(offered: &Offered, plan: Plan, opener: Option<&Opener>, memory: &LockedMemory) -> Result<Kit, Failure> {
    let claimed: Vec<Fingerprint> =
        opener.into_iter().flat_map(|opener| &opener.fingerprints).filter_map(|text| text.parse().ok()).collect();
    let key = offered.chosen(Ok(claimed), memory)?.key;
    let text = text_of(offered, &key, memory)?;
    let form = text.map_or(Form::Hex, |text| Form::of(text.text.expose_bytes()));
    let exact = match text {
        Some(source) if plan == Plan::WHOLE => Some(kit::exact(source.text.expose_bytes(), memory)?),
        _ => None,
    };
    let shares = split(&key, plan, memory, &key::random)?;
    prove(&shares, &key, memory)?;
    Ok(Kit {
        plan,
        shares,
        exact,
        fingerprint: key.fingerprint(),
        store_id: opener.map(|opener| opener.store_id.clone()),
        made: key::now(),
        form,
    })
}

/// Reads the words of every share as they will be printed, and puts the key together from all of them: a bit that
/// flipped on the way would be found on the day on which the kit is needed.
fn prove(shares: &[Share], key: &MasterKey, memory: &LockedMemory) -> Result<(), Failure> {
    let wrong = || Failure::say(exit::BUG, "the shares that were made do not give the key back: nothing was printed");
    let read = |share: &Share| {
        let words = kit::words(share, memory)?;
        Share::parse(words.expose_bytes().split(|byte| *byte == b' '), memory).map_err(|_| wrong())
    };
    let read = shares.iter().map(read).collect::<Result<Vec<Share>, Failure>>()?;
    let recovered = combine(&read, memory).map_err(|_| wrong())?;
    if recovered.same_as(key) { Ok(()) } else { Err(wrong()) }
}

/// The first source that holds the key.
fn text_of<'o>(offered: &'o Offered, key: &MasterKey, memory: &LockedMemory) -> Result<Option<&'o KeySource>, Failure> {
    let Offered::Sources(found) = offered else { return Ok(None) };
    for source in found {
        if MasterKey::parse(source.text.expose_bytes(), memory)?.same_as(key) {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

fn file_name(kit: &Kit, share: &Share, as_page: bool) -> String {
    let end = if as_page { "html" } else { "txt" };
    format!("kit-{}-share-{}-of-{}.{end}", kit.id().replace(' ', "-"), share.number(), kit.plan.count())
}

/// What was made, and what must be done with it.
fn told(console: &mut Console, kit: &Kit, files: &[PathBuf], opener: Option<&Opener>) -> Result<(), Failure> {
    let (needed, shares) = (kit.plan.needed(), kit.plan.count());
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let checked = opener.map(|opener| opener.asked.clone());
    if !files.is_empty() {
        let value = json!({
            "files": names, "kit": kit.id(), "fingerprint": kit.fingerprint.to_string(), "needed": needed,
            "shares": shares, "store_id": kit.store_id, "key_file_form": kit.form.name(), "checked": checked,
        });
        let mut rows: Vec<(&str, String)> = names.into_iter().map(|name| ("made", name)).collect();
        rows.push(("kit", kit.id()));
        rows.push(("shares", format!("{}, {needed} needed", count(shares, "share"))));
        rows.push(("fingerprint", kit.fingerprint.to_string()));
        rows.push(("checked", checked.clone().map_or("no".to_owned(), |asked| format!("against {asked}"))));
        console.result(&value, &fields(&rows))?;
    }
    if checked.is_none() {
        console.hint("warning: nothing has shown that this key opens anything: --unchecked was given");
    }
    if let Some(note) = kit.note_on_form() {
        console.hint(&format!("warning: {note}"));
    }
    let delete = match files {
        [] => String::new(),
        files => {
            let files: Vec<String> = files.iter().map(|file| shell_quoted(file)).collect();
            format!(" Then delete what was printed from: shred -u {}.", files.join(" "))
        }
    };
    console.hint(&format!(
        "Next: print it on a printer that keeps no copies (by a cable; office printers and print servers keep what \
         they print), or write it down by hand.{delete} Then try the paper: `servos-keyctl check-key --typed`."
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_shares_is_read_or_refused_with_a_reason() {
        assert_eq!(plan("2/3"), Ok(Plan::new(2, 3).unwrap()));
        assert_eq!(plan("1/1"), Ok(Plan::WHOLE));
        for (text, said) in [
            ("", "two numbers"),
            ("3", "two numbers"),
            ("a/b", "two numbers"),
            ("2/3/4", "two numbers"),
            ("-1/3", "two numbers"),
            ("2/300", "two numbers"),
            ("1/3", "make 2/3"),
            ("0/3", "1 to 16"),
            ("4/3", "1 to 16"),
            ("2/17", "1 to 16"),
        ] {
            let refused = plan(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn a_kit_that_does_not_give_its_key_back_is_not_printed() {
        let memory = key::memory().unwrap();
        let key = MasterKey::generate(&memory, &key::random).unwrap();
        let other = MasterKey::generate(&memory, &key::random).unwrap();
        let shares = split(&key, Plan::new(3, 5).unwrap(), &memory, &key::random).unwrap();
        assert!(prove(&shares, &key, &memory).is_ok());
        assert_eq!(prove(&shares, &other, &memory).unwrap_err().exit, exit::BUG);
        assert_eq!(prove(&shares[..2], &key, &memory).unwrap_err().exit, exit::BUG);
    }

    #[test]
    fn a_page_is_what_is_named_like_one() {
        for (name, expected) in
            [("kit.html", true), ("kit.HTM", true), ("kit.txt", false), ("-", false), ("html", false)]
        {
            assert_eq!(is_page(Some(Path::new(name))), expected, "{name}");
        }
    }
}
