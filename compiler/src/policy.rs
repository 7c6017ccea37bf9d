//! A policy with every name replaced by what it stands for: the subject of checking, of lowering and of
//! the plain model.
//!
//! Addresses are in host byte order; ranges include both ends. Each rule keeps its place in the source.
//! [`model`] says what a policy means, by the plainest reading of it.

pub mod model;

pub mod program_text;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_bundle::image::Library;
use bfp_bundle::request::Protocol;
use bfp_grammar::syntax::{self, Span};

use crate::names::dns_name::DnsName;

/// A policy whose names are resolved and whose rules may still contradict each other.
#[derive(Clone, Debug, std::default::Default, PartialEq, Eq)]
pub struct ResolvedPolicy {
    /// The name of the policy.
    pub name: String,
    /// The programs that its rules name, in the order of their first mention; behind them the classes, which are
    /// what a file is that matches several of them (see [`crate::resolve`]). A rule about a program is about
    /// every class that the program is in, and names those too.
    pub programs: Vec<Program>,
    /// What one file can be: a program, or a class of several. A program that is in no file without another one
    /// is not among them. Ascending.
    pub kinds: Vec<ProgramIndex>,
    /// Those that only its tests name, numbered on: to the rules they are strangers.
    pub strangers: Vec<Program>,
    /// What each name stands for that rules call programs by.
    pub declared_programs: BTreeMap<String, BTreeSet<ProgramIndex>>,
    /// The rules, in the order of the text; `only P -> only D` is two rules with one span.
    pub rules: Vec<Rule>,
    /// What holds when nothing refuses.
    pub default: Default,
    /// Every DNS name that was used, with its addresses.
    pub names: BTreeMap<DnsName, Vec<IpAddr>>,
    /// Where rules use names whose addresses rotate, or are those of another name too.
    pub name_uses: Vec<NameUse>,
    /// Where rules name the unspecified address, which no request is judged by.
    pub unspecified: Vec<Unspecified>,
    /// Where rules use names that the lock leads to special addresses.
    pub special: Vec<SpecialAnswer>,
    /// The names whose addresses rotate.
    pub rotating: BTreeSet<DnsName>,
    /// The names that were asked for their IPv4 addresses alone.
    pub ipv4_only: BTreeSet<DnsName>,
    /// What the policy expects of itself.
    pub tests: Vec<Test>,
    /// The findings that are intended.
    pub accepted: Vec<Accepted>,
}

/// A place that names 0.0.0.0 or ::.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unspecified {
    /// Which of the two, as the policy writes an address.
    pub address: &'static str,
    /// What holds it, in words: nothing where it is written itself.
    pub holder: Option<String>,
    /// Where.
    pub span: Span,
}

/// A place that uses a name whose locked addresses are no host of any network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialAnswer {
    /// The name.
    pub name: DnsName,
    /// The address, in the canonical text.
    pub address: IpAddr,
    /// What it is, in words.
    pub kind: &'static str,
    /// Where.
    pub span: Span,
}

impl ResolvedPolicy {
    /// A program that a rule or a test names.
    pub fn program(&self, ProgramIndex(index): ProgramIndex) -> Option<&Program> {
        self.programs.get(index).or_else(|| self.strangers.get(index.checked_sub(self.programs.len())?))
    }

    /// Those of some programs that the text of the policy names: no classes.
    pub fn written<'a>(&'a self, programs: &'a [ProgramIndex]) -> impl Iterator<Item = &'a Program> + Clone + 'a {
        let programs = programs.iter().filter_map(|ProgramIndex(index)| self.programs.get(*index));
        programs.filter(|program| !program.is_class())
    }

    /// Those of some programs that one file can be.
    pub fn kinds_of<'a>(&'a self, programs: &'a [ProgramIndex]) -> impl Iterator<Item = ProgramIndex> + 'a {
        programs.iter().copied().filter(|program| self.kinds.binary_search(program).is_ok())
    }
}

/// A name in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameUse {
    /// The name.
    pub name: DnsName,
    /// Where it is written: in the rule, or in a declaration that the rule uses.
    pub span: Span,
    /// The number of the rule in [`ResolvedPolicy::rules`].
    pub rule: usize,
    /// How.
    pub part: Part,
}

