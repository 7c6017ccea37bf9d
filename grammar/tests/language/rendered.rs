//! Text → what a snapshot shows of it: the tree in a short notation, or the errors as a user sees
//! them.

use bfp_grammar::SyntaxError;
use bfp_grammar::syntax::{
    Default, Destinations, Effect, Expected, Host, Notes, Policy, PortNumbers, Ports, Programs, Protocol, Rule, Span,
    Spanned, Statement, Verity,
};
use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource, Report};

/// The source, then the tree or the errors.
pub(crate) fn source_then_outcome(source: &str) -> String {
    let outcome = match bfp_grammar::parse(source) {
        Ok(policy) => tree(source, &policy),
        Err(errors) => reports(source, &errors),
    };
    format!("{source}\n----\n{outcome}")
}

/// The errors as a terminal without colours shows them.
pub(crate) fn reports(source: &str, errors: &[SyntaxError]) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut shown = String::new();
    for error in errors {
        let report = Report::new(error.clone()).with_source_code(NamedSource::new("policy.bfp", source.to_owned()));
        handler.render_report(&mut shown, report.as_ref()).unwrap();
    }
    shown
}

/// A line for every statement and every expectation: each node, and the text it stands for where
/// that shows that its place is right.
pub(crate) fn tree(source: &str, policy: &Policy) -> String {
    let show = Show { source };
    let mut lines: Vec<String> = Vec::new();
    for statement in &policy.statements {
        match &statement.node {
            Statement::Name(name) => lines.push(format!("policy {}", show.text(name))),
            Statement::Program(program) => {
                let children = program.with_children.map_or(String::new(), |span| format!(" + {}", show.at(span)));
                lines.push(format!(
                    "program {} = {}{children}",
                    show.text(&program.name),
                    show.programs(&program.programs)
                ));
            }
            Statement::Host(host) => {
                let change = host.may_change.map_or(String::new(), |span| format!(" + {}", show.at(span)));
                let within = |list| format!(" within {}{}", show.destinations(list), show.at(list.span));
                lines.push(format!(
                    "host {} = {}{}{change}",
                    show.text(&host.name),
                    show.destinations(&host.destinations),
                    host.within.as_ref().map_or(String::new(), within),
                ));
            }
            Statement::Ports(declaration) => {
                let ports = show.ports(&Some(declaration.ports.clone()));
                lines.push(format!("ports {} ={ports}", show.text(&declaration.name)));
            }
            Statement::Param(parameter) => {
                let values: Vec<String> = parameter.values.iter().map(|value| show.text(value)).collect();
                lines.push(format!("param {} = [{}]", show.text(&parameter.name), values.join(", ")));
            }
            Statement::Rule(rule) => lines.push(show.rule(rule)),
            Statement::Default(default) => {
                let word = match default.node {
                    Default::Allow => "Allow",
                    Default::Deny => "Deny",
                };
                lines.push(format!("default {word}{}", show.at(default.span)));
            }
            Statement::Accept(accept) => {
                let everywhere =
                    accept.everywhere.map_or(String::new(), |span| format!(" everywhere{}", show.at(span)));
                lines.push(format!(
                    "accept {}{everywhere} because {}",
                    show.text(&accept.code),
                    show.text(&accept.reason)
                ));
            }
            Statement::Include(file) => lines.push(format!("include {}", show.text(file))),
            Statement::ListSource(source) => {
                lines.push(format!("list {} from {}", show.text(&source.file), show.text(&source.url)));
            }
            Statement::Test(test) => {
                lines.push(format!("test {}", show.text(&test.name)));
                for line in &test.expectations {
                    let expected = match line.node.expected.node {
                        Expected::Allowed => "Allowed",
                        Expected::Denied => "Denied",
                    };
                    let started_by = line.node.started_by.iter();
                    let started_by: String =
                        started_by.map(|programs| format!("{} > ", show.programs(programs))).collect();
                    lines.push(format!(
                        "    {started_by}{} -> {} {expected}{}",
                        show.programs(&line.node.programs),
                        show.destinations(&line.node.destinations),
                        show.at(line.node.expected.span),
                    ));
                }
            }
        }
    }
    lines.join("\n")
}

struct Show<'a> {
    source: &'a str,
}

