//! Names → their meaning: (syntax tree, lock) → [`ResolvedPolicy`], or every error of this stage.
//!
//! Always: the destinations of a rule are sorted, disjoint address ranges with ports. A name without an address is an
//! error at its place. A construct of a later edition is rejected by name, never skipped. All errors are reported
//! together, in the order of the text.

mod classes;
pub(crate) mod coverage;
mod destinations;
mod error;
mod name_use;
pub(crate) mod network_list;
pub(crate) mod program_path;
mod programs;
mod ranges;
#[cfg(test)]
mod tests;

use self::destinations::{everywhere, not_a_name};
pub use self::error::ResolveError;
pub use self::name_use::dns_names;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_bundle::names::build::Automaton;
use bfp_grammar::syntax::{self, Span, Spanned, Statement};
use miette::Diagnostic;

use crate::names::dns_name::DnsName;
use crate::names::lock::{Lock, LockedName, Stability};
use crate::policy::{
    Accepted, Default, Destination, Effect, Enforcement, Expectation, NameUse, PortRange, Program, ProgramIndex,
    ResolvedPolicy, Rule, SpecialAnswer, Test, Unspecified,
};
use crate::source::load::Loaded;

/// The input of resolving: the text of a policy, and the addresses of its names.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The policy, as read.
    pub loaded: &'a Loaded,
    /// The name of the policy, if the text gives none.
    pub stem: &'a str,
    /// The text of its lock file; empty where there is none.
    pub lock_text: &'a str,
    /// The answers in the lock file.
    pub lock: &'a Lock,
}

