//! Diagnostics → a SARIF 2.1.0 log, with the page of every code that occurs as the rule's help.
//!
//! Always: a file is named by a relative URI where it was named by a relative path, so that a code host finds
//! it in the repository; columns count Unicode code points.

use serde_json::{Map, Value, json};

use super::rendered::{Level, Mark, RenderedDiagnostic};
use bfp_compiler::diagnostics::error_page::Page;

/// The schema's own name, which readers choose their parser by.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub(super) fn document(diagnostics: &[RenderedDiagnostic]) -> String {
    let mut codes: Vec<&str> = diagnostics.iter().map(|rendered| rendered.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let results: Vec<Value> = diagnostics.iter().map(|rendered| result(rendered, &codes)).collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bfpc",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(code)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    super::json::written(&log)
}

fn rule(code: &str) -> Value {
    let Some(page) = Page::of(code) else { return json!({ "id": code }) };
    json!({
        "id": code,
        "shortDescription": { "text": page.summary() },
        "help": { "text": page.text(), "markdown": page.text() },
    })
}

fn result(rendered: &RenderedDiagnostic, codes: &[&str]) -> Value {
    let level = match rendered.severity {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    let text = match &rendered.help {
        Some(help) => format!("{}\nhelp: {help}", rendered.message),
        None => rendered.message.clone(),
    };
    let mut result = Map::new();
    result.insert("ruleId".to_owned(), json!(rendered.code));
    if let Some(index) = codes.iter().position(|code| *code == rendered.code) {
        result.insert("ruleIndex".to_owned(), json!(index));
    }
    result.insert("level".to_owned(), json!(level));
    result.insert("message".to_owned(), json!({ "text": text }));
    let mut places = rendered.labels.iter();
    let first = match (places.next(), &rendered.file) {
        (Some(place), _) => Some(location(place)),
        (None, Some(file)) => Some(json!({ "physicalLocation": { "artifactLocation": { "uri": uri(file) } } })),
        (None, None) => None,
    };
    result.insert("locations".to_owned(), json!(first.into_iter().collect::<Vec<_>>()));
    let others: Vec<Value> = places.map(location).collect();
    if !others.is_empty() {
        result.insert("relatedLocations".to_owned(), json!(others));
    }
    Value::Object(result)
}

fn location(place: &Mark) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&place.file) },
            "region": {
                "startLine": place.line,
                "startColumn": place.column,
                "endLine": place.end_line,
                "endColumn": place.end_column,
                "byteOffset": place.offset,
                "byteLength": place.length,
            },
        },
    });
    if let (Some(message), Some(location)) = (&place.message, location.as_object_mut()) {
        location.insert("message".to_owned(), json!({ "text": message }));
    }
    location
}

/// A path as a URI reference: every byte that has a meaning there is escaped, the colon too, which would make
/// a scheme of what stands before it.
fn uri(path: &str) -> String {
    let escaped: String = path
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let local = escaped.strip_prefix("./").unwrap_or(&escaped);
    if local.starts_with('/') { format!("file://{local}") } else { local.to_owned() }
}
