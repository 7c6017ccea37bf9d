//! The layout of canonical text: what goes on one line, what is broken, and where comments stay.
//!
//! Enters: pieces of text and lists, each with its place in the source, and the comments of the source. Leaves: the
//! text. Every comment that enters leaves once. A list that was written over several lines stays so, and one that does
//! not fit becomes so. A second pass makes the same decisions, so formatting is idempotent.

use crate::scan::{self, Lexeme};
use crate::syntax::Span;

/// The longest line in columns; a longer one is broken where that is possible.
const WIDTH: usize = 100;

const INDENT: usize = 4;

/// A part of a line.
pub(crate) enum Piece {
    Text(String),
    List(List),
}

/// How a list is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `{ a, b }`
    Set,
    /// `{80, 443}`
    Ports,
    /// `("a", b = "c")`
    Arguments,
    /// The lines of a test: never on one line, and without commas.
    Block,
}

/// Items between brackets.
pub(crate) struct List {
    pub(crate) style: Style,
    /// From bracket to bracket.
    pub(crate) span: Span,
    pub(crate) items: Vec<Item>,
}

/// One item of a list, or one statement.
pub(crate) struct Item {
    pub(crate) span: Span,
    pub(crate) pieces: Vec<Piece>,
    /// A word that is aligned with those of the other items of the block.
    pub(crate) aligned: Option<&'static str>,
}

/// A comment, without the white space around it.
#[derive(Clone, Copy)]
pub(crate) struct Comment<'a> {
    pub(crate) span: Span,
    pub(crate) text: &'a str,
}

/// All comments of a text, in their order.
pub(crate) fn comments(text: &str) -> Vec<Comment<'_>> {
    let whole = Span { start: 0, end: text.len() };
    scan::tokens(text, whole)
        .filter(|token| token.lexeme == Lexeme::Comment)
        .map(|token| Comment { span: token.span, text: token.span.text_in(text).trim_end() })
        .collect()
}

/// The comments within this place.
pub(crate) fn comments_in<'a, 's>(comments: &'a [Comment<'s>], place: Span) -> &'a [Comment<'s>] {
    let first = comments.partition_point(|comment| comment.span.start < place.start);
    let last = comments.partition_point(|comment| comment.span.start < place.end);
    comments.get(first..last).unwrap_or_default()
}

/// The canonical text of a whole file.
pub(crate) fn lay_out(text: &str, statements: &[Item], comments: &[Comment<'_>]) -> String {
    let mut page = Page { source: text, comments, out: String::new() };
    let whole = Span { start: 0, end: text.len() };
    let lines = lines_of(text, whole, statements, comments);
    page.write_lines(&lines, Style::Block, 0);
    page.out
}

/// A line of a broken list, or of the file.
enum Line<'a> {
    Comment { text: &'a str, blank_before: bool },
    Item { item: &'a Item, trailing: Option<&'a str>, blank_before: bool },
}

/// Merges the items between these brackets with the comments around them, in the order of the text.
fn lines_of<'a>(source: &str, place: Span, items: &'a [Item], comments: &'a [Comment<'_>]) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let mut waiting = comments_in(comments, place);
    let mut previous_end = place.start;
    let mut upcoming = items.iter().peekable();
    while let Some(item) = upcoming.next() {
        while let Some((comment, rest)) = waiting.split_first()
            && comment.span.start < item.span.start
        {
            let blank_before = !lines.is_empty() && blank_line(source, previous_end, comment.span.start);
            lines.push(Line::Comment { text: comment.text, blank_before });
            previous_end = comment.span.end;
            waiting = rest;
        }
        let mut blank_before = !lines.is_empty() && blank_line(source, previous_end, item.span.start);
        previous_end = item.span.end;
        // Lists keep their own comments; other comments within the item can only move above it.
        while let Some((comment, rest)) = waiting.split_first()
            && comment.span.start < item.span.end
        {
            if !keeps(&item.pieces, comment.span) {
                lines.push(Line::Comment { text: comment.text, blank_before });
                blank_before = false;
            }
            waiting = rest;
        }
        let next_start = upcoming.peek().map_or(place.end, |next| next.span.start);
        let trailing = waiting.split_first().filter(|(comment, _)| {
            let between = Span { start: item.span.end, end: comment.span.start };
            comment.span.start < next_start && !between.text_in(source).contains('\n')
        });
        let trailing = trailing.map(|(comment, rest)| {
            previous_end = comment.span.end;
            waiting = rest;
            comment.text
        });
        lines.push(Line::Item { item, trailing, blank_before });
    }
    for comment in waiting {
        let blank_before = !lines.is_empty() && blank_line(source, previous_end, comment.span.start);
        lines.push(Line::Comment { text: comment.text, blank_before });
        previous_end = comment.span.end;
    }
    lines
}

fn keeps(pieces: &[Piece], place: Span) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Text(_) => false,
        Piece::List(list) => list.span.start <= place.start && place.start < list.span.end,
    })
}

