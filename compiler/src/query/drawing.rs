//! A compiled policy → a picture of who may reach what, as SVG.
//!
//! Programs are on the left, the destinations of the rules on the right, and a line for each rule connects them.
//! Always: the same policy gives the same bytes. Every character from a policy is escaped. No box overlaps another, and
//! no text leaves its box.

mod elements;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bfp_bundle::debug::{DebugEffect, DebugProgram, DebugRule};

use self::elements::elements;
use crate::policy::program_text;
use crate::query::queryable::Queryable;
use crate::query::xml::escaped;

const MARGIN: usize = 32;
const HEAD: usize = 84;
const BOX: usize = 44;
const GAP: usize = 14;
/// The width between the columns: enough to distinguish the lines.
const SPAN: usize = 340;
/// The width of a letter of the large and of the small text.
const LARGE: usize = 8;
const SMALL: usize = 7;
const LONGEST: usize = 46;
const LEGEND: usize = 124;
const LEGEND_WIDTH: usize = 860;
/// The distance between two lines at one box.
const LINE: usize = 8;

/// A box for a program or a destination.
struct Node {
    title: String,
    note: String,
    mark: Option<Mark>,
}

/// A property of a box that the picture highlights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// A program that reaches nothing but its destinations.
    Confined,
    /// A destination that only its programs reach.
    Exclusive,
}

/// A line from a program to a destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: usize,
    to: usize,
    kind: Kind,
    is_audited: bool,
}

/// The meaning of a line. If one rule has two, the first one is drawn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Exclusive,
    Grant,
    Deny,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Kind::Exclusive => "exclusive",
            Kind::Grant => "grant",
            Kind::Deny => "deny",
        }
    }
}

/// The boxes of one column, from top to bottom.
struct Column {
    x: usize,
    width: usize,
    /// (top, height) of each box.
    rows: Vec<(usize, usize)>,
}

impl Column {
    /// Each box is high enough for its lines, and together they fill the height.
    fn of(x: usize, width: usize, heights: Vec<usize>, height: usize) -> Column {
        let free = height.saturating_sub(heights.iter().sum());
        let between = free / (heights.len() + 1);
        let mut y = HEAD;
        let rows = heights.into_iter().map(|height| {
            let top = y + between;
            y = top + height;
            (top, height)
        });
        Column { x, width, rows: rows.collect() }
    }

    fn row(&self, number: usize) -> (usize, usize) {
        self.rows.get(number).copied().unwrap_or((HEAD, BOX))
    }
}

/// Draws a policy, as an SVG document.
pub fn draw(compiled: &Queryable) -> String {
    let Graph { programs, destinations, edges } = Graph::of(compiled);
    let widest = |nodes: &[Node]| nodes.iter().map(Node::width).max().unwrap_or(0).max(180);
    let (left, right) = (widest(&programs), widest(&destinations));
    let heights = |nodes: &[Node], end: fn(&Edge) -> usize| -> Vec<usize> {
        let lines = |number: usize| edges.iter().filter(|edge| end(edge) == number).count();
        (0..nodes.len()).map(|number| BOX.max(LINE * (lines(number) + 1))).collect()
    };
    let (starts, ends) = (heights(&programs, |edge| edge.from), heights(&destinations, |edge| edge.to));
    let needed = |heights: &[usize]| heights.iter().map(|height| height + GAP).sum::<usize>() + GAP;
    let body = needed(&starts).max(needed(&ends));
    // More lines need more width to separate.
    let span = SPAN + body / 6;
    let width = (MARGIN * 2 + left + span + right).max(MARGIN * 2 + LEGEND_WIDTH);
    let height = HEAD + body + LEGEND;
    let from = Column::of(MARGIN, left, starts, body);
    let to = Column::of(width - MARGIN - right, right, ends, body);

    let default = if compiled.debug.default.is_some() { "deny" } else { "allow" };
    let name = escaped(&compiled.name);
    let title = escaped(&shortened(&compiled.name, 60));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>Egress policy {name}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"36\">{title}</text>\n\
         <text class=\"note\" x=\"{MARGIN}\" y=\"60\">default {default}</text>\n"
    );
    for edge in &edges {
        let y1 = port(from.row(edge.from), edges.iter().filter(|other| other.from == edge.from), edge);
        let y2 = port(to.row(edge.to), edges.iter().filter(|other| other.to == edge.to), edge);
        line(&mut svg, edge, (from.x + from.width, y1), (to.x, y2));
    }
    for (column, nodes) in [(&from, &programs), (&to, &destinations)] {
        for (number, node) in nodes.iter().enumerate() {
            node.draw(&mut svg, column, number);
        }
    }
    legend(&mut svg, HEAD + body + 24);
    svg.push_str("</svg>\n");
    svg
}

