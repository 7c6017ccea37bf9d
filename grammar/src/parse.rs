//! Text → syntax tree: the entry of the language.
//!
//! `scan` first cuts the text into statements. Then pest parses each on its own, so that three broken statements give
//! three errors, each in its line. A tree is returned only if there is no error at all.

use pest::Parser as _;
use pest::iterators::Pairs;

use crate::error::SyntaxError;
use crate::expected::{self, Place};
use crate::keyword;
use crate::literal;
use crate::look_alike;
use crate::matcher::{Matcher, Rule};
use crate::scan;
use crate::slip;
use crate::syntax::{Destinations, Expectation, Policy, Span, Spanned, Statement, Test};
use crate::tree::Reader;

/// Parses the text of one file.
///
/// # Errors
///
/// Every mistake that can be distinguished, in the order of the text.
pub fn parse(text: &str) -> Result<Policy, Vec<SyntaxError>> {
    parse_within(text, Span { start: 0, end: text.len() })
}

/// Parses one of several files that are concatenated in one text, so that a place in the tree determines its file too.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_within(text: &str, file: Span) -> Result<Policy, Vec<SyntaxError>> {
    let mut errors = Vec::new();
    // Windows editors begin a file with a byte order mark, which is not part of the text.
    let mark = if file.text_in(text).starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
    let cut = scan::statements(text, Span { start: file.start + mark, ..file }, &mut errors);
    let mut policy = Policy::default();
    for span in cut {
        let before = errors.len();
        match statement(text, span, &mut errors) {
            Some(node) => policy.statements.push(Spanned { node, span }),
            None => presume_reported(text, span, before, &mut errors),
        }
    }
    if errors.is_empty() {
        Ok(policy)
    } else {
        errors.sort_by_cached_key(SyntaxError::start);
        // A comment inside a test is scanned twice.
        errors.dedup();
        Err(errors)
    }
}

/// Parses a destination by itself, as a question names it: the right side of a rule. It may name the protocol `other`,
/// which otherwise only answers contain.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_destinations(text: &str) -> Result<Spanned<Destinations>, Vec<SyntaxError>> {
    let mut errors = Vec::new();
    let whole = Span { start: 0, end: text.len() };
    let cut = scan::statements(text, whole, &mut errors);
    if let [_, second, ..] = cut.as_slice() {
        errors.push(expected::instead_of_line_end(text, *second));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let span = cut.first().copied().unwrap_or(whole);
    let read = match_rule(Rule::destinations_line, text, span, &mut errors).and_then(|matched| {
        let mut reader = Reader { text, offset: span.start, kind: Text::Question, errors: &mut errors };
        reader.destination(matched.into_iter().next()?)
    });
    if read.is_none() {
        presume_reported(text, span, 0, &mut errors);
    }
    read.filter(|_| errors.is_empty()).ok_or(errors)
}

/// The kind of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    /// A file of a policy.
    Policy,
    /// A question about a policy.
    Question,
}

/// A statement without a tree has reported an error. If it did not, a `deny` could vanish, so this reports one.
fn presume_reported(text: &str, span: Span, before: usize, errors: &mut Vec<SyntaxError>) {
    if errors.len() == before {
        errors.push(SyntaxError::Unexpected {
            expected: "a statement".to_owned(),
            found: format!("`{}`", span.text_in(text)),
            span,
            help: "this statement could not be read; please report it as a bug".to_owned(),
        });
    }
}

