//! A policy with each name replaced by its meaning: the input of checking, of lowering and of the plain model.
//!
//! Addresses are in host byte order; ranges include both ends. Each rule keeps its place in the source. [`model`]
//! defines the meaning of a policy in the plainest way.

pub mod model;

pub mod program_text;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_bundle::image::Library;
use bfp_bundle::names::unit;
use bfp_bundle::request::{LAST_ANSWER_KEY, LAST_PORT_KEY, Protocol};
use bfp_grammar::syntax::{self, Span};

use crate::names::dns_name::DnsName;

/// A policy whose names are resolved and whose rules may still contradict each other.
#[derive(Clone, Debug, std::default::Default, PartialEq, Eq)]
pub struct ResolvedPolicy {
    /// The name of the policy.
    pub name: String,
    /// The programs that its rules name, in the order of their first mention; then the classes. A class is the program
    /// of a file that matches several of them (see [`crate::resolve`]). A rule about a program is also about each class
    /// that contains the program, and lists those too.
    pub programs: Vec<Program>,
    /// The programs and classes that a file can be, ascending. A program is missing if every file that matches it
    /// matches another one too.
    pub kinds: Vec<ProgramIndex>,
    /// Unlisted programs: those that only its tests name, numbered after `programs`.
    pub unlisted: Vec<Program>,
    /// The programs that each name declared in the policy stands for.
    pub declared_programs: BTreeMap<String, BTreeSet<ProgramIndex>>,
    /// The rules, in the order of the text; `only P -> only D` is two rules with one span.
    pub rules: Vec<Rule>,
    /// The verdict where no rule applies.
    pub default: Default,
    /// Its text names `clients`, so answers are distinguished from requests.
    pub clients: bool,
    /// Every DNS name that the policy uses, with its addresses.
    pub names: BTreeMap<DnsName, Vec<IpAddr>>,
    /// Where rules use names with rotating addresses, or with an address that another name has too.
    pub name_uses: Vec<NameUse>,
    /// Where rules name the unspecified address, by which no request is judged.
    pub unspecified: Vec<Unspecified>,
    /// Where rules use names that the lock resolves to special addresses.
    pub special: Vec<SpecialAnswer>,
    /// The names whose addresses rotate.
    pub rotating: BTreeSet<DnsName>,
    /// The names that were resolved to IPv4 addresses only.
    pub ipv4_only: BTreeSet<DnsName>,
    /// Its `test` blocks.
    pub tests: Vec<Test>,
    /// Its `accept` statements: diagnostics that are intended.
    pub accepted: Vec<Accepted>,
}

/// A place in the source that names 0.0.0.0 or ::.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspecified {
    /// Which of the two, as a policy writes it.
    pub address: &'static str,
    /// What contains the address, in words; `None` where the place writes the address itself.
    pub holder: Option<String>,
    /// The place in the source.
    pub span: Span,
}

/// A place in the source that uses a name whose locked address belongs to no host of any network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialAnswer {
    /// The name.
    pub name: DnsName,
    /// The address, in canonical form.
    pub address: IpAddr,
    /// The kind of address, in words.
    pub kind: &'static str,
    /// The place in the source.
    pub span: Span,
}

impl ResolvedPolicy {
    /// A program that a rule or a test names; `None` where the number is out of range.
    pub fn program(&self, ProgramIndex(index): ProgramIndex) -> Option<&Program> {
        self.programs.get(index).or_else(|| self.unlisted.get(index.checked_sub(self.programs.len())?))
    }

    /// Those of `programs` that the text of the policy names: without classes.
    pub fn written<'a>(&'a self, programs: &'a [ProgramIndex]) -> impl Iterator<Item = &'a Program> + Clone + 'a {
        let programs = programs.iter().filter_map(|ProgramIndex(index)| self.programs.get(*index));
        programs.filter(|program| !program.is_class())
    }

    /// The largest [port key](bfp_bundle::request::port_key) that the policy distinguishes.
    pub fn last_port_key(&self) -> u32 {
        if self.clients { LAST_ANSWER_KEY } else { LAST_PORT_KEY }
    }

    /// Those of `programs` that a file can be.
    pub fn kinds_of<'a>(&'a self, programs: &'a [ProgramIndex]) -> impl Iterator<Item = ProgramIndex> + 'a {
        programs.iter().copied().filter(|program| self.kinds.binary_search(program).is_ok())
    }
}

