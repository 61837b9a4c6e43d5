//! What to say when no key has the name that was given: the name, the nearest one that exists, and how to make it.
//!
//! Must never fail for want of the list of keys: not everybody may see it.
//! Called by the commands that name a key.

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::client::error::Error;
use crate::client::key_admin::{AdminClient, KeyFilter};
use crate::client::key_name::KeyName;

/// The failure of a call that needs the key `key`.
pub(super) async fn explain(error: Error, admin: &AdminClient, key: &KeyName) -> Failure {
    let make = format!("`servos-keyctl keys create {key}` makes it");
    explain_with(error, admin, key, &make).await
}

/// The failure of a call that only speaks of the key `key`: nobody makes one to look at it or to delete it.
pub(super) async fn explain_mention(error: Error, admin: &AdminClient, key: &KeyName) -> Failure {
    explain_with(error, admin, key, "`servos-keyctl keys list` shows the keys").await
}

async fn explain_with(error: Error, admin: &AdminClient, key: &KeyName, advice: &str) -> Failure {
    let Error::UnknownKey { .. } = &error else { return error.into() };
    let names: Vec<String> = match admin.list_keys(&KeyFilter::default()).await {
        Ok(keys) => keys.into_iter().map(|key| key.name).collect(),
        Err(_) => Vec::new(),
    };
    let failure = Failure::say(exit::of_client(&error), format!("no key is called {key}"));
    failure.with_hint(match nearest(key.as_str(), &names) {
        Some(near) => format!("did you mean {near}? Else {advice}"),
        None => advice.to_owned(),
    })
}

/// The most similar name, if one is similar at all.
fn nearest<'n>(name: &str, names: &'n [String]) -> Option<&'n str> {
    let scored = names.iter().map(|known| (strsim::jaro_winkler(name, known), known.as_str()));
    scored.filter(|(score, _)| *score > 0.75).max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_is_similar() {
        let names = ["default".to_owned(), "ssh-keys".to_owned()];
        assert_eq!(nearest("defualt", &names), Some("default"));
        assert_eq!(nearest("ssh-key", &names), Some("ssh-keys"));
        assert_eq!(nearest("zzz", &names), None);
        assert_eq!(nearest("default", &[]), None);
    }
}