/// Resolves a policy. `stem` names it if the text does not.
///
/// # Errors
///
/// Every error of this stage, in the order of the text.
pub fn resolve(loaded: &Loaded, stem: &str, lock: &Lock) -> Result<ResolvedPolicy, Vec<ResolveError>> {
    let policy = &loaded.syntax;
    let mut resolver = Resolver::new(loaded, lock);
    let mut name: Option<&syntax::Name> = None;
    let mut default: Option<Spanned<syntax::Default>> = None;
    for Spanned { node, span } in &policy.statements {
        match node {
            Statement::Name(written) => match name {
                Some(first) => resolver.repeated("policy", first.span, written.span),
                None => name = Some(written),
            },
            Statement::Default(written) => match &default {
                Some(first) => resolver.repeated("default", first.span, *span),
                None => default = Some(Spanned { node: written.node, span: *span }),
            },
            Statement::Program(declaration) => resolver.declare_program(declaration),
            Statement::Host(declaration) => resolver.declare_host(declaration),
            // `load` has put the statements of the file in its place.
            Statement::Include(_) => {}
            Statement::Rule(_) | Statement::Test(_) | Statement::Accept(_) => {}
        }
    }
    let mut rules = Vec::new();
    for Spanned { node, span } in &policy.statements {
        if let Statement::Rule(rule) = node {
            resolver.rule(rule, *span, &mut rules);
        }
    }
    // A program that only a test names is unlisted for the policy.
    let ruled = resolver.paths.borrow().len();
    let (unspecified, special) = (resolver.unspecified.take(), resolver.special.take());
    let (mut tests, mut accepted) = (Vec::new(), Vec::new());
    for (index, Spanned { node, span }) in policy.statements.iter().enumerate() {
        match node {
            Statement::Test(test) => tests.push(resolver.test(test, *span)),
            Statement::Accept(accept) => {
                let file = |span: Span| loaded.sources.file_at(span.start);
                let mut behind = policy.statements.iter().skip(index + 1);
                let next = behind.find(|next| !matches!(next.node, Statement::Accept(_)));
                resolver.refuse_control_characters("a reason", &accept.reason);
                match next.filter(|next| file(next.span) == file(*span)) {
                    Some(next) => accepted.push(Accepted {
                        code: accept.code.node.clone(),
                        code_span: accept.code.span,
                        reason: accept.reason.node.clone(),
                        about: next.span,
                    }),
                    None => resolver.fail(ResolveError::NothingAccepted { span: *span }),
                }
            }
            _ => {}
        }
    }
    if !policy.statements.iter().any(|statement| matches!(statement.node, Statement::Rule(_))) {
        resolver.fail(ResolveError::Empty);
    }
    let used = resolver.used.take();
    // Included files declare names for several policies, and each policy uses only some.
    let root = loaded.sources.files().first().map_or(0..usize::MAX, |file| file.span.start..file.span.end);
    for (name, span) in resolver.declared() {
        if root.contains(&span.start) && !used.contains(name) {
            resolver.fail(ResolveError::Unused { name: name.to_owned(), span });
        }
    }
    // Unused declarations are resolved too, so that one run reports every error.
    for (&name, declaration) in &resolver.programs {
        resolver.programs(&declaration.programs, Some(name), &mut Vec::new());
    }
    resolver.hosts.values().for_each(|unused| drop(resolver.destinations(&unused.destinations, &mut Vec::new())));
    let errors = resolver.errors.take();
    if !errors.is_empty() {
        return Err(errors.into_values().flatten().collect());
    }
    let mut programs = resolver.paths.take();
    let strangers = programs.split_off(ruled);
    let unknown = strangers.iter().filter(|stranger| stranger.is_pattern());
    let unknown: Vec<ResolveError> = unknown
        .map(|stranger| ResolveError::PatternInTest { path: stranger.written.clone(), span: stranger.span })
        .collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut resolved = ResolvedPolicy {
        name: name.map_or_else(|| stem.to_owned(), |name| name.node.clone()),
        programs,
        strangers,
        declared_programs: {
            let declared = resolver.known_programs.take().into_iter();
            declared.map(|(name, programs)| (name.to_owned(), programs)).collect()
        },
        rules,
        default: match default {
            Some(Spanned { node: syntax::Default::Deny, span }) => Default::Deny(span),
            _ => Default::Allow,
        },
        names: resolver.names.take(),
        name_uses: resolver.name_uses.take(),
        unspecified,
        special,
        rotating: names_of(lock, |locked| locked.stability == Stability::Rotating),
        ipv4_only: names_of(lock, |locked| locked.ipv4_only.is_some()),
        tests,
        accepted,
        kinds: Vec::new(),
    };
    let sets = overlaps(&resolved.programs)?;
    let errors = classes::add(&mut resolved, &sets);
    if errors.is_empty() { Ok(resolved) } else { Err(errors) }
}

/// The names in a lock whose entry satisfies `wanted`.
fn names_of(lock: &Lock, wanted: impl Fn(&LockedName) -> bool) -> BTreeSet<DnsName> {
    lock.names.iter().filter(|(_, locked)| wanted(locked)).map(|(name, _)| name.clone()).collect()
}

/// Errors in a file of declarations alone, which policies include. It has no rules, declarations may be unused, and
/// addresses and lists are locked beside the policies.
pub fn faults_of_library(loaded: &Loaded) -> Vec<ResolveError> {
    let of_policies = |error: &ResolveError| {
        matches!(
            error,
            ResolveError::Empty
                | ResolveError::Unused { .. }
                | ResolveError::NotLocked { .. }
                | ResolveError::ListNotLocked { .. }
        )
    };
    let errors = resolve(loaded, "library", &Lock::default()).err().unwrap_or_default();
    errors.into_iter().filter(|error| !of_policies(error)).collect()
}

/// The sets of programs that one file can match at once.
fn overlaps(programs: &[Program]) -> Result<Vec<Vec<usize>>, Vec<ResolveError>> {
    let texts: Vec<&str> = programs.iter().map(|program| program.path.as_str()).collect();
    match Automaton::of(&texts) {
        Ok(automaton) => Ok(automaton.accepts().to_vec()),
        Err(error) => {
            let pattern = programs.iter().find(|program| program.is_pattern()).or(programs.first());
            let span = pattern.map_or_else(Span::default, |program| program.span);
            Err(vec![ResolveError::PatternCapacity { reason: error.to_string(), span }])
        }
    }
}

