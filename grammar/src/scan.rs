//! Cuts a text into statements, before any of it is parsed.
//!
//! Enters: the text, or the inside of a test. Leaves: the places of its statements, without the comments around them. A
//! statement ends with its line, unless a bracket is open. A statement that leaves is always well bracketed, nested at
//! most [`MAX_DEPTH`] deep, with every string closed and without invisible characters; everything else has become an
//! error here. So one broken statement does not spoil the next, and the recursive parser after this module cannot run
//! out of stack.

use std::collections::BTreeSet;

use crate::error::SyntaxError;
use crate::keyword;
use crate::syntax::Span;

/// The deepest nesting of brackets and `except`.
pub(crate) const MAX_DEPTH: usize = 64;

/// The kind of a piece of the text, as far as brackets, strings and line ends are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lexeme {
    Space,
    Newline,
    Comment,
    Quoted { closed: bool },
    Open(char),
    Close(char),
    Word,
    Symbol,
}

/// A piece of the text with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) lexeme: Lexeme,
    pub(crate) span: Span,
}

/// The tokens of a part of the text, without gaps.
pub(crate) fn tokens(text: &str, part: Span) -> impl Iterator<Item = Token> + '_ {
    let mut start = part.start;
    std::iter::from_fn(move || {
        let rest = Span { start, end: part.end }.text_in(text);
        let (lexeme, length) = first_token(rest)?;
        let span = Span { start, end: start + length };
        start = span.end;
        Some(Token { lexeme, span })
    })
}

fn first_token(rest: &str) -> Option<(Lexeme, usize)> {
    let first = rest.chars().next()?;
    let run = |belongs: fn(char) -> bool| rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    Some(match first {
        '\n' => (Lexeme::Newline, 1),
        ' ' | '\t' | '\r' => (Lexeme::Space, run(|c| matches!(c, ' ' | '\t' | '\r'))),
        '#' => (Lexeme::Comment, run(|c| c != '\n')),
        '"' => quoted(rest),
        '{' | '(' => (Lexeme::Open(first), 1),
        '}' | ')' => (Lexeme::Close(first), 1),
        _ if is_word(first) => (Lexeme::Word, run(is_word)),
        _ => (Lexeme::Symbol, first.len_utf8()),
    })
}