/// A use of a DNS name by a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameUse {
    /// The name.
    pub name: DnsName,
    /// Where the name is written: in the rule, or in a declaration that the rule uses.
    pub span: Span,
    /// The number of the rule in [`ResolvedPolicy::rules`].
    pub rule: usize,
    /// Whether the rule includes the name or excludes it.
    pub part: Part,
}

/// Whether something is part of a destination or excluded from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Part of it.
    Covered,
    /// After `except`.
    Excepted,
}

impl Part {
    /// The part that it has within one more `except`.
    pub fn opposite(self) -> Part {
        match self {
            Part::Covered => Part::Excepted,
            Part::Excepted => Part::Covered,
        }
    }
}

/// A `test` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The sentence that names the block.
    pub name: String,
    /// The whole block in the source.
    pub span: Span,
    /// Its lines.
    pub expectations: Vec<Expectation>,
}

/// A line of a `test` block: every request of these programs to these destinations has this verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The programs that led to the requesting ones, the first one first; empty if it does not matter what did.
    pub started_by: Vec<Subjects>,
    /// The requesting programs; everyone is every program that the policy names, and an unlisted one.
    pub subjects: Subjects,
    /// The requested destinations.
    pub destinations: Vec<Destination>,
    /// The expected verdict.
    pub expected: syntax::Expected,
    /// The whole line.
    pub span: Span,
}

/// `accept CODE because "REASON"`, which applies to the next statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The code of the accepted diagnostic.
    pub code: String,
    /// The place of the code in the source.
    pub code_span: Span,
    /// Why the diagnostic is intended.
    pub reason: String,
    /// The statement that it applies to; `None` is the whole policy.
    pub about: Option<Span>,
}

/// A program that a policy names, or a class of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The text that identifies it: its absolute path on the host, or a pattern of such paths, in canonical form, with
    /// the unit in which it is started ([`bfp_bundle::names::unit`]), if it names one; for a
    /// class, the texts of its members (see [`crate::policy::program_text`]).
    pub path: String,
    /// As the policy first writes it; for a class, a description in words.
    pub written: String,
    /// The name that the policy declares for it, for reports; the path where it has none.
    pub name: String,
    /// Where it is first mentioned.
    pub span: Span,
    /// Its digest pins (fs-verity, SHA-256): a grant requires one of them. Empty where the path is enough.
    pub pins: Vec<[u8; 32]>,
    /// What else it may map for execution; `None` where that is anything.
    pub libraries: Option<Vec<Library>>,
    /// The processes that it starts inherit its grants.
    pub with_children: bool,
    /// For a class, the programs that a file of it matches, ascending; empty for any other program.
    pub members: Vec<ProgramIndex>,
}

impl Program {
    /// Whether this is a class: the program of a file that matches several programs.
    pub fn is_class(&self) -> bool {
        !self.members.is_empty()
    }

    /// The text by which a question names it.
    pub fn asked(&self) -> &str {
        // This class is named by one of its members, which is written here in canonical form.
        if self.is_class() && !self.written.contains('`') { &self.written } else { &self.path }
    }

    /// The path in its text: without the unit.
    pub fn file(&self) -> &str {
        unit::split(&self.path).0
    }

    /// The unit of systemd in which it is started.
    pub fn unit(&self) -> Option<&str> {
        unit::split(&self.path).1
    }

    /// Whether it has a path of its own: not `* in unit …`.
    pub fn path_is_written(&self) -> bool {
        self.unit().is_none() || self.file() != unit::EVERY_FILE
    }

    /// As a policy writes it.
    pub fn source(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        match unit::split(&self.written) {
            (path, None) => quoted(path),
            ("*", Some(unit)) => format!("* in unit {}", quoted(unit)),
            (path, Some(unit)) => format!("{} in unit {}", quoted(path), quoted(unit)),
        }
    }

    /// Whether more than one file can match it.
    pub fn is_pattern(&self) -> bool {
        self.path.contains('*')
    }

    /// Its name as the subject of a sentence.
    pub fn quoted(&self) -> String {
        if self.name.contains('`') { self.name.clone() } else { format!("`{}`", self.name) }
    }
}

/// The number of a program in [`ResolvedPolicy::programs`]; in a test, also of an unlisted program after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramIndex(pub usize);