/// Where a line meets a box: the lines of a box keep their order, and divide its height.
fn port<'a>((top, height): (usize, usize), here: impl Iterator<Item = &'a Edge>, edge: &Edge) -> usize {
    let here: Vec<&Edge> = here.collect();
    let at = here.iter().position(|other| *other == edge).unwrap_or(0);
    top + height * (at + 1) / (here.len() + 1)
}

fn line(svg: &mut String, edge: &Edge, (x1, y1): (usize, usize), (x2, y2): (usize, usize)) {
    let bend = (x2 - x1) / 2;
    let audit = if edge.is_audited { " audit" } else { "" };
    let (class, end) = (edge.kind.class(), x2 - 8);
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        svg,
        "<path class=\"edge {class}{audit}\" d=\"M{x1} {y1} C{} {y1} {} {y2} {end} {y2}\"/>",
        x1 + bend,
        x2 - bend
    );
    tip(svg, edge.kind, end, y2);
}

/// The end of a line: an arrow, or a cross.
fn tip(svg: &mut String, kind: Kind, x: usize, y: usize) {
    let (class, above) = (kind.class(), y - 4);
    let _ = match kind {
        Kind::Deny => writeln!(svg, "<path class=\"end deny\" d=\"M{} {above} l8 8 m0 -8 l-8 8\"/>", x - 4),
        _ => writeln!(svg, "<path class=\"tip {class}\" d=\"M{x} {above} l8 4 l-8 4 z\"/>"),
    };
}

impl Node {
    fn width(&self) -> usize {
        // Letters beyond ASCII may be twice as wide.
        let letters = |text: &str| text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum::<usize>();
        (letters(&self.title) * LARGE).max(letters(&self.note) * SMALL) + 28
    }