fn quoted(rest: &str) -> (Lexeme, usize) {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return (Lexeme::Quoted { closed: false }, at),
            '"' if !escaped => return (Lexeme::Quoted { closed: true }, at + 1),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    (Lexeme::Quoted { closed: false }, rest.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The places of the statements in this part of the text.
pub(crate) fn statements(text: &str, part: Span, errors: &mut Vec<SyntaxError>) -> Vec<Span> {
    let mut cut =
        Cut { text, errors, found: Vec::new(), current: None, open: Vec::new(), forgiven: 0, never_closed: None, part };
    let mut starts_line = true;
    for token in tokens(text, part) {
        cut.refuse_hidden_character(token);
        match token.lexeme {
            Lexeme::Newline => {
                if cut.open.is_empty() {
                    cut.end_statement();
                }
                starts_line = true;
                continue;
            }
            Lexeme::Space | Lexeme::Comment => continue,
            Lexeme::Word if starts_line => cut.notice_unclosed_bracket(token.span),
            _ => {}
        }
        starts_line = false;
        cut.take(token);
    }
    if let Some((_, opener)) = cut.open.last() {
        let opener = *opener;
        cut.errors.push(SyntaxError::UnclosedBracket { bracket: opener.text_in(text).to_owned(), opener, next: None });
    } else {
        cut.end_statement();
    }
    cut.found
}

/// The statement that is being cut.
struct Statement {
    span: Span,
    sound: bool,
}

struct Cut<'a> {
    text: &'a str,
    errors: &'a mut Vec<SyntaxError>,
    found: Vec<Span>,
    current: Option<Statement>,
    open: Vec<(char, Span)>,
    /// How many closing brackets are still expected for brackets that were already reported as unclosed.
    forgiven: usize,
    /// The brackets that nothing closes, computed at the first query.
    never_closed: Option<BTreeSet<usize>>,
    /// The part of the text that is being cut.
    part: Span,
}

impl Cut<'_> {
    fn take(&mut self, token: Token) {
        let span = token.span;
        let opened = self.open.last().copied();
        let error = match token.lexeme {
            Lexeme::Quoted { closed: false } => Some(SyntaxError::UnterminatedString { span }),
            Lexeme::Open(bracket) => {
                self.open.push((if bracket == '{' { '}' } else { ')' }, span));
                (self.open.len() == MAX_DEPTH + 1).then_some(SyntaxError::TooDeep { span })
            }
            Lexeme::Close(bracket) => match opened {
                Some((expected, _)) if expected == bracket => {
                    self.open.pop();
                    None
                }
                None if self.forgiven > 0 => {
                    self.forgiven -= 1;
                    return;
                }
                _ => {
                    // The wrong bracket was meant to close this one; the right one may still come.
                    self.forgiven += usize::from(self.open.pop().is_some());
                    Some(SyntaxError::StrayBracket { bracket, span, opener: opened.map(|(_, opener)| opener) })
                }
            },
            _ => None,
        };
        let statement = self.current.get_or_insert(Statement { span, sound: true });
        statement.span.end = span.end;
        statement.sound &= error.is_none();
        self.errors.extend(error);
    }

    /// Called at a word that begins a line. Within brackets, the beginning of a statement means that one of them was
    /// never closed. No name is spelt like these words, so nothing valid is cut here.
    fn notice_unclosed_bracket(&mut self, word: Span) {
        let Some((_, opener)) = self.open.last().copied() else { return };
        if !keyword::begins_statement(word.text_in(self.text)) {
            return;
        }
        let rest = self.text.get(word.end..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let next = line.trim_start();
        let goes_on = next.len() < line.len()
            && next.starts_with(|c: char| is_word(c) || matches!(c, '"' | '{' | '*' | '/' | '['));
        // `only a -> b allowed` is a rule written into a test, which the parser explains better.
        let is_expectation = line.contains(" allowed") || line.contains(" denied");
        if !goes_on || is_expectation || self.is_within_a_test(opener) {
            return;
        }
        self.errors.push(SyntaxError::UnclosedBracket {
            bracket: opener.text_in(self.text).to_owned(),
            opener,
            next: Some(word),
        });
        self.forgiven += self.open.len();
        self.open.clear();
        self.current = None;
    }

    /// Whether the open bracket is that of a test, and is closed later. Then a statement within it was written into the
    /// test, and is reported where the lines of tests are read.
    fn is_within_a_test(&mut self, opener: Span) -> bool {
        let is_test = self.current.as_ref().is_some_and(|statement| {
            let head = self.text.get(statement.span.start..opener.start).unwrap_or_default();
            head.strip_prefix("test").is_some_and(|rest| !rest.starts_with(is_word))
        });
        if !is_test || self.open.len() != 1 {
            return false;
        }
        let never_closed = self.never_closed.get_or_insert_with(|| never_closed(self.text, self.part));
        !never_closed.contains(&opener.start)
    }

    fn end_statement(&mut self) {
        if let Some(statement) = self.current.take()
            && statement.sound
        {
            self.found.push(statement.span);
        }
    }

    fn refuse_hidden_character(&mut self, token: Token) {
        // A CR is white space before its LF; anywhere else it hides a line.
        let words = token.span.text_in(self.text);
        let ends_line = self.text.as_bytes().get(token.span.end) == Some(&b'\n');
        let kept = if ends_line { words.strip_suffix('\r').unwrap_or(words) } else { words };
        let Some((at, character)) = kept.char_indices().find(|(_, c)| *c != '\n' && is_hidden(*c)) else {
            return;
        };
        let start = token.span.start + at;
        let span = Span { start, end: start + character.len_utf8() };
        if token.lexeme != Lexeme::Comment {
            let statement = self.current.get_or_insert(Statement { span, sound: true });
            // One report for each statement: a binary file would otherwise have one for every byte.
            if !std::mem::replace(&mut statement.sound, false) {
                return;
            }
        }
        self.errors.push(SyntaxError::HiddenCharacter { code_point: u32::from(character), span });
    }
}

/// The opening brackets without a closing one, assuming that all others are right.
fn never_closed(text: &str, part: Span) -> BTreeSet<usize> {
    let mut open = Vec::new();
    for token in tokens(text, part) {
        match token.lexeme {
            Lexeme::Open(_) => open.push(token.span.start),
            Lexeme::Close(_) => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().collect()
}

/// Characters that make a text look like another one: controls, zero-width ones, and those that reorder their
/// neighbours.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{061C}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> (Vec<&str>, usize) {
        let mut errors = Vec::new();
        let whole = Span { start: 0, end: text.len() };
        let found = statements(text, whole, &mut errors);
        (found.into_iter().map(|span| span.text_in(text)).collect(), errors.len())
    }

    #[test]
    fn a_statement_ends_with_its_line() {
        assert_eq!(cut("a b # c\n\n  c\r\n#d"), (vec!["a b", "c"], 0));
    }

    #[test]
    fn an_open_bracket_carries_a_statement_over_lines() {
        assert_eq!(cut("a {\n b # }\n}\nc (\n)"), (vec!["a {\n b # }\n}", "c (\n)"], 0));
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        assert_eq!(cut("a \"{\\\"\" # {\nb"), (vec!["a \"{\\\"\"", "b"], 0));
    }

    #[test]
    fn a_statement_word_ends_an_unclosed_bracket() {
        assert_eq!(cut("host a = { b,\nonly c -> d\n}\ne"), (vec!["only c -> d", "e"], 1));
    }

    #[test]
    fn a_lone_carriage_return_is_hidden() {
        assert_eq!(cut("a\rb\r\nc"), (vec!["c"], 1));
    }
}
