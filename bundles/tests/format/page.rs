//! docs/format.md: its bundle byte by byte is the vector `one-key`, and its table of refusals has the messages of the
//! vectors. `BFP_BLESS=1 cargo test -p bfp-bundle --test format` writes the bytes.

use std::fs;
use std::path::{Path, PathBuf};

use bfp_bundle::manifest::SectionKind;

use crate::vector::Vector;
use crate::vectors::{committed, one_key};

const BEGIN: &str = "<!-- begin: bytes -->\n";
const END: &str = "<!-- end: bytes -->\n";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md")
}

#[test]
fn the_page_shows_the_bytes_of_a_bundle() {
    let page = fs::read_to_string(path()).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let bytes = format!("```text\n{}```\n", annotated(&one_key()));
    if std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none() {
        fs::write(path(), [before, BEGIN, &bytes, END, after].concat()).unwrap();
    } else {
        assert_eq!(shown, bytes);
    }
}

/// A file, read from its beginning, with what each part of it means.
struct Dump<'a> {
    file: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Dump<'a> {
    /// The next bytes, sixteen a line, with their meaning beside the first of them.
    fn take(&mut self, length: usize, meaning: &str) -> &'a [u8] {
        let bytes = &self.file[self.at..self.at + length];
        for (index, chunk) in bytes.chunks(16).enumerate() {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let meaning = if index == 0 { meaning } else { "" };
            let line = format!("{:04x}  {:47}  {meaning}", self.at + 16 * index, hex.join(" "));
            self.text += line.trim_end();
            self.text += "\n";
        }
        self.at += length;
        bytes
    }

    /// A number of `length` bytes.
    fn number(&mut self, length: usize, meaning: &str) -> u64 {
        let bytes = &self.file[self.at..self.at + length];
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.take(length, &format!("{meaning}: {value}"));
        value
    }

    fn varint(&mut self, meaning: &str) -> u64 {
        let length = self.file[self.at..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let bytes = &self.file[self.at..self.at + length];
        let value = bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        self.take(length, &format!("{meaning}: {value}"));
        value
    }

    fn string(&mut self, meaning: &str) {
        let length = usize::from(self.file[self.at]);
        let text = str::from_utf8(&self.file[self.at + 1..self.at + 1 + length]).unwrap();
        self.take(1 + length, &format!("{meaning}: \"{text}\""));
    }

    fn heading(&mut self, text: &str) {
        self.text += &format!("\n{text}\n");
    }
}

fn annotated(file: &[u8]) -> String {
    let mut dump = Dump { file, at: 0, text: String::new() };
    dump.text += "the frame\n";
    dump.take(8, "magic bytes of a bundle");
    dump.number(4, "format version");
    dump.number(4, "length of the body");
    let signatures = dump.number(4, "number of signatures");
    dump.number(4, "reserved");

    dump.heading("the manifest");
    dump.string("policy");
    dump.varint("revision");
    dump.take(1, "not before: none");
    dump.take(1, "expires: none");
    dump.varint("labels of the audience");
    dump.take(1, "lockdown: no");
    dump.take(32, "source");
    dump.take(32, "lock");
    dump.string("compiler");
    for _ in 0..dump.varint("needs") {
        dump.varint("need");
    }
    let mut sections = Vec::new();
    for _ in 0..dump.varint("sections") {
        let kind = SectionKind::from_number(dump.varint("kind") as u16).unwrap();
        dump.varint("key size");
        let (size, count) = (dump.varint("value size"), dump.varint("count"));
        let length = dump.varint("length");
        dump.take(32, &format!("digest of {kind}"));
        sections.push((kind, size as usize, count, length as usize));
    }
    for _ in 0..signatures {
        dump.heading("a signature");
        dump.take(16, "key id");
        dump.take(64, "Ed25519 signature");
    }
    for (kind, size, count, length) in sections {
        dump.heading(&format!("section {kind}"));
        for number in 0..count {
            dump.take(size, &format!("record {number}"));
        }
        if size == 0 {
            dump.take(length, "in postcard");
        }
    }
    assert_eq!(dump.at, file.len());
    dump.text
}

/// The messages of the table of refusals, with `…` for what differs.
fn messages(page: &str) -> Vec<String> {
    let (_, table) = page.split_once("| class | message | when |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
}

/// Whether a message is what the table says.
fn matches(message: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = message.strip_prefix(parts.next().unwrap()) else { return false };
    for part in parts {
        // As early as possible; what a message leaves over is then checked against the end.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || pattern.ends_with('…')
}

#[test]
fn the_table_of_refusals_has_every_message_once() {
    let patterns = messages(&fs::read_to_string(path()).unwrap());
    assert!(patterns.len() > 25, "{patterns:?}");
    let mut reached = vec![0; patterns.len()];
    for (name, text) in committed() {
        let expect = Vector::parse(&text).expect;
        let Some(message) = expect.strip_prefix("refused: ") else { continue };
        let rows: Vec<usize> = (0..patterns.len()).filter(|row| matches(message, &patterns[*row])).collect();
        assert_eq!(rows.len(), 1, "{name}: `{message}` is in {} rows", rows.len());
        reached[rows[0]] += 1;
    }
    let missed: Vec<_> = patterns.iter().zip(reached).filter(|(_, count)| *count == 0).collect();
    assert!(missed.is_empty(), "no vector has the messages {missed:?}");
}