impl Show<'_> {
    /// The text that stands at a place, which neither begins nor ends with white space.
    fn at(&self, span: Span) -> String {
        let text = span.text_in(self.source);
        assert_eq!(text, text.trim(), "a place is exact");
        format!("⟨{text}⟩")
    }

    fn text(&self, text: &Spanned<String>) -> String {
        format!("{:?}{}", text.node, self.at(text.span))
    }

    fn rule(&self, rule: &Rule) -> String {
        let effect = match rule.effect.node {
            Effect::Exclusive => "Exclusive",
            Effect::Confined => "Confined",
            Effect::ExclusiveAndConfined => "ExclusiveAndConfined",
            Effect::Deny => "Deny",
            Effect::Allow => "Allow",
            Effect::Also => "Also",
            Effect::DenyOthers => "DenyOthers",
            Effect::AllowOthers => "AllowOthers",
        };
        let audit = rule.audit.map_or(String::new(), |span| format!("Audit{} ", self.at(span)));
        let shared = rule.shared.map_or(String::new(), |span| format!("Shared{} ", self.at(span)));
        let Notes { until, owner, ticket, reason } = &rule.notes;
        let mut notes =
            until.as_ref().map_or(String::new(), |until| format!(" until {}{}", until.node, self.at(until.span)));
        for (word, note) in [("owner", owner), ("ticket", ticket), ("because", reason)] {
            notes += &note.as_ref().map_or(String::new(), |note| format!(" {word} {}", self.text(note)));
        }
        let effect_at = self.source.get(rule.effect.span.start..).unwrap().split('\n').next().unwrap();
        format!(
            "{audit}{shared}{effect}⟨{effect_at}⟩ {} -> {}{notes}",
            self.programs(&rule.programs),
            self.destinations(&rule.destinations)
        )
    }

    fn programs(&self, programs: &Spanned<Programs>) -> String {
        self.at(programs.span);
        match &programs.node {
            Programs::Any => format!("Any{}", self.at(programs.span)),
            Programs::Named(name) => format!("Named {name}{}", self.at(programs.span)),
            Programs::AnyIn(unit) => format!("AnyIn {}", self.text(unit)),
            Programs::Path { path, unit, verity, libraries } => {
                let unit = unit.as_ref().map_or(String::new(), |unit| format!(" in {}", self.text(unit)));
                let libraries = libraries.as_ref().map_or(String::new(), |libraries| {
                    let each = libraries.node.iter().map(|library| {
                        self.at(library.span);
                        format!("{}{}", self.text(&library.node.path), self.pins(&library.node.verity))
                    });
                    format!(" libraries [{}]{}", each.collect::<Vec<_>>().join(", "), self.at(libraries.span))
                });
                format!("Path {}{unit}{}{libraries}", self.text(path), self.pins(verity))
            }
            Programs::Set(set) => {
                let set: Vec<String> = set.iter().map(|one| self.programs(one)).collect();
                format!("Set [{}]", set.join(", "))
            }
        }
    }

    fn pins(&self, pins: &[Spanned<Verity>]) -> String {
        let pins: Vec<String> = pins.iter().map(|pin| self.pin(pin)).collect();
        if pins.is_empty() { String::new() } else { format!(" pinned [{}]", pins.join(", ")) }
    }

    fn pin(&self, pin: &Spanned<Verity>) -> String {
        match &pin.node {
            Verity::Sha256(digest) => format!("sha256 {:02x}…{:02x}", digest[0], digest[31]),
            Verity::File(file) => format!("file {}", self.text(file)),
        }
    }

    fn destinations(&self, destinations: &Spanned<Destinations>) -> String {
        self.at(destinations.span);
        match &destinations.node {
            Destinations::Any => format!("Any{}", self.at(destinations.span)),
            Destinations::Named { name, ports } => format!("Named {}{}", self.text(name), self.ports(ports)),
            Destinations::Endpoint { host, ports } => {
                let shown = match &host.node {
                    Host::V4(address, length) => format!("V4 {address}/{length}"),
                    Host::V6(address, length) => format!("V6 {address}/{length}"),
                    Host::V4Range(first, last) => format!("V4 {first}-{last}"),
                    Host::V6Range(first, last) => format!("V6 {first}-{last}"),
                    Host::Dns(name) => format!("Dns {name:?}"),
                };
                format!("{shown}{}{}", self.at(host.span), self.ports(ports))
            }
            Destinations::Ranges { file, filters, ports } => {
                let filters: Vec<String> =
                    filters.iter().map(|(key, value)| format!(" {}={}", self.text(key), self.text(value))).collect();
                format!("Ranges {}{}{}", self.text(file), filters.concat(), self.ports(ports))
            }
            Destinations::Clients { ports, from } => {
                format!("Clients{}{} from {}", self.at(destinations.span), self.ports(ports), self.destinations(from))
            }
            Destinations::Set { elements, ports } => {
                let set: Vec<String> = elements.iter().map(|one| self.destinations(one)).collect();
                format!("Set [{}]{}", set.join(", "), self.ports(ports))
            }
            Destinations::Except { base, removed } => {
                format!("({} except {})", self.destinations(base), self.destinations(removed))
            }
        }
    }

    fn ports(&self, ports: &Option<Spanned<Ports>>) -> String {
        let Some(ports) = ports else { return String::new() };
        let ranges: Vec<String> = ports
            .node
            .ranges
            .iter()
            .map(|range| {
                let numbers = match &range.node.numbers {
                    PortNumbers::Every => "Any".to_owned(),
                    PortNumbers::Range(first, last) => format!("{first}..={last}"),
                    PortNumbers::Named(name) => format!("Named {name}"),
                };
                format!("{numbers}{}{}", self.at(range.span), self.protocol(&range.node.protocol))
            })
            .collect();
        let protocol = self.protocol(&ports.node.protocol);
        format!(" ports [{}]{}{protocol}", ranges.join(", "), self.at(ports.span))
    }

    fn protocol(&self, protocol: &Option<Spanned<Protocol>>) -> String {
        protocol.as_ref().map_or(String::new(), |protocol| format!(" {:?}{}", protocol.node, self.at(protocol.span)))
    }
}