    fn draw(&self, svg: &mut String, column: &Column, number: usize) {
        let mark = match self.mark {
            Some(Mark::Confined) => " confined",
            Some(Mark::Exclusive) => " reserved",
            None => "",
        };
        let (x, width) = (column.x, column.width);
        let (y, height) = column.row(number);
        let _ = writeln!(
            svg,
            "<rect class=\"box{mark}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"5\"/>"
        );
        let (x, middle) = (x + 14, y + height / 2);
        let y = if self.note.is_empty() { middle + 5 } else { middle - 3 };
        let _ = writeln!(svg, "<text class=\"name\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(&self.title));
        if !self.note.is_empty() {
            let _ = writeln!(svg, "<text class=\"note\" x=\"{x}\" y=\"{}\">{}</text>", y + 17, escaped(&self.note));
        }
    }
}

fn legend(svg: &mut String, top: usize) {
    let lines = [
        (Kind::Exclusive, "", "only: nobody else reaches it"),
        (Kind::Grant, "", "allowed"),
        (Kind::Deny, "", "denied"),
        (Kind::Grant, " audit", "audit: judged and reported, not enforced"),
    ];
    for (row, (kind, audit, text)) in lines.into_iter().enumerate() {
        let y = top + row * 24;
        let (class, end) = (kind.class(), MARGIN + 44);
        let _ = writeln!(svg, "<path class=\"edge {class}{audit}\" d=\"M{MARGIN} {y} H{end}\"/>");
        tip(svg, kind, end, y);
        let _ = writeln!(svg, "<text class=\"note\" x=\"{}\" y=\"{}\">{text}</text>", MARGIN + 62, y + 4);
    }
    let boxes = [
        ("confined", "confined: it reaches nothing else, nor does what it starts"),
        ("reserved", "reserved for the programs that reach it"),
    ];
    let x = MARGIN + 390;
    for (row, (class, text)) in boxes.into_iter().enumerate() {
        let y = top + row * 24;
        let _ = writeln!(
            svg,
            "<rect class=\"box {class}\" x=\"{x}\" y=\"{}\" width=\"34\" height=\"16\" rx=\"4\"/>",
            y - 8
        );
        let _ = writeln!(svg, "<text class=\"note\" x=\"{}\" y=\"{}\">{text}</text>", x + 46, y + 4);
    }
}

/// Replaces the middle of a text that is too long.
fn shortened(text: &str, longest: usize) -> String {
    let letters: Vec<char> = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if letters.len() <= longest {
        return letters.into_iter().collect();
    }
    let head = longest / 2;
    let tail = letters.len() - (longest - head - 1);
    letters.iter().take(head).chain(&['…']).chain(letters.iter().skip(tail)).collect()
}

struct Graph {
    programs: Vec<Node>,
    destinations: Vec<Node>,
    edges: Vec<Edge>,
}

impl Graph {
    fn of(compiled: &Queryable) -> Graph {
        let debug = &compiled.debug;
        let mut programs: Vec<Node> = debug
            .programs
            .iter()
            .take_while(|program| !program_text::is_class(&program.path))
            .map(|DebugProgram { path, name }| {
                let note = if path == name { String::new() } else { shortened(path, LONGEST + 6) };
                Node { title: shortened(name, LONGEST), note, mark: None }
            })
            .collect();
        let everyone = programs.len();
        programs.push(Node { title: "every program".to_owned(), note: String::new(), mark: None });

        let mut destinations: Vec<Node> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut edges: BTreeMap<(usize, usize, bool), Vec<Kind>> = BTreeMap::new();
        for rule in &debug.rules {
            let subjects: Vec<usize> = match &rule.subjects {
                None => vec![everyone],
                Some(_) if matches!(rule.effect, DebugEffect::DenyOthers | DebugEffect::AllowOthers) => vec![everyone],
                // A class is drawn as its members.
                Some(subjects) => {
                    let subjects = subjects.iter().map(|subject| *subject as usize);
                    subjects.filter(|subject| *subject < everyone).collect()
                }
            };
            if rule.effect == DebugEffect::Confined && !rule.is_audited {
                for subject in &subjects {
                    if let Some(node) = programs.get_mut(*subject) {
                        node.mark = Some(Mark::Confined);
                    }
                }
            }
            for element in elements(&rule.destinations) {
                let to = *known.entry(element.clone()).or_insert_with(|| {
                    let (title, note) = (shortened(&element, LONGEST), note(compiled, &element));
                    destinations.push(Node { title, note, mark: None });
                    destinations.len() - 1
                });
                if rule.effect == DebugEffect::Exclusive
                    && !rule.is_audited
                    && let Some(node) = destinations.get_mut(to)
                {
                    node.mark = Some(Mark::Exclusive);
                }
                for from in &subjects {
                    edges.entry((*from, to, rule.is_audited)).or_default().push(kind(rule));
                }
            }
        }
        let edges = edges.into_iter().flat_map(|((from, to, is_audited), mut kinds)| {
            kinds.sort();
            kinds.dedup();
            // A destination with an exclusive grant also has a plain one.
            if kinds.first() == Some(&Kind::Exclusive) {
                kinds.retain(|kind| *kind != Kind::Grant);
            }
            kinds.into_iter().map(move |kind| Edge { from, to, kind, is_audited })
        });
        Graph { programs, destinations, edges: edges.collect() }.without_lonely(everyone).in_order()
    }

