//! A source file as rules look at it: its tokens in one flat list, each with its line, and the module it is.
//!
//! Must never see a comment or a string as code, nor miss code inside a macro.
//! Used by every rule.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::collections::BTreeMap;
use std::ops::Range;

/// One token; delimiters are tokens of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A name or keyword.
    Ident(String),
    /// `::`.
    PathSep,
    /// Any other mark.
    Mark(char),
    /// A literal as written.
    Literal(String),
    /// `{`, `(` or `[`.
    Open(char),
    /// The same closed.
    Close(char),
}

/// A token with its place.
#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    /// From 1.
    pub line: usize,
}

/// A file.
pub struct Source {
    /// From the package's directory.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    /// The module it is, from the crate's root.
    pub module: Vec<String>,
    /// Whether all of it is compiled for tests alone.
    is_test: bool,
    tests: Vec<Range<usize>>,
}

impl Source {
    /// Reads files and finds out which module each is.
    pub fn read_all(files: &[(String, String)]) -> Vec<Self> {
        let mut sources: Vec<Self> = files.iter().map(|(path, text)| Self::read(path, text)).collect();
        let declared: BTreeMap<String, (Vec<String>, bool)> =
            sources.iter().flat_map(|source| source.declared_files()).collect();
        for source in &mut sources {
            if let Some((module, is_test)) = declared.get(&source.path) {
                source.module.clone_from(module);
                source.is_test = *is_test;
            }
        }
        // A module below one that is for tests is so too.
        let tests: Vec<Vec<String>> = sources.iter().filter(|s| s.is_test).map(|s| s.module.clone()).collect();
        for source in &mut sources {
            source.is_test |= tests.iter().any(|test| source.module.starts_with(test));
        }
        sources
    }

    fn read(path: &str, text: &str) -> Self {
        let stream: TokenStream = text.parse().unwrap_or_else(|fault| panic!("{path}: {fault}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let (path, module) = (path.to_owned(), module_of(path));
        let mut source = Self { path, text: text.to_owned(), tokens, module, is_test: false, tests: Vec::new() };
        source.mark_tests();
        source
    }

    /// The room it is in.
    pub fn room(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// The token at an index.
    pub fn kind(&self, at: usize) -> Option<&Kind> {
        self.tokens.get(at).map(|token| &token.kind)
    }

    /// The name at an index.
    pub fn ident(&self, at: usize) -> Option<&str> {
        match self.kind(at) {
            Some(Kind::Ident(name)) => Some(name),
            _ => None,
        }
    }

    /// The index behind the delimiter that closes the one at `open`.
    pub fn behind(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(open) {
            match token.kind {
                Kind::Open(_) => depth += 1,
                Kind::Close(_) => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.tokens.len()
    }

    /// Whether a path begins at an index: no `::` stands before it, or one that begins a path from the list of crates.
    pub fn begins_path(&self, at: usize) -> bool {
        if at == 0 || self.kind(at - 1) != Some(&Kind::PathSep) {
            return true;
        }
        match at.checked_sub(2).and_then(|before| self.kind(before)) {
            Some(Kind::Ident(name)) => matches!(name.as_str(), "use" | "as" | "return" | "in" | "dyn" | "impl" | "mut"),
            Some(Kind::Mark('>') | Kind::Close(_)) => false,
            _ => true,
        }
    }

    /// Whether the token at an index is compiled for tests alone.
    pub fn is_test_at(&self, at: usize) -> bool {
        self.is_test || self.tests.iter().any(|range| range.contains(&at))
    }

    /// Marks what lies inside `#[cfg(test)] mod name { .. }`.
    fn mark_tests(&mut self) {
        let opens = (0..self.tokens.len()).filter(|at| {
            self.ident(*at) == Some("mod")
                && self.kind(at + 2) == Some(&Kind::Open('{'))
                && self.attributes_before(*at).1
        });
        self.tests = opens.map(|at| at..self.behind(at + 2)).collect();
    }

    /// Whether a struct or enum of this name is declared here.
    pub fn declares(&self, name: &str) -> bool {
        (0..self.tokens.len())
            .any(|at| matches!(self.ident(at), Some("struct" | "enum")) && self.ident(at + 1) == Some(name))
    }

    /// The modules `mod name;` that it declares.
    pub fn child_files(&self) -> impl Iterator<Item = &str> {
        let is_child = |at: &usize| self.ident(*at) == Some("mod") && self.kind(at + 2) == Some(&Kind::Mark(';'));
        (0..self.tokens.len()).filter(is_child).filter_map(|at| self.ident(at + 1))
    }

    /// The modules `mod name;` that it declares: file, module, and whether it is for tests alone.
    fn declared_files(&self) -> Vec<(String, (Vec<String>, bool))> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let (Some("mod"), Some(name), Some(Kind::Mark(';'))) =
                (self.ident(at), self.ident(at + 1), self.kind(at + 2))
            else {
                continue;
            };
            let (path, is_test) = self.attributes_before(at);
            let module = [self.module.as_slice(), &[name.to_owned()]].concat();
            let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
            match path {
                Some(file) => found.push((format!("{directory}/{file}"), (module, is_test))),
                None if is_test => {
                    let below = format!("src/{}", module.join("/"));
                    found.push((format!("{below}.rs"), (module.clone(), true)));
                    found.push((format!("{below}/mod.rs"), (module, true)));
                }
                None => {}
            }
        }
        found
    }

    /// `#[path = ".."]` and `#[cfg(test)]` in front of an item.
    fn attributes_before(&self, item: usize) -> (Option<String>, bool) {
        let begin =
            (0..item).rev().take_while(|at| !matches!(self.kind(*at), Some(Kind::Mark(';') | Kind::Close('{')))).last();
        let (mut path, mut is_test) = (None, false);
        for at in begin.unwrap_or(item)..item {
            if let (Some("path"), Some(Kind::Mark('=')), Some(Kind::Literal(file))) =
                (self.ident(at), self.kind(at + 1), self.kind(at + 2))
            {
                path = Some(file.trim_matches('"').to_owned());
            }
            is_test |= self.ident(at) == Some("cfg") && self.ident(at + 2) == Some("test");
        }
        (path, is_test)
    }
}

fn module_of(path: &str) -> Vec<String> {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut half_of_path = false;
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |kind| tokens.push(Token { kind, line });
        match tree {
            TokenTree::Punct(mark) if mark.as_char() == ':' && half_of_path => {
                half_of_path = false;
                push(Kind::PathSep);
                continue;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' && mark.spacing() == Spacing::Joint => {
                half_of_path = true;
                continue;
            }
            TokenTree::Punct(mark) => push(Kind::Mark(mark.as_char())),
            TokenTree::Ident(name) => push(Kind::Ident(name.to_string())),
            TokenTree::Literal(literal) => push(Kind::Literal(literal.to_string())),
            TokenTree::Group(group) => {
                let mark = match group.delimiter() {
                    Delimiter::Brace => '{',
                    Delimiter::Parenthesis => '(',
                    Delimiter::Bracket => '[',
                    Delimiter::None => ' ',
                };
                push(Kind::Open(mark));
                let end = group.span_close().end().line;
                flatten(group.stream(), tokens);
                tokens.push(Token { kind: Kind::Close(mark), line: end });
            }
        }
        half_of_path = false;
    }
}
