//! Why a statement did not match, in terms that its author uses.
//!
//! Enters: pest's failure, which is the furthest place that it reached, and the grammar rules that it tried there.
//! Leaves: the expected forms, the text that was found, and the next action; never the name of a grammar rule.

use pest::error::{Error, ErrorVariant, InputLocation};

use crate::error::SyntaxError;
use crate::keyword;
use crate::look_alike;
use crate::matcher::Rule;
use crate::scan::{self, Lexeme};
use crate::slip;
use crate::syntax::Span;

/// The failed statement, and its place.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) rule: Rule,
    pub(crate) text: &'a str,
    pub(crate) span: Span,
}

/// Turns the failure of a statement into an error for its author.
pub(crate) fn explain(failure: &Error<Rule>, place: Place<'_>) -> SyntaxError {
    let at = place.span.start
        + match failure.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
        };
    if let Some(error) = url(place, at) {
        return error;
    }
    let tried: &[Rule] = match &failure.variant {
        ErrorVariant::ParsingError { positives, .. } => positives,
        ErrorVariant::CustomError { .. } => &[],
    };
    let mut wanted: Vec<&str> = Vec::new();
    for words in tried.iter().filter_map(|rule| described(*rule)) {
        if !wanted.contains(&words) {
            wanted.push(words);
        }
    }
    // The end of the statement is named last, as the least specific.
    wanted.sort_by_key(|words| *words == LINE_END);
    let (found, span) = found_at(place, at);
    if let Some(error) = look_alike(place, span) {
        return error;
    }
    let expected = match wanted.as_slice() {
        [] => "something else".to_owned(),
        _ => listed(wanted.iter().map(|words| (*words).to_owned()), "or"),
    };
    let help = match within_parentheses(place, at) {
        Some(form) => form.to_owned(),
        None if found == LINE_END && wanted == ["`->`"] => slip::ONE_LINE.to_owned(),
        None => help(&wanted, place, span),
    };
    SyntaxError::Unexpected { expected, found, span, help }
}

/// The word here, or the one before it, is spelt with characters that look like others.
fn look_alike(place: Place<'_>, found: Span) -> Option<SyntaxError> {
    let word = found.text_in(place.text);
    if let Some(meant) = look_alike::meant(word) {
        let arrow = meant == "-" && place.text.get(found.end..).unwrap_or_default().starts_with('>');
        let help = if arrow { "write the arrow as `->`".to_owned() } else { format!("write `{meant}`") };
        return look_alike::error(word, found.start, help);
    }
    // A word of the language was taken for a name.
    let before = word_before(place, found.start)?;
    let meant = look_alike::meant(before).filter(|meant| keyword::is_reserved(meant))?;
    let start = before.as_ptr() as usize - place.text.as_ptr() as usize;
    look_alike::error(before, start, format!("write `{meant}`"))
}

/// `https://kms.internal/v1`, which parses up to its first slash.
fn url(place: Place<'_>, at: usize) -> Option<SyntaxError> {
    let address = Span { start: at, end: place.span.end }.text_in(place.text).strip_prefix("//")?;
    let before = Span { start: place.span.start, end: at }.text_in(place.text).strip_suffix(':')?;
    let scheme = before.get(before.trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len()..)?;
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | '#' | '"');
    let address = address.get(..address.find(ends).unwrap_or(address.len()))?;
    let host = address.split(['/', '?']).next().and_then(|host| host.rsplit('@').next()).unwrap_or_default();
    let help = match (host, usual_port(scheme)) {
        ("", _) => "write a host and a port, such as `kms.internal:443`".to_owned(),
        (host, Some(port)) if !host.contains(':') => format!("write its host and port: `{host}:{port}`"),
        (host, _) if host.contains(':') => format!("write its host and port: `{host}`"),
        (host, _) => format!("write its host and a port: `{host}:443`, say"),
    };
    let span = Span { start: at - 1 - scheme.len(), end: at + 2 + address.len() };
    let expected = "a destination".to_owned();
    Some(SyntaxError::Unexpected { expected, found: format!("the URL {}", shown(span, place.text)), span, help })
}

/// The usual port of a service.
#[must_use]
pub fn usual_port(service: &str) -> Option<u16> {
    Some(match service {
        "ssh" => 22,
        "smtp" => 25,
        "dns" | "domain" => 53,
        "http" => 80,
        "ntp" => 123,
        "imap" => 143,
        "ldap" => 389,
        "https" => 443,
        "syslog" => 514,
        "ldaps" => 636,
        "mysql" => 3306,
        "postgres" | "postgresql" => 5432,
        "amqp" => 5672,
        "redis" => 6379,
        _ => return None,
    })
}

