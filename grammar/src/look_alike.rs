//! Characters that look like ASCII ones: a word → the first such character in it, and the word that was probably meant.
//!
//! The source is Unicode's table of confusable characters (UTS #39), plus the full-width forms and the typographic
//! quotation marks, which keyboards and word processors insert unasked.

use unicode_script::{Script, UnicodeScript as _};
use unicode_security::confusable_detection::skeleton;
use unicode_security::mixed_script::MixedScript as _;
use unicode_security::restriction_level::{RestrictionLevel, RestrictionLevelDetection as _};

use crate::error::SyntaxError;
use crate::syntax::Span;

/// The ASCII character that this one looks like; `None` for ASCII, and for characters unlike any of it.
fn ascii_like(c: char) -> Option<char> {
    match c {
        // The table compares these with small capitals, and a reader with their neighbours.
        'к' | 'κ' => Some('k'),
        'м' => Some('m'),
        'т' | 'τ' => Some('t'),
        _ => twin(c),
    }
}

/// As [`ascii_like`], only for characters that no reader can distinguish.
fn twin(c: char) -> Option<char> {
    match c {
        _ if c.is_ascii() => None,
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0),
        '\u{201C}'..='\u{201F}' | '\u{2033}' | '\u{2036}' | '\u{AB}' | '\u{BB}' => Some('"'),
        // Arrows have errors of their own, and the table takes the long dash for a letter.
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        _ => {
            let mut buffer = [0; 4];
            let mut looks = skeleton(c.encode_utf8(&mut buffer));
            // To the table, `m` looks like `rn` and `l` like `I`; for one character that never matters.
            looks.next().filter(|first| looks.next().is_none() && first.is_ascii_graphic())
        }
    }
}

/// The name of a character's script; empty if several scripts share it.
fn script(c: char) -> &'static str {
    match c {
        '\u{FF01}'..='\u{FF5E}' => "full-width",
        _ => match c.script() {
            Script::Common | Script::Inherited | Script::Unknown => "",
            script => script.full_name(),
        },
    }
}

/// `U+0430, Cyrillic`
pub(crate) fn named(c: char) -> String {
    match script(c) {
        "" => format!("U+{:04X}", u32::from(c)),
        script => format!("U+{:04X}, {script}", u32::from(c)),
    }
}

/// The word with each character that looks like an ASCII one replaced; `None` if there is no such character.
pub(crate) fn meant(word: &str) -> Option<String> {
    word.chars().any(|c| ascii_like(c).is_some()).then(|| word.chars().map(|c| ascii_like(c).unwrap_or(c)).collect())
}

/// The error about the first character of a word that looks like an ASCII one.
pub(crate) fn error(word: &str, start: usize, help: String) -> Option<SyntaxError> {
    error_where(word, start, help, |_| true)
}

fn error_where(word: &str, start: usize, help: String, counts: impl Fn(char) -> bool) -> Option<SyntaxError> {
    let (at, character, ascii) =
        word.char_indices().filter(|(_, c)| counts(*c)).find_map(|(at, c)| Some((at, c, ascii_like(c)?)))?;
    let start = start + at;
    let span = Span { start, end: start + character.len_utf8() };
    Some(SyntaxError::LookAlike { character, named: named(character), ascii, help, span })
}

/// The error about a path with a word that imitates ASCII throughout, or mixes ASCII with letters that look like it:
/// the intended file has another name.
pub(crate) fn in_path(written: &str, start: usize) -> Option<SyntaxError> {
    let mut at = start;
    for word in written.split_inclusive(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()) {
        let word_start = at;
        at += word.len();
        let word = word.trim_end_matches(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric());
        if word.is_ascii() || !(is_mixed(word) || is_dressed_up(word) || has_full_width(word)) {
            continue;
        }
        let meant = meant(word).unwrap_or_default();
        let help = format!("write `{meant}`; if that is the real name of the file, write `*` in place of the letter");
        if let Some(error) = error_where(word, word_start, help, is_foreign) {
            return Some(error);
        }
    }
    None
}

fn is_foreign(c: char) -> bool {
    c.script() != Script::Latin || script(c) == "full-width"
}