fn statement(text: &str, span: Span, errors: &mut Vec<SyntaxError>) -> Option<Statement> {
    let source = span.text_in(text);
    let word_end = source.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(source.len());
    let word = source.get(..word_end).unwrap_or_default();
    let rule = match word {
        "policy" => Rule::policy_line,
        "program" => Rule::program_line,
        "host" => Rule::host_line,
        "ports" if declares(source.get(word_end..).unwrap_or_default()) => Rule::ports_line,
        "param" if declares(source.get(word_end..).unwrap_or_default()) => Rule::param_line,
        "default" => Rule::default_line,
        "include" => Rule::include_line,
        "accept" => Rule::accept_line,
        "ranges" => Rule::ranges_line,
        "test" => return test(text, span, errors).map(Statement::Test),
        "only" | "deny" | "allow" | "audit" => Rule::rule_line,
        "shared" | "also" if !begins_with_arrow(source.get(word_end..).unwrap_or_default()) => Rule::rule_line,
        _ => {
            if let Some(error) = other_comment(source, span).or_else(|| unknown_statement(source, span)) {
                errors.push(error);
                return None;
            }
            Rule::rule_line
        }
    };
    let matched = match_rule(rule, text, span, errors)?;
    let mut reader = Reader { text, offset: span.start, kind: Text::Policy, errors };
    let line = matched.into_iter().next()?;
    match rule {
        Rule::policy_line => reader.policy_name(line).map(Statement::Name),
        Rule::program_line => reader.program(line).map(Statement::Program),
        Rule::host_line => reader.host(line).map(Statement::Host),
        Rule::ports_line => reader.declared_ports(line).map(Statement::Ports),
        Rule::param_line => reader.parameter(line).map(Statement::Param),
        Rule::default_line => reader.default(line).map(Statement::Default),
        Rule::include_line => reader.include(line).map(Statement::Include),
        Rule::accept_line => reader.accept(line).map(Statement::Accept),
        Rule::ranges_line => reader.list_source(line).map(Statement::ListSource),
        _ => reader.rule(line).map(Statement::Rule),
    }
}

/// Whether the word before this is the left side of a rule.
fn begins_with_arrow(rest: &str) -> bool {
    ["->", "=>", "-->", "→", "⇒"].iter().any(|arrow| rest.trim_start().starts_with(arrow))
}

/// Whether this follows a word that begins a declaration, and is no name here.
fn declares(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.starts_with(|c: char| c.is_alphabetic() || c == '_') || (rest.starts_with('=') && !rest.starts_with("=>"))
}

/// A comment in the syntax of another language.
fn other_comment(source: &str, span: Span) -> Option<SyntaxError> {
    let mark =
        ["//", "/*", "--", ";"].into_iter().find(|mark| source.starts_with(mark) && !source.starts_with("-->"))?;
    Some(SyntaxError::Unexpected {
        expected: "a statement".to_owned(),
        found: format!("`{mark}`"),
        span: Span { start: span.start, end: span.start + mark.len() },
        help: "a comment begins with `#`".to_owned(),
    })
}

/// The error about a line that begins with an unknown word and is not a rule.
fn unknown_statement(source: &str, span: Span) -> Option<SyntaxError> {
    let end = source.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(source.len());
    let (word, rest) = source.split_at_checked(end)?;
    let word = word.strip_suffix('-').filter(|_| rest.starts_with('>')).unwrap_or(word);
    let rest = rest.trim_start();
    // A line that continues in one of these ways was meant as a rule.
    let is_rule = ["->", "=>", "-->", "→", "⇒", ">", "/", ":", ","];
    if word.is_empty() || is_rule.iter().any(|begin| rest.starts_with(begin)) {
        return None;
    }
    if let Some(meant) = look_alike::meant(word).filter(|meant| keyword::begins_statement(meant)) {
        return look_alike::error(word, span.start, format!("write `{meant}`"));
    }
    let lower = word.to_ascii_lowercase();
    let help = match slip::statement_word(&lower).or_else(|| keyword::nearest(&lower, keyword::STATEMENT_WORDS)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!(
            "a statement begins with one of {}, or is a rule `P -> only D`",
            expected::listed(keyword::STATEMENT_WORDS.iter().map(|word| format!("`{word}`")), "or")
        ),
    };
    let span = Span { start: span.start, end: span.start + word.len() };
    Some(SyntaxError::UnknownStatement { word: word.to_owned(), span, help })
}

