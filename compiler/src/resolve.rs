//! Names → what they stand for: (syntax tree, lock) → [`ResolvedPolicy`], or every error of this stage.
//!
//! Always: a destination is a list of disjoint address ranges with ports; a name without an address is
//! an error at its place; what a later edition will understand is refused by name, never passed over.

mod ranges;

pub(crate) use self::ranges::subtract;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_bundle::request::Protocol;
use bfp_grammar::syntax::{self, Destinations, Host, Programs, Span, Spanned, Statement};

use crate::dns_name::{DnsName, NameError};
use crate::lock::Lock;
use crate::policy::{
    Addresses, Default, Destination, Effect, PortRange, Program, ProgramIndex, ResolvedPolicy, Rule, Subjects,
};

/// What is wrong with the names and literals of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ResolveError {
    /// Part of the language that this release cannot enforce.
    #[error("{feature} is not yet supported")]
    #[diagnostic(code(resolve::not_yet_supported), help("leave it out: nothing weaker is put in its place"))]
    NotYetSupported {
        /// What was written.
        feature: &'static str,
        /// Where.
        #[label("not yet supported")]
        span: Span,
    },
    /// No such declaration.
    #[error("no {kind} is called `{name}`")]
    #[diagnostic(code(resolve::unknown_name))]
    UnknownName {
        /// Program or host.
        kind: &'static str,
        /// What was written.
        name: String,
        /// What may have been meant.
        #[help]
        help: String,
        /// Where.
        #[label("not declared")]
        span: Span,
    },
    /// A name declared twice.
    #[error("`{name}` is declared twice")]
    #[diagnostic(code(resolve::duplicate_name), help("rename one of the two"))]
    DuplicateName {
        /// Which.
        name: String,
        /// The first declaration.
        #[label("first declared here")]
        first: Span,
        /// The second declaration.
        #[label("and again here")]
        second: Span,
    },
    /// A statement that may stand once.
    #[error("`{statement}` stands twice")]
    #[diagnostic(code(resolve::repeated_statement), help("keep one of the two"))]
    Repeated {
        /// Which.
        statement: &'static str,
        /// The first one.
        #[label("first here")]
        first: Span,
        /// The second one.
        #[label("and again here")]
        second: Span,
    },
    /// A declaration under a built-in name.
    #[error("`{name}` is a built-in host")]
    #[diagnostic(code(resolve::builtin_name), help("choose another name"))]
    Builtin {
        /// Which.
        name: String,
        /// Where.
        #[label("already has a meaning")]
        span: Span,
    },
    /// A declaration that nothing uses.
    #[error("`{name}` is declared and never used")]
    #[diagnostic(code(resolve::unused_name), help("use it in a rule, or remove it"))]
    Unused {
        /// Which.
        name: String,
        /// Where.
        #[label("never used")]
        span: Span,
    },
    /// Declarations that stand for each other.
    #[error("`{name}` stands for itself")]
    #[diagnostic(code(resolve::cycle), help("replace one of the names by what it should stand for"))]
    Cycle {
        /// Which.
        name: String,
        /// Where.
        #[label("leads back here")]
        span: Span,
    },
    /// Nothing is left.
    #[error("this destination is empty: `except` removes all of it")]
    #[diagnostic(code(resolve::nothing_left), help("remove less, or remove the rule"))]
    NothingLeft {
        /// Where.
        #[label("nothing is left")]
        span: Span,
    },
    /// An address where a network was meant, or the other way round.
    #[error("`{written}` has host bits set")]
    #[diagnostic(code(resolve::host_bits))]
    HostBits {
        /// What was written.
        written: String,
        /// What may have been meant.
        #[help]
        help: String,
        /// Where.
        #[label("not a network")]
        span: Span,
    },
    /// A path that is no identity.
    #[error("`{path}` is not the path of a program")]
    #[diagnostic(
        code(resolve::path),
        help("write the absolute path of a file, without `.`, `..`, or a slash at its end")
    )]
    Path {
        /// What was written.
        path: String,
        /// Where.
        #[label("not an absolute path")]
        span: Span,
    },
    /// Ports given twice.
    #[error("`{name}` has its ports already")]
    #[diagnostic(code(resolve::ports_twice), help("leave the ports out here, or in the declaration of the host"))]
    PortsTwice {
        /// The host.
        name: String,
        /// Where.
        #[label("ports given again")]
        span: Span,
    },
    /// A DNS name that cannot be one.
    #[error("{reason}")]
    #[diagnostic(code(resolve::dns_name), help("write a fully qualified name, such as `kms.internal`"))]
    Name {
        /// Why not.
        reason: NameError,
        /// Where.
        #[label("not a DNS name")]
        span: Span,
    },
    /// A DNS name that the lock does not know.
    #[error("`{name}` is not in the lock file")]
    #[diagnostic(code(resolve::not_locked), help("run `bfpc lock` on this policy, and review what it writes"))]
    NotLocked {
        /// Which.
        name: DnsName,
        /// Where.
        #[label("has no address yet")]
        span: Span,
    },
    /// Nothing to enforce.
    #[error("the policy has no rule")]
    #[diagnostic(
        code(resolve::empty_policy),
        help("write one, such as `only \"/usr/bin/signer\" -> kms.internal:443`")
    )]
    Empty,
}

