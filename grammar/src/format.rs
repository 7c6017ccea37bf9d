//! Text → canonical text: one way to write every policy.
//!
//! The result has the same tree (see [`same_tree`](fn@crate::same_tree)) and the same comments as the input, and formatting it again
//! changes nothing. `layout` decides on lines; this module spells each node of the tree.

use crate::error::SyntaxError;
use crate::layout::{self, Comment, Item, List, Piece, Style};
use crate::literal::quote;
use crate::parse;
use crate::syntax::{
    Default, Destinations, Effect, Expectation, Expected, Host, Library, Notes, PortNumbers, PortRange, Ports,
    Programs, Protocol, Rule, Span, Spanned, Statement, Test, Verity,
};

/// Formats the text of one file.
///
/// # Errors
///
/// Those of [`parse`](crate::parse()): only a valid policy has a canonical form.
pub fn format(text: &str) -> Result<String, Vec<SyntaxError>> {
    let policy = parse(text)?;
    let comments = layout::comments(text);
    let speller = Speller { comments: &comments };
    let statements: Vec<Item> = policy
        .statements
        .iter()
        .map(|statement| Item { span: statement.span, pieces: speller.statement(statement), aligned: None })
        .collect();
    Ok(layout::lay_out(text, &statements, &comments))
}

struct Speller<'a> {
    comments: &'a [Comment<'a>],
}

fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

