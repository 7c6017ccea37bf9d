//! What holds for every policy, and for every text.

use proptest::prelude::*;

use crate::rendered::{reports, tree};

/// What may stand between two tokens inside brackets.
fn gap() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => Just(" ".to_owned()),
        2 => Just("  ".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\r\n\n\n".to_owned()),
        1 => Just(" # a comment\n".to_owned()),
        1 => Just("\n\n# one, {\n\n# two \"\n".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("kms".to_owned()), Just("my-signer_2".to_owned()), Just("file".to_owned())]
}

fn quoted() -> impl Strategy<Value = String> {
    prop_oneof!["\"/usr/bin/[a-z]{1,40}\"", Just(r#""/odd \"\\\n\t# {""#.to_owned())]
}

/// Elements between brackets, with gaps around every one of them, and perhaps a trailing comma.
fn bracketed(
    open: &'static str,
    element: impl Strategy<Value = String> + 'static,
    close: &'static str,
) -> BoxedStrategy<String> {
    let elements = prop::collection::vec((gap(), element.boxed(), gap()), 1..5);
    let set = (elements, any::<bool>(), gap()).prop_map(move |(elements, trailing, last)| {
        let elements: Vec<String> =
            elements.iter().map(|(before, element, after)| format!("{before}{element}{after}")).collect();
        format!("{open}{}{}{last}{close}", elements.join(","), if trailing { "," } else { "" })
    });
    set.boxed()
}

fn pin() -> impl Strategy<Value = String> {
    prop_oneof!["sha256:[0-9a-fA-F]{64}", Just("file(\"dist/a\")".to_owned()), Just("file ( \"b\" )".to_owned())]
}

fn program() -> BoxedStrategy<String> {
    let verity = prop_oneof![pin(), bracketed("{", pin(), "}")].boxed();
    let library = (quoted(), verity.clone()).prop_map(|(path, verity)| format!("{path} verity {verity}"));
    let libraries = prop_oneof![1 => Just("{}".to_owned()), 3 => bracketed("{", library, "}")];
    let leaf = prop_oneof![
        2 => name(),
        1 => Just("*".to_owned()),
        2 => quoted(),
        1 => (quoted(), verity.clone()).prop_map(|(path, verity)| format!("{path} verity {verity}")),
        1 => (quoted(), verity, libraries)
            .prop_map(|(path, verity, libraries)| format!("{path} verity {verity} libraries{libraries}")),
    ];
    leaf.boxed().prop_recursive(3, 16, 4, |inner| bracketed("{", inner, "}")).boxed()
}

fn ports() -> BoxedStrategy<String> {
    let range = prop_oneof![
        any::<u16>().prop_map(|port| port.to_string()),
        Just("web".to_owned()),
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
    ]
    .boxed();
    let ports = prop_oneof![range.clone(), Just("*".to_owned()), bracketed("{", range.clone(), "}")];
    let protocol = prop_oneof![Just(""), Just("/tcp"), Just("/udp")];
    let own = prop_oneof![Just("/tcp"), Just(" /udp"), Just("/udp")];
    let each = prop_oneof![
        4 => (range.clone(), own.clone()).prop_map(|(range, protocol)| format!("{range}{protocol}")),
        1 => range,
        1 => own.prop_map(|protocol| format!("*{protocol}")),
        1 => Just("icmp".to_owned()),
    ];
    prop_oneof![
        1 => Just(String::new()),
        2 => (ports, protocol).prop_map(|(ports, protocol)| format!(":{ports}{protocol}")),
        1 => bracketed("{", each, "}").prop_map(|ports| format!(":{ports}")),
        1 => prop_oneof![Just("/icmp".to_owned()), Just(" /icmp".to_owned())],
    ]
    .boxed()
}

fn destination() -> BoxedStrategy<String> {
    let host = prop_oneof![
        name(),
        Just("kms.internal".to_owned()),
        Just("\"kms\"".to_owned()),
        Just("\"kms.${env}.internal\"".to_owned()),
        Just("\"kms.internal.\"".to_owned()),
        Just("bücher.example".to_owned()),
        (any::<[u8; 4]>(), 0..=32_u8)
            .prop_map(|(octets, length)| format!("{}/{length}", std::net::Ipv4Addr::from(octets))),
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| {
            let [first, last] = [a.min(b), a.max(b)].map(std::net::Ipv4Addr::from_bits);
            format!("{first}-{last}")
        }),
        (any::<u128>(), any::<u128>()).prop_map(|(a, b)| {
            let [first, last] = [a.min(b), a.max(b)].map(std::net::Ipv6Addr::from_bits);
            format!("[{first}-{last}]")
        }),
        (any::<[u16; 8]>(), 0..=128_u8)
            .prop_map(|(parts, length)| format!("[{}/{length}]", std::net::Ipv6Addr::from(parts))),
        (gap(), quoted()).prop_map(|(gap, file)| format!("ranges({gap}{file})")),
        (gap(), gap(), gap()).prop_map(|(a, b, c)| format!("ranges({a}\"r.json\",{b}service{c}= \"S3\")")),
    ];
    let leaf = prop_oneof![
        1 => Just("*".to_owned()),
        8 => (host, ports()).prop_map(|(host, ports)| format!("{host}{ports}")),
        1 => (ports(), ports()).prop_map(|(own, ports)| format!("clients{own} from [::1]{ports}")),
    ];
    let tree = leaf.boxed().prop_recursive(3, 24, 4, |inner| {
        bracketed(
            "{",
            prop_oneof![
                inner.clone(),
                (inner.clone(), gap(), gap(), inner)
                    .prop_map(|(a, before, after, b)| format!("{a} {before}except {after}{b}")),
            ],
            "}",
        )
        .prop_flat_map(|set| ports().prop_map(move |ports| format!("{set}{ports}")))
    });
    tree.boxed()
}

fn notes() -> impl Strategy<Value = String> {
    let until = prop_oneof![2 => Just(""), 1 => Just(" until   2028-02-29")];
    let owner = prop_oneof![2 => Just(""), 1 => Just("  owner\t\"payments\"")];
    let ticket = prop_oneof![2 => Just(""), 1 => Just(" ticket \"SEC-12 \\\"#\"")];
    let reason = prop_oneof![2 => Just(""), 1 => Just(" because  \"of it\"")];
    (until, owner, ticket, reason).prop_map(|(until, owner, ticket, reason)| format!("{until}{owner}{ticket}{reason}"))
}

fn statement() -> BoxedStrategy<String> {
    let chain = prop::collection::vec(program(), 1..4).prop_map(|chain| chain.join(" > "));
    let expectation = (chain, destination(), prop_oneof![Just("allowed"), Just("denied")])
        .prop_map(|(programs, destination, expected)| format!("{programs} -> {destination} {expected}"));
    let test = prop::collection::vec((expectation, prop_oneof![Just(""), Just(" # why"), Just("\n\n")]), 0..4)
        .prop_map(|lines| {
            let lines: String = lines.iter().map(|(line, end)| format!("{line}{end}\n")).collect();
            format!("test \"a # test\" {{\n{lines}}}")
        });
    let effect = prop_oneof![
        Just(("only ", "")),
        Just(("", "only ")),
        Just(("only ", "only ")),
        Just(("deny ", "")),
        Just(("allow ", "")),
        Just(("also ", "")),
        Just(("shared  only ", "")),
        Just(("shared only ", "only ")),
        Just(("deny * except ", "")),
        Just(("allow * except ", "")),
    ];
    prop_oneof![
        1 => name().prop_map(|name| format!("policy {name}")),
        1 => quoted().prop_map(|file| format!("include {file}")),
        1 => (quoted(), quoted()).prop_map(|(file, url)| format!("ranges  {file} from{url}")),
        1 => (prop_oneof![Just(""), Just("everywhere  ")], quoted())
            .prop_map(|(everywhere, reason)| format!("accept  check::path_grant   {everywhere}because {reason}")),
        1 => prop_oneof![Just("default allow".to_owned()), Just("default   deny".to_owned())],
        3 => (name(), program(), prop_oneof![Just(""), Just(" with children")])
            .prop_map(|(name, program, children)| format!("program {name} = {program}{children}")),
        3 => (name(), destination(), prop_oneof![3 => Just(""), 1 => Just(" may  change"), 1 => Just(" within ranges( \"l\" ,k=\"v\")may change")])
            .prop_map(|(name, destination, change)| format!("host {name}={destination}{change}")),
        1 => (name(), bracketed("{", quoted(), "}")).prop_map(|(name, values)| format!("param {name} ={values}")),
        1 => (name(), prop_oneof![Just("443"), Just("8-9/tcp"), Just("{ 1,\n2/udp, icmp }"), Just("{1,2}/tcp"), Just("{*/udp}")])
            .prop_map(|(name, ports)| format!("ports {name}={ports}")),
        6 => (prop_oneof![3 => Just(""), 1 => Just("audit ")], effect, program(), destination(), notes())
            .prop_map(|(audit, (first, second), program, destination, notes)| {
                format!("{audit}{first}{program} -> {second}{destination}{notes}")
            }),
        1 => test,
    ]
    .boxed()
}

fn policy() -> impl Strategy<Value = String> {
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just(" # trailing\n"), Just("\n\n\n"), Just("\n# own\n\n# line\n")];
    prop::collection::vec((statement(), end), 0..6)
        .prop_map(|statements| statements.iter().map(|(statement, end)| format!("{statement}{end}")).collect())
}