struct Resolver<'a> {
    loaded: &'a Loaded,
    lock: &'a Lock,
    programs: BTreeMap<&'a str, &'a syntax::ProgramDeclaration>,
    hosts: BTreeMap<&'a str, &'a syntax::HostDeclaration>,
    used: RefCell<BTreeSet<String>>,
    /// Errors by the first place that each labels.
    errors: RefCell<BTreeMap<Option<usize>, Vec<ResolveError>>>,
    paths: RefCell<Vec<Program>>,
    path_numbers: RefCell<BTreeMap<String, ProgramIndex>>,
    names: RefCell<BTreeMap<DnsName, Vec<IpAddr>>>,
    name_uses: RefCell<Vec<NameUse>>,
    unspecified: RefCell<Vec<Unspecified>>,
    special: RefCell<Vec<SpecialAnswer>>,
    /// The names whose uses are recorded.
    noted: BTreeSet<&'a DnsName>,
    // The meaning of a declaration is computed once: otherwise chains of sets would double with each link.
    known_programs: RefCell<BTreeMap<&'a str, BTreeSet<ProgramIndex>>>,
    known_hosts: RefCell<BTreeMap<&'a str, Vec<Destination>>>,
    cyclic: RefCell<BTreeSet<&'a str>>,
    everything: Vec<Destination>,
}

/// The longest chain of declarations; bounds the recursion.
const MAX_DEPTH: usize = 32;

const BUILTIN: [&str; 6] = ["loopback", "link-local", "private", "multicast", "metadata", "raw"];

/// Words that authors try in place of `*`.
const EVERYBODY: [&str; 7] = ["all", "any", "anybody", "anyone", "everybody", "everyone", "everything"];

