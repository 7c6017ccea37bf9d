//! Any bytes → a tree whose places are all within the text, or at least one error whose labels are.
#![no_main]

use bfp_grammar::syntax::{Destinations, Programs, Span, Spanned, Statement};
use libfuzzer_sys::fuzz_target;
use miette::Diagnostic as _;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match bfp_grammar::parse(text) {
        Ok(policy) => policy.statements.iter().for_each(|statement| Walk { text }.statement(statement)),
        Err(errors) => {
            assert!(!errors.is_empty(), "no tree, and no error");
            for label in errors.iter().flat_map(|error| error.labels().into_iter().flatten()) {
                assert!(text.get(label.offset()..label.offset() + label.len()).is_some(), "{label:?}");
            }
        }
    }
});

struct Walk<'a> {
    text: &'a str,
}

impl Walk<'_> {
    fn inside(&self, span: Span) {
        assert!(self.text.get(span.start..span.end).is_some_and(|text| !text.is_empty()), "{span:?}");
    }

    fn statement(&self, statement: &Spanned<Statement>) {
        self.inside(statement.span);
        match &statement.node {
            Statement::Name(name) => self.inside(name.span),
            Statement::Program(declaration) => {
                self.inside(declaration.name.span);
                self.programs(&declaration.programs);
            }
            Statement::Host(declaration) => {
                self.inside(declaration.name.span);
                self.destinations(&declaration.destinations);
                declaration.within.iter().for_each(|list| self.destinations(list));
                declaration.may_change.into_iter().for_each(|span| self.inside(span));
            }
            Statement::Ports(declaration) => {
                self.inside(declaration.name.span);
                self.inside(declaration.ports.span);
            }
            Statement::Param(parameter) => {
                self.inside(parameter.name.span);
                parameter.values.iter().for_each(|value| self.inside(value.span));
            }
            Statement::Rule(rule) => {
                self.inside(rule.effect.span);
                self.programs(&rule.programs);
                self.destinations(&rule.destinations);
                rule.notes.until.iter().for_each(|until| self.inside(until.span));
                let notes = [&rule.notes.owner, &rule.notes.ticket, &rule.notes.reason];
                notes.into_iter().flatten().for_each(|note| self.inside(note.span));
            }
            Statement::Default(default) => self.inside(default.span),
            Statement::Include(file) => self.inside(file.span),
            Statement::ListSource(source) => {
                self.inside(source.file.span);
                self.inside(source.url.span);
            }
            Statement::Test(test) => {
                self.inside(test.name.span);
                for expectation in &test.expectations {
                    self.inside(expectation.span);
                    expectation.node.started_by.iter().for_each(|programs| self.programs(programs));
                    self.programs(&expectation.node.programs);
                    self.destinations(&expectation.node.destinations);
                    self.inside(expectation.node.expected.span);
                }
            }
            Statement::Accept(accept) => {
                self.inside(accept.code.span);
                accept.everywhere.into_iter().for_each(|span| self.inside(span));
                self.inside(accept.reason.span);
            }
        }
    }

    fn programs(&self, programs: &Spanned<Programs>) {
        self.inside(programs.span);
        match &programs.node {
            Programs::Any | Programs::Named(_) => {}
            Programs::AnyIn(unit) => self.inside(unit.span),
            Programs::Path { path, unit, verity, libraries } => {
                self.inside(path.span);
                unit.iter().for_each(|unit| self.inside(unit.span));
                verity.iter().for_each(|pin| self.inside(pin.span));
                for library in libraries.iter().flat_map(|libraries| &libraries.node) {
                    self.inside(library.span);
                    library.node.verity.iter().for_each(|pin| self.inside(pin.span));
                }
            }
            Programs::Set(elements) => elements.iter().for_each(|element| self.programs(element)),
        }
    }

    fn destinations(&self, destinations: &Spanned<Destinations>) {
        self.inside(destinations.span);
        match &destinations.node {
            Destinations::Any => {}
            Destinations::Named { name, ports } => {
                self.inside(name.span);
                ports.iter().for_each(|ports| self.inside(ports.span));
            }
            Destinations::Endpoint { host, ports } => {
                self.inside(host.span);
                ports.iter().for_each(|ports| self.inside(ports.span));
            }
            Destinations::Ranges { file, filters, .. } => {
                self.inside(file.span);
                filters.iter().for_each(|(key, value)| {
                    self.inside(key.span);
                    self.inside(value.span);
                });
            }
            Destinations::Clients { ports, from } => {
                ports.iter().for_each(|ports| self.inside(ports.span));
                self.destinations(from);
            }
            Destinations::Set { elements, ports } => {
                elements.iter().for_each(|element| self.destinations(element));
                ports.iter().for_each(|ports| self.inside(ports.span));
            }
            Destinations::Except { base, removed } => {
                self.destinations(base);
                self.destinations(removed);
            }
        }
    }
}
