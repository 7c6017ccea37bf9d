//! The syntax tree: the text as written, with the place of everything that a later stage may report. Nothing is
//! resolved here: names are names, sets keep their order, ports keep their form.

use std::net::{Ipv4Addr, Ipv6Addr};

pub use crate::date::Date;

/// A range of bytes in the source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The part of `text` in this range; empty if the range is not within `text`.
    #[must_use]
    pub fn text_in(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

impl From<Span> for miette::SourceSpan {
    fn from(span: Span) -> Self {
        (span.start, span.end.saturating_sub(span.start)).into()
    }
}

/// A node with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The node.
    pub node: T,
    /// The place of the node in the source.
    pub span: Span,
}

/// A whole source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The statements, in the order of the text.
    pub statements: Vec<Spanned<Statement>>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `policy payments-kms`
    Name(Name),
    /// `program signer = "/usr/bin/signer" with children`
    Program(ProgramDeclaration),
    /// `host kms = kms.internal:443`
    Host(HostDeclaration),
    /// `ports etcd = {2379, 2380}`
    Ports(PortsDeclaration),
    /// `param env = { "staging", "prod" }`
    Param(ParamDeclaration),
    /// `only signer -> kms` and the other forms of rules
    Rule(Rule),
    /// `default allow`
    Default(Spanned<Default>),
    /// `include "common/corp.bfp"`
    Include(Quoted),
    /// `ranges "ip-ranges.json" from "https://…"`
    ListSource(ListSource),
    /// `test "…" { … }`
    Test(Test),
    /// `accept check::path_grant because "…"`
    Accept(Accept),
}

/// A name, declared or not.
pub type Name = Spanned<String>;

/// The content of a quoted string, escapes undone; the span includes the quotes.
pub type Quoted = Spanned<String>;

/// `program NAME = PROGRAMS [with children]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDeclaration {
    /// The declared name.
    pub name: Name,
    /// The programs that it stands for.
    pub programs: Spanned<Programs>,
    /// The place of `with children`, if written.
    pub with_children: Option<Span>,
}

/// `host NAME = DESTINATIONS [within ranges(…)] [may change]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDeclaration {
    /// The declared name.
    pub name: Name,
    /// The destinations that it stands for.
    pub destinations: Spanned<Destinations>,
    /// The list that all addresses of its DNS names are in, and that stands for them in rules: `Ranges` without ports.
    pub within: Option<Spanned<Destinations>>,
    /// The place of `may change`, if written: new addresses of its DNS names need no review.
    pub may_change: Option<Span>,
}

/// `ports NAME = PORTS`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortsDeclaration {
    /// The declared name.
    pub name: Name,
    /// The ports that it stands for: numbers, never another name.
    pub ports: Spanned<Ports>,
}

/// `ranges "FILE" from "URL"`: where a list of networks is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSource {
    /// The list, as `ranges(…)` names it.
    pub file: Quoted,
    /// Where `bfpc fetch` gets it.
    pub url: Quoted,
}

/// `param NAME = { "VALUE", "VALUE" }`: `${NAME}` in a DNS name in quotes, or in the path of a program, is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamDeclaration {
    /// The declared name.
    pub name: Name,
    /// The values that it may have.
    pub values: Vec<Quoted>,
}

/// The left side of an arrow, or the value of a `program`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programs {
    /// `*`
    Any,
    /// `signer`
    Named(String),
    /// `"/usr/bin/signer" verity sha256:…`
    Path {
        /// The path.
        path: Quoted,
        /// `in unit "backup.service"`: the unit of systemd in which it is started.
        unit: Option<Quoted>,
        /// The digest pins; empty where the path alone identifies the program.
        verity: Vec<Spanned<Verity>>,
        /// What else it may map for execution; `None` where that is anything.
        libraries: Option<Spanned<Vec<Spanned<Library>>>>,
    },
    /// `* in unit "backup.service"`
    AnyIn(Quoted),
    /// `{ signer, "/usr/bin/other" }`
    Set(Vec<Spanned<Programs>>),
}

/// `"/usr/lib/libc.so.6" verity sha256:…`, in `libraries { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The path.
    pub path: Quoted,
    /// The digest pins; a library without one is an error of a later stage.
    pub verity: Vec<Spanned<Verity>>,
}

/// A digest pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verity {
    /// `sha256:3f5a…`: the fs-verity digest.
    Sha256([u8; 32]),
    /// `file("dist/signer")`: the digest of this file, computed by the compiler.
    File(Quoted),
}

/// The right side of an arrow, or the value of a `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// `*`
    Any,
    /// `kms`, `metadata:80`: a declared or built-in host, with or without ports.
    Named {
        /// The name.
        name: Name,
        /// The ports that it is narrowed to.
        ports: Option<Spanned<Ports>>,
    },
    /// `10.0.0.0/8:443`, `kms.internal:443/tcp`
    Endpoint {
        /// The address or the DNS name.
        host: Spanned<Host>,
        /// The ports; `None` is every port of every protocol.
        ports: Option<Spanned<Ports>>,
    },
    /// `ranges("aws-ip-ranges.json", service = "S3"):443`
    Ranges {
        /// The file.
        file: Quoted,
        /// The filters, in their order.
        filters: Vec<(Name, Quoted)>,
        /// The ports; `None` is every port of every protocol.
        ports: Option<Spanned<Ports>>,
    },
    /// `clients:443 from 10.0.0.0/8`; without `from`, `clients` is a name like any other.
    Clients {
        /// The ports of the server; `None` is every port.
        ports: Option<Spanned<Ports>>,
        /// The addresses of the clients.
        from: Box<Spanned<Destinations>>,
    },
    /// `{ kms, 127.0.0.53:53 }`, `{ a.internal, b.internal }:443`
    Set {
        /// The elements.
        elements: Vec<Spanned<Destinations>>,
        /// The ports of all elements, none of which may have its own.
        ports: Option<Spanned<Ports>>,
    },
    /// `10.0.0.0/8 except 10.9.0.0/16`
    Except {
        /// The destinations before `except`.
        base: Box<Spanned<Destinations>>,
        /// The destinations after `except`.
        removed: Box<Spanned<Destinations>>,
    },
}