impl Speller<'_> {
    fn statement(&self, statement: &Spanned<Statement>) -> Vec<Piece> {
        match &statement.node {
            Statement::Name(name) => vec![text(format!("policy {}", name.node))],
            Statement::Program(program) => {
                let mut pieces = vec![text(format!("program {} = ", program.name.node))];
                pieces.extend(self.programs(&program.programs));
                if program.with_children.is_some() {
                    pieces.push(text(" with children"));
                }
                pieces
            }
            Statement::Host(host) => {
                let mut pieces = vec![text(format!("host {} = ", host.name.node))];
                pieces.extend(self.destinations(&host.destinations));
                if let Some(list) = &host.within {
                    pieces.push(text(" within "));
                    pieces.extend(self.destinations(list));
                }
                if host.may_change.is_some() {
                    pieces.push(text(" may change"));
                }
                pieces
            }
            Statement::Ports(declaration) => {
                let mut pieces = vec![text(format!("ports {} = ", declaration.name.node))];
                pieces.extend(self.declared_ports(&declaration.ports));
                pieces
            }
            Statement::Param(parameter) => {
                let values = parameter.values.iter().map(|value| (value.span, vec![text(quote(&value.node))]));
                let place = Span { start: parameter.name.span.end, end: statement.span.end };
                vec![text(format!("param {} = ", parameter.name.node)), self.set(values, place)]
            }
            Statement::Rule(rule) => self.rule(rule),
            Statement::Default(default) => vec![text(match default.node {
                Default::Allow => "default allow",
                Default::Deny => "default deny",
            })],
            Statement::Include(file) => vec![text(format!("include {}", quote(&file.node)))],
            Statement::ListSource(source) => {
                vec![text(format!("ranges {} from {}", quote(&source.file.node), quote(&source.url.node)))]
            }
            Statement::Test(test) => self.test(test, statement.span),
            Statement::Accept(accept) => {
                let everywhere = if accept.everywhere.is_some() { " everywhere" } else { "" };
                vec![text(format!("accept {}{everywhere} because {}", accept.code.node, quote(&accept.reason.node)))]
            }
        }
    }

    fn rule(&self, rule: &Rule) -> Vec<Piece> {
        let (first, second) = match rule.effect.node {
            Effect::Exclusive => ("only ", ""),
            Effect::Confined => ("", "only "),
            Effect::ExclusiveAndConfined => ("only ", "only "),
            Effect::Deny => ("deny ", ""),
            Effect::Allow => ("allow ", ""),
            Effect::Also => ("also ", ""),
            Effect::DenyOthers => ("deny * except ", ""),
            Effect::AllowOthers => ("allow * except ", ""),
        };
        let audit = if rule.audit.is_some() { "audit " } else { "" };
        let shared = if rule.shared.is_some() { "shared " } else { "" };
        let mut pieces = vec![text(format!("{audit}{shared}{first}"))];
        pieces.extend(self.programs(&rule.programs));
        pieces.push(text(format!(" -> {second}")));
        pieces.extend(self.destinations(&rule.destinations));
        let Notes { until, owner, ticket, reason } = &rule.notes;
        if let Some(until) = until {
            pieces.push(text(format!(" until {}", until.node)));
        }
        for (word, note) in [("owner", owner), ("ticket", ticket), ("because", reason)] {
            pieces.extend(note.as_ref().map(|note| text(format!(" {word} {}", quote(&note.node)))));
        }
        pieces
    }

    fn test(&self, test: &Test, span: Span) -> Vec<Piece> {
        let lines = test.expectations.iter().map(|line| Item {
            span: line.span,
            pieces: self.expectation(&line.node),
            aligned: Some(match line.node.expected.node {
                Expected::Allowed => "allowed",
                Expected::Denied => "denied",
            }),
        });
        let block = List {
            style: Style::Block,
            span: Span { start: test.name.span.end, end: span.end },
            items: lines.collect(),
        };
        vec![text(format!("test {} ", quote(&test.name.node))), Piece::List(block)]
    }

    fn expectation(&self, expectation: &Expectation) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for programs in &expectation.started_by {
            pieces.extend(self.programs(programs));
            pieces.push(text(" > "));
        }
        pieces.extend(self.programs(&expectation.programs));
        pieces.push(text(" -> "));
        pieces.extend(self.destinations(&expectation.destinations));
        pieces
    }

    fn programs(&self, programs: &Spanned<Programs>) -> Vec<Piece> {
        match &programs.node {
            Programs::Any => vec![text("*")],
            Programs::Named(name) => vec![text(name)],
            Programs::AnyIn(unit) => vec![text(format!("* in unit {}", quote(&unit.node)))],
            Programs::Path { path, unit, verity, libraries } => {
                let end = libraries.as_ref().map_or(programs.span.end, |libraries| libraries.span.start);
                let mut spelt = quote(&path.node);
                let mut start = path.span.end;
                if let Some(unit) = unit {
                    spelt.push_str(&format!(" in unit {}", quote(&unit.node)));
                    start = unit.span.end;
                }
                let mut pieces = self.path(spelt, verity, Span { start, end });
                if let Some(libraries) = libraries {
                    let items = libraries.node.iter().map(|library| {
                        let Library { path, verity } = &library.node;
                        let place = Span { start: path.span.end, end: library.span.end };
                        (library.span, self.path(quote(&path.node), verity, place))
                    });
                    pieces.push(text(" libraries "));
                    pieces.push(self.set(items, libraries.span));
                }
                pieces
            }
            Programs::Set(set) => {
                vec![self.set(set.iter().map(|one| (one.span, self.programs(one))), programs.span)]
            }
        }
    }

    /// Spells a path, which is quoted, and its pins, which are at `place`.
    fn path(&self, path: String, verity: &[Spanned<Verity>], place: Span) -> Vec<Piece> {
        match verity {
            [] => vec![text(path)],
            // The brackets around a single pin are only needed to contain a comment.
            [pin] if !self.has_comments(place) => {
                vec![text(format!("{path} verity {}", spelt_pin(&pin.node)))]
            }
            pins => {
                let pins = pins.iter().map(|pin| (pin.span, vec![text(spelt_pin(&pin.node))]));
                vec![text(format!("{path} verity ")), self.set(pins, place)]
            }
        }
    }

    fn destinations(&self, destinations: &Spanned<Destinations>) -> Vec<Piece> {
        let (mut pieces, ports) = match &destinations.node {
            Destinations::Any => (vec![text("*")], &None),
            Destinations::Named { name, ports } => (vec![text(&name.node)], ports),
            Destinations::Endpoint { host, ports } => (vec![text(self.host(host))], ports),
            Destinations::Ranges { file, filters, ports } => {
                let filters = filters.iter().map(|(key, value)| Item {
                    span: Span { start: key.span.start, end: value.span.end },
                    pieces: vec![text(format!("{} = {}", key.node, quote(&value.node)))],
                    aligned: None,
                });
                let file = Item { span: file.span, pieces: vec![text(quote(&file.node))], aligned: None };
                let end = ports.as_ref().map_or(destinations.span.end, |ports| ports.span.start);
                let arguments = List {
                    style: Style::Arguments,
                    span: Span { start: destinations.span.start, end },
                    items: std::iter::once(file).chain(filters).collect(),
                };
                (vec![text("ranges"), Piece::List(arguments)], ports)
            }
            Destinations::Clients { ports, from } => {
                let mut pieces = vec![text("clients")];
                if let Some(ports) = ports {
                    pieces.extend(self.ports(ports));
                }
                pieces.push(text(" from "));
                pieces.extend(self.destinations(from));
                return pieces;
            }
            Destinations::Set { elements, ports } => {
                let elements = elements.iter().map(|one| (one.span, self.destinations(one)));
                let end = ports.as_ref().map_or(destinations.span.end, |ports| ports.span.start);
                (vec![self.set(elements, Span { end, ..destinations.span })], ports)
            }
            Destinations::Except { base, removed } => {
                let mut pieces = self.destinations(base);
                pieces.push(text(" except "));
                pieces.extend(self.destinations(removed));
                return pieces;
            }
        };
        if let Some(ports) = ports {
            pieces.extend(self.ports(ports));
        }
        pieces
    }

    /// Spells a destination; a name that does not need quotes gets none.
    fn host(&self, host: &Spanned<Host>) -> String {
        match &host.node {
            Host::V4(address, 32) => address.to_string(),
            Host::V4(address, length) => format!("{address}/{length}"),
            Host::V6(address, 128) => format!("[{address}]"),
            Host::V6(address, length) => format!("[{address}/{length}]"),
            Host::V4Range(first, last) => format!("{first}-{last}"),
            Host::V6Range(first, last) => format!("[{first}-{last}]"),
            Host::Dns(name) if parse::is_bare_dns_name(name) => name.clone(),
            Host::Dns(name) => quote(name),
        }
    }

    fn ports(&self, ports: &Spanned<Ports>) -> Vec<Piece> {
        let protocol = protocol_of(&ports.node);
        match ports.node.ranges.as_slice() {
            [] if protocol == Some(Protocol::Icmp) => vec![text("/icmp")],
            [] => vec![text(format!(":*{}", spelt_protocol(protocol)))],
            ranges => std::iter::once(text(":")).chain(self.port_list(ranges, ports)).collect(),
        }
    }

    /// As a declaration writes them: every port of a protocol, and ICMP, are in a set.
    fn declared_ports(&self, ports: &Spanned<Ports>) -> Vec<Piece> {
        let protocol = protocol_of(&ports.node);
        match ports.node.ranges.as_slice() {
            [] if protocol == Some(Protocol::Icmp) => vec![text("{icmp}")],
            [] => vec![text(format!("{{*{}}}", spelt_protocol(protocol)))],
            ranges => self.port_list(ranges, ports),
        }
    }

    fn port_list(&self, ranges: &[Spanned<PortRange>], ports: &Spanned<Ports>) -> Vec<Piece> {
        let protocol = spelt_protocol(protocol_of(&ports.node));
        match ranges {
            [range] if !self.has_comments(ports.span) => vec![text(format!("{}{protocol}", spelt_range(&range.node)))],
            ranges => {
                let items = ranges.iter().map(|range| Item {
                    span: range.span,
                    pieces: vec![text(spelt_range(&range.node))],
                    aligned: None,
                });
                let list = Piece::List(List { style: Style::Ports, span: ports.span, items: items.collect() });
                let protocol = (!protocol.is_empty()).then(|| text(protocol));
                std::iter::once(list).chain(protocol).collect()
            }
        }
    }

    fn set(&self, elements: impl Iterator<Item = (Span, Vec<Piece>)>, span: Span) -> Piece {
        let items = elements.map(|(span, pieces)| Item { span, pieces, aligned: None });
        Piece::List(List { style: Style::Set, span, items: items.collect() })
    }

    fn has_comments(&self, place: Span) -> bool {
        !layout::comments_in(self.comments, place).is_empty()
    }
}

fn protocol_of(ports: &Ports) -> Option<Protocol> {
    ports.protocol.as_ref().map(|protocol| protocol.node)
}

fn spelt_range(range: &PortRange) -> String {
    let protocol = range.protocol.as_ref().map(|protocol| protocol.node);
    let numbers = match &range.numbers {
        PortNumbers::Every if protocol == Some(Protocol::Icmp) => return "icmp".to_owned(),
        PortNumbers::Every => "*".to_owned(),
        PortNumbers::Range(first, last) if first == last => first.to_string(),
        PortNumbers::Range(first, last) => format!("{first}-{last}"),
        PortNumbers::Named(name) => name.clone(),
    };
    format!("{numbers}{}", spelt_protocol(protocol))
}

fn spelt_protocol(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        None => "",
        Some(Protocol::Tcp) => "/tcp",
        Some(Protocol::Udp) => "/udp",
        Some(Protocol::Icmp) => "/icmp",
        Some(Protocol::Other) => "/other",
    }
}

fn spelt_pin(pin: &Verity) -> String {
    match pin {
        Verity::Sha256(digest) => {
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha256:{hex}")
        }
        Verity::File(file) => format!("file({})", quote(&file.node)),
    }
}