/// Text follows where the line should have ended.
pub(crate) fn instead_of_line_end(text: &str, rest: Span) -> SyntaxError {
    let place = Place { rule: Rule::test_head, text, span: rest };
    let (found, span) = found_at(place, rest.start);
    SyntaxError::Unexpected {
        expected: LINE_END.to_owned(),
        found,
        span,
        help: "begin a new line for the next statement".to_owned(),
    }
}

/// `a`, `a or b`, `a, b or c`
pub(crate) fn listed(words: impl Iterator<Item = String>, last: &str) -> String {
    let mut words: Vec<String> = words.collect();
    let Some(end) = words.pop() else { return String::new() };
    if words.is_empty() { end } else { format!("{} {last} {end}", words.join(", ")) }
}

const LINE_END: &str = "the end of the line";

/// The words for a grammar rule; `None` where another rule describes it better.
fn described(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::EOI => LINE_END,
        Rule::name => "a name",
        Rule::code => "the code of a finding, such as `check::path_grant`",
        // Every rule can be followed by notes: to name them wherever a line may end would say little.
        Rule::until | Rule::owner | Rule::ticket | Rule::reason => return None,
        Rule::date => "a day, such as `2027-01-31`",
        Rule::because_kw => "`because`",
        Rule::from_kw => "`from`",
        Rule::everywhere_kw => "`everywhere`",
        Rule::programs | Rule::program_set | Rule::path | Rule::program_word => "a program",
        Rule::destinations
        | Rule::element
        | Rule::clients
        | Rule::clients_word
        | Rule::client_hosts
        | Rule::destination_set
        | Rule::host_word
        | Rule::wildcard
        | Rule::bracketed
        | Rule::bare_v6
        | Rule::ranges => "a destination",
        Rule::pin | Rule::pin_set | Rule::digest | Rule::file_pin => "`sha256:…` or `file(\"…\")`",
        Rule::quoted | Rule::body => "text in quotes",
        Rule::filter | Rule::filter_key => "a filter `key = \"value\"`",
        Rule::port_range
        | Rule::port_set
        | Rule::port_name
        | Rule::port_element
        | Rule::declared_ports
        | Rule::every_port
        | Rule::icmp_kw
        | Rule::number => "a port",
        Rule::ports | Rule::colon => "`:` and a port",
        Rule::protocol | Rule::protocol_word => "`/tcp` or `/udp`",
        Rule::expected => "`allowed` or `denied`",
        Rule::default_effect => "`allow` or `deny`",
        Rule::with_children | Rule::with_kw => "`with children`",
        Rule::within | Rule::within_kw => "`within`",
        Rule::within_list | Rule::ranges_kw => "`ranges(…)`",
        Rule::may_change | Rule::may_kw => "`may change`",
        Rule::effect | Rule::shared | Rule::shared_kw | Rule::also | Rule::also_kw => "`only`, `allow` or `deny`",
        Rule::any => "`*`",
        Rule::arrow | Rule::wrong_arrow => "`->`",
        Rule::starts => "`>`",
        Rule::equals => "`=`",
        Rule::comma => "`,`",
        Rule::set_open | Rule::param_values => "`{`",
        Rule::set_close => "`}`",
        Rule::paren_open => "`(`",
        Rule::paren_close => "`)`",
        Rule::in_unit | Rule::in_kw => "`in unit`",
        Rule::unit_kw => "`unit`",
        Rule::verity | Rule::verity_kw => "`verity`",
        Rule::libraries | Rule::libraries_kw => "`libraries`",
        Rule::library => "the path of a library in quotes",
        Rule::only_kw | Rule::second_only => "`only`",
        Rule::deny_kw => "`deny`",
        Rule::allow_kw => "`allow`",
        Rule::except_kw => "`except`",
        Rule::children_kw => "`children`",
        Rule::change_kw => "`change`",
        Rule::allowed_kw => "`allowed`",
        Rule::denied_kw => "`denied`",
        _ => return None,
    })
}

