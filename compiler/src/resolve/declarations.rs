//! The first pass: statements → what they declare, and the errors in that.
//!
//! Always: a name is declared once; of several declarations the first counts. Nothing here changes afterwards.

use std::collections::{BTreeMap, BTreeSet};

use bfp_grammar::syntax::{self, Span, Spanned, Statement};
use miette::Diagnostic as _;

use super::{BUILTIN, PortSets, ResolveError};
use crate::source::source_map::SourceMap;

/// Errors by the first place that each labels.
#[derive(Default)]
pub(super) struct Errors(BTreeMap<Option<usize>, Vec<ResolveError>>);

impl Errors {
    pub(super) fn add(&mut self, error: ResolveError) {
        // A declaration that is used twice has the same errors twice, at the same place.
        let place = error.labels().and_then(|mut labels| labels.next()).map(|first| first.offset());
        let at_place = self.0.entry(place).or_default();
        if !at_place.contains(&error) {
            at_place.push(error);
        }
    }

    /// All of them, in the order of the text.
    ///
    /// # Errors
    ///
    /// There are any.
    pub(super) fn none(self) -> Result<(), Vec<ResolveError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.into_values().flatten().collect()) }
    }
}

/// What a policy declares.
#[derive(Default)]
pub(super) struct Declarations<'a> {
    pub(super) name: Option<&'a syntax::Name>,
    pub(super) default: Option<Spanned<syntax::Default>>,
    pub(super) programs: BTreeMap<&'a str, &'a syntax::ProgramDeclaration>,
    pub(super) hosts: BTreeMap<&'a str, &'a syntax::HostDeclaration>,
    pub(super) ports: PortSets<'a>,
}

impl<'a> Declarations<'a> {
    pub(super) fn of(policy: &'a syntax::Policy, sources: &SourceMap) -> (Declarations<'a>, Errors) {
        let (mut declared, mut errors) = (Declarations::default(), Errors::default());
        for Spanned { node, span } in &policy.statements {
            let included = |statement| ResolveError::Included { statement, span: *span };
            let is_included = !sources.is_in_policy(span.start);
            match node {
                Statement::Name(_) if is_included => errors.add(included("policy")),
                Statement::Default(_) if is_included => errors.add(included("default")),
                Statement::Name(written) => match declared.name {
                    Some(first) => errors.add(repeated("policy", first.span, written.span)),
                    None => declared.name = Some(written),
                },
                Statement::Default(written) => match &declared.default {
                    Some(first) => errors.add(repeated("default", first.span, *span)),
                    None => declared.default = Some(Spanned { node: written.node, span: *span }),
                },
                Statement::Program(declaration) => match declared.fault(&declaration.name) {
                    Some(error) => errors.add(error),
                    None => drop(declared.programs.insert(&declaration.name.node, declaration)),
                },
                Statement::Host(declaration) => match declared.fault(&declaration.name) {
                    Some(error) => errors.add(error),
                    None => drop(declared.hosts.insert(&declaration.name.node, declaration)),
                },
                Statement::Ports(declaration) => match declared.fault(&declaration.name) {
                    Some(error) => errors.add(error),
                    None => declared.ports.add(declaration),
                },
                // `load` has put the statements of the file in its place.
                Statement::Include(_) => {}
                Statement::Rule(_)
                | Statement::Test(_)
                | Statement::Accept(_)
                | Statement::ListSource(_)
                | Statement::Param(_) => {}
            }
        }
        (declared, errors)
    }

    /// Hosts alone.
    pub(super) fn of_hosts(hosts: &'a [syntax::HostDeclaration]) -> Declarations<'a> {
        let hosts = hosts.iter().map(|declaration| (declaration.name.node.as_str(), declaration)).collect();
        Declarations { hosts, ..Declarations::default() }
    }

    /// Why a name cannot be declared.
    fn fault(&self, name: &syntax::Name) -> Option<ResolveError> {
        let written = name.node.as_str();
        let program = self.programs.get(written).map(|declaration| declaration.name.span);
        let host = || self.hosts.get(written).map(|declaration| declaration.name.span);
        let ports = || self.ports.get(written).map(|declaration| declaration.name.span);
        if let Some(first) = program.or_else(host).or_else(ports) {
            return Some(ResolveError::DuplicateName { name: name.node.clone(), first, second: name.span });
        }
        BUILTIN.contains(&written).then(|| ResolveError::Builtin { name: name.node.clone(), span: name.span })
    }

    /// The declared names that are not among `used`, in the order of the text.
    pub(super) fn unused(&self, used: &BTreeSet<&str>) -> Vec<(&'a str, Span)> {
        let programs = self.programs.iter().map(|(name, declaration)| (*name, declaration.name.span));
        let hosts = self.hosts.iter().map(|(name, declaration)| (*name, declaration.name.span));
        let ports =
            self.ports.declarations().map(|declaration| (declaration.name.node.as_str(), declaration.name.span));
        let mut unused: Vec<_> = programs.chain(hosts).chain(ports).filter(|(name, _)| !used.contains(name)).collect();
        unused.sort_by_key(|(_, span)| *span);
        unused
    }
}

fn repeated(statement: &'static str, first: Span, second: Span) -> ResolveError {
    ResolveError::Repeated { statement, first, second }
}