/// The host of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `10.0.0.0/8`; an address without a length has 32. Host bits may still be set here.
    V4(Ipv4Addr, u8),
    /// `[2001:db8::/32]`; an address without a length has 128. Host bits may still be set here.
    V6(Ipv6Addr, u8),
    /// `10.0.0.1-10.0.0.20`; both ends are included, and the first is not above the last.
    V4Range(Ipv4Addr, Ipv4Addr),
    /// `[2001:db8::1-2001:db8::20]`, likewise.
    V6Range(Ipv6Addr, Ipv6Addr),
    /// `kms.internal`, as written (the quotes, if any, removed); `kms.${env}.internal` until a value is chosen.
    Dns(String),
}

/// `:{80, 443}/tcp`, `:{443/tcp, 53/udp, icmp}`, `:{etcd, 53/udp}`, or `/icmp`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The ranges, in the order of the text; empty for `*` (every port), and for ICMP alone, which has no ports.
    pub ranges: Vec<Spanned<PortRange>>,
    /// The protocol of all ranges without one of their own; `None` is every protocol.
    pub protocol: Option<Spanned<Protocol>>,
}

/// One element of a set of ports, or the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Which ports.
    pub numbers: PortNumbers,
    /// Its own protocol, in a set whose elements have several.
    pub protocol: Option<Spanned<Protocol>>,
}

/// The ports of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortNumbers {
    /// `*`, and also ICMP, which has no ports.
    Every,
    /// `443`, `8000-8010`: both ends included.
    Range(u16, u16),
    /// `etcd`: declared ports.
    Named(String),
}

/// A protocol that a policy, or a question about one, can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `/tcp`
    Tcp,
    /// `/udp`
    Udp,
    /// `/icmp`, which follows a host and never ports, and `icmp` in a set of ports.
    Icmp,
    /// `/other`: anything that has ports and is neither TCP nor UDP. Only answers and questions contain it.
    Other,
}

/// What follows a rule, for people: `until 2027-01-31 owner "payments" ticket "SEC-12" because "migration"`. It changes
/// no verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The day from which the policy no longer compiles with the rule.
    pub until: Option<Spanned<Date>>,
    /// Who answers for the rule.
    pub owner: Option<Quoted>,
    /// Where it was decided.
    pub ticket: Option<Quoted>,
    /// Why it exists.
    pub reason: Option<Quoted>,
}

/// `[audit] only P -> only D` and the other forms of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The place of `audit`, if written.
    pub audit: Option<Span>,
    /// The place of `shared` before `only`, if written: other rules may add programs by `also`.
    pub shared: Option<Span>,
    /// What the rule does.
    pub effect: Spanned<Effect>,
    /// The left side; after `* except`, the programs that are left out.
    pub programs: Spanned<Programs>,
    /// The right side.
    pub destinations: Spanned<Destinations>,
    /// What follows it.
    pub notes: Notes,
}

/// What a rule does. The span beside it is the first word that determines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `only P -> D`: no other program may reach D.
    Exclusive,
    /// `P -> only D`: P may reach nothing else.
    Confined,
    /// `only P -> only D`: both.
    ExclusiveAndConfined,
    /// `deny P -> D`
    Deny,
    /// `allow P -> D`
    Allow,
    /// `also P -> D`: P too may reach D, which another rule reserves and shares.
    Also,
    /// `deny * except P -> D`
    DenyOthers,
    /// `allow * except P -> D`
    AllowOthers,
}

/// The verdict where no rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// `default allow`
    Allow,
    /// `default deny`
    Deny,
}

/// `accept CODE [everywhere] because "REASON"`: a diagnostic with this code about the next statement, or anywhere in the
/// policy, is intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The code of the diagnostic, `check::path_grant`.
    pub code: Spanned<String>,
    /// The place of `everywhere`, if written.
    pub everywhere: Option<Span>,
    /// Why it is intended, for those who review the policy.
    pub reason: Quoted,
}

/// `test "name" { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The sentence that names the test.
    pub name: Quoted,
    /// Its lines.
    pub expectations: Vec<Spanned<Expectation>>,
}

/// `signer -> kms allowed`, `node > curl -> kms denied`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The programs that led to the requesting ones, the first one first: each started the next.
    pub started_by: Vec<Spanned<Programs>>,
    /// The requesting programs.
    pub programs: Spanned<Programs>,
    /// The requested destinations.
    pub destinations: Spanned<Destinations>,
    /// The expected verdict.
    pub expected: Spanned<Expected>,
}

/// The verdict that a line of a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `allowed`
    Allowed,
    /// `denied`
    Denied,
}