    /// Drops the box for everyone if no rule is about everyone.
    fn without_lonely(mut self, everyone: usize) -> Graph {
        if !self.edges.iter().any(|edge| edge.from == everyone) {
            self.programs.truncate(everyone);
        }
        self
    }

    /// Orders the destinations by the programs that have lines to them, so that lines cross less.
    fn in_order(self) -> Graph {
        let weight = |to: usize| {
            let from: Vec<usize> = self.edges.iter().filter(|edge| edge.to == to).map(|edge| edge.from).collect();
            // A mean in thousandths: no floating point, the same on every machine.
            from.iter().sum::<usize>() * 1000 / from.len().max(1)
        };
        let mut order: Vec<usize> = (0..self.destinations.len()).collect();
        order.sort_by_key(|to| (weight(*to), *to));
        let place: BTreeMap<usize, usize> = order.iter().enumerate().map(|(place, to)| (*to, place)).collect();
        let mut numbered: Vec<(usize, Node)> = self
            .destinations
            .into_iter()
            .enumerate()
            .map(|(at, node)| (*place.get(&at).unwrap_or(&at), node))
            .collect();
        numbered.sort_by_key(|(place, _)| *place);
        let mut edges: Vec<Edge> =
            self.edges.iter().map(|edge| Edge { to: *place.get(&edge.to).unwrap_or(&edge.to), ..*edge }).collect();
        edges.sort();
        Graph { programs: self.programs, destinations: numbered.into_iter().map(|(_, node)| node).collect(), edges }
    }
}

fn kind(rule: &DebugRule) -> Kind {
    match rule.effect {
        DebugEffect::Exclusive => Kind::Exclusive,
        DebugEffect::Confined | DebugEffect::Allow | DebugEffect::AllowOthers => Kind::Grant,
        DebugEffect::Deny | DebugEffect::DenyOthers => Kind::Deny,
    }
}

/// The text below the name of a destination: its declaration, or its addresses.
fn note(compiled: &Queryable, element: &str) -> String {
    let longest = LONGEST + 6;
    if let Some(host) = compiled.debug.hosts.iter().find(|host| host.name == element) {
        return shortened(&host.destinations, longest);
    }
    let host = element.split(':').next().unwrap_or(element).trim_matches('"');
    let names = compiled.debug.names.iter().filter(|known| known.name == host);
    let addresses: Vec<String> = names.map(|known| known.address.to_string()).collect();
    shortened(&addresses.join(", "), longest)
}

const STYLE: &str = "\
text { font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
.page { fill: #ffffff; }
.title { font-size: 20px; font-weight: bold; fill: #1a1d21; }
.name { font-size: 13px; fill: #1a1d21; }
.note { font-size: 11px; fill: #57606a; }
.box { fill: #f4f5f7; stroke: #8c959f; stroke-width: 1; }
.box.confined { stroke: #7a3db8; stroke-width: 3; }
.box.reserved { stroke: #0b5cad; stroke-width: 3; }
.edge { fill: none; stroke-width: 1.4; }
.edge.exclusive { stroke: #0b5cad; stroke-width: 2.6; }
.edge:hover { stroke-width: 4; }
.edge.grant { stroke: #2c7a3f; }
.edge.deny { stroke: #c02626; stroke-dasharray: 7 4; }
.edge.audit { stroke-dasharray: 2 4; }
.tip.exclusive { fill: #0b5cad; }
.tip.grant { fill: #2c7a3f; }
.end.deny { fill: none; stroke: #c02626; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
.page { fill: #14171b; }
.title { fill: #eceff3; }
.name { fill: #eceff3; }
.note { fill: #a5afba; }
.box { fill: #20252b; stroke: #67727e; }
.box.confined { stroke: #bb8cf0; }
.box.reserved { stroke: #62aaf2; }
.edge.exclusive { stroke: #62aaf2; }
.edge.grant { stroke: #67c07c; }
.edge.deny { stroke: #f47b7b; }
.tip.exclusive { fill: #62aaf2; }
.tip.grant { fill: #67c07c; }
.end.deny { stroke: #f47b7b; }
}
";
