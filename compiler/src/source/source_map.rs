//! The texts of a policy, concatenated: one file after the other in one text, so that a place in it determines its file
//! too.
//!
//! Always: the text contains each file unchanged. No place is in two files. A report about a place shows its file, and
//! never runs into the next one.

use bfp_grammar::syntax::Span;
use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use sha2::{Digest, Sha256};

/// The most bytes that are shown before a place, and after it.
const MOST_AROUND: usize = 2000;

/// The most bytes between two places that are shown together.
const LONGEST_SHOWN: usize = 20_000;

/// Editors on Windows begin a file with it, and do not show it.
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// All files of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceMap {
    text: String,
    // INVARIANT: in the order of the text, and each begins after the end of the one before it.
    files: Vec<SourceFile>,
    /// The ends of the lines, ascending.
    line_ends: Vec<usize>,
}

/// One of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path as the user knows it, for messages.
    pub shown: String,
    /// Its path from the policy's own directory. The same policy has the same names wherever it is compiled.
    pub name: String,
    /// The range of its text.
    pub span: Span,
}

/// A place in one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The file's path as the user knows it.
    pub file: &'a str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// The number of bytes before it in its file.
    pub offset: usize,
}

impl SourceMap {
    /// Adds a file after the others. Returns the range of its text.
    pub fn add(&mut self, shown: String, name: String, text: &str) -> Span {
        let start = self.text.len();
        let span = Span { start, end: start + text.len() };
        self.line_ends.extend(text.match_indices('\n').map(|(at, _)| start + at));
        self.text.push_str(text);
        // The byte between two files belongs to neither.
        self.text.push('\n');
        self.files.push(SourceFile { shown, name, span });
        span
    }

    /// The text of all files.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The files, the policy itself first.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// Whether a place is in the policy's own file, and not in one that it includes.
    pub fn is_in_policy(&self, at: usize) -> bool {
        self.files.get(1).is_none_or(|included| at < included.span.start)
    }

    /// The file that contains a place.
    pub fn file_at(&self, at: usize) -> Option<&SourceFile> {
        let behind = self.files.partition_point(|file| file.span.start <= at);
        self.files.get(behind.checked_sub(1)?)
    }

    /// The line of a place in its file, from 1.
    pub fn line_at(&self, at: usize) -> u32 {
        let start = self.file_at(at).map_or(0, |file| file.span.start);
        let ends_before = |place: usize| self.line_ends.partition_point(|end| *end < place);
        (ends_before(at) - ends_before(start)) as u32 + 1
    }

    /// A place as editors count it: line and column from 1, the column in characters (Unicode scalar values).
    pub fn place_at(&self, at: usize) -> Option<Place<'_>> {
        let file = self.file_at(at)?;
        let before = self.text.get(file.span.start..at)?;
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.get(line_start..).unwrap_or_default();
        // Editors do not count a byte order mark.
        let line = if line_start == 0 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        let column = line.chars().count() as u32 + 1;
        Some(Place { file: &file.shown, line: self.line_at(at), column, offset: before.len() })
    }

    /// A place with some lines around it, so that no report reads a whole file or shows an endless line.
    fn part_around(&self, file: Span, start: usize, end: usize, lines_before: usize, lines_after: usize) -> Span {
        let lowest = self.text.floor_char_boundary(start.saturating_sub(MOST_AROUND).max(file.start));
        let highest = self.text.ceil_char_boundary(end.saturating_add(MOST_AROUND).min(file.end));
        let (before, after) =
            (self.text.get(lowest..start).unwrap_or_default(), self.text.get(end..highest).unwrap_or_default());
        // One more line than is shown, because the renderer cuts the lines itself.
        let first = match before.rmatch_indices('\n').nth(lines_before + 1) {
            Some((newline, _)) => lowest + newline + 1,
            None if lowest == file.start => lowest,
            // The beginning of the first line in range, or else the middle of a line.
            None => before.find('\n').map_or(lowest, |newline| lowest + newline + 1),
        };
        let last = match after.match_indices('\n').nth(lines_after + 1) {
            Some((newline, _)) => end + newline + 1,
            None if highest == file.end => highest,
            None => after.rfind('\n').map_or(highest, |newline| end + newline),
        };
        Span { start: first, end: last }
    }

    /// The source's digest for a bundle: the SHA-256 of the text. For several files, that of the list which `sha256sum`
    /// prints for them, the policy first and the others in the order of their inclusion.
    pub fn digest(&self) -> [u8; 32] {
        let of = |file: &SourceFile| Sha256::digest(file.span.text_in(&self.text));
        if let [only] = self.files.as_slice() {
            return of(only).into();
        }
        let mut list = Sha256::new();
        for file in &self.files {
            let digest: String = of(file).iter().map(|byte| format!("{byte:02x}")).collect();
            list.update(format!("{digest}  {}\n", file.name));
        }
        list.finalize().into()
    }

    /// The same places with another text, in which characters that must not be shown are replaced.
    #[must_use]
    pub fn shown_as(&self, show: impl Fn(&str) -> String) -> SourceMap {
        SourceMap { text: show(&self.text), files: self.files.clone(), line_ends: self.line_ends.clone() }
    }
}

