//! The left side of a rule: declared names, paths and patterns, with the pins of their files.

use std::collections::BTreeSet;

use bfp_bundle::image::Library;
use bfp_bundle::names::unit;
use bfp_grammar::syntax::{self, Programs, Span, Spanned};

use super::resolver::Resolver;
use super::{BUILTIN, EVERYBODY, ResolveError, program_path, unit_name};
use crate::diagnostics::nearest::did_you_mean;
use crate::policy::{Program, ProgramIndex, Subjects};

/// The digest pins of a program's file, and the libraries that it may map.
struct Content {
    pins: Vec<[u8; 32]>,
    libraries: Option<Vec<Library>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn subjects(&mut self, programs: &'a Spanned<Programs>) -> Subjects {
        if let Programs::Any = programs.node {
            return Subjects::Everyone;
        }
        Subjects::Programs(self.programs(programs, None, &mut Vec::new()).into_iter().collect())
    }

    pub(super) fn programs(
        &mut self,
        programs: &'a Spanned<Programs>,
        declared: Option<&'a str>,
        within: &mut Vec<&'a str>,
    ) -> BTreeSet<ProgramIndex> {
        match &programs.node {
            Programs::Any => {
                self.fail(ResolveError::EveryoneInSet { span: programs.span });
                BTreeSet::new()
            }
            Programs::Set(elements) => {
                self.check_not_empty(elements, programs.span);
                elements.iter().flat_map(|element| self.programs(element, declared, within)).collect()
            }
            Programs::Named(name) => {
                let declaration = declared.and_then(|name| self.declarations.programs.get(name));
                if let Some(with_children) = declaration.and_then(|declaration| declaration.with_children) {
                    self.fail(ResolveError::ChildrenOfName { name: name.clone(), span: programs.span, with_children });
                }
                self.named_programs(name, programs.span, within)
            }
            Programs::AnyIn(unit) => self.any_in(unit, programs.span, declared).into_iter().collect(),
            Programs::Path { path, unit, verity, libraries } => {
                let content = Content { pins: self.pins(verity), libraries: self.libraries(libraries.as_ref()) };
                if let Some(libraries) = libraries.as_ref().filter(|_| verity.is_empty()) {
                    self.fail(ResolveError::LibrariesOfUnpinned {
                        path: path.node.clone(),
                        span: path.span,
                        libraries: libraries.span,
                    });
                }
                self.program(path, unit.as_ref(), declared, content).into_iter().collect()
            }
        }
    }

    fn named_programs(&mut self, written: &'a str, span: Span, within: &mut Vec<&'a str>) -> BTreeSet<ProgramIndex> {
        let Some((&name, declaration)) = self.declarations.programs.get_key_value(written) else {
            self.unknown_program(written, span);
            return BTreeSet::new();
        };
        self.used.insert(name);
        if let Some(known) = self.known_programs.get(name) {
            return known.clone();
        }
        if !self.enter(name, span, within) {
            return BTreeSet::new();
        }
        let found = self.programs(&declaration.programs, Some(name), within);
        within.pop();
        self.known_programs.insert(name, found.clone());
        found
    }

    fn pins(&self, verity: &[Spanned<syntax::Verity>]) -> Vec<[u8; 32]> {
        let pins = verity.iter().filter_map(|pin| match &pin.node {
            syntax::Verity::Sha256(digest) => Some(*digest),
            syntax::Verity::File(file) => {
                self.known.files.and_then(|(loaded, _)| loaded.digests.get(&file.span)).copied()
            }
        });
        let mut pins: Vec<[u8; 32]> = pins.collect();
        pins.sort_unstable();
        pins.dedup();
        pins
    }

    fn libraries(&mut self, written: Option<&Spanned<Vec<Spanned<syntax::Library>>>>) -> Option<Vec<Library>> {
        let mut libraries: Vec<Library> = Vec::new();
        for Spanned { node: syntax::Library { path, verity }, .. } in &written?.node {
            if let Some(error) = program_path::library_fault(path) {
                self.fail(error);
            }
            if verity.is_empty() {
                self.fail(ResolveError::UnpinnedLibrary { path: path.node.clone(), span: path.span });
            }
            libraries.push(Library { path: path.node.clone(), pins: self.pins(verity) });
        }
        libraries.sort();
        libraries.dedup();
        Some(libraries)
    }

    /// `* in unit …`
    fn any_in(&mut self, unit: &syntax::Quoted, span: Span, declared: Option<&str>) -> Option<ProgramIndex> {
        if let Some(error) = unit_name::fault(unit) {
            self.fail(error);
            return None;
        }
        let text = unit::text(unit::EVERY_FILE, &unit.node);
        let content = Content { pins: Vec::new(), libraries: None };
        self.identified(text, unit::text("*", &unit.node), span, declared, content)
    }

    fn program(
        &mut self,
        path: &syntax::Quoted,
        unit: Option<&syntax::Quoted>,
        declared: Option<&str>,
        content: Content,
    ) -> Option<ProgramIndex> {
        if let Some(error) = program_path::fault(path).or_else(|| unit.and_then(unit_name::fault)) {
            self.fail(error);
            return None;
        }
        let in_unit = |path: &str| unit.map_or_else(|| path.to_owned(), |unit| unit::text(path, &unit.node));
        let known = in_unit(&program_path::canonical(&path.node));
        self.identified(known, in_unit(&path.node), path.span, declared, content)
    }

    /// The program with this text, which is written so.
    fn identified(
        &mut self,
        known: String,
        written: String,
        span: Span,
        declared: Option<&str>,
        content: Content,
    ) -> Option<ProgramIndex> {
        let declaration = declared.and_then(|name| self.declarations.programs.get(name));
        let with_children = declaration.is_some_and(|declaration| declaration.with_children.is_some());
        let next = ProgramIndex(self.paths.len());
        let index = *self.path_numbers.entry(known.clone()).or_insert(next);
        match self.paths.get(index.0) {
            // A file is one program: its grants cannot depend on the name that a rule uses for it.
            Some(known)
                if known.pins != content.pins
                    || known.libraries != content.libraries
                    || known.with_children != with_children =>
            {
                let first = known.span;
                self.fail(ResolveError::TwoIdentities { path: written, first, second: span });
            }
            Some(_) => {}
            None => {
                let name = declared.unwrap_or(&written).to_owned();
                let Content { pins, libraries } = content;
                self.paths.push(Program {
                    path: known,
                    written,
                    name,
                    span,
                    pins,
                    libraries,
                    with_children,
                    members: Vec::new(),
                });
            }
        }
        Some(index)
    }

    fn unknown_program(&mut self, name: &'a str, span: Span) {
        let declared = self.declarations.hosts.get(name).map(|declaration| declaration.name.span);
        if declared.is_some() || BUILTIN.contains(&name) {
            return self.wrong_kind(name, "host", "program", span, declared);
        }
        if let Some(ports) = self.declarations.ports.get(name) {
            return self.wrong_kind(name, "set of ports", "program", span, Some(ports.name.span));
        }
        let near = did_you_mean(name, self.declarations.programs.keys().copied())
            .or_else(|| EVERYBODY.contains(&name).then(|| "write `*` for every program".to_owned()));
        let help = near.unwrap_or_else(|| format!("declare it: `program {name} = \"/usr/bin/{name}\"`"));
        self.fail(ResolveError::UnknownName { kind: "program", name: name.to_owned(), help, span });
    }
}