/// Every DNS name that a policy uses.
pub fn dns_names(policy: &syntax::Policy) -> Result<BTreeSet<DnsName>, Vec<ResolveError>> {
    let (mut names, mut errors) = (BTreeSet::new(), Vec::new());
    for statement in &policy.statements {
        let destinations = match &statement.node {
            Statement::Host(declaration) => &declaration.destinations,
            Statement::Rule(rule) => &rule.destinations,
            _ => continue,
        };
        collect_names(destinations, &mut |name, span| match DnsName::parse(name) {
            Ok(name) => drop(names.insert(name)),
            Err(reason) => errors.push(ResolveError::Name { reason, span }),
        });
    }
    if errors.is_empty() { Ok(names) } else { Err(errors) }
}

fn collect_names(destinations: &Spanned<Destinations>, found: &mut dyn FnMut(&str, Span)) {
    match &destinations.node {
        Destinations::Endpoint { host: Spanned { node: Host::Dns(name), span }, .. } => found(name, *span),
        Destinations::Set(elements) => elements.iter().for_each(|element| collect_names(element, found)),
        Destinations::Except { base, removed } => {
            collect_names(base, found);
            collect_names(removed, found);
        }
        _ => {}
    }
}

/// Resolves a policy. `stem` names it where the text does not.
pub fn resolve(policy: &syntax::Policy, stem: &str, lock: &Lock) -> Result<ResolvedPolicy, Vec<ResolveError>> {
    let mut resolver = Resolver::new(lock);
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
            Statement::Include(_) => resolver.unsupported("`include`", *span),
            Statement::Test(_) => resolver.unsupported("a `test` block", *span),
            Statement::Rule(_) => {}
        }
    }
    let mut rules = Vec::new();
    for Spanned { node, span } in &policy.statements {
        if let Statement::Rule(rule) = node {
            resolver.rule(rule, *span, &mut rules);
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
    let errors = resolver.errors.take();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(ResolvedPolicy {
        name: name.map_or_else(|| stem.to_owned(), |name| name.node.clone()),
        programs: resolver.paths.take(),
        rules,
        default: match default {
            Some(Spanned { node: syntax::Default::Deny, span }) => Default::Deny(span),
            _ => Default::Allow,
        },
        names: resolver.names.take(),
    })
}

struct Resolver<'a> {
    lock: &'a Lock,
    programs: BTreeMap<&'a str, &'a syntax::ProgramDeclaration>,
    hosts: BTreeMap<&'a str, &'a syntax::HostDeclaration>,
    used: RefCell<BTreeSet<String>>,
    errors: RefCell<Vec<ResolveError>>,
    paths: RefCell<Vec<Program>>,
    names: RefCell<BTreeMap<DnsName, Vec<IpAddr>>>,
}

const BUILTIN: [&str; 6] = ["loopback", "link-local", "private", "multicast", "metadata", "raw"];

