//! The counts as a picture: SVG in the viewer's light or dark scheme, a panel for each count, on a logarithmic scale.

use std::fmt::Write as _;

use super::{Count, DAY, DAYS, Row, STRATEGIES};

const LEFT: u32 = 250;
const PANEL: u32 = 250;
const BETWEEN: u32 = 24;
const HEAD: u32 = 96;
const BAR: u32 = 14;
const ROW: u32 = 3 * BAR + 22;
const FOOT: u32 = 64;
/// What is left of a panel for the number behind its longest bar.
const NUMBER: u32 = 52;

// Colours stand in each rule: some viewers know no variables.
const STYLE: &str = "
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1c2430 }
.head { font-size: 15px; font-weight: 600 }
.faint { font-size: 12px; fill: #5d6878 }
.number { font-size: 11px }
.zero { font-weight: 700 }
.paper { fill: #ffffff }
.line { stroke: #d9dee5 }
.refresher { fill: #b3541e }
.learned { fill: #8a6d00 }
.ours { fill: #1f6f8b }
@media (prefers-color-scheme: dark) {
text { fill: #e6eaf0 }
.faint { fill: #9aa6b5 }
.paper { fill: #11161d }
.line { stroke: #2c3643 }
.refresher { fill: #f08a4b }
.learned { fill: #d9b233 }
.ours { fill: #5cc4e6 }
}
";

type Panel = (&'static str, fn(&Count) -> u32, u32);

/// Draws the counts of all histories.
pub(crate) fn picture(rows: &[Row]) -> String {
    let minutes = DAYS * DAY;
    // Two clients.
    let panels: [Panel; 3] = [
        ("wrong allows", |count| count.wrong_allows, minutes),
        ("wrong denials", |count| count.wrong_denials, 2 * minutes),
        ("left open to others", |count| count.left_open, minutes),
    ];
    let width = LEFT + 3 * PANEL + 2 * BETWEEN + 24;
    let body = ROW * rows.len() as u32;
    let height = HEAD + body + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"Minutes that went wrong, by history and strategy\">\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n<text class=\"head\" x=\"24\" y=\"32\">Minutes of {DAYS} days that went wrong</text>\n"
    );
    // Writing to a string cannot fail, here and below.
    let mut x = width - 24 - 3 * 110;
    for strategy in STRATEGIES {
        let _ = writeln!(
            svg,
            "<rect class=\"{strategy}\" x=\"{x}\" y=\"21\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"32\">{strategy}</text>",
            x + 18
        );
        x += 110;
    }
    for (number, row) in rows.iter().enumerate() {
        let y = HEAD + ROW * number as u32;
        let _ = writeln!(svg, "<line class=\"line\" x1=\"24\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>", width - 24);
        for (line, words) in broken(row.history).into_iter().enumerate() {
            let _ = writeln!(svg, "<text x=\"24\" y=\"{}\">{words}</text>", y + 28 + 17 * line as u32);
        }
    }
    for ((title, count, most), at) in panels.into_iter().zip(0..) {
        let x = LEFT + at * (PANEL + BETWEEN);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\">{title}</text>", HEAD - 14);
        let _ = writeln!(svg, "<line class=\"line\" x1=\"{x}\" x2=\"{x}\" y1=\"{HEAD}\" y2=\"{}\"/>", HEAD + body);
        for (number, row) in rows.iter().enumerate() {
            let top = HEAD + ROW * number as u32 + 11;
            for ((strategy, counts), bar) in STRATEGIES.iter().zip(&row.counts).zip(0..) {
                let (value, y) = (count(counts), top + bar * BAR);
                let length = length(value, most);
                if length > 0 {
                    let _ = writeln!(
                        svg,
                        "<rect class=\"{strategy}\" x=\"{x}\" y=\"{y}\" width=\"{length}\" height=\"{}\"/>",
                        BAR - 3
                    );
                }
                let zero = if value == 0 { " zero" } else { "" };
                let _ = writeln!(
                    svg,
                    "<text class=\"number{zero}\" x=\"{}\" y=\"{}\">{value}</text>",
                    x + length + 5,
                    y + BAR - 4
                );
            }
        }
    }
    let _ = writeln!(
        svg,
        "<text class=\"faint\" x=\"24\" y=\"{}\">Logarithmic scale. Wrong denials: of two clients, {} minutes in all; the others: of {minutes} minutes.</text>\n</svg>",
        HEAD + body + 32,
        2 * minutes
    );
    svg
}

/// A title on at most two lines.
fn broken(title: &str) -> Vec<&str> {
    match title.split_once([';', ',']) {
        Some((first, rest)) => vec![first, rest.trim_start()],
        None => vec![title],
    }
}

/// The length of a bar: each factor of ten is as long.
fn length(value: u32, most: u32) -> u32 {
    let scaled = f64::from(value + 1).ln() / f64::from(most + 1).ln() * f64::from(PANEL - NUMBER);
    scaled.round() as u32
}