impl<'a> Resolver<'a> {
    fn new(loaded: &'a Loaded, lock: &'a Lock) -> Resolver<'a> {
        Resolver {
            loaded,
            lock,
            programs: BTreeMap::new(),
            hosts: BTreeMap::new(),
            used: RefCell::default(),
            errors: RefCell::default(),
            paths: RefCell::default(),
            path_numbers: RefCell::default(),
            names: RefCell::default(),
            name_uses: RefCell::default(),
            unspecified: RefCell::default(),
            special: RefCell::default(),
            noted: name_use::noted(lock),
            known_programs: RefCell::default(),
            known_hosts: RefCell::default(),
            cyclic: RefCell::default(),
            everything: coverage::union(&everywhere(ranges::everything(), &PortRange::all())),
        }
    }

    fn fail(&self, error: ResolveError) {
        // A declaration that is used twice has the same errors twice, at the same place.
        let place = error.labels().and_then(|mut labels| labels.next()).map(|first| first.offset());
        let mut errors = self.errors.borrow_mut();
        let at_place = errors.entry(place).or_default();
        if !at_place.contains(&error) {
            at_place.push(error);
        }
    }

    fn repeated(&self, statement: &'static str, first: Span, second: Span) {
        self.fail(ResolveError::Repeated { statement, first, second });
    }

    fn declared(&self) -> Vec<(&'a str, Span)> {
        let programs = self.programs.iter().map(|(name, declaration)| (*name, declaration.name.span));
        let mut all: Vec<_> =
            programs.chain(self.hosts.iter().map(|(name, declaration)| (*name, declaration.name.span))).collect();
        all.sort_by_key(|(_, span)| *span);
        all
    }

    fn check_declared(&self, name: &syntax::Name) -> bool {
        let written = name.node.as_str();
        let program = self.programs.get(written).map(|declaration| declaration.name.span);
        if let Some(first) = program.or_else(|| self.hosts.get(written).map(|declaration| declaration.name.span)) {
            self.fail(ResolveError::DuplicateName { name: name.node.clone(), first, second: name.span });
        } else if BUILTIN.contains(&name.node.as_str()) {
            self.fail(ResolveError::Builtin { name: name.node.clone(), span: name.span });
        } else {
            return true;
        }
        false
    }

    fn declare_program(&mut self, declaration: &'a syntax::ProgramDeclaration) {
        if self.check_declared(&declaration.name) {
            self.programs.insert(&declaration.name.node, declaration);
        }
    }

    fn declare_host(&mut self, declaration: &'a syntax::HostDeclaration) {
        if self.check_declared(&declaration.name) {
            self.hosts.insert(&declaration.name.node, declaration);
        }
    }

    fn rule(&self, rule: &'a syntax::Rule, span: Span, rules: &mut Vec<Rule>) {
        let enforcement = match rule.audit {
            Some(span) if rule.effect.node == syntax::Effect::Allow => {
                self.fail(ResolveError::AuditAllow { span });
                Enforcement::Audited
            }
            Some(_) => Enforcement::Audited,
            None => Enforcement::Enforced,
        };
        let subjects = self.subjects(&rule.programs);
        let destinations = coverage::union(&self.destinations(&rule.destinations, &mut Vec::new()));
        let effects: &[Effect] = match rule.effect.node {
            syntax::Effect::Exclusive => &[Effect::Exclusive],
            syntax::Effect::Confined => &[Effect::Confined],
            syntax::Effect::ExclusiveAndConfined => &[Effect::Exclusive, Effect::Confined],
            syntax::Effect::Deny => &[Effect::Deny],
            syntax::Effect::Allow => &[Effect::Allow],
        };
        let names = name_use::names(&rule.destinations, &self.hosts, &self.noted);
        for &effect in effects {
            let number = rules.len();
            self.name_uses.borrow_mut().extend(names.iter().map(|found| NameUse {
                name: found.name.clone(),
                span: found.span,
                rule: number,
                part: found.part,
            }));
            rules.push(Rule {
                effect,
                enforcement,
                subjects: subjects.clone(),
                destinations: destinations.clone(),
                covers_everything: destinations == *self.everything,
                span,
                subjects_span: rule.programs.span,
                destinations_span: rule.destinations.span,
            });
        }
    }

    fn test(&self, test: &'a syntax::Test, span: Span) -> Test {
        let expectation = |Spanned { node, span }: &'a Spanned<syntax::Expectation>| Expectation {
            subjects: self.subjects(&node.programs),
            destinations: coverage::union(&self.destinations(&node.destinations, &mut Vec::new())),
            expected: node.expected.node,
            span: *span,
        };
        self.refuse_control_characters("the name of a test", &test.name);
        if test.expectations.is_empty() {
            self.fail(ResolveError::EmptyTest { span: test.name.span });
        }
        Test { name: test.name.node.clone(), span, expectations: test.expectations.iter().map(expectation).collect() }
    }

    fn check_not_empty<T>(&self, elements: &[T], span: Span) {
        if elements.is_empty() {
            self.fail(ResolveError::EmptySet { span });
        }
    }

    /// Enters the declaration of `name`, unless that forms a cycle or nests too deep.
    fn enter(&self, name: &'a str, span: Span, within: &mut Vec<&'a str>) -> bool {
        if let Some(start) = within.iter().position(|outer| *outer == name) {
            let mut cyclic = self.cyclic.borrow_mut();
            // One cycle is one error, wherever it was entered.
            if !cyclic.contains(name) {
                cyclic.extend(within.iter().skip(start));
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

    fn wrong_kind(&self, name: &str, actual: &'static str, expected: &'static str, span: Span, declared: Option<Span>) {
        // A name that is used on the wrong side is not reported as unused as well.
        self.used.borrow_mut().insert(name.to_owned());
        self.fail(ResolveError::WrongKind { name: name.to_owned(), actual, expected, span, declared });
    }

    /// Answers show these texts, which must not be able to add lines of their own.
    fn refuse_control_characters(&self, what: &'static str, text: &syntax::Quoted) {
        if text.node.chars().any(char::is_control) {
            self.fail(ResolveError::ControlCharacter { what, span: text.span });
        }
    }
}
