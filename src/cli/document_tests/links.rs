//! Holds the links of the documents: each leads to a file and to a heading in it, and no page is one that nobody finds.
//!
//! Must never follow a link out of the repository.
//! Run by `cargo test`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::pages::{files_under, root};

/// Every page that people read, by its path in the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut paths = files_under(&root().join("docs"), "md");
    paths.extend(files_under(&root().join("packaging"), "md"));
    paths.extend(["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|page| root().join(page)));
    paths.into_iter().map(|path| (path.canonicalize().unwrap(), fs::read_to_string(&path).unwrap())).collect()
}

/// The text outside of fenced blocks, where neither a link nor a heading is one.
fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if !fenced && !is_fence {
            kept.push_str(line);
            kept.push('\n');
        }
        fenced ^= is_fence;
    }
    assert!(!fenced, "a block is not closed");
    kept
}

/// The targets of the links that stay in the repository.
fn links(page: &str) -> Vec<String> {
    let text = prose(page);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).map(str::to_owned).collect()
}

/// What a heading is called in a link, as GitHub, GitLab and Forgejo make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Of headings that are called alike, the second is `…-1`.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(page).lines().filter(|line| line.starts_with('#')) {
        let name = anchor(line.trim_start_matches('#').trim());
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

/// What is wrong with the link `target` of the page at `from`.
fn wrong(pages: &BTreeMap<PathBuf, String>, from: &Path, target: &str) -> Option<String> {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    let Ok(path) = path.canonicalize() else { return Some(format!("{}: no file {target}", from.display())) };
    if !path.starts_with(root().canonicalize().unwrap()) {
        return Some(format!("{}: {target} leads out of the repository", from.display()));
    }
    let heading = heading?;
    let found = pages.get(&path).is_some_and(|page| anchors(page).contains(heading));
    (!found).then(|| format!("{}: no heading {target}", from.display()))
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading_in_it() {
    let pages = pages();
    let all: Vec<(&PathBuf, String)> =
        pages.iter().flat_map(|(path, page)| links(page).into_iter().map(move |link| (path, link))).collect();
    assert!(all.len() > 100 && all.iter().filter(|(_, link)| link.contains('#')).count() > 20, "{}", all.len());
    let wrong: Vec<String> = all.iter().filter_map(|(path, link)| wrong(&pages, path, link)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_readme_leads_to_every_page_of_docs() {
    let readme = root().join("README.md").canonicalize().unwrap();
    let linked: BTreeSet<PathBuf> = links(&pages()[&readme])
        .iter()
        .filter_map(|link| readme.parent()?.join(link.split('#').next()?).canonicalize().ok())
        .collect();
    for page in files_under(&root().join("docs"), "md") {
        assert!(linked.contains(&page.canonicalize().unwrap()), "README.md has no link to {}", page.display());
    }
}

#[test]
fn a_link_to_nothing_is_found() {
    let pages = pages();
    let readme = root().join("README.md").canonicalize().unwrap();
    for target in ["docs/none.md", "docs/errors.md#none", "#none", "../elsewhere", "/etc/passwd"] {
        assert!(wrong(&pages, &readme, target).is_some(), "{target}");
    }
    assert_eq!(wrong(&pages, &readme, "docs/errors.md#exit-codes"), None);
    let page = "# One\n```sh\n# none [x](y)\n```\n## One\n## `a b`, c: d\n";
    assert_eq!(anchors(page), ["one", "one-1", "a-b-c-d"].map(str::to_owned).into());
    assert_eq!(links("[a](b#c) [d](https://e)"), ["b#c"]);
}