/// Reads a test: its head, then line by line the text between its brackets.
fn test(text: &str, span: Span, errors: &mut Vec<SyntaxError>) -> Option<Test> {
    let matched = match_rule(Rule::test_head, text, span, errors)?;
    let head = matched.into_iter().next()?;
    let open = span.start + head.as_span().end();
    let name = Reader { text, offset: span.start, kind: Text::Policy, errors }.test_name(head);
    let close = closing_bracket(text, Span { start: open, end: span.end })?;
    if close + 1 < span.end {
        let rest = text.get(close + 1..span.end).unwrap_or_default();
        let start = span.end - rest.trim_start().len();
        errors.push(expected::instead_of_line_end(text, Span { start, end: span.end }));
        return None;
    }
    let mut expectations = Vec::new();
    let mut complete = true;
    for line in scan::statements(text, Span { start: open, end: close }, errors) {
        let before = errors.len();
        if let Some(error) = statement_in_test(text, line) {
            errors.push(error);
            complete = false;
        } else if let Some(node) = expectation(text, line, errors) {
            expectations.push(Spanned { node, span: line });
        } else {
            presume_reported(text, line, before, errors);
            complete = false;
        }
    }
    let name = name?;
    complete.then_some(Test { name, expectations })
}

fn expectation(text: &str, span: Span, errors: &mut Vec<SyntaxError>) -> Option<Expectation> {
    let matched = match_rule(Rule::expectation_line, text, span, errors)?;
    let mut reader = Reader { text, offset: span.start, kind: Text::Policy, errors };
    reader.expectation(matched.into_iter().next()?)
}

/// `deny signer -> kms` between the brackets of a test.
fn statement_in_test(text: &str, line: Span) -> Option<SyntaxError> {
    let source = line.text_in(text);
    let end = source.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(source.len());
    let (word, rest) = source.split_at_checked(end).filter(|(word, _)| keyword::begins_statement(word))?;
    let answer = match word {
        "deny" => "denied",
        _ => "allowed",
    };
    let is_plain_rule = matches!(word, "only" | "allow" | "deny") && rest.contains("->") && !rest.contains(" only ");
    let rest = rest.trim();
    let claim = rest.strip_suffix("allowed").or_else(|| rest.strip_suffix("denied")).unwrap_or(rest).trim_end();
    let help = if is_plain_rule && claim.len() <= 60 && !claim.contains(['\n', '#']) {
        let answer = if rest.ends_with("denied") { "denied" } else { answer };
        format!(
            "a line of a test states the expected answer: `{claim} {answer}`; write the rule itself outside of the test"
        )
    } else {
        "a line of a test reads `signer -> kms allowed` or `… denied`; write statements that begin with a word outside of the test"
            .to_owned()
    };
    let span = Span { start: line.start, end: line.start + word.len() };
    Some(SyntaxError::StatementInTest { word: word.to_owned(), span, help })
}

/// The place where the bracket before this part of the text is closed.
fn closing_bracket(text: &str, part: Span) -> Option<usize> {
    let mut depth = 0_usize;
    for token in scan::tokens(text, part) {
        match token.lexeme {
            scan::Lexeme::Open(_) => depth += 1,
            scan::Lexeme::Close(_) if depth == 0 => return Some(token.span.start),
            scan::Lexeme::Close(_) => depth -= 1,
            _ => {}
        }
    }
    None
}

fn match_rule<'a>(rule: Rule, text: &'a str, span: Span, errors: &mut Vec<SyntaxError>) -> Option<Pairs<'a, Rule>> {
    match Matcher::parse(rule, span.text_in(text)) {
        Ok(matched) => Some(matched),
        Err(failure) => {
            errors.push(expected::explain(&failure, Place { rule, text, span }));
            None
        }
    }
}

/// Whether a text without quotes is read back as the same DNS name.
pub(crate) fn is_bare_dns_name(name: &str) -> bool {
    let matches_whole = Matcher::parse(Rule::host_word, name)
        .is_ok_and(|mut matched| matched.next().is_some_and(|word| word.as_str() == name));
    matches_whole
        && matches!(literal::host_word(name, Span::default()), Ok(literal::HostWord::Host(crate::syntax::Host::Dns(_))))
}