/// Comments of a text, in any order: moving one is allowed, losing one is not.
fn comments(text: &str) -> Vec<String> {
    let mut comments = Vec::new();
    for line in text.lines() {
        let (mut quoted, mut escaped) = (false, false);
        for (at, c) in line.char_indices() {
            match c {
                '#' if !quoted => {
                    comments.push(line.get(at..).unwrap().trim_end().to_owned());
                    break;
                }
                '"' if !escaped => quoted = !quoted,
                _ => {}
            }
            escaped = c == '\\' && !escaped;
        }
    }
    comments.sort();
    comments
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn formatting_keeps_the_tree_and_the_comments_and_is_final(source in policy()) {
        let before = bfp_grammar::parse(&source);
        let before = before.unwrap_or_else(|errors| panic!("{source}\n{}", reports(&source, &errors)));
        tree(&source, &before);
        let canonical = bfp_grammar::format(&source).unwrap();
        let after = bfp_grammar::parse(&canonical);
        let after = after.unwrap_or_else(|errors| panic!("{source}\n----\n{canonical}\n{}", reports(&canonical, &errors)));
        prop_assert!(bfp_grammar::same_tree(&before, &after), "{source}\n----\n{canonical}");
        prop_assert_eq!(comments(&source), comments(&canonical));
        let again = bfp_grammar::format(&canonical).unwrap();
        prop_assert_eq!(&again, &canonical);
        for line in canonical.lines() {
            prop_assert_eq!(line.trim_end(), line, "no white space ends a line");
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(source in "\\PC{0,200}") {
        refused_or_parsed(&source);
    }

    #[test]
    fn any_soup_of_words_parses_or_is_refused(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
        refused_or_parsed(&words.join(" "));
        refused_or_parsed(&words.concat());
    }

    #[test]
    fn a_damaged_policy_parses_or_is_refused(source in policy(), at in any::<prop::sample::Index>(), with in prop::sample::select(WORDS)) {
        let at = at.index(source.chars().count() + 1);
        let begin: String = source.chars().take(at).collect();
        let end: String = source.chars().skip(at + 1).collect();
        refused_or_parsed(&format!("{begin}{with}{end}"));
        refused_or_parsed(&begin);
    }
}

const WORDS: &[&str] = &[
    "policy",
    "program",
    "host",
    "ports",
    "param",
    "shared",
    "also",
    "${",
    "only",
    "deny",
    "allow",
    "audit",
    "default",
    "include",
    "test",
    "except",
    "with",
    "children",
    "may",
    "within",
    "change",
    "verity",
    "libraries",
    "ranges",
    "from",
    "accept",
    "because",
    "until",
    "2027-01-31",
    "owner",
    "ticket",
    "everywhere",
    "check::shadowed",
    "allowed",
    "denied",
    "file",
    "sha256:",
    "->",
    "=>",
    "=",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "/",
    "*",
    "\"",
    "\"/a\"",
    "\n",
    "\r",
    "#",
    "\\",
    "a",
    "a.b",
    "10.0.0.1",
    "/8",
    "443",
    "99999",
    "[::1]",
    "::",
    "é",
    "\u{202E}",
    "-",
    ".",
    "tcp",
    "/icmp",
    "icmp",
    "/tcp",
    "\0",
];

/// Neither panics; errors lie inside the text, and there is at least one when there is no tree.
fn refused_or_parsed(source: &str) {
    match bfp_grammar::parse(source) {
        Ok(policy) => {
            tree(source, &policy);
            let canonical = bfp_grammar::format(source).unwrap();
            assert!(
                bfp_grammar::same_tree(&policy, &bfp_grammar::parse(&canonical).unwrap()),
                "{source:?}\n{canonical}"
            );
            assert_eq!(bfp_grammar::format(&canonical).unwrap(), canonical, "{source:?}");
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in &errors {
                for label in miette::Diagnostic::labels(error).unwrap() {
                    let place = source.get(label.offset()..label.offset() + label.len());
                    assert!(place.is_some(), "{source:?} {error:?}");
                }
                assert!(!error.to_string().contains("could not be read"), "{source:?}");
            }
            reports(source, &errors);
        }
    }
}

#[test]
fn long_texts_of_every_shape_are_read_to_their_end() {
    let shapes: [fn(usize) -> String; 7] = [
        |n| "allow a -> { b:443, 10.0.0.0/8 except 10.1.0.0/16 }\n".repeat(n),
        |n| format!("host a = {{ {} }}", "10.0.0.1:443, ".repeat(n)),
        |n| format!("host a = {{\n{}}}", "b, # c\n".repeat(n)),
        |n| format!("test \"t\" {{\n{}}}", "a -> b allowed\n".repeat(n)),
        |n| "onyl a -> b }\n".repeat(n),
        |n| format!("host a = {}", "[".repeat(n)),
        |n| format!("host a = {}", "{ b, ".repeat(n)),
    ];
    for shape in shapes {
        // Quadratic time or deep recursion would not come to an end here.
        let source = shape(16_000);
        let read = bfp_grammar::format(&source);
        assert_eq!(read.is_ok(), bfp_grammar::parse(&source).is_ok(), "{}", shape(2));
    }
}
