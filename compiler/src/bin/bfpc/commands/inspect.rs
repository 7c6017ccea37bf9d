//! `inspect`: what a bundle, a trust set or a token is and what it holds. Without `--trust`, what it says of itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bfp_bundle::debug::Debug;
use bfp_bundle::envelope::Document;
use bfp_bundle::image::{Library, NamedExecutable};
use bfp_bundle::manifest::{Manifest, Need, SectionKind};
use bfp_bundle::unverified;
use bfp_bundle::verify::MAX_BUNDLE_BYTES;
use bfp_compiler::source;
use clap::Args;
use serde::Serialize;

use crate::Answer;
use crate::commands::inspect_trust;
use crate::commands::inspected::{STILL_UNVERIFIED, UNVERIFIED, VERSION, hex};
use crate::files::input::{Format, InputArguments, ShownNotes, json, shortened};
use crate::report::human::visible;
use crate::signing::refusal::refused;
use crate::signing::signed_document::SignedDocument;
use crate::signing::trust::TrustArguments;
use crate::signing::validity::time;
use crate::signing::verified::{compiled, verified, verify_any};

#[derive(Args)]
pub(crate) struct InspectArguments {
    /// The bundle, the trust set or the token
    file: PathBuf,
    #[command(flatten)]
    input: InputArguments,
    /// The format of the answer
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// A bundle, as a machine reads it.
#[derive(Serialize)]
struct ShownBundle {
    version: u32,
    document: &'static str,
    /// Nothing below is vouched for where this is false.
    verified: bool,
    policy: String,
    revision: u64,
    compiler: String,
    not_before: Option<String>,
    expires: Option<String>,
    audience: Vec<String>,
    lockdown: bool,
    /// The values of the policy's parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, String>,
    needs: Vec<String>,
    source_sha256: String,
    lock_sha256: String,
    manifest_sha256: String,
    /// The keys that signed; where it is not verified, the keys that are named.
    signers: Vec<String>,
    sections: Vec<ShownSection>,
    programs: Vec<ShownProgram>,
    rules: Vec<ShownRule>,
}

#[derive(Serialize)]
struct ShownSection {
    name: &'static str,
    records: Option<usize>,
    bytes: usize,
}

#[derive(Serialize)]
struct ShownProgram {
    path: String,
    pins: Vec<String>,
    /// What else it may map for execution; absent where that is anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    libraries: Option<Vec<ShownLibrary>>,
}

#[derive(Serialize)]
struct ShownLibrary {
    path: String,
    pins: Vec<String>,
}

#[derive(Serialize)]
struct ShownRule {
    /// Its numbers in events: `only P -> only D` has two, and a shared destination one for each of its parts.
    numbers: Vec<usize>,
    file: String,
    line: u32,
    text: String,
    #[serde(flatten)]
    notes: Option<ShownNotes>,
}

/// What both ways of reading find.
struct Contents<'a> {
    manifest: &'a Manifest,
    manifest_digest: [u8; 32],
    signers: Vec<String>,
    sections: Vec<(SectionKind, usize)>,
    executables: &'a [NamedExecutable],
    debug: &'a Debug,
}

pub(crate) fn inspect(arguments: &InspectArguments) -> Answer {
    let bytes = source::read_bytes(&arguments.file, MAX_BUNDLE_BYTES)?;
    let InputArguments { trust, threshold, audience, .. } = &arguments.input;
    arguments.input.settings.refuse_for(&arguments.file)?;
    if matches!(Document::of(&bytes), Some(Document::TrustSet | Document::Token)) {
        if let Some(trust) = trust {
            let (trust, audience) = (trust.clone(), audience.clone());
            verify_any(&bytes, &TrustArguments { trust, threshold: *threshold, audience })?;
        }
        let document = SignedDocument::peek(&bytes).map_err(refused)?;
        return Ok(inspect_trust::shown(&document, trust.is_some(), arguments.format));
    }
    let document = match trust {
        Some(trust) => {
            let (trust, audience) = (trust.clone(), audience.clone());
            let bundle = verified(&bytes, &TrustArguments { trust, threshold: *threshold, audience })?;
            let sections = SectionKind::ALL.iter().map(|kind| (*kind, bundle.section(*kind).len())).collect();
            let compiled = compiled(&bundle)?;
            let contents = Contents {
                manifest: bundle.manifest(),
                manifest_digest: bundle.manifest_digest(),
                signers: bundle.signers().iter().map(ToString::to_string).collect(),
                sections,
                executables: &compiled.image.executables,
                debug: &compiled.debug,
            };
            document(&contents, true)
        }
        None => {
            let bundle = unverified::peek(&bytes).map_err(refused)?;
            let contents = Contents {
                manifest: &bundle.manifest,
                manifest_digest: bundle.manifest_digest,
                signers: bundle.claimed_signers.iter().map(ToString::to_string).collect(),
                sections: bundle.sections.clone(),
                executables: &bundle.image.executables,
                debug: &bundle.debug,
            };
            document(&contents, false)
        }
    };
    Ok(match arguments.format {
        Format::Json => json(&document),
        // Whoever made an unverified bundle chose every letter in it.
        Format::Human => visible(&human(&document)),
    })
}

