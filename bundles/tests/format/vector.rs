//! A vector: a file, the host that it is given to, and what the host must say. docs/format.md describes the text.

use base64ct::{Base64, Encoding};
use bfp_bundle::envelope::Document;
use bfp_bundle::key::KeyId;
use bfp_bundle::manifest::Need;
use bfp_bundle::verify::{Host, Refusal, Trust, TrustSet, verify, verify_token, verify_trust_set};

/// One vector.
pub(crate) struct Vector {
    /// `accepted`, or `refused: ` and the message.
    pub(crate) expect: String,
    /// What it is about.
    pub(crate) about: String,
    /// What the host takes the file for.
    pub(crate) document: Document,
    /// What the host trusts: the set in force.
    pub(crate) trust: TrustSet,
    /// The host.
    pub(crate) host: Host,
    /// The file.
    pub(crate) file: Vec<u8>,
}

impl Vector {
    /// What the verifier says, and whoever decodes what it accepts.
    pub(crate) fn judge(&self) -> Result<(), Refusal> {
        let trust = Trust::of_set(&self.trust)?;
        match self.document {
            Document::Bundle => {
                let bundle = verify(&self.file, &trust, &self.host)?;
                bundle.image()?;
                bundle.debug().map(drop)
            }
            Document::TrustSet => verify_trust_set(&self.file, &trust).map(drop),
            Document::Token => verify_token(&self.file, &trust, &self.host).map(drop),
        }
    }

    /// From its text.
    pub(crate) fn parse(text: &str) -> Vector {
        let (head, file) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        // The keys of the lines, in their order.
        let mut value = |key: &str| -> String {
            let (found, value) = lines.next().unwrap().split_once(':').unwrap();
            assert_eq!(found, key);
            value.trim_start().to_owned()
        };
        let numbers = |text: String| text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let vector = Vector {
            expect: value("expect"),
            about: value("about"),
            document: match value("document").as_str() {
                "bundle" => Document::Bundle,
                "trust set" => Document::TrustSet,
                "token" => Document::Token,
                other => unreachable!("no document `{other}`"),
            },
            trust: TrustSet {
                version: value("version").parse().unwrap(),
                threshold: value("threshold").parse().unwrap(),
                keys: value("trust").split_whitespace().map(from_hex).collect(),
                revoked: value("revoked").split_whitespace().map(|id| KeyId(from_hex(id))).collect(),
            },
            host: Host {
                now: value("now").parse().unwrap(),
                tags: value("labels").split_whitespace().map(str::to_owned).collect(),
                capabilities: {
                    let numbers: Vec<u16> = numbers(value("offers"));
                    numbers.into_iter().map(|number| Need::from_number(number).unwrap()).collect()
                },
            },
            file: Base64::decode_vec(&file.split_whitespace().collect::<String>()).unwrap(),
        };
        assert_eq!(lines.next(), None);
        vector
    }

    /// As text.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            text += key;
            text += if value.is_empty() { ":" } else { ": " };
            text += value;
            text += "\n";
        };
        line("expect", &self.expect);
        line("about", &self.about);
        line("document", &self.document.to_string());
        line("version", &self.trust.version.to_string());
        line("threshold", &self.trust.threshold.to_string());
        line("trust", &joined(self.trust.keys.iter().map(|key| to_hex(key))));
        line("revoked", &joined(self.trust.revoked.iter().map(ToString::to_string)));
        line("now", &self.host.now.to_string());
        line("labels", &self.host.tags.join(" "));
        line("offers", &joined(self.host.capabilities.iter().map(|need| (*need as u16).to_string())));
        text += "\n";
        for chunk in Base64::encode_string(&self.file).as_bytes().chunks(76) {
            text += str::from_utf8(chunk).unwrap();
            text += "\n";
        }
        text
    }
}

/// As `expect` says it.
pub(crate) fn outcome(result: &Result<(), Refusal>) -> String {
    match result {
        Ok(()) => "accepted".to_owned(),
        Err(refusal) => format!("refused: {refusal}"),
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), 2 * N);
    core::array::from_fn(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
}