/// Whether something is in a destination or taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// In it.
    Covered,
    /// Behind `except`.
    Excepted,
}

impl Part {
    /// What it is behind one more `except`.
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
    /// The sentence that names it.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Its lines.
    pub expectations: Vec<Expectation>,
}

/// A line of a `test` block: every request of these programs to these destinations has this verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Who asks; everyone is every program that the policy names, and a stranger.
    pub subjects: Subjects,
    /// For what.
    pub destinations: Vec<Destination>,
    /// The answer that is expected.
    pub expected: syntax::Expected,
    /// The whole line.
    pub span: Span,
}

/// `accept CODE because "REASON"`, before the statement that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The code of a finding.
    pub code: String,
    /// Where the code stands.
    pub code_span: Span,
    /// Why it is intended.
    pub reason: String,
    /// The statement that it is about.
    pub about: Span,
}

/// A program that a policy names, or a class of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The text by which it is known: its absolute path on the host, or a pattern of such paths, in the canonical
    /// form; of a class, those of its members (see [`crate::policy::program_text`]).
    pub path: String,
    /// As the policy first writes it; of a class, the words that people have for it.
    pub written: String,
    /// The name under which the policy declares it, for reports; the path where it has none.
    pub name: String,
    /// Where it is first mentioned.
    pub span: Span,
    /// The fs-verity digests (SHA-256) of which a grant needs one; empty where the path is enough.
    pub pins: Vec<[u8; 32]>,
    /// What else it may map for execution, by path; `None` where that is anything.
    pub libraries: Option<Vec<Library>>,
    /// What it starts inherits its grants.
    pub with_children: bool,
    /// Of a class, the programs that a file of it matches, ascending; of any other program, none.
    pub members: Vec<ProgramIndex>,
}

impl Program {
    /// Whether it is what a file is that matches several programs.
    pub fn is_class(&self) -> bool {
        !self.members.is_empty()
    }

    /// By what a question calls it.
    pub fn asked(&self) -> &str {
        // A class that is called by one of its members, as it is written there in the canonical form.
        if self.is_class() && !self.written.contains('`') { &self.written } else { &self.path }
    }

    /// Whether it stands for more than one file.
    pub fn is_pattern(&self) -> bool {
        self.path.contains('*')
    }

    /// As the subject of a sentence.
    pub fn told(&self) -> String {
        if self.name.contains('`') { self.name.clone() } else { format!("`{}`", self.name) }
    }
}

/// The number of a program in [`ResolvedPolicy::programs`]; in a test, of a stranger behind them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramIndex(pub usize);

/// The left side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subjects {
    /// `*`
    Everyone,
    /// These programs, sorted, without repetition.
    Programs(Vec<ProgramIndex>),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// Whether it is enforced or only reported.
    pub enforcement: Enforcement,
    /// Whose requests it concerns.
    pub subjects: Subjects,
    /// Where they go: a request is covered when one of these covers it.
    pub destinations: Vec<Destination>,
    /// The right side is everything, which names nothing.
    pub covers_everything: bool,
    /// The whole rule in the source.
    pub span: Span,
    /// Its left side.
    pub subjects_span: Span,
    /// Its right side.
    pub destinations_span: Span,
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
}

/// Whether a rule is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// It is.
    Enforced,
    /// `audit`: it is judged and reported.
    Audited,
}

/// A range of addresses with the ports that are meant there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The addresses.
    pub addresses: Addresses,
    /// The ports, sorted and merged; never empty.
    pub ports: Vec<PortRange>,
}

/// A range of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addresses {
    /// IPv4.
    V4(u32, u32),
    /// IPv6. The mapped range is not in it: `resolve` writes IPv4-mapped ranges as [`Addresses::V4`].
    V6(u128, u128),
    /// Raw and packet sockets, which carry no destination that can be checked. Their ports are all ports.
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
        Protocol::ALL.iter().map(|&protocol| PortRange { protocol, first: 0, last: u16::MAX }).collect()
    }
}

/// What holds when nothing refuses.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Eq)]
pub enum Default {
    /// `default allow`, also where nothing is written.
    #[default]
    Allow,
    /// `default deny`, and where.
    Deny(Span),
}
