//! The vectors of fixtures/bundles: made from fixed seeds, and compared with what is committed, so that a change
//! of the format shows in review. `BFP_BLESS=1 cargo test -p bfp-bundle --test format` writes them.

mod bundles;
mod frames;
mod tokens;
mod trust_sets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bfp_bundle::envelope::Document;
use bfp_bundle::image::ImageError;
use bfp_bundle::verify::{Host, Refusal, TrustSet};

use crate::made;
use crate::vector::{Vector, outcome};

/// A vector as its maker writes it down.
pub(crate) struct Case {
    name: &'static str,
    about: &'static str,
    document: Document,
    trust: TrustSet,
    host: Host,
    file: Vec<u8>,
    expected: Result<(), Refusal>,
}

impl Case {
    /// A file for a host that trusts key 1.
    fn new(name: &'static str, about: &'static str, document: Document, file: Vec<u8>) -> Case {
        let trust = made::set(0, 1, &[1], &[]);
        Case { name, about, document, trust, host: made::host(), file, expected: Ok(()) }
    }

    fn trusting(self, trust: TrustSet) -> Case {
        Case { trust, ..self }
    }

    fn at(self, host: Host) -> Case {
        Case { host, ..self }
    }

    fn refused(self, refusal: Refusal) -> Case {
        Case { expected: Err(refusal), ..self }
    }

    fn vector(&self) -> Vector {
        Vector {
            expect: outcome(&self.expected),
            about: self.about.to_owned(),
            document: self.document,
            trust: self.trust.clone(),
            host: self.host.clone(),
            file: self.file.clone(),
        }
    }
}

/// Every one that is made here.
pub(crate) fn cases() -> Vec<Case> {
    [frames::cases(), bundles::cases(), trust_sets::cases(), tokens::cases()].into_iter().flatten().collect()
}

/// The file that docs/format.md shows.
pub(crate) fn one_key() -> Vec<u8> {
    cases().into_iter().find(|case| case.name == "one-key").unwrap().file
}

/// Where they stand.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bundles")
}

/// What the committed ones are called, and what they say.
pub(crate) fn committed() -> BTreeMap<String, String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn every_vector_is_judged_as_its_maker_expects() {
    for case in cases() {
        assert_eq!(case.vector().judge(), case.expected, "{}", case.name);
    }
}

#[test]
fn every_vector_is_committed_as_it_is_made() {
    // Whoever writes them reads the difference; in CI they are only ever compared.
    let bless = std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in cases() {
        assert!(names.insert(case.name), "two vectors are called {}", case.name);
        let path = folder().join(case.name).with_extension("txt");
        let text = case.vector().to_text();
        if bless {
            fs::write(&path, &text).unwrap();
        }
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            wrong.push(case.name);
        }
    }
    assert!(wrong.is_empty(), "not as they are made: {wrong:?}");
    let strays: Vec<_> = committed()
        .into_keys()
        // compiler/tests/bundle_vectors.rs makes those.
        .filter(|name| !names.contains(name.as_str()) && !name.starts_with("compiled-"))
        .collect();
    assert!(strays.is_empty(), "nothing makes {strays:?}");
}

#[test]
fn every_committed_vector_is_judged_as_its_first_line_says() {
    for (name, text) in committed() {
        let vector = Vector::parse(&text);
        assert_eq!(vector.to_text(), text, "{name}");
        assert_eq!(outcome(&vector.judge()), vector.expect, "{name}");
    }
}

/// A name for every variant, and the list of all names: a new variant does not compile before it is here, and is
/// missed below before a vector leads to it.
macro_rules! variants {
    ($name:ident, $type:ty, $all:ident, $($pattern:pat => $variant:literal,)*) => {
        fn $name(value: &$type) -> &'static str {
            match value { $($pattern => $variant,)* }
        }
        const $all: &[&str] = &[$($variant,)*];
    };
}

variants!(refusal_name, Refusal, REFUSALS,
    Refusal::BadMagic { .. } => "BadMagic",
    Refusal::UnknownVersion(_) => "UnknownVersion",
    Refusal::Truncated(_) => "Truncated",
    Refusal::TrailingBytes(_) => "TrailingBytes",
    Refusal::Oversize { .. } => "Oversize",
    Refusal::Reserved => "Reserved",
    Refusal::UnknownKey(_) => "UnknownKey",
    Refusal::RevokedKey(_) => "RevokedKey",
    Refusal::DuplicateKey(_) => "DuplicateKey",
    Refusal::BadSignature(_) => "BadSignature",
    Refusal::Threshold { .. } => "Threshold",
    Refusal::BadBody => "BadBody",
    Refusal::NotYetValid { .. } => "NotYetValid",
    Refusal::Expired { .. } => "Expired",
    Refusal::WrongAudience(_) => "WrongAudience",
    Refusal::UnknownNeed(_) => "UnknownNeed",
    Refusal::UnmetNeed(_) => "UnmetNeed",
    Refusal::UnknownSection(_) => "UnknownSection",
    Refusal::DuplicateSection(_) => "DuplicateSection",
    Refusal::MissingSection(_) => "MissingSection",
    Refusal::SectionSize(_) => "SectionSize",
    Refusal::SectionDigest(_) => "SectionDigest",
    Refusal::Image(_) => "Image",
    Refusal::BadDebug => "BadDebug",
    Refusal::BadTrustSet(_) => "BadTrustSet",
    Refusal::TrustVersion { .. } => "TrustVersion",
    Refusal::ForgottenRevocation(_) => "ForgottenRevocation",
);

variants!(image_error_name, ImageError, IMAGE_ERRORS,
    ImageError::Count(_) => "Count",
    ImageError::Undecodable(_) => "Undecodable",
    ImageError::Structure(_) => "Structure",
);

#[test]
fn every_refusal_has_a_vector() {
    let cases = cases();
    let refusals: Vec<&Refusal> = cases.iter().filter_map(|case| case.expected.as_ref().err()).collect();
    let reached: BTreeSet<&str> = refusals.iter().map(|refusal| refusal_name(refusal)).collect();
    let missed: Vec<_> = REFUSALS.iter().filter(|name| !reached.contains(**name)).collect();
    assert!(missed.is_empty(), "no vector leads to {missed:?}");
    let errors =
        refusals.iter().filter_map(|refusal| if let Refusal::Image(error) = refusal { Some(error) } else { None });
    let reached: BTreeSet<&str> = errors.map(image_error_name).collect();
    let missed: Vec<_> = IMAGE_ERRORS.iter().filter(|name| !reached.contains(**name)).collect();
    assert!(missed.is_empty(), "no vector leads to {missed:?}");
}