impl SourceCode for SourceMap {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let file = self.file_at(span.offset()).ok_or(MietteError::OutOfBounds)?;
        let (start, end) = (span.offset(), span.offset().saturating_add(span.len()));
        // Rejects a span that ends in another file, so that two files are never shown as one, and one that is too long
        // to read, such as two distant places on a long line.
        if end > file.span.end || span.len() > LONGEST_SHOWN {
            return Err(MietteError::OutOfBounds);
        }
        let part = self.part_around(file.span, start, end, context_lines_before, context_lines_after);
        let inside = SourceSpan::from((start - part.start, span.len()));
        let text = part.text_in(&self.text);
        let found = text.read_span(&inside, context_lines_before, context_lines_after)?;
        let place = SourceSpan::from((found.span().offset() + part.start, found.span().len()));
        let line = found.line() + self.line_at(part.start) as usize - 1;
        // Without lines around it, the span is for the head of a report, which shows its column.
        let alone = context_lines_before == 0 && context_lines_after == 0;
        let column = match self.place_at(span.offset()).filter(|_| alone) {
            Some(place) => place.column as usize - 1,
            None => found.column(),
        };
        Ok(Box::new(MietteSpanContents::new_named(
            file.shown.clone(),
            found.data(),
            place,
            line,
            column,
            found.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    fn two_files() -> (SourceMap, Span, Span) {
        let mut map = SourceMap::default();
        let first = map.add("dir/a.bfp".to_owned(), "a.bfp".to_owned(), "one\ntwo");
        let second = map.add("dir/b.bfp".to_owned(), "b.bfp".to_owned(), "three\nfour\n");
        (map, first, second)
    }

    #[test]
    fn place_is_told_by_file_and_line() {
        let (map, first, second) = two_files();
        assert_eq!(map.file_at(first.start).unwrap().name, "a.bfp");
        assert_eq!(map.file_at(first.end).unwrap().name, "a.bfp");
        assert_eq!(map.file_at(second.start).unwrap().name, "b.bfp");
        assert_eq!((map.line_at(first.start + 4), map.line_at(second.start), map.line_at(second.start + 6)), (2, 1, 2));
        assert_eq!(second.text_in(map.text()), "three\nfour\n");
    }

    #[test]
    fn column_counts_characters_and_offset_counts_bytes() {
        let mut map = SourceMap::default();
        map.add("a".to_owned(), "a".to_owned(), "x\n");
        let second = map.add("b".to_owned(), "b".to_owned(), "# größe\n# ö 😀x\n");
        let at = map.text().find("x\n\n").unwrap_or_default().max(second.start + 19);
        let place = map.place_at(at).unwrap();
        assert_eq!((place.file, place.line, place.column, place.offset), ("b", 2, 6, at - second.start));
        assert_eq!(map.place_at(second.start + 5), None, "within a character");
    }

    #[test]
    fn line_without_end_is_shown_in_part() {
        let mut map = SourceMap::default();
        map.add("a".to_owned(), "a".to_owned(), "before\n");
        let long = format!("first\n{}ö{}\nlast\n", "ü".repeat(100_000), "ä".repeat(100_000));
        let file = map.add("b".to_owned(), "b".to_owned(), &long);
        let at = file.start + long.find('ö').unwrap();
        let found = map.read_span(&SourceSpan::from((at, 2)), 1, 1).unwrap();
        assert!((4000..4100).contains(&found.data().len()), "{}", found.data().len());
        assert_eq!(found.line(), 1);
        assert!(std::str::from_utf8(found.data()).unwrap().contains("üöä"));
        let head = map.read_span(&SourceSpan::from((at, 2)), 0, 0).unwrap();
        assert_eq!((head.line(), head.column()), (1, 100_000));
        let last = file.start + long.find("last").unwrap();
        let found = map.read_span(&SourceSpan::from((last, 4)), 1, 1).unwrap();
        assert_eq!((found.line(), found.data()), (2, b"last\n".as_slice()), "less around it");
        assert!(map.read_span(&SourceSpan::from((file.start, 100_000)), 1, 1).is_err());
    }

    #[test]
    fn byte_order_mark_is_no_column() {
        let mut map = SourceMap::default();
        let file = map.add("a".to_owned(), "a".to_owned(), "\u{FEFF}ü deny\n\u{FEFF}x");
        let at = file.start + "\u{FEFF}ü ".len();
        assert_eq!((map.place_at(at).unwrap().column, map.place_at(at).unwrap().offset), (3, at));
        let contents = map.read_span(&SourceSpan::from((at, 4)), 0, 0).unwrap();
        assert_eq!((contents.line(), contents.column()), (0, 2), "characters, not bytes");
        assert_eq!(map.place_at(map.text().find('x').unwrap()).unwrap().column, 2, "not the begin of the file");
    }

    #[test]
    fn span_over_two_files_is_not_shown() {
        let (map, first, second) = two_files();
        let both = SourceSpan::from((first.start, second.end - first.start));
        assert!(map.read_span(&both, 1, 1).is_err());
        let contents = map.read_span(&SourceSpan::from((second.start + 6, 4)), 0, 0).unwrap();
        assert_eq!((contents.name(), contents.data(), contents.line()), (Some("dir/b.bfp"), b"four".as_slice(), 1));
    }

    #[test]
    fn digest_of_one_file_is_that_of_its_text() {
        let mut map = SourceMap::default();
        map.add("x".to_owned(), "x".to_owned(), "abc");
        let expected: [u8; 32] = Sha256::digest("abc").into();
        assert_eq!(map.digest(), expected);
        map.add("y".to_owned(), "y".to_owned(), "");
        assert_ne!(map.digest(), expected);
    }
}
