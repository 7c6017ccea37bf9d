//! Names → what they stand for: (syntax tree, lock) → [`ResolvedPolicy`], or every error of this stage.
//!
//! Always: the destinations of a rule are sorted, disjoint address ranges with ports; a name without an
//! address is an error at its place; what a later edition will understand is refused by name, never
//! passed over. All errors leave together, in the order of the text.

mod classes;
pub(crate) mod coverage;
mod error;
mod name_use;
pub(crate) mod network_list;
pub(crate) mod program_path;
mod ranges;
#[cfg(test)]
mod tests;

pub use self::error::ResolveError;
pub use self::name_use::dns_names;
use self::network_list::ListFault;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_bundle::image::Library;
use bfp_bundle::names::build::Automaton;
use bfp_grammar::syntax::{self, Destinations, Host, Programs, Span, Spanned, Statement};
use miette::Diagnostic;

use crate::dns_name::{DnsName, NameError};
use crate::load::Loaded;
use crate::lock::{Lock, LockedName, Stability};
use crate::nearest::did_you_mean;
use crate::policy::{
    Accepted, Addresses, Default, Destination, Effect, Enforcement, Expectation, NameUse, PortRange, Program,
    ProgramIndex, ResolvedPolicy, Rule, SpecialAnswer, Subjects, Test, Unspecified,
};

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
    for (name, span) in resolver.declared() {
        if !used.contains(name) {
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

/// What a program's file is pinned to, and what it may map.
struct Content {
    pins: Vec<[u8; 32]>,
    libraries: Option<Vec<Library>>,
}

/// How many declarations may stand for each other in a row; bounds the recursion.
const MAX_DEPTH: usize = 32;

const BUILTIN: [&str; 6] = ["loopback", "link-local", "private", "multicast", "metadata", "raw"];

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

    fn subjects(&self, programs: &'a Spanned<Programs>) -> Subjects {
        if let Programs::Any = programs.node {
            return Subjects::Everyone;
        }
        Subjects::Programs(self.programs(programs, None, &mut Vec::new()).into_iter().collect())
    }

    fn programs(
        &self,
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
                let declaration = declared.and_then(|name| self.programs.get(name));
                if let Some(heirs) = declaration.and_then(|declaration| declaration.with_children) {
                    self.fail(ResolveError::HeirsOfName { name: name.clone(), span: programs.span, heirs });
                }
                self.named_programs(name, programs.span, within)
            }
            Programs::Path { path, verity, libraries } => {
                let content = Content { pins: self.pins(verity), libraries: self.libraries(libraries.as_ref()) };
                if let Some(libraries) = libraries.as_ref().filter(|_| verity.is_empty()) {
                    self.fail(ResolveError::LibrariesOfUnpinned {
                        path: path.node.clone(),
                        span: path.span,
                        libraries: libraries.span,
                    });
                }
                self.program(path, declared, content).into_iter().collect()
            }
        }
    }

    fn named_programs(&self, written: &'a str, span: Span, within: &mut Vec<&'a str>) -> BTreeSet<ProgramIndex> {
        let Some((&name, declaration)) = self.programs.get_key_value(written) else {
            self.unknown_program(written, span);
            return BTreeSet::new();
        };
        self.used.borrow_mut().insert(name.to_owned());
        if let Some(known) = self.known_programs.borrow().get(name) {
            return known.clone();
        }
        if !self.enter(name, span, within) {
            return BTreeSet::new();
        }
        let found = self.programs(&declaration.programs, Some(name), within);
        within.pop();
        self.known_programs.borrow_mut().insert(name, found.clone());
        found
    }

    fn pins(&self, verity: &[Spanned<syntax::Verity>]) -> Vec<[u8; 32]> {
        let pins = verity.iter().filter_map(|pin| match &pin.node {
            syntax::Verity::Sha256(digest) => Some(*digest),
            syntax::Verity::File(file) => self.loaded.digests.get(&file.span).copied(),
        });
        let mut pins: Vec<[u8; 32]> = pins.collect();
        pins.sort_unstable();
        pins.dedup();
        pins
    }

    fn libraries(&self, written: Option<&Spanned<Vec<Spanned<syntax::Library>>>>) -> Option<Vec<Library>> {
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

    fn program(&self, path: &syntax::Quoted, declared: Option<&str>, content: Content) -> Option<ProgramIndex> {
        if let Some(error) = program_path::fault(path) {
            self.fail(error);
            return None;
        }
        let declaration = declared.and_then(|name| self.programs.get(name));
        let with_children = declaration.is_some_and(|declaration| declaration.with_children.is_some());
        let mut paths = self.paths.borrow_mut();
        let next = ProgramIndex(paths.len());
        let known = program_path::canonical(&path.node);
        let index = *self.path_numbers.borrow_mut().entry(known.clone()).or_insert(next);
        match paths.get(index.0) {
            // One file is one program: its grants cannot depend on the name by which a rule calls it.
            Some(known)
                if known.pins != content.pins
                    || known.libraries != content.libraries
                    || known.with_children != with_children =>
            {
                self.fail(ResolveError::TwoIdentities {
                    path: path.node.clone(),
                    first: known.span,
                    second: path.span,
                });
            }
            Some(_) => {}
            None => {
                let name = declared.unwrap_or(&path.node).to_owned();
                let Content { pins, libraries } = content;
                paths.push(Program {
                    path: known,
                    written: path.node.clone(),
                    name,
                    span: path.span,
                    pins,
                    libraries,
                    with_children,
                    members: Vec::new(),
                });
            }
        }
        Some(index)
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

    fn destinations(&self, destinations: &'a Spanned<Destinations>, within: &mut Vec<&'a str>) -> Vec<Destination> {
        match &destinations.node {
            Destinations::Any => self.everything.clone(),
            Destinations::Ranges { file, filters, ports } => {
                let ports = ports.as_ref().map_or_else(PortRange::all, |ports| ranges::ports(&ports.node));
                everywhere(self.listed(file, filters), &ports)
            }
            Destinations::Set(elements) => {
                self.check_not_empty(elements, destinations.span);
                let all: Vec<_> = elements.iter().flat_map(|element| self.destinations(element, within)).collect();
                coverage::union(&all)
            }
            Destinations::Except { base, removed } => {
                let (base, removed) = (self.destinations(base, within), self.destinations(removed, within));
                let complete = !base.is_empty() && !removed.is_empty();
                let left = coverage::without(&base, &removed);
                if complete && left.is_empty() {
                    self.fail(ResolveError::NothingLeft { span: destinations.span });
                }
                left
            }
            Destinations::Endpoint { host, ports } => {
                let ports = ports.as_ref().map_or_else(PortRange::all, |ports| ranges::ports(&ports.node));
                everywhere(self.host(host), &ports)
            }
            Destinations::Named { name, ports } => self.named(name, ports.as_ref(), within),
        }
    }

    fn named(
        &self,
        name: &'a syntax::Name,
        ports: Option<&Spanned<syntax::Ports>>,
        within: &mut Vec<&'a str>,
    ) -> Vec<Destination> {
        let written = name.node.as_str();
        if written == "raw" {
            if let Some(ports) = ports {
                let help = "write `raw`: it stands for every raw and packet socket".to_owned();
                self.fail(ResolveError::RawPorts { help, span: ports.span });
            }
            return vec![Destination { addresses: Addresses::Raw, ports: PortRange::all() }];
        }
        let narrowed = ports.map(|ports| (ranges::ports(&ports.node), ports.span));
        if let Some(addresses) = ranges::builtin(written) {
            let ports = narrowed.map_or_else(PortRange::all, |(ranges, _)| ranges);
            return addresses.into_iter().map(|addresses| Destination { addresses, ports: ports.clone() }).collect();
        }
        let Some((&declared, declaration)) = self.hosts.get_key_value(written) else {
            self.unknown_host(written, name.span);
            return Vec::new();
        };
        let mut found = self.declared_host(declared, declaration, name.span, within);
        if let Some((ranges, span)) = narrowed {
            if found.iter().any(|destination| destination.ports != PortRange::all()) {
                let declared = declaration.destinations.span;
                self.fail(ResolveError::PortsTwice { name: written.to_owned(), declared, span });
            }
            // Narrowed, it would still be every raw socket.
            if found.iter().any(|destination| destination.addresses == Addresses::Raw) {
                let help = format!("`{written}` holds `raw`: leave it out there, or the ports and the protocol here");
                self.fail(ResolveError::RawPorts { help, span });
            }
            found.iter_mut().for_each(|destination| destination.ports.clone_from(&ranges));
        }
        found
    }

    fn declared_host(
        &self,
        name: &'a str,
        declaration: &'a syntax::HostDeclaration,
        span: Span,
        within: &mut Vec<&'a str>,
    ) -> Vec<Destination> {
        self.used.borrow_mut().insert(name.to_owned());
        if let Some(known) = self.known_hosts.borrow().get(name) {
            return known.clone();
        }
        if !self.enter(name, span, within) {
            return Vec::new();
        }
        let found = self.destinations(&declaration.destinations, within);
        within.pop();
        self.known_hosts.borrow_mut().insert(name, found.clone());
        found
    }

    fn unknown_program(&self, name: &str, span: Span) {
        let declared = self.hosts.get(name).map(|declaration| declaration.name.span);
        if declared.is_some() || BUILTIN.contains(&name) {
            return self.wrong_kind(name, "host", "program", span, declared);
        }
        let near = did_you_mean(name, self.programs.keys().copied())
            .or_else(|| EVERYBODY.contains(&name).then(|| "write `*` for every program".to_owned()));
        let help = near.unwrap_or_else(|| format!("declare it: `program {name} = \"/usr/bin/{name}\"`"));
        self.fail(ResolveError::UnknownName { kind: "program", name: name.to_owned(), help, span });
    }

    fn unknown_host(&self, name: &str, span: Span) {
        if let Some(program) = self.programs.get(name) {
            return self.wrong_kind(name, "program", "host", span, Some(program.name.span));
        }
        let near = did_you_mean(name, self.hosts.keys().copied().chain(BUILTIN));
        let help = near.or_else(|| what_is_called_otherwise(name)).unwrap_or_else(|| {
            format!("declare it: `host {name} = {name}.example.com:443`, or quote it if it is a DNS name")
        });
        self.fail(ResolveError::UnknownName { kind: "host", name: name.to_owned(), help, span });
    }

    fn wrong_kind(&self, name: &str, actual: &'static str, expected: &'static str, span: Span, declared: Option<Span>) {
        // A name used on the wrong side is not unused as well.
        self.used.borrow_mut().insert(name.to_owned());
        self.fail(ResolveError::WrongKind { name: name.to_owned(), actual, expected, span, declared });
    }

    fn host(&self, host: &Spanned<Host>) -> Vec<Addresses> {
        match &host.node {
            Host::V4(address, length) => {
                let (network, range) = ranges::v4(address.to_bits(), *length);
                if network != address.to_bits() {
                    let right = format!("{}/{length}", std::net::Ipv4Addr::from_bits(network));
                    self.host_bits(format!("{address}/{length}"), format!("{right}` or `{address}"), host.span);
                }
                self.note_unspecified(&[range], None, host.span);
                vec![range]
            }
            Host::V6(address, length) => {
                let (network, range) = ranges::v6(address.to_bits(), *length);
                if network != address.to_bits() {
                    let right = format!("[{}/{length}]", std::net::Ipv6Addr::from_bits(network));
                    self.host_bits(format!("[{address}/{length}]"), format!("{right}` or `[{address}]"), host.span);
                }
                let found = ranges::unmapped(range);
                self.note_unspecified(&found, None, host.span);
                found
            }
            Host::V4Range(first, last) => {
                let range = Addresses::V4(first.to_bits(), last.to_bits());
                self.note_unspecified(&[range], None, host.span);
                vec![range]
            }
            Host::V6Range(first, last) => {
                let found = ranges::unmapped(Addresses::V6(first.to_bits(), last.to_bits()));
                self.note_unspecified(&found, None, host.span);
                found
            }
            Host::Dns(written) => {
                let name = match DnsName::parse(written) {
                    Ok(name) => name,
                    Err(reason) => {
                        self.fail(not_a_name(reason, host.span));
                        return Vec::new();
                    }
                };
                let Some(locked) = self.lock.names.get(&name).filter(|locked| !locked.addresses.is_empty()) else {
                    self.fail(ResolveError::NotLocked { name, span: host.span });
                    return Vec::new();
                };
                let found = locked.addresses.iter().flat_map(|address| match address {
                    IpAddr::V4(address) => vec![ranges::v4(address.to_bits(), 32).1],
                    IpAddr::V6(address) => ranges::unmapped(ranges::v6(address.to_bits(), 128).1),
                });
                let found: Vec<Addresses> = found.collect();
                self.note_unspecified(&found, Some(format!("the lock's answer for `{name}`")), host.span);
                // Of several, the first is told.
                let special = locked.addresses.iter().find_map(|address| {
                    let (name, kind) = (name.clone(), ranges::special(*address)?);
                    Some(SpecialAnswer { name, address: *address, kind, span: host.span })
                });
                self.special.borrow_mut().extend(special);
                self.names.borrow_mut().insert(name, locked.addresses.iter().copied().collect());
                found
            }
        }
    }

    /// The networks of a list, by its filters.
    fn listed(&self, file: &'a syntax::Quoted, filters: &'a [(syntax::Name, syntax::Quoted)]) -> Vec<Addresses> {
        let Some(list) = self.loaded.lists.get(&file.span) else { return Vec::new() };
        let wanted: Vec<(&str, &str)> =
            filters.iter().map(|(key, value)| (key.node.as_str(), value.node.as_str())).collect();
        match network_list::networks(&list.text, &wanted) {
            Ok(networks) => {
                match self.lock.files.get(&list.name) {
                    Some(locked) if *locked == list.sha256() => {}
                    Some(_) => self.fail(ResolveError::ListChanged { name: list.name.clone(), span: file.span }),
                    None => self.fail(ResolveError::ListNotLocked { name: list.name.clone(), span: file.span }),
                }
                let found: Vec<Addresses> = networks.into_iter().flat_map(ranges::of_network).collect();
                self.note_unspecified(&found, Some(format!("the list `{}`", list.name)), file.span);
                found
            }
            Err(fault) => {
                let at = |index: usize, value: bool| match filters.get(index) {
                    Some((_, of)) if value => of.span,
                    Some((key, _)) => key.span,
                    None => file.span,
                };
                let span = match &fault {
                    ListFault::UnknownKey { filter, .. } => at(*filter, false),
                    ListFault::UnknownValue { filter, .. } => at(*filter, true),
                    _ => file.span,
                };
                let help = fault.help();
                self.fail(ResolveError::List { name: list.name.clone(), fault, help, span });
                Vec::new()
            }
        }
    }

    /// What answers show to people must not write lines of its own there.
    fn refuse_control_characters(&self, what: &'static str, text: &syntax::Quoted) {
        if text.node.chars().any(char::is_control) {
            self.fail(ResolveError::ControlCharacter { what, span: text.span });
        }
    }

    /// Remembers where the unspecified address is named: requests to it are judged as loopback, so that what names it
    /// names nothing.
    fn note_unspecified(&self, ranges: &[Addresses], holder: Option<String>, span: Span) {
        for range in ranges {
            let address = match range {
                Addresses::V4(0, 0) => "0.0.0.0",
                Addresses::V6(0, 0) => "[::]",
                _ => continue,
            };
            self.unspecified.borrow_mut().push(Unspecified { address, holder: holder.clone(), span });
        }
    }

    fn host_bits(&self, written: String, right: String, span: Span) {
        self.fail(ResolveError::HostBits { written, help: format!("write `{right}`"), span });
    }
}

fn everywhere(ranges: Vec<Addresses>, ports: &[PortRange]) -> Vec<Destination> {
    ranges.into_iter().map(|addresses| Destination { addresses, ports: ports.to_vec() }).collect()
}

/// What people call every program.
const EVERYBODY: [&str; 7] = ["all", "any", "anybody", "anyone", "everybody", "everyone", "everything"];

/// Destinations that have another name here than elsewhere.
fn what_is_called_otherwise(name: &str) -> Option<String> {
    match name {
        "localhost" | "localnet" | "lo" => Some("write `loopback` for 127.0.0.0/8 and ::1".to_owned()),
        "internet" | "world" | "anywhere" | "everywhere" => Some("write `*` for every destination".to_owned()),
        name if EVERYBODY.contains(&name) => Some("write `*` for every destination".to_owned()),
        "imds" => Some("write `metadata` for the addresses of the clouds' metadata services".to_owned()),
        _ => None,
    }
}

fn not_a_name(reason: NameError, span: Span) -> ResolveError {
    let help = reason.help().map_or_else(String::new, |help| help.to_string());
    ResolveError::Name { reason, help, span }
}