/// Whether an empty line separates these two places.
fn blank_line(source: &str, start: usize, end: usize) -> bool {
    let between = Span { start, end }.text_in(source);
    // The first part is the rest of a line, the last one the beginning of a line.
    let inner = between.split('\n').count().saturating_sub(2);
    between.split('\n').skip(1).take(inner).any(|line| line.trim().is_empty())
}

struct Page<'a> {
    source: &'a str,
    comments: &'a [Comment<'a>],
    out: String,
}

impl Page<'_> {
    fn write_lines(&mut self, lines: &[Line<'_>], style: Style, indent: usize) {
        let column = alignment(self, lines, indent);
        for line in lines {
            match line {
                Line::Comment { text, blank_before } => {
                    self.begin_line(*blank_before, indent);
                    self.out.push_str(text);
                }
                Line::Item { item, trailing, blank_before } => {
                    self.begin_line(*blank_before, indent);
                    let tail = item.aligned.map_or(1, |word| word.len() + GAP);
                    self.write_pieces(&item.pieces, indent, tail);
                    if let Some(word) = item.aligned {
                        let gap = column.saturating_sub(self.column()).max(1);
                        self.out.extend(std::iter::repeat_n(' ', gap));
                        self.out.push_str(word);
                    }
                    if style != Style::Block {
                        self.out.push(',');
                    }
                    if let Some(comment) = trailing {
                        self.out.push_str("  ");
                        self.out.push_str(comment);
                    }
                }
            }
            self.out.push('\n');
        }
    }

    fn begin_line(&mut self, blank_before: bool, indent: usize) {
        if blank_before {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Writes the pieces of an item; `tail` columns follow on the same line.
    fn write_pieces(&mut self, pieces: &[Piece], indent: usize, tail: usize) {
        for (index, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) => self.out.push_str(text),
                Piece::List(list) => {
                    let behind = pieces.get(index + 1..).unwrap_or_default();
                    let follows = width_up_to_list(behind, tail);
                    self.write_list(list, indent, follows);
                }
            }
        }
    }

    fn write_list(&mut self, list: &List, indent: usize, follows: usize) {
        let room = WIDTH.saturating_sub(self.column() + follows);
        let mut flat = String::new();
        let (open, close) = brackets(list.style);
        let as_written = list.span.text_in(self.source).contains('\n');
        if (!as_written || list.items.is_empty() && comments_in(self.comments, list.span).is_empty())
            && write_flat(list, room, &mut flat)
        {
            self.out.push_str(&flat);
            return;
        }
        self.out.push_str(open);
        self.out.push('\n');
        let lines = lines_of(self.source, list.span, &list.items, self.comments);
        self.write_lines(&lines, list.style, indent + INDENT);
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push_str(close);
    }

    /// The number of columns of the last line.
    fn column(&self) -> usize {
        let line = self.out.rsplit('\n').next().unwrap_or_default();
        line.chars().count()
    }
}

/// The distance of the aligned words from the longest item.
const GAP: usize = 4;

/// The column of the aligned words of a block.
fn alignment(page: &Page<'_>, lines: &[Line<'_>], indent: usize) -> usize {
    let mut widest = 0;
    for line in lines {
        if let Line::Item { item, .. } = line
            && let Some(word) = item.aligned
        {
            let mut trial = Page { out: " ".repeat(indent), ..*page };
            trial.write_pieces(&item.pieces, indent, word.len() + GAP);
            widest = widest.max(trial.column());
        }
    }
    widest + GAP
}

fn brackets(style: Style) -> (&'static str, &'static str) {
    match style {
        Style::Arguments => ("(", ")"),
        Style::Set | Style::Ports | Style::Block => ("{", "}"),
    }
}

/// The number of columns up to the next place where the line can be broken.
fn width_up_to_list(pieces: &[Piece], tail: usize) -> usize {
    let mut width = 0;
    for piece in pieces {
        match piece {
            Piece::Text(text) => width += text.chars().count(),
            // The bracket itself stays on this line.
            Piece::List(_) => return width + 1,
        }
    }
    width + tail
}

/// Writes a list on one line, unless that takes more than `room` columns.
fn write_flat(list: &List, room: usize, flat: &mut String) -> bool {
    if list.style == Style::Block && !list.items.is_empty() {
        return false;
    }
    let (open, close) = brackets(list.style);
    let padding = if list.style == Style::Set { " " } else { "" };
    flat.push_str(open);
    flat.push_str(padding);
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            flat.push_str(", ");
        }
        for piece in &item.pieces {
            let fits = match piece {
                Piece::Text(text) => {
                    flat.push_str(text);
                    // There are no more columns than bytes, and this stops long before the end of a long list.
                    flat.len() <= room || flat.chars().count() <= room
                }
                Piece::List(list) => write_flat(list, room, flat),
            };
            if !fits {
                return false;
            }
        }
    }
    flat.push_str(padding);
    flat.push_str(close);
    flat.chars().count() <= room
}
