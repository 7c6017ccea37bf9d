//! Formatting a policy that parses keeps its meaning, and formatting it again changes nothing.
#![no_main]

use bfp_grammar::{format, parse, same_tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parsed = parse(text);
    let formatted = format(text);
    assert_eq!(parsed.is_ok(), formatted.is_ok(), "{text:?}");
    let (Ok(tree), Ok(once)) = (parsed, formatted) else { return };
    let again = parse(&once).unwrap_or_else(|errors| panic!("{errors:?} in the formatted text:\n{once}"));
    assert!(same_tree(&tree, &again), "{text:?}\n{once}");
    assert_eq!(format(&once).as_deref(), Ok(once.as_str()), "formatted twice: {text:?}");
});