impl<'a> Resolver<'a> {
    fn new(lock: &'a Lock) -> Resolver<'a> {
        Resolver {
            lock,
            programs: BTreeMap::new(),
            hosts: BTreeMap::new(),
            used: RefCell::default(),
            errors: RefCell::default(),
            paths: RefCell::default(),
            names: RefCell::default(),
        }
    }

    fn fail(&self, error: ResolveError) {
        let mut errors = self.errors.borrow_mut();
        // A declaration that is used twice is wrong once.
        if !errors.contains(&error) {
            errors.push(error);
        }
    }

    fn unsupported(&self, feature: &'static str, span: Span) {
        self.fail(ResolveError::NotYetSupported { feature, span });
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
        let earlier = self.declared().into_iter().find(|(declared, _)| *declared == name.node);
        if let Some((_, first)) = earlier {
            self.fail(ResolveError::DuplicateName { name: name.node.clone(), first, second: name.span });
        } else if BUILTIN.contains(&name.node.as_str()) {
            self.fail(ResolveError::Builtin { name: name.node.clone(), span: name.span });
        } else {
            return true;
        }
        false
    }

    fn declare_program(&mut self, declaration: &'a syntax::ProgramDeclaration) {
        if let Some(span) = declaration.with_children {
            self.unsupported("`with children`", span);
        }
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
        if let Some(span) = rule.audit {
            self.unsupported("`audit`", span);
        }
        let subjects = self.subjects(&rule.programs);
        let destinations = self.destinations(&rule.destinations, &mut Vec::new());
        let effects: &[Effect] = match rule.effect.node {
            syntax::Effect::Exclusive => &[Effect::Exclusive],
            syntax::Effect::Confined => &[Effect::Confined],
            syntax::Effect::ExclusiveAndConfined => &[Effect::Exclusive, Effect::Confined],
            syntax::Effect::Deny => &[Effect::Deny],
            syntax::Effect::Allow => &[Effect::Allow],
        };
        for &effect in effects {
            rules.push(Rule {
                effect,
                subjects: subjects.clone(),
                destinations: destinations.clone(),
                covers_everything: matches!(rule.destinations.node, Destinations::Any),
                span,
                subjects_span: rule.programs.span,
                destinations_span: rule.destinations.span,
            });
        }
    }

    fn subjects(&self, programs: &'a Spanned<Programs>) -> Subjects {
        if let Programs::Any = programs.node {
            return Subjects::Everyone;
        }
        let mut found = BTreeSet::new();
        self.programs(programs, None, &mut Vec::new(), &mut found);
        Subjects::Programs(found.into_iter().collect())
    }

    fn programs(
        &self,
        programs: &'a Spanned<Programs>,
        declared: Option<&'a str>,
        within: &mut Vec<&'a str>,
        found: &mut BTreeSet<ProgramIndex>,
    ) {
        match &programs.node {
            Programs::Any => self.unsupported("`*` within a set or a declaration", programs.span),
            Programs::Set(elements) => {
                elements.iter().for_each(|element| self.programs(element, declared, within, found));
            }
            Programs::Named(name) => {
                let Some((&name, declaration)) = self.programs.get_key_value(name.as_str()) else {
                    return self.unknown("program", name, programs.span, self.programs.keys().copied().collect());
                };
                self.used.borrow_mut().insert(name.to_owned());
                if within.contains(&name) {
                    return self.fail(ResolveError::Cycle { name: name.to_owned(), span: programs.span });
                }
                within.push(name);
                self.programs(&declaration.programs, Some(name), within, found);
                within.pop();
            }
            Programs::Path { path, verity } => {
                if let Some(pin) = verity.first() {
                    self.unsupported("`verity`", pin.span);
                }
                if !is_program_path(&path.node) {
                    return self.fail(ResolveError::Path { path: path.node.clone(), span: path.span });
                }
                let mut paths = self.paths.borrow_mut();
                let index = paths.iter().position(|program| program.path == path.node).unwrap_or_else(|| {
                    let name = declared.unwrap_or(&path.node).to_owned();
                    paths.push(Program { path: path.node.clone(), name, span: path.span });
                    paths.len() - 1
                });
                found.insert(ProgramIndex(index));
            }
        }
    }

    fn destinations(&self, destinations: &'a Spanned<Destinations>, within: &mut Vec<&'a str>) -> Vec<Destination> {
        let everywhere = |ranges: Vec<Addresses>, ports: Vec<PortRange>| -> Vec<Destination> {
            ranges.into_iter().map(|addresses| Destination { addresses, ports: ports.clone() }).collect()
        };
        match &destinations.node {
            Destinations::Any => everywhere(ranges::everything(), PortRange::all()),
            Destinations::Ranges { .. } => {
                self.unsupported("`ranges`", destinations.span);
                Vec::new()
            }
            Destinations::Set(elements) => {
                elements.iter().flat_map(|element| self.destinations(element, within)).collect()
            }
            Destinations::Except { base, removed } => {
                let (base, removed) = (self.destinations(base, within), self.destinations(removed, within));
                let complete = !base.is_empty() && !removed.is_empty();
                let left = subtract(base, &removed);
                if complete && left.is_empty() {
                    self.fail(ResolveError::NothingLeft { span: destinations.span });
                }
                left
            }
            Destinations::Endpoint { host, ports } => {
                let ports = ports.as_ref().map_or_else(PortRange::all, |ports| port_ranges(&ports.node));
                everywhere(self.host(host), ports)
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
        let mut found = if written == "raw" {
            self.unsupported("the built-in host `raw`", name.span);
            return Vec::new();
        } else if let Some(addresses) = ranges::builtin(written) {
            addresses.into_iter().map(|addresses| Destination { addresses, ports: PortRange::all() }).collect()
        } else if let Some(declaration) = self.hosts.get(written) {
            self.used.borrow_mut().insert(written.to_owned());
            if within.contains(&written) {
                self.fail(ResolveError::Cycle { name: written.to_owned(), span: name.span });
                return Vec::new();
            }
            within.push(written);
            let found = self.destinations(&declaration.destinations, within);
            within.pop();
            found
        } else {
            let known = self.hosts.keys().copied().chain(BUILTIN).collect();
            self.unknown("host", written, name.span, known);
            return Vec::new();
        };
        if let Some(narrowed) = ports {
            let ranges = port_ranges(&narrowed.node);
            for destination in &mut found {
                if destination.ports != PortRange::all() {
                    self.fail(ResolveError::PortsTwice { name: written.to_owned(), span: narrowed.span });
                }
                destination.ports = ranges.clone();
            }
        }
        found
    }

    fn unknown(&self, kind: &'static str, name: &str, span: Span, known: Vec<&str>) {
        let near =
            known.into_iter().min_by_key(|known| distance(known, name)).filter(|known| distance(known, name) <= 2);
        let other = if kind == "program" { self.hosts.contains_key(name) } else { self.programs.contains_key(name) };
        let help = match near {
            _ if other && kind == "program" => format!("`{name}` is a host, which stands on the right of an arrow"),
            _ if other => format!("`{name}` is a program, which stands on the left of an arrow"),
            Some(near) => format!("did you mean `{near}`?"),
            None if kind == "program" => format!("declare it: `program {name} = \"/usr/bin/{name}\"`"),
            None => format!("declare it: `host {name} = {name}.example.com:443`, or quote it if it is a DNS name"),
        };
        // A name used on the wrong side is not unused as well.
        self.used.borrow_mut().insert(name.to_owned());
        self.fail(ResolveError::UnknownName { kind, name: name.to_owned(), help, span });
    }

    fn host(&self, host: &Spanned<Host>) -> Vec<Addresses> {
        match &host.node {
            Host::V4(address, length) => {
                let (network, range) = ranges::v4(address.to_bits(), *length);
                if network != address.to_bits() {
                    let right = format!("{}/{length}", std::net::Ipv4Addr::from_bits(network));
                    self.host_bits(format!("{address}/{length}"), format!("{right}` or `{address}"), host.span);
                }
                vec![range]
            }
            Host::V6(address, length) => {
                let (network, range) = ranges::v6(address.to_bits(), *length);
                if network != address.to_bits() {
                    let right = format!("[{}/{length}]", std::net::Ipv6Addr::from_bits(network));
                    self.host_bits(format!("[{address}/{length}]"), format!("{right}` or `[{address}]"), host.span);
                }
                ranges::unmapped(range)
            }
            Host::Dns(written) => {
                let name = match DnsName::parse(written) {
                    Ok(name) => name,
                    Err(reason) => {
                        self.fail(ResolveError::Name { reason, span: host.span });
                        return Vec::new();
                    }
                };
                let Some(locked) = self.lock.names.get(&name) else {
                    self.fail(ResolveError::NotLocked { name, span: host.span });
                    return Vec::new();
                };
                let found = locked.addresses.iter().flat_map(|address| match address {
                    IpAddr::V4(address) => vec![ranges::v4(address.to_bits(), 32).1],
                    IpAddr::V6(address) => ranges::unmapped(ranges::v6(address.to_bits(), 128).1),
                });
                let found = found.collect();
                self.names.borrow_mut().insert(name, locked.addresses.iter().copied().collect());
                found
            }
        }
    }

    fn host_bits(&self, written: String, right: String, span: Span) {
        self.fail(ResolveError::HostBits { written, help: format!("write `{right}`"), span });
    }
}

fn is_program_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
            && !rest.contains('\0')
    })
}

/// A port list without a protocol means every protocol that has ports or may have them.
fn port_ranges(ports: &syntax::Ports) -> Vec<PortRange> {
    let protocols: &[Protocol] = match ports.protocol.as_ref().map(|protocol| protocol.node) {
        Some(syntax::Protocol::Tcp) => &[Protocol::Tcp],
        Some(syntax::Protocol::Udp) => &[Protocol::Udp],
        None if ports.ranges.is_empty() => &Protocol::ALL,
        None => &[Protocol::Tcp, Protocol::Udp, Protocol::Other],
    };
    let written: Vec<(u16, u16)> = if ports.ranges.is_empty() {
        vec![(0, u16::MAX)]
    } else {
        ports.ranges.iter().map(|range| range.node).collect()
    };
    ranges::merge_ports(
        protocols
            .iter()
            .flat_map(|&protocol| written.iter().map(move |&(first, last)| PortRange { protocol, first, last }))
            .collect(),
    )
}

/// How many letters must change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (other, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(letter != *other)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
