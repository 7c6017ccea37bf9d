//! Slips from other languages, mail and web pages: unexpected text → what to write instead.

use std::net::Ipv4Addr;

use crate::expected::Place;
use crate::keyword;
use crate::matcher::Rule;
use crate::syntax::Span;

/// What to write, if `found` is one of these slips.
pub(crate) fn help(place: Place<'_>, found: Span) -> Option<String> {
    let word = found.text_in(place.text);
    let before = Span { start: place.span.start, end: found.start }.text_in(place.text);
    if odd_space(word).is_some() {
        return Some("write an ordinary space: one that is copied from a page or a mail is often another".to_owned());
    }
    let is_rule = place.rule == Rule::rule_line;
    match word {
        "," => ports(before, Span { start: found.end, end: place.span.end }.text_in(place.text)),
        "accept" => Some("write `accept` on a line of its own, before the statement that it is about".to_owned()),
        "except" if is_rule && !before.contains("->") => Some(
            "on the left, only `*` can have an `except`: `deny * except P -> D`; of several programs, name those that \
             the rule is about"
                .to_owned(),
        ),
        "-" if ends_with_address(before) => Some(RANGE.to_owned()),
        "[" if before.strip_suffix('-').is_some_and(ends_with_address) => Some(RANGE.to_owned()),
        "!" => Some("there is no `!`: `deny * except P -> D` denies D to all programs but P".to_owned()),
        ">" if is_rule && !before.contains("->") => Some(
            "a rule is about programs, whatever started them; `a > b`, b as a started it, can be tested alone"
                .to_owned(),
        ),
        "'" | "`" => Some("put text in double quotes: `\"/usr/bin/signer\"`".to_owned()),
        "[" if is_rule && !before.contains("->") => Some("write several programs as `{ \"/a\", \"/b\" }`".to_owned()),
        ";" => Some("leave it out: a statement ends with its line".to_owned()),
        "sha256" => Some("write `verity` before it: `\"/usr/bin/signer\" verity sha256:…`".to_owned()),
        "\\" => Some(ONE_LINE.to_owned()),
        "->" if is_rule && before.trim().is_empty() => Some(ONE_LINE.to_owned()),
        _ => None,
    }
}

pub(crate) const ONE_LINE: &str =
    "write a rule in one line, with `->` and its destination: only within `{ }` it goes on in the next";

const RANGE: &str = "write a range as two addresses of one family, without spaces, and of IPv6 in one pair of brackets: \
                     `10.0.0.1-10.0.0.20`, `[fd00::1-fd00::20]`";

/// Whether an address ends the text.
fn ends_with_address(text: &str) -> bool {
    let splits = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | '=' | '>');
    let word = text.trim_end().rsplit(splits).next().unwrap_or_default();
    word.ends_with(']') || word.parse::<Ipv4Addr>().is_ok()
}

/// `10.0.0.1:80,443`
fn ports(before: &str, after: &str) -> Option<String> {
    let (rest, first) = trailing_number(before.trim_end())?;
    if !rest.ends_with(':') {
        return None;
    }
    let mut ports = vec![first];
    for part in after.split(',') {
        let part = part.trim_start();
        let end = part.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(part.len());
        match part.get(..end).filter(|port| port.starts_with(|c: char| c.is_ascii_digit())) {
            Some(port) => ports.push(port),
            None => break,
        }
        // The text that follows is not a port of this list.
        if part.get(end..).is_some_and(|rest| !rest.trim().is_empty()) {
            break;
        }
    }
    (ports.len() > 1).then(|| format!("write several ports as a set: `:{{{}}}`", ports.join(", ")))
}

fn trailing_number(text: &str) -> Option<(&str, &str)> {
    let start = text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').len();
    text.split_at_checked(start).filter(|(_, number)| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// The name of a character that looks like a space, or like nothing, and is another one.
pub(crate) fn odd_space(word: &str) -> Option<String> {
    let mut characters = word.chars();
    let only = characters.next().filter(|c| c.is_whitespace() && !matches!(c, ' ' | '\t' | '\r' | '\n'))?;
    let called = if only == '\u{a0}' { "a no-break space" } else { "a space of another kind" };
    characters.next().is_none().then(|| format!("{called}, U+{:04X}", u32::from(only)))
}

/// The word that begins such a statement here; `word` is in lower case. It is the word that other languages begin a
/// rule with, or one that was written in capitals.
pub(crate) fn statement_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "block" | "reject" | "drop" | "forbid" => "deny",
        "permit" | "grant" | "pass" => "allow",
        "exclusive" => "only",
        _ => return keyword::STATEMENT_WORDS.iter().find(|known| **known == word).copied(),
    })
}
