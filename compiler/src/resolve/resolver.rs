//! The second pass: rules, tests and `accept` statements, with what the names in them stand for.
//!
//! `programs` reads the left side of an arrow, `destinations` the right side.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use bfp_grammar::syntax::{self, Span, Spanned, Statement};

use super::declarations::{Declarations, Errors};
use super::destinations::everywhere;
use super::{ResolveError, coverage, name_use, ranges, shared};
use crate::names::dns_name::DnsName;
use crate::names::lock::Lock;
use crate::policy::{
    Accepted, Addresses, Destination, Effect, Enforcement, Expectation, NameUse, PortRange, Program, ProgramIndex,
    Rule, Share, SpecialAnswer, Test, Unspecified,
};
use crate::source::load::{ListFile, ListSource, Loaded};
use crate::source::source_map::SourceMap;

/// The longest chain of declarations; bounds the recursion.
const MAX_DEPTH: usize = 32;

/// What is known besides the text: the addresses of names, and the files that it names.
#[derive(Clone, Default)]
pub(super) struct Known<'a> {
    /// The addresses of each DNS name, by its canonical text.
    pub(super) addresses: BTreeMap<&'a str, Vec<IpAddr>>,
    /// The policy, as read, and the lock with its lists as they were reviewed. Without them, there is no file.
    pub(super) files: Option<(&'a Loaded, &'a Lock)>,
    /// Lists are found by their names, and not by the places that name them.
    pub(super) lists_by_name: bool,
}

impl<'a> Known<'a> {
    pub(super) fn of(loaded: &'a Loaded, lock: &'a Lock) -> Known<'a> {
        let addresses =
            lock.names.iter().map(|(name, locked)| (name.as_str(), locked.addresses.iter().copied().collect()));
        Known { addresses: addresses.collect(), files: Some((loaded, lock)), lists_by_name: false }
    }

    /// A list, and its digest as it was reviewed.
    pub(super) fn list(&self, file: &syntax::Quoted) -> Option<(&'a ListFile, Option<&'a [u8; 32]>)> {
        let (loaded, lock) = self.files?;
        let list = if self.lists_by_name { loaded.list_named(&file.node) } else { loaded.lists.get(&file.span) }?;
        Some((list, lock.files.get(&list.name)))
    }

    /// Where a list is published, and whether what was reviewed came from there.
    pub(super) fn source(&self, list: &ListFile) -> Option<(&'a ListSource, bool)> {
        let (loaded, lock) = self.files?;
        let source = loaded.source_of(&list.name)?;
        Some((source, lock.fetched.get(&list.name).is_some_and(|fetched| fetched.url == source.url.node)))
    }
}

/// The `within ranges(…)` of a declaration.
#[derive(Clone)]
pub(super) struct WithinList {
    pub(super) networks: Rc<[Addresses]>,
    pub(super) span: Span,
}