/// Whether the letters are from several scripts. Latin beside Chinese, Japanese or Korean is usual in names there.
fn is_mixed(word: &str) -> bool {
    !word.is_single_script() && word.detect_restriction_level() > RestrictionLevel::HighlyRestrictive
}

/// Whether every letter beyond ASCII is of another script and looks like an ASCII one.
fn is_dressed_up(word: &str) -> bool {
    word.chars().filter(|c| !c.is_ascii()).all(|c| is_foreign(c) && twin(c).is_some())
}

fn has_full_width(word: &str) -> bool {
    word.chars().any(|c| script(c) == "full-width")
}

/// The error about a DNS name with a misleading label: letters of several scripts, or of one script that imitates ASCII
/// throughout.
pub(crate) fn in_dns_name(name: &str, start: usize) -> Option<SyntaxError> {
    let ends_in_ascii = name.trim_end_matches('.').rsplit('.').next().is_some_and(str::is_ascii);
    let mut at = start;
    for label in name.split('.') {
        let label_start = at;
        at += label.len() + 1;
        if label.is_ascii() {
            continue;
        }
        // IDNA maps full-width letters to ASCII, so that none of them has a name of its own.
        let full_width = has_full_width(label);
        let reads_as_another = is_mixed(label) || full_width || (ends_in_ascii && is_dressed_up(label));
        if !reads_as_another {
            continue;
        }
        let meant = meant(label).unwrap_or_default();
        let help = match full_width {
            true => format!("write `{meant}`"),
            false => {
                format!("write `{meant}`; if exactly this name is meant, write its A-label, which begins with `xn--`")
            }
        };
        if let Some(error) = error_where(label, label_start, help, is_foreign) {
            return Some(error);
        }
        let mut scripts: Vec<&str> = Vec::new();
        for script in label.chars().map(script).filter(|script| !script.is_empty()) {
            if !scripts.contains(&script) {
                scripts.push(script);
            }
        }
        let (first, stranger) = label.char_indices().find(|(_, c)| !c.is_ascii() && is_foreign(*c))?;
        let start = label_start + first;
        return Some(SyntaxError::MixedScripts {
            label: label.to_owned(),
            scripts: scripts.join(" and "),
            stranger: named(stranger),
            span: Span { start, end: start + stranger.len_utf8() },
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_other_scripts_look_like_ascii() {
        for (word, ascii) in
            [("аllow", "allow"), ("kmѕ", "kms"), ("κμ", "kμ"), ("ΑΒ", "AB"), ("ｄｅｎｙ", "deny"), ("–>", "->")]
        {
            assert_eq!(meant(word).as_deref(), Some(ascii), "{word}");
        }
        assert_eq!(meant("größe"), None);
        assert_eq!(meant("m0dern"), None, "ASCII looks like itself");
        assert_eq!(named('а'), "U+0430, Cyrillic");
        assert_eq!(named('ａ'), "U+FF41, full-width");
        assert_eq!(named('–'), "U+2013");
    }

    #[test]
    fn names_in_one_script_are_left_alone() {
        for name in [
            "bücher.example",
            "ışık.example",
            "почта.example",
            "例え.テスト",
            "日本語dns.example",
            "한국.example",
            "faß.de",
        ] {
            assert_eq!(in_dns_name(name, 0), None, "{name}");
        }
    }

    #[test]
    fn paths_that_read_as_others_are_told_with_the_place() {
        let at = |path: &str| in_path(path, 10).map(|error| error.start());
        assert_eq!(at("/usr/bin/ѕigner"), Some(19));
        assert_eq!(at("/opt/*-сор-*/bin"), Some(17), "Cyrillic throughout");
        assert_eq!(at("/opt/почта/bin/größe"), None);
        assert_eq!(at("/opt/日本語app/run"), None);
        assert_eq!(at("/usr/bin/curl"), None);
    }

    #[test]
    fn names_that_read_as_others_are_told_with_the_place() {
        let at = |name: &str| in_dns_name(name, 10).map(|error| error.start());
        assert_eq!(at("kmѕ.internal"), Some(12));
        assert_eq!(at("api.ѕсоре.com"), Some(14), "Cyrillic throughout");
        assert_eq!(at("ｋms.internal"), Some(10));
        assert_eq!(at("abcשd.example"), Some(13), "no letter of it looks like another");
    }
}