fn document(contents: &Contents<'_>, verified: bool) -> ShownBundle {
    let manifest = contents.manifest;
    let need =
        |number: &u16| Need::from_number(*number).map_or_else(|| format!("number {number}"), |it| it.to_string());
    let mut rules: Vec<ShownRule> = Vec::new();
    for (index, rule) in contents.debug.rules.iter().enumerate() {
        let place = &rule.place;
        let is_same = |it: &&mut ShownRule| (&it.file, it.line, &it.text) == (&place.file, place.line, &place.text);
        match rules.last_mut().filter(is_same) {
            Some(statement) => statement.numbers.push(index + 1),
            None => rules.push(ShownRule {
                numbers: vec![index + 1],
                file: place.file.clone(),
                line: place.line,
                text: place.text.clone(),
                notes: contents.debug.notes_of(index).map(ShownNotes::of),
            }),
        }
    }
    ShownBundle {
        version: VERSION,
        document: "bundle",
        verified,
        policy: manifest.policy.clone(),
        revision: manifest.revision,
        compiler: manifest.compiler.clone(),
        not_before: manifest.not_before.map(time),
        expires: manifest.expires.map(time),
        audience: manifest.audience.clone(),
        lockdown: manifest.lockdown,
        parameters: manifest.parameters.iter().map(|one| (one.name.clone(), one.value.clone())).collect(),
        needs: manifest.needs.iter().map(need).collect(),
        source_sha256: hex(&manifest.source_sha256),
        lock_sha256: hex(&manifest.lock_sha256),
        manifest_sha256: hex(&contents.manifest_digest),
        signers: contents.signers.clone(),
        sections: contents
            .sections
            .iter()
            .map(|(kind, bytes)| ShownSection {
                name: kind.name(),
                records: kind.record_size().map(|size| bytes / size),
                bytes: *bytes,
            })
            .collect(),
        programs: contents
            .executables
            .iter()
            .filter(|executable| executable.is_written())
            .map(|executable| ShownProgram {
                path: executable.path.clone(),
                pins: executable.pins.iter().map(|pin| hex(pin)).collect(),
                libraries: executable.libraries.as_ref().map(|libraries| {
                    let shown = |library: &Library| ShownLibrary {
                        path: library.path.clone(),
                        pins: library.pins.iter().map(|pin| hex(pin)).collect(),
                    };
                    libraries.iter().map(shown).collect()
                }),
            })
            .collect(),
        rules,
    }
}

fn human(document: &ShownBundle) -> String {
    let mut said = String::new();
    let mut line = |text: String| {
        // What the bundle says stays on the line that says it.
        said.push_str(&text.replace(['\n', '\r'], "?"));
        said.push('\n');
    };
    if !document.verified {
        line(UNVERIFIED.to_owned());
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let audience = if document.audience.is_empty() { "every host".to_owned() } else { document.audience.join(", ") };
    line(format!("policy      {}", document.policy));
    line(format!("revision    {}", document.revision));
    line(format!("compiler    {}", document.compiler));
    line(format!("not before  {}", or_dash(&document.not_before)));
    line(format!("expires     {}", or_dash(&document.expires)));
    line(format!("audience    {audience}"));
    line(format!("lockdown    {}", if document.lockdown { "yes" } else { "no" }));
    for (name, value) in &document.parameters {
        line(format!("parameter   {name}={value}"));
    }
    line(format!("source      sha256:{}", document.source_sha256));
    line(format!("lock        sha256:{}", document.lock_sha256));
    line(format!("manifest    sha256:{}", document.manifest_sha256));
    let signed = if document.verified { "signed by   " } else { "names key   " };
    document.signers.iter().for_each(|id| line(format!("{signed}{id}")));
    line(String::new());
    line("section      records  bytes".to_owned());
    for section in &document.sections {
        let records = section.records.map_or_else(|| "-".to_owned(), |records| records.to_string());
        line(format!("{:<12} {records:>7}  {}", section.name, section.bytes));
    }
    line(String::new());
    line("programs".to_owned());
    for program in &document.programs {
        line(format!("  {}", program.path));
        program.pins.iter().for_each(|pin| line(format!("    verity sha256:{pin}")));
        if let Some([]) = program.libraries.as_deref() {
            line("    no libraries".to_owned());
        }
        for library in program.libraries.iter().flatten() {
            line(format!("    library {}", library.path));
            library.pins.iter().for_each(|pin| line(format!("      verity sha256:{pin}")));
        }
    }
    line(String::new());
    line("rules".to_owned());
    for rule in &document.rules {
        let notes = rule.notes.as_ref().map_or(String::new(), |notes| format!(" {}", notes.text));
        let numbers = match rule.numbers.as_slice() {
            [first, .., last] => format!("{first}-{last}"),
            numbers => numbers.iter().map(ToString::to_string).collect(),
        };
        line(format!("  {numbers}  {}:{}  {}{}", rule.file, rule.line, shortened(&rule.text), shortened(&notes)));
    }
    if !document.verified {
        line(STILL_UNVERIFIED.to_owned());
    }
    said
}
