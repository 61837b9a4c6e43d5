//! A recovery kit as one page for a browser to print: a sheet for each share, with its words and their QR code.
//!
//! Must never load anything or run a script, nor hold the words elsewhere than in a text that is wiped.
//! Called by `recovery_kit`.

use super::kit::{self, Kit};
use super::kit_code;
use super::kit_text::facts;
use crate::custody::keys::KeyError;
use crate::custody::shares::Share;
use crate::sys::locked::LockedMemory;
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// More than a sheet takes, so that it grows in place.
const SHEET_BYTES: usize = 64 * 1024;

/// Black on white whatever the browser's theme; one sheet a page, on A4 and on Letter.
const STYLE: &str = include_str!("kit_page.css");

/// The page of some shares of the kit.
pub(super) fn page(kit: &Kit, shares: &[Share], memory: &LockedMemory) -> Result<Zeroizing<String>, KeyError> {
    let mut page = Zeroizing::new(String::with_capacity(SHEET_BYTES * shares.len().saturating_add(1)));
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"only light\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>servos-keyd recovery kit</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    for share in shares {
        sheet(kit, share, memory, &mut page)?;
    }
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

fn sheet(kit: &Kit, share: &Share, memory: &LockedMemory, page: &mut String) -> Result<(), KeyError> {
    let (number, count) = (share.number(), kit.plan.count());
    let which = if count == 1 { "The whole key".to_owned() } else { format!("Share {number} of {count}") };
    let worth = kit.worth();
    let _ = write!(
        page,
        "<section class=\"sheet\">\n<header><h1>servos-keyd recovery kit</h1><p>{which}</p></header>\n\
         <p class=\"worth\">{worth}</p>\n<dl>"
    );
    for (name, value) in facts(kit) {
        let _ = write!(page, "<dt>{name}</dt><dd>{value}</dd>");
    }
    page.push_str("</dl>\n<div class=\"share\">\n<ol>");
    let words = kit::words(share, memory)?;
    for word in kit::text(&words).split(' ') {
        let _ = write!(page, "<li>{word}</li>");
    }
    page.push_str("</ol>\n<figure>");
    match kit_code::svg(kit::text(&words), &format!("The words of share {number} as a QR code")) {
        Some(code) => page.push_str(&code),
        None => page.push_str("no code"),
    }
    page.push_str("<figcaption>The same words. Scan without a network: a phone's camera may keep or send them.");
    page.push_str("</figcaption></figure>\n</div>\n");
    if let Some(exact) = &kit.exact {
        page.push_str("<p>The key itself, as its file has it (without the spaces):</p>\n<p class=\"exact\">");
        for (at, character) in kit::text(exact).chars().enumerate() {
            match at {
                0 => {}
                _ if at.is_multiple_of(32) => page.push_str("<br>"),
                _ if at.is_multiple_of(4) => page.push(' '),
                _ => {}
            }
            page.push(character);
        }
        page.push_str("</p>\n");
    }
    for (what, command) in kit.commands() {
        let _ = writeln!(page, "<p class=\"use\">{what}<br><code>{command}</code></p>");
    }
    let note = kit.note_on_form().map(str::to_owned);
    for told in [Some(kit.otherwise()), note, Some(kit.not_here().to_owned())].into_iter().flatten() {
        let _ = writeln!(page, "<p>{}</p>", with_code(&told));
    }
    page.push_str("<footer><span>Kept by</span><span>where</span><span>since</span></footer>\n</section>\n");
    Ok(())
}

/// What stands between backticks, as code.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::kit::Form;
    use super::super::kit::tests::kit;
    use super::*;
    use crate::cli::key;

    #[test]
    fn a_page_has_a_sheet_for_each_share_and_needs_nothing_from_elsewhere() {
        let kit = kit(2, 3, Form::Base64);
        let page = page(&kit, &kit.shares, &key::memory().unwrap()).unwrap();
        assert_eq!(page.matches("<section").count(), 3);
        assert_eq!(page.matches("<li>").count(), 99);
        assert_eq!(page.matches("<svg").count(), 3);
        for foreign in ["http://", "https://", "<script", "<link", "<img", "url(", "@import", "onload"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains(&kit.id()) && page.contains("--base64"));
    }

    #[test]
    fn nothing_that_is_said_needs_to_be_escaped() {
        for form in [Form::Hex, Form::UpperHex, Form::MixedHex, Form::Base64] {
            for kit in [kit(1, 1, form), kit(2, 2, form)] {
                let commands = kit.commands();
                let told = commands.iter().flat_map(|(what, command)| [(*what).to_owned(), command.clone()]);
                let facts = facts(&kit).into_iter().map(|(_, value)| value);
                let rest = [kit.worth(), kit.otherwise(), kit.not_here().to_owned()];
                for text in told.chain(facts).chain(rest) {
                    assert!(!text.contains(['<', '>', '&', '"']), "{text}");
                }
            }
        }
    }
}