/// The word or sign at this place, and its exact range.
fn found_at(place: Place<'_>, at: usize) -> (String, Span) {
    let mut rest = scan::tokens(place.text, Span { start: at, end: place.span.end })
        .skip_while(|token| matches!(token.lexeme, Lexeme::Space | Lexeme::Newline | Lexeme::Comment));
    let Some(first) = rest.next() else {
        // The last character of the statement, so that the label has something to mark.
        let last = place.span.text_in(place.text).chars().next_back().map_or(0, char::len_utf8);
        let end = place.span.end;
        return (LINE_END.to_owned(), Span { start: end.saturating_sub(last), end });
    };
    let mut span = first.span;
    if first.lexeme == Lexeme::Word {
        // `kms.internal` and `my-signer` are one word to their author.
        for token in rest {
            let joins = matches!(token.span.text_in(place.text), "-" | ".");
            if !joins && token.lexeme != Lexeme::Word {
                break;
            }
            span.end = token.span.end;
        }
        // This hyphen may begin an arrow.
        let follows = place.text.get(span.end..).unwrap_or_default();
        if follows.starts_with('>') && span.text_in(place.text).ends_with('-') {
            span.end -= 1;
        }
    } else if first.lexeme == Lexeme::Symbol {
        let two = Span { start: span.start, end: span.end + 1 };
        if two.text_in(place.text) == "->" {
            span = two;
        }
    }
    (shown(span, place.text), span)
}

/// A piece of the text in backticks, shortened if it is long.
fn shown(span: Span, text: &str) -> String {
    let piece = span.text_in(text);
    if let Some(called) = slip::odd_space(piece) {
        return called;
    }
    match piece.char_indices().nth(40) {
        Some((end, _)) => format!("`{}…`", piece.get(..end).unwrap_or_default()),
        None => format!("`{piece}`"),
    }
}

/// The next action: the likeliest slip, or the form of such a statement.
fn help(wanted: &[&str], place: Place<'_>, found: Span) -> String {
    let word = found.text_in(place.text);
    if let Some(help) = slip::help(place, found) {
        return help;
    }
    // These are the only two choices after the `*` of a set of ports.
    if wanted == ["`/tcp` or `/udp`"] {
        return "in a set of ports, `*` is every port of one protocol: `*/tcp`; every port is `:*`, without a set"
            .to_owned();
    }
    // "`with children`" is two words that can be misspelt; "a destination" is not a word of the language.
    let words: Vec<&str> = wanted
        .iter()
        .filter(|words| words.starts_with('`'))
        .flat_map(|words| words.split(|c: char| !c.is_ascii_alphabetic()))
        .filter(|word| word.len() > 3)
        .collect();
    if let Some(meant) = keyword::nearest(word, &words) {
        return format!("did you mean `{meant}`?");
    }
    let previous = word_before(place, found.start);
    if place.rule == Rule::expectation_line
        && let Some(previous) = previous.filter(|word| keyword::begins_statement(word))
    {
        return format!("a line of a test reads `signer -> kms allowed`, without `{previous}`");
    }
    if place.rule == Rule::expectation_line && word == "only" {
        return "a line of a test reads `signer -> kms allowed`, without `only`".to_owned();
    }
    if wanted.contains(&"`:` and a port") && !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("write a port behind a colon: `:{word}`");
    }
    if place.rule == Rule::rule_line
        && wanted.contains(&LINE_END)
        && let Some(meant) =
            NOTE_WORDS.into_iter().find(|known| *known == word).or_else(|| keyword::nearest(word, &NOTE_WORDS))
    {
        return match meant == word {
            true => NOTES_FORM.to_owned(),
            false => format!("did you mean `{meant}`?"),
        };
    }
    if wanted.contains(&LINE_END) && keyword::begins_statement(word) {
        return "begin a new line for the next statement".to_owned();
    }
    if place.rule == Rule::rule_line && wanted == ["text in quotes"] {
        return NOTES_FORM.to_owned();
    }
    if wanted.contains(&"a day, such as `2027-01-31`") {
        return "write the day from which the rule is no longer wanted, without quotes: `until 2027-01-31`".to_owned();
    }
    if wanted.contains(&"a port") {
        if let Some(port) = usual_port(word) {
            return format!("write the number of the port: `{word}` is usually {port}");
        }
        return match place.rule {
            Rule::ports_line => PORTS_FORM,
            _ => "write `443`, `8000-8010`, `{80, 443}`, or `*` for every port",
        }
        .to_owned();
    }
    if place.rule == Rule::rule_line
        && let Some(previous) = previous.filter(|word| !keyword::is_reserved(word))
        && let Some(meant) = keyword::nearest(previous, &["only", "allow", "deny", "audit"])
    {
        return format!("did you mean `{meant}` instead of `{previous}`?");
    }
    if previous == Some("within") && place.rule == Rule::host_line {
        return RANGES_FORM.to_owned();
    }
    match word {
        "," if place.rule == Rule::ports_line => return PORTS_FORM.to_owned(),
        "," if place.rule != Rule::include_line => {
            return "write several of them as a set: `{ a, b }`".to_owned();
        }
        "except" => {
            return "`except` subtracts from a destination, and from `*` on the left of a `deny` or an `allow`"
                .to_owned();
        }
        "from" => {
            return "`from` follows `clients`, as in `clients from 10.0.0.0/8`, and the file of a `ranges` statement"
                .to_owned();
        }
        "with" => return "`with children` ends the declaration of a program".to_owned(),
        "within" => return "`within ranges(…)` follows the destinations of a declared host".to_owned(),
        "may" => return "`may change` ends the declaration of a host".to_owned(),
        "in" => return "`in unit \"NAME.service\"` follows a path in quotes, or `*`".to_owned(),
        "verity" => return "`verity` follows a path in quotes and its unit".to_owned(),
        "libraries" => return "`libraries { … }` follows a path in quotes and its `verity`".to_owned(),
        _ => {}
    }
    if wanted.contains(&"`}`") && wanted.contains(&"`,`") {
        return "separate the elements of a set by commas".to_owned();
    }
    match place.rule {
        Rule::policy_line => "write `policy` and one name: `policy payments-kms`",
        Rule::program_line => {
            "write `program signer = \"/usr/bin/signer\"`, with or without `verity …`, `libraries { … }` and `with children`"
        }
        Rule::host_line => "write `host kms = kms.internal:443`, or a `{ set }` of destinations",
        Rule::ports_line => PORTS_FORM,
        Rule::param_line => "write `param env = { \"staging\", \"prod\" }`: the values that it may have, in brackets",
        Rule::default_line => "write `default allow` or `default deny`",
        Rule::include_line => "write `include \"common/corp.bfp\"`",
        Rule::ranges_line => "write `ranges \"ip-ranges.json\" from \"https://…\"`: the file beside the policy, and where `bfpc fetch` gets it",
        Rule::accept_line => {
            "write `accept check::path_grant because \"why it is intended\"` on the line before, or `accept \
             check::path_grant everywhere because \"…\"` for the whole policy"
        }
        Rule::test_head => "write `test \"what it shows\" {`, and `}` on a line of its own after the last line",
        Rule::destinations_line => "write a destination, such as `203.0.113.10:443` or `kms.internal:443`",
        Rule::expectation_line => "write a line of a test as `signer -> kms allowed` or `… denied`",
        _ => "write a rule as `only P -> D`, `P -> only D`, `allow P -> D` or `deny P -> D`, one on each line",
    }
    .to_owned()
}

