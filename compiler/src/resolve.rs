//! Names → what they stand for: (syntax tree, lock) → [`ResolvedPolicy`], or every error of this stage.
//!
//! Always: the destinations of a rule are sorted, disjoint address ranges with ports; a name without an
//! address is an error at its place; what a later edition will understand is refused by name, never
//! passed over. All errors leave together, in the order of the text.

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

/// What is resolved: the text of a policy, and what its names stood for.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The policy, as read.
    pub loaded: &'a Loaded,
    /// The name of the policy, where the text gives none.
    pub stem: &'a str,
    /// The text of its lock file; empty where there is none.
    pub lock_text: &'a str,
    /// The answers in it.
    pub lock: &'a Lock,
}

/// Resolves a policy. `stem` names it where the text does not.
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
    // What only a test names is nobody to the policy: it asks as a stranger does.
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
    // What an included file declares is there for several policies, of which each uses what it needs.
    let root = loaded.sources.files().first().map_or(0..usize::MAX, |file| file.span.start..file.span.end);
    for (name, span) in resolver.declared() {
        if root.contains(&span.start) && !used.contains(name) {
            resolver.fail(ResolveError::Unused { name: name.to_owned(), span });
        }
    }
    // A declaration that no rule uses is looked at all the same, so that one run tells everything.
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

/// The names of a lock of which something is known.
fn names_of(lock: &Lock, wanted: impl Fn(&LockedName) -> bool) -> BTreeSet<DnsName> {
    lock.names.iter().filter(|(_, locked)| wanted(locked)).map(|(name, _)| name.clone()).collect()
}

/// What is wrong with declarations alone, which other policies include: there is no rule, each may be unused, and the
/// addresses of names and lists are locked beside the policies.
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
    /// By the first place that each shows.
    errors: RefCell<BTreeMap<Option<usize>, Vec<ResolveError>>>,
    paths: RefCell<Vec<Program>>,
    path_numbers: RefCell<BTreeMap<String, ProgramIndex>>,
    names: RefCell<BTreeMap<DnsName, Vec<IpAddr>>>,
    name_uses: RefCell<Vec<NameUse>>,
    unspecified: RefCell<Vec<Unspecified>>,
    special: RefCell<Vec<SpecialAnswer>>,
    /// The names whose uses are noted.
    noted: BTreeSet<&'a DnsName>,
    // What a declaration stands for is worked out once: chains of sets would double with each link.
    known_programs: RefCell<BTreeMap<&'a str, BTreeSet<ProgramIndex>>>,
    known_hosts: RefCell<BTreeMap<&'a str, Vec<Destination>>>,
    cyclic: RefCell<BTreeSet<&'a str>>,
    everything: Vec<Destination>,
}

/// How many declarations may stand for each other in a row; bounds the recursion.
const MAX_DEPTH: usize = 32;

const BUILTIN: [&str; 6] = ["loopback", "link-local", "private", "multicast", "metadata", "raw"];

/// What people call every program.
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
        // A declaration that is used twice is wrong once, and is so at the same place.
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

    /// Goes into the declaration of `name`, unless that leads in a circle or too deep.
    fn enter(&self, name: &'a str, span: Span, within: &mut Vec<&'a str>) -> bool {
        if let Some(start) = within.iter().position(|outer| *outer == name) {
            let mut cyclic = self.cyclic.borrow_mut();
            // One circle is one error, wherever it was entered.
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
        // A name used on the wrong side is not unused as well.
        self.used.borrow_mut().insert(name.to_owned());
        self.fail(ResolveError::WrongKind { name: name.to_owned(), actual, expected, span, declared });
    }

    /// What answers show to people must not write lines of its own there.
    fn refuse_control_characters(&self, what: &'static str, text: &syntax::Quoted) {
        if text.node.chars().any(char::is_control) {
            self.fail(ResolveError::ControlCharacter { what, span: text.span });
        }
    }
}