/// The left side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subjects {
    /// `*`
    Everyone,
    /// These programs, sorted, without duplicates.
    Programs(Vec<ProgramIndex>),
}

/// One rule. `only P -> only D` is two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// Whether it is enforced or only reported.
    pub enforcement: Enforcement,
    /// Whose requests it applies to; for [`Effect::DenyOthers`] and [`Effect::AllowOthers`], whose it does not.
    pub subjects: Subjects,
    /// The destinations: a request is covered if one of these covers it.
    pub destinations: Vec<Destination>,
    /// The right side is everything, and names no destination of its own.
    pub covers_everything: bool,
    /// The whole rule in the source.
    pub span: Span,
    /// Its left side.
    pub subjects_span: Span,
    /// Its right side.
    pub destinations_span: Span,
    /// What its author wrote about it: no verdict depends on that.
    pub notes: syntax::Notes,
    /// Its part in a destination that several rules share.
    pub share: Share,
}

impl Rule {
    /// Whether it lets its programs reach what others may not.
    pub fn gives_exclusively(&self) -> bool {
        self.effect.excludes() || self.share == Share::Added
    }
}

/// The part of a rule in a destination that several rules share.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Eq)]
pub enum Share {
    /// None.
    #[default]
    Not,
    /// `shared only P -> D`, for what no other rule adds programs to; perhaps nothing.
    Owner,
    /// `also P -> D`
    Added,
    /// A part of `shared only P -> D` with the programs that others add, and where the last of these names it.
    Part(Span),
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// `only P -> D`
    Exclusive,
    /// `P -> only D`
    Confined,
    /// `deny P -> D`
    Deny,
    /// `allow P -> D`
    Allow,
    /// `deny * except P -> D`: as [`Effect::Exclusive`], without the grant.
    DenyOthers,
    /// `allow * except P -> D`: a grant to everyone, withheld from P and from what P starts.
    AllowOthers,
}

impl Effect {
    /// Whether it denies what it covers to every process that is not one of its programs.
    pub fn excludes(self) -> bool {
        matches!(self, Effect::Exclusive | Effect::DenyOthers)
    }

    /// Whether it grants what it covers to its programs.
    pub fn grants(self) -> bool {
        matches!(self, Effect::Exclusive | Effect::Confined | Effect::Allow)
    }

    /// Whether it restricts its programs and the processes that they start.
    pub fn restricts(self) -> bool {
        matches!(self, Effect::Confined | Effect::Deny | Effect::AllowOthers)
    }

    /// Whether it is about all programs but its own.
    pub fn is_about_others(self) -> bool {
        matches!(self, Effect::DenyOthers | Effect::AllowOthers)
    }
}

/// Whether a rule is enforced or only reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// It affects verdicts.
    Enforced,
    /// `audit`: it is evaluated and reported, and denies nothing.
    Audited,
}

/// A range of addresses with ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The addresses.
    pub addresses: Addresses,
    /// The ports, sorted and merged; never empty.
    pub ports: Vec<PortRange>,
}

impl Destination {
    /// Whether it consists of answers to clients, and of no request.
    pub fn is_of_clients(&self) -> bool {
        self.ports.iter().all(|range| range.protocol == Protocol::Answer)
    }
}

/// A range of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addresses {
    /// IPv4.
    V4(u32, u32),
    /// IPv6, without the mapped range: `resolve` represents IPv4-mapped ranges as [`Addresses::V4`].
    V6(u128, u128),
    /// Raw and packet sockets, which carry no destination that can be checked. Their ports are always all ports.
    Raw,
}

/// A range of ports of one protocol, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// Every port of every protocol.
    pub fn all() -> Vec<PortRange> {
        PortRange::all_of(&Protocol::ALL)
    }

    /// The same, and every answer to a client.
    pub fn all_and_answers() -> Vec<PortRange> {
        PortRange::all_of(&Protocol::WITH_ANSWERS)
    }

    fn all_of(protocols: &[Protocol]) -> Vec<PortRange> {
        protocols.iter().map(|&protocol| PortRange { protocol, first: 0, last: u16::MAX }).collect()
    }
}

/// The verdict where no rule applies.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Eq)]
pub enum Default {
    /// `default allow`, and also where the policy has no `default`.
    #[default]
    Allow,
    /// `default deny`, and where it is written.
    Deny(Span),
}