pub(super) struct Resolver<'a> {
    pub(super) declarations: &'a Declarations<'a>,
    pub(super) known: Known<'a>,
    pub(super) errors: Errors,
    /// The declared names that were used, on either side.
    pub(super) used: BTreeSet<&'a str>,
    pub(super) paths: Vec<Program>,
    pub(super) path_numbers: BTreeMap<String, ProgramIndex>,
    pub(super) names: BTreeMap<DnsName, Vec<IpAddr>>,
    pub(super) unspecified: Vec<Unspecified>,
    pub(super) special: Vec<SpecialAnswer>,
    // The meaning of a declaration is computed once: otherwise chains of sets would double with each link.
    pub(super) known_programs: BTreeMap<&'a str, BTreeSet<ProgramIndex>>,
    pub(super) known_hosts: BTreeMap<&'a str, Vec<Destination>>,
    cyclic: BTreeSet<&'a str>,
    /// Whether what is resolved now is needed, so that the lock file must have it.
    pub(super) is_needed: bool,
    /// What stands for each DNS name of the declaration that is being resolved.
    pub(super) within: Option<WithinList>,
    pub(super) everything: Vec<Destination>,
    /// The ports of a host without any.
    pub(super) all_ports: Vec<PortRange>,
    /// `clients` was met.
    pub(super) names_clients: bool,
    /// The declared hosts that contain `clients`.
    pub(super) hosts_of_clients: BTreeSet<&'a str>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(declarations: &'a Declarations<'a>, known: Known<'a>, errors: Errors) -> Resolver<'a> {
        Resolver {
            declarations,
            known,
            errors,
            used: BTreeSet::new(),
            paths: Vec::new(),
            path_numbers: BTreeMap::new(),
            names: BTreeMap::new(),
            unspecified: Vec::new(),
            special: Vec::new(),
            known_programs: BTreeMap::new(),
            known_hosts: BTreeMap::new(),
            cyclic: BTreeSet::new(),
            is_needed: true,
            within: None,
            everything: coverage::union(&everywhere(ranges::everything(), &PortRange::all())),
            all_ports: PortRange::all(),
            names_clients: false,
            hosts_of_clients: BTreeSet::new(),
        }
    }

    /// From here on, a host without ports covers the answers to clients there too.
    pub(super) fn distinguish_answers(&mut self) {
        self.all_ports = PortRange::all_and_answers();
        self.everything = coverage::union(&everywhere(ranges::everything(), &self.all_ports));
    }

    /// From here on, a host without ports is about requests alone, as in a test.
    pub(super) fn ask_about_requests(&mut self) {
        if self.all_ports != PortRange::all() {
            self.all_ports = PortRange::all();
            self.everything = coverage::union(&everywhere(ranges::everything(), &self.all_ports));
            self.known_hosts.clear();
        }
    }

    pub(super) fn fail(&mut self, error: ResolveError) {
        self.errors.add(error);
    }

    /// The rules, and where they use the names that checks need.
    pub(super) fn rules(&mut self, policy: &'a syntax::Policy, lock: &Lock) -> (Vec<Rule>, Vec<NameUse>) {
        let noted = name_use::noted(lock);
        let (mut rules, mut name_uses) = (Vec::new(), Vec::new());
        for Spanned { node, span } in &policy.statements {
            let Statement::Rule(rule) = node else { continue };
            let names = name_use::names(&rule.destinations, &self.declarations.hosts, &noted);
            for rule in self.rule(rule, *span) {
                let number = rules.len();
                let at = |found: &name_use::Use| NameUse {
                    name: found.name.clone(),
                    span: found.span,
                    rule: number,
                    part: found.part,
                };
                name_uses.extend(names.iter().map(at));
                rules.push(rule);
            }
        }
        if rules.is_empty() {
            self.fail(ResolveError::Empty);
        }
        for error in shared::open(&mut rules, &mut name_uses) {
            self.fail(error);
        }
        (rules, name_uses)
    }

    /// A statement as one rule, or as the two of `only P -> only D`.
    fn rule(&mut self, rule: &'a syntax::Rule, span: Span) -> impl Iterator<Item = Rule> + use<> {
        let enforcement = match rule.audit {
            Some(span)
                if matches!(
                    rule.effect.node,
                    syntax::Effect::Allow | syntax::Effect::Also | syntax::Effect::AllowOthers
                ) =>
            {
                self.fail(ResolveError::AuditAllow { span });
                Enforcement::Audited
            }
            Some(span) if rule.shared.is_some() => {
                self.fail(ResolveError::AuditShared { span });
                Enforcement::Audited
            }
            Some(_) => Enforcement::Audited,
            None => Enforcement::Enforced,
        };
        let is_about_others = matches!(rule.effect.node, syntax::Effect::DenyOthers | syntax::Effect::AllowOthers);
        if is_about_others && rule.programs.node == syntax::Programs::Any {
            self.fail(ResolveError::ExceptEveryone { span: rule.programs.span });
        }
        let subjects = self.subjects(&rule.programs);
        let (destinations, names_clients) =
            self.noting_clients(|resolver| resolver.destinations(&rule.destinations, &mut Vec::new()));
        let destinations = coverage::union(&destinations);
        if names_clients && matches!(rule.effect.node, syntax::Effect::Exclusive | syntax::Effect::ExclusiveAndConfined)
        {
            self.fail(ResolveError::ExclusiveClients { span: rule.destinations.span });
        }
        let effects: &[Effect] = match rule.effect.node {
            syntax::Effect::Exclusive => &[Effect::Exclusive],
            syntax::Effect::Confined => &[Effect::Confined],
            syntax::Effect::ExclusiveAndConfined => &[Effect::Exclusive, Effect::Confined],
            syntax::Effect::Deny => &[Effect::Deny],
            // What it adds to is found once all rules are known.
            syntax::Effect::Allow | syntax::Effect::Also => &[Effect::Allow],
            syntax::Effect::DenyOthers => &[Effect::DenyOthers],
            syntax::Effect::AllowOthers => &[Effect::AllowOthers],
        };
        let (is_shared, is_added) = (rule.shared.is_some(), rule.effect.node == syntax::Effect::Also);
        for (what, text) in
            [("an owner", &rule.notes.owner), ("a ticket", &rule.notes.ticket), ("a reason", &rule.notes.reason)]
        {
            text.iter().for_each(|text| self.refuse_control_characters(what, text));
        }
        let notes = rule.notes.clone();
        let covers_everything = destinations == self.everything;
        let (subjects_span, destinations_span) = (rule.programs.span, rule.destinations.span);
        effects.iter().map(move |&effect| Rule {
            effect,
            enforcement,
            subjects: subjects.clone(),
            destinations: destinations.clone(),
            covers_everything,
            span,
            subjects_span,
            destinations_span,
            notes: notes.clone(),
            share: match effect {
                Effect::Exclusive if is_shared => Share::Owner,
                Effect::Allow if is_added => Share::Added,
                _ => Share::Not,
            },
        })
    }

    pub(super) fn tests(&mut self, policy: &'a syntax::Policy) -> Vec<Test> {
        let mut tests = Vec::new();
        for Spanned { node, span } in &policy.statements {
            if let Statement::Test(test) = node {
                tests.push(self.test(test, *span));
            }
        }
        tests
    }

    fn test(&mut self, test: &'a syntax::Test, span: Span) -> Test {
        self.refuse_control_characters("the name of a test", &test.name);
        if test.expectations.is_empty() {
            self.fail(ResolveError::EmptyTest { span: test.name.span });
        }
        let expectation = |Spanned { node, span }: &'a Spanned<syntax::Expectation>| Expectation {
            started_by: node.started_by.iter().map(|programs| self.subjects(programs)).collect(),
            subjects: self.subjects(&node.programs),
            destinations: coverage::union(&self.destinations(&node.destinations, &mut Vec::new())),
            expected: node.expected.node,
            span: *span,
        };
        Test { name: test.name.node.clone(), span, expectations: test.expectations.iter().map(expectation).collect() }
    }

    /// Each `accept` with the statement that follows it in its file, or with none where it is about the whole policy.
    pub(super) fn accepted(&mut self, policy: &syntax::Policy, sources: &SourceMap) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        let file = |span: Span| sources.file_at(span.start);
        for (index, Spanned { node, span }) in policy.statements.iter().enumerate() {
            let Statement::Accept(accept) = node else { continue };
            self.refuse_control_characters("a reason", &accept.reason);
            let about = if let Some(everywhere) = accept.everywhere {
                if !sources.is_in_policy(span.start) {
                    self.fail(ResolveError::Included { statement: "accept … everywhere", span: everywhere });
                }
                None
            } else {
                let mut behind = policy.statements.iter().skip(index + 1);
                let next = behind.find(|next| !matches!(next.node, Statement::Accept(_)));
                let Some(next) = next.filter(|next| file(next.span) == file(*span)) else {
                    self.fail(ResolveError::NothingAccepted { span: *span });
                    continue;
                };
                Some(next.span)
            };
            accepted.push(Accepted {
                code: accept.code.node.clone(),
                code_span: accept.code.span,
                reason: accept.reason.node.clone(),
                about,
            });
        }
        accepted
    }

    /// Reports what the file of the policy declares and nothing uses. Included files declare names for several policies,
    /// and each policy uses only some.
    pub(super) fn refuse_unused(&mut self, sources: &SourceMap) {
        for (name, span) in self.declarations.unused(&self.used) {
            if sources.is_in_policy(span.start) {
                self.fail(ResolveError::Unused { name: name.to_owned(), span });
            }
        }
    }

    /// Resolves unused declarations too, so that one run reports every error. Those of included files need no entry in
    /// the lock file.
    pub(super) fn resolve_unused(&mut self, sources: &SourceMap) {
        let declarations = self.declarations;
        for (&name, declaration) in &declarations.programs {
            self.programs(&declaration.programs, Some(name), &mut Vec::new());
        }
        // What the policy's own file needs must be known first: a declaration is resolved once.
        for is_needed in [true, false] {
            self.is_needed = is_needed;
            for (&name, declaration) in &declarations.hosts {
                let span = declaration.name.span;
                if sources.is_in_policy(span.start) == is_needed {
                    self.declared_host(name, declaration, span, &mut Vec::new());
                }
            }
        }
    }

    pub(super) fn check_not_empty<T>(&mut self, elements: &[T], span: Span) {
        if elements.is_empty() {
            self.fail(ResolveError::EmptySet { span });
        }
    }

    /// Enters the declaration of `name`, unless that forms a cycle or nests too deep.
    pub(super) fn enter(&mut self, name: &'a str, span: Span, within: &mut Vec<&'a str>) -> bool {
        if let Some(start) = within.iter().position(|outer| *outer == name) {
            // One cycle is one error, wherever it was entered.
            if !self.cyclic.contains(name) {
                self.cyclic.extend(within.iter().skip(start));
                self.fail(ResolveError::Cycle { name: name.to_owned(), span });
            }
            return false;
        }
        if within.len() >= MAX_DEPTH {
            self.fail(ResolveError::TooDeep { name: name.to_owned(), span });
            return false;
        }
        within.push(name);
        true
    }

    pub(super) fn wrong_kind(
        &mut self,
        name: &'a str,
        actual: &'static str,
        expected: &'static str,
        span: Span,
        declared: Option<Span>,
    ) {
        // A name that is used on the wrong side is not reported as unused as well.
        self.used.insert(name);
        self.fail(ResolveError::WrongKind { name: name.to_owned(), actual, expected, span, declared });
    }

    /// Answers show these texts, which must not be able to add lines of their own.
    fn refuse_control_characters(&mut self, what: &'static str, text: &syntax::Quoted) {
        if text.node.chars().any(char::is_control) {
            self.fail(ResolveError::ControlCharacter { what, span: text.span });
        }
    }
}