/// The form of a provider's list.
pub(crate) const RANGES_FORM: &str = "write `ranges(\"ip-ranges.json\", service = \"S3\")`: a file in quotes beside the policy, then the filters, if any, as `key = \"value\"`";

/// The words that begin the notes of a rule.
const NOTE_WORDS: [&str; 4] = ["until", "owner", "ticket", "because"];

/// The form and the order of the notes of a rule.
const NOTES_FORM: &str =
    "write notes after the rule, each once, in this order: `until 2027-01-31 owner \"…\" ticket \"…\" because \"…\"`";

/// The form of declared ports.
const PORTS_FORM: &str = "write `ports etcd = {2379, 2380}`: numbers and ranges, in brackets if there are several";

/// The form of a digest pin.
const VERITY_FORM: &str = "write `verity sha256:…` with 64 hexadecimal digits, `verity file(\"dist/signer\")` to measure a build artifact, or several as `verity { …, … }`";

/// The form of the `ranges` or `verity` that contains this place.
fn within_parentheses(place: Place<'_>, at: usize) -> Option<&'static str> {
    // There, `ranges` begins a statement, and has no parentheses.
    if place.rule == Rule::ranges_line {
        return None;
    }
    let part = Span { start: place.span.start, end: at };
    // The words before the brackets that are still open here, and the last word outside of brackets.
    let mut open: Vec<&str> = Vec::new();
    let mut last = "";
    for token in scan::tokens(place.text, part) {
        match token.lexeme {
            Lexeme::Open(_) => open.push(std::mem::take(&mut last)),
            Lexeme::Close(_) => drop(open.pop()),
            Lexeme::Space | Lexeme::Newline | Lexeme::Comment => {}
            _ => last = token.span.text_in(place.text),
        }
    }
    match open.last().copied().filter(|word| !word.is_empty()).unwrap_or(last) {
        "ranges" => Some(RANGES_FORM),
        "verity" | "file" => Some(VERITY_FORM),
        _ => match last {
            "ranges" => Some(RANGES_FORM),
            "verity" | "file" => Some(VERITY_FORM),
            _ => None,
        },
    }
}

/// The word directly before this place.
fn word_before(place: Place<'_>, at: usize) -> Option<&str> {
    let before = Span { start: place.span.start, end: at }.text_in(place.text).trim_end();
    let start = before.char_indices().rev().take_while(|(_, c)| c.is_alphanumeric()).last().map(|(at, _)| at)?;
    before.get(start..)
}
