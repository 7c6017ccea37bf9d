//! The syntax tree: what was written, with the place of everything that a later stage may complain
//! about. Nothing is resolved here: names are names, sets keep their order, ports keep their form.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A range of bytes in the source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The part of `text` in this range; empty where `text` is not the text of this span.
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
    /// Where it stands.
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
    /// `only signer -> kms` and its relatives
    Rule(Rule),
    /// `default allow`
    Default(Spanned<Default>),
    /// `include "common/corp.bfp"`
    Include(Quoted),
    /// `test "…" { … }`
    Test(Test),
    /// `accept check::path_grant because "…"`
    Accept(Accept),
}

/// A declared (or yet undeclared) name.
pub type Name = Spanned<String>;

/// The content of a quoted string, escapes undone; the span includes the quotes.
pub type Quoted = Spanned<String>;

/// `program NAME = PROGRAMS [with children]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDeclaration {
    /// The declared name.
    pub name: Name,
    /// What it stands for.
    pub programs: Spanned<Programs>,
    /// The place of `with children`, when it is there.
    pub with_children: Option<Span>,
}

/// `host NAME = DESTINATIONS`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDeclaration {
    /// The declared name.
    pub name: Name,
    /// What it stands for.
    pub destinations: Spanned<Destinations>,
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
        /// The pinned contents; empty where the path alone identifies the program.
        verity: Vec<Spanned<Verity>>,
        /// What else it may map for execution; `None` where that is anything.
        libraries: Option<Spanned<Vec<Spanned<Library>>>>,
    },
    /// `{ signer, "/usr/bin/other" }`
    Set(Vec<Spanned<Programs>>),
}

/// `"/usr/lib/libc.so.6" verity sha256:…`, in `libraries { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The path.
    pub path: Quoted,
    /// The pinned contents; a library without any is an error of a later stage.
    pub verity: Vec<Spanned<Verity>>,
}

/// A pinned content.
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
    /// `kms`, `metadata:80`: a declared or built-in host, perhaps narrowed to some ports.
    Named {
        /// The name.
        name: Name,
        /// The ports it is narrowed to.
        ports: Option<Spanned<Ports>>,
    },
    /// `10.0.0.0/8:443`, `kms.internal:443/tcp`
    Endpoint {
        /// The address or the DNS name.
        host: Spanned<Host>,
        /// Which ports; `None` is every port of every protocol.
        ports: Option<Spanned<Ports>>,
    },
    /// `ranges("aws-ip-ranges.json", service = "S3"):443`
    Ranges {
        /// The file.
        file: Quoted,
        /// The filters, in their order.
        filters: Vec<(Name, Quoted)>,
        /// Which ports; `None` is every port of every protocol.
        ports: Option<Spanned<Ports>>,
    },
    /// `{ kms, 127.0.0.53:53 }`
    Set(Vec<Spanned<Destinations>>),
    /// `10.0.0.0/8 except 10.9.0.0/16`
    Except {
        /// What is meant,
        base: Box<Spanned<Destinations>>,
        /// less this.
        removed: Box<Spanned<Destinations>>,
    },
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `10.0.0.0/8`; an address without a length has 32. Host bits may still be set here.
    V4(Ipv4Addr, u8),
    /// `[2001:db8::/32]`; an address without a length has 128. Host bits may still be set here.
    V6(Ipv6Addr, u8),
    /// `10.0.0.1-10.0.0.20`; both ends belong to it, and the first is not above the last.
    V4Range(Ipv4Addr, Ipv4Addr),
    /// `[2001:db8::1-2001:db8::20]`, likewise.
    V6Range(Ipv6Addr, Ipv6Addr),
    /// `kms.internal`, as written (the quotes, if any, removed).
    Dns(String),
}

/// `:{80, 443}/tcp`, `:{443/tcp, 53/udp, icmp}`, or `/icmp`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The ranges, in the order of the text; empty for `*` (every port), and for ICMP alone, which has none.
    pub ranges: Vec<Spanned<PortRange>>,
    /// The protocol of all of them; `None` is every protocol, of those that have none of their own.
    pub protocol: Option<Spanned<Protocol>>,
}

/// One element of a set of ports, or the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Both ends included; `None` is every port, and stands for ICMP, which has none.
    pub numbers: Option<(u16, u16)>,
    /// Its own protocol, in a set whose elements have several.
    pub protocol: Option<Spanned<Protocol>>,
}

/// A protocol that a policy can name, or a question about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `/tcp`
    Tcp,
    /// `/udp`
    Udp,
    /// `/icmp`, which stands behind a host and never behind ports, and `icmp` in a set of ports.
    Icmp,
    /// `/other`, what has ports and is neither TCP nor UDP: answers have it, and only a question can name it.
    Other,
}

/// `[audit] only P -> only D` and its relatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The place of `audit`, when it is there.
    pub audit: Option<Span>,
    /// What the rule does.
    pub effect: Spanned<Effect>,
    /// The left side.
    pub programs: Spanned<Programs>,
    /// The right side.
    pub destinations: Spanned<Destinations>,
}

/// What a rule does. The span beside it is the first word that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `only P -> D`: nobody else reaches D.
    Exclusive,
    /// `P -> only D`: P reaches nothing else.
    Confined,
    /// `only P -> only D`: both.
    ExclusiveAndConfined,
    /// `deny P -> D`
    Deny,
    /// `allow P -> D`
    Allow,
}

/// What happens to a request that nothing refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// `default allow`
    Allow,
    /// `default deny`
    Deny,
}

/// `accept CODE because "REASON"`: what the check of this code finds in the next statement is intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The code of the finding, `check::path_grant`.
    pub code: Spanned<String>,
    /// Why it is intended, for those who review the policy.
    pub reason: Quoted,
}

/// `test "name" { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The sentence that names it.
    pub name: Quoted,
    /// What is expected.
    pub expectations: Vec<Spanned<Expectation>>,
}

/// `signer -> kms allowed`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Who asks.
    pub programs: Spanned<Programs>,
    /// For what.
    pub destinations: Spanned<Destinations>,
    /// What the answer must be.
    pub expected: Spanned<Expected>,
}

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `allowed`
    Allowed,
    /// `denied`
    Denied,
}
