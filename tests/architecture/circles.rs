//! Files that import each other: inside a room too, whoever names a file stands above it.
//!
//! A method is no name: files that give one type its methods may call each other's.
//!
//! Must never take what a module passes on for its own: the name leads to the file that declares it.
//! Called by `check`.

use crate::Violation;
use crate::imports::{Named, paths};
use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names are passed on less often than this.
const LONGEST_WAY: usize = 16;

/// For each file the files that it names, with the line of the first time.
type Edges = BTreeMap<usize, BTreeMap<usize, usize>>;

/// Every circle, once; tests, which look into everything, are in none.
pub fn check(sources: &[Source]) -> Vec<Violation> {
    let edges = edges(sources);
    let mut ways: Vec<Vec<usize>> = edges.keys().filter_map(|from| way_around(&edges, *from)).collect();
    // The shortest stands for each circle that shares a file with it.
    ways.sort_by_key(Vec::len);
    let mut told: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    for way in &ways {
        let is_told = way.iter().any(|at| told.contains(at));
        told.extend(way);
        if let ([from, to, ..], false) = (way.as_slice(), is_told) {
            let names: Vec<&str> = way.iter().map(|at| sources[*at].path.trim_start_matches("src/")).collect();
            let what = format!("files that name each other in a circle: {} -> {}", names.join(" -> "), names[0]);
            found.push(Violation { path: sources[*from].path.clone(), line: edges[from][to], what });
        }
    }
    found
}

fn edges(sources: &[Source]) -> Edges {
    let files = Files::read(sources);
    let mut edges = Edges::new();
    for (from, source) in sources.iter().enumerate() {
        for Named { at, path, .. } in paths(source) {
            let is_visibility = at > 0 && source.ident(at - 1) == Some("in");
            if is_visibility || source.is_test_at(at) {
                continue;
            }
            if let Some(to) = files.declaring(path).filter(|to| *to != from && sources[*to].room() == source.room()) {
                edges.entry(from).or_default().entry(to).or_insert(source.tokens[at].line);
            }
        }
    }
    edges
}

/// The shortest way from a file back to it.
fn way_around(edges: &Edges, from: usize) -> Option<Vec<usize>> {
    let (mut came_from, mut waiting) = (BTreeMap::new(), VecDeque::from([from]));
    while let Some(at) = waiting.pop_front() {
        for next in edges.get(&at).into_iter().flat_map(BTreeMap::keys) {
            if *next == from {
                let mut way = vec![at];
                while let Some(before) = way.last().and_then(|at| came_from.get(at)) {
                    way.push(*before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(*next, at);
                waiting.push_back(*next);
            }
        }
    }
    None
}

/// The files by their modules, and what each took in under a name of its own.
struct Files {
    by_module: BTreeMap<Vec<String>, usize>,
    taken_in: Vec<BTreeMap<String, Vec<String>>>,
}

impl Files {
    fn read(sources: &[Source]) -> Self {
        let files = sources.iter().enumerate().filter(|(_, source)| source.room() != "bin");
        let by_module = files.map(|(at, source)| (source.module.clone(), at)).collect();
        let taken_in = sources.iter().map(|source| {
            let used = paths(source).into_iter().filter(|named| !source.is_test_at(named.at));
            used.filter_map(|Named { path, used_as, .. }| Some((used_as?, path))).collect()
        });
        Self { by_module, taken_in: taken_in.collect() }
    }

    /// The file that declares what a path names, or is it.
    fn declaring(&self, mut path: Vec<String>) -> Option<usize> {
        let mut file = None;
        for _ in 0..LONGEST_WAY {
            let length = (0..=path.len()).rev().find(|length| self.by_module.contains_key(&path[..*length]))?;
            let at = self.by_module[&path[..length]];
            file = Some(at);
            let Some(taken) = path.get(length).and_then(|name| self.taken_in[at].get(name)) else { break };
            if taken[..] == path[..=length] {
                break;
            }
            path = taken.iter().chain(&path[length + 1..]).cloned().collect();
        }
        file
    }
}
