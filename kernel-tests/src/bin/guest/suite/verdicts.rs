//! What enters: the text of a verdict table. What leaves: its rows, without duplicates.
//!
//! ```text
//! # PROGRAM        ADDRESS:PORT/PROTOCOL  VERDICT
//! /usr/bin/signer  192.0.2.10:443/tcp     allowed
//! /usr/bin/signer  192.0.2.10/icmp        denied
//! /usr/bin/signer  raw                    denied
//! ```
//!
//! `/usr/bin/runner>/usr/bin/tool` is the tool, started by the runner. `audited` is allowed, and counted as a request
//! that an audited rule would deny.

use std::collections::BTreeSet;

use crate::destination::Destination;

/// The expected verdict of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Audited,
    Denied,
}

/// One request and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The program that makes the request, after those that led to it.
    pub(crate) program: String,
    pub(crate) destination: Destination,
    pub(crate) verdict: Verdict,
}

impl Row {
    /// The programs, each of which starts the next one.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &str> {
        self.program.split('>')
    }
}

pub(crate) fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split_once('#').map_or(line, |(before, _)| before);
        if content.trim().is_empty() {
            continue;
        }
        let row = parse_row(content).map_err(|complaint| format!("line {}: {complaint}", index + 1))?;
        if !seen.insert((row.program.clone(), row.destination)) {
            return Err(format!("line {}: this request has a verdict already", index + 1));
        }
        rows.push(row);
    }
    if rows.is_empty() { Err("the table has no rows".to_owned()) } else { Ok(rows) }
}

fn parse_row(line: &str) -> Result<Row, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [program, destination, verdict] = fields.as_slice() else {
        return Err("not three fields".to_owned());
    };
    if !program.split('>').all(|path| path.starts_with('/')) {
        return Err(format!("not an absolute path: `{program}`"));
    }
    let verdict = match *verdict {
        "allowed" => Verdict::Allowed,
        "audited" => Verdict::Audited,
        "denied" => Verdict::Denied,
        other => return Err(format!("neither allowed, audited nor denied: `{other}`")),
    };
    Ok(Row { program: (*program).to_owned(), destination: destination.parse()?, verdict })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_rows() {
        let rows = parse("# title\n\n/bin/a 192.0.2.1:1/tcp allowed # why\n").unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows.first().unwrap().verdict, Verdict::Allowed);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let complaint = |text| parse(text).unwrap_err();
        assert_eq!(complaint("\na b"), "line 2: not three fields");
        assert_eq!(complaint("a 192.0.2.1:1/tcp allowed"), "line 1: not an absolute path: `a`");
        assert_eq!(complaint("/a 192.0.2.1/tcp allowed"), "line 1: no address with a port: `192.0.2.1`");
        assert_eq!(complaint("/a 192.0.2.1:1/sctp allowed"), "line 1: neither tcp, udp nor icmp: `sctp`");
        assert_eq!(complaint("/a 192.0.2.1:1/icmp allowed"), "line 1: no address: `192.0.2.1:1`");
        assert_eq!(complaint("/a 192.0.2.1:1/tcp maybe"), "line 1: neither allowed, audited nor denied: `maybe`");
        let twice = "/a 192.0.2.1:1/tcp allowed\n/a 192.0.2.1:1/tcp denied";
        assert_eq!(complaint(twice), "line 2: this request has a verdict already");
        assert_eq!(complaint("# nothing"), "the table has no rows");
    }

    #[test]
    fn every_fixture_has_a_table_with_both_verdicts() {
        let folders = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/accept");
        let mut tables = 0;
        for folder in std::fs::read_dir(folders).unwrap() {
            let file = folder.unwrap().path().join("verdicts.txt");
            let text = std::fs::read_to_string(&file).unwrap();
            let rows = parse(&text).unwrap_or_else(|complaint| unreadable(&file, &complaint));
            for verdict in [Verdict::Allowed, Verdict::Denied] {
                assert!(rows.iter().any(|row| row.verdict == verdict), "{file:?}: no row {verdict:?}");
            }
            tables += 1;
        }
        assert!(tables > 0);
    }

    #[expect(clippy::panic, reason = "a test may fail loudly")]
    fn unreadable(file: &std::path::Path, complaint: &str) -> Vec<Row> {
        panic!("{}: {complaint}", file.display())
    }
}
