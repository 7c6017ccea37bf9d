//! Every mistake, as its author sees it.

use std::collections::BTreeSet;

use miette::Diagnostic as _;

use crate::rendered::{reports, source_then_outcome};

fn hex(digit: &str, count: usize) -> String {
    digit.repeat(count)
}

/// Name of the snapshot, codes in the order of the text, source.
type Mistake = (&'static str, &'static [&'static str], String);

fn mistake(name: &'static str, codes: &'static [&'static str], source: &str) -> Mistake {
    (name, codes, source.to_owned())
}

fn mistakes() -> Vec<Mistake> {
    vec![
        mistake("missing_effect", &["missing_effect"], "signer -> kms"),
        mistake("missing_effect_of_long_rule", &["missing_effect"], "audit {\n a,\n b\n} -> kms"),
        mistake("conflicting_effects", &["conflicting_effects"], "deny signer -> only kms"),
        mistake("wrong_arrow", &["wrong_arrow", "wrong_arrow"], "only signer => kms\nonly a → b"),
        mistake(
            "misspelt_statement",
            &["unknown_statement", "unknown_statement"],
            "prgram signer = \"/s\"\nonyl signer -> kms",
        ),
        mistake("unknown_statement", &["unknown_statement"], "permit signer -> kms"),
        mistake(
            "acceptance_without_a_reason",
            &["no_reason", "unexpected"],
            "accept check::x because \"\"\naccept check::x",
        ),
        mistake(
            "notes",
            &[
                "no_reason",
                "no_reason",
                "bad_date",
                "bad_date",
                "unexpected",
                "unexpected",
                "unexpected",
                "unexpected",
                "unexpected",
            ],
            "allow a -> b owner \"\" ticket \" \"\nallow a -> b until 31.01.2027 because \"x\"\nallow a -> b until 2027-02-29\nallow a -> b until \"2027-01-31\"\nallow a -> b owner \"x\" until 2027-01-31\nallow a -> b owner \"x\" owner \"y\"\nallow a -> b owner x\nallow a -> b tiket \"x\"",
        ),
        mistake(
            "parameters",
            &["unexpected", "unexpected", "empty_set", "unexpected", "bad_dns_name", "wildcard_name", "bad_dns_name"],
            "param env = \"prod\"\nparam env = { prod }\nparam env = {}\nparam = { \"a\" }\nhost a = \"kms.${env}..internal\"\nhost a = \"*.${env}.internal\"\nhost a = \"kms ${env}\"",
        ),
        mistake(
            "shared_rules",
            &["unexpected", "unexpected", "conflicting_effects", "unexpected", "unexpected"],
            "shared allow a -> b\nshared a -> only b\nalso a -> only b\nshared\nalso shared only a -> b",
        ),
        mistake(
            "words_of_other_languages",
            &["unknown_statement"; 4],
            "DENY a -> b\nblock a -> b\nPermit a -> b\nreject from a to b",
        ),
        mistake(
            "clients_from_nowhere",
            &["unexpected"; 4],
            "a -> only clients from\na -> only corp from 10.0.0.0/8\na -> only clients from clients from b\na -> only { clients from, b }",
        ),
        mistake("no_break_space", &["unexpected"; 2], "deny\u{a0}* -> metadata\ndeny a\u{2003}-> b"),
        mistake(
            "range_of_addresses",
            &[
                "bad_address",
                "bad_address",
                "bad_address",
                "octet_too_large",
                "bad_address",
                "bad_address",
                "bad_address",
            ],
            "allow a -> 10.0.0.9-10.0.0.1\nallow a -> 10.0.0.1-20:443\nallow a -> 10.0.0.0/24-10.0.1.0/24\nallow a -> 10.0.0.1-10.0.0.300\nallow a -> [fd00::9-fd00::1]\nallow a -> [fd00::1-10.0.0.1]\nallow a -> [::1-::ffff:10.0.0.1]",
        ),
        mistake(
            "range_of_addresses_in_pieces",
            &["unexpected"; 5],
            "allow a -> 10.0.0.1-[fd00::1]\nallow a -> [fd00::1]-[fd00::20]\nallow a -> [fd00::1]-10.0.0.1:443\nallow a -> 10.0.0.1 - 10.0.0.20\nhost h = 10.0.0.1 -10.0.0.20",
        ),
        mistake(
            "ports_without_braces",
            &["unexpected"; 2],
            "allow a -> 10.0.0.1:80,443\nallow a -> b:8000-8010, 9090 , 9091",
        ),
        mistake(
            "acceptance_with_another_scope",
            &["unexpected"; 3],
            "accept check::x evrywhere because \"x\"\naccept check::x in policy because \"x\"\naccept everywhere check::x because \"x\"",
        ),
        mistake("acceptance_in_the_rule", &["unexpected"], "only a -> b accept check::path_grant because \"x\""),
        mistake("rule_over_two_lines", &["unexpected"; 4], "deny { a, b }\n  -> c\ndeny a \\\n  -> c"),
        mistake("chain_in_a_rule", &["unexpected"], "deny a > b -> c"),
        mistake(
            "except_of_other_effects",
            &["except_of_effect"; 3],
            "only * except a -> b\n* except a -> only b\n* except a -> b",
        ),
        mistake("everybody_but_some", &["unexpected"; 3], "deny c except a -> b\ndeny !a -> b\na -> only !b"),
        mistake(
            "signs_of_other_languages",
            &["unexpected"; 4],
            "deny '/a' -> b\ndeny [\"/a\", \"/b\"] -> c\ndeny a -> b;\nonly \"/a\" sha256:00 -> b",
        ),
        mistake("lone_word", &["unknown_statement"], "signer"),
        mistake(
            "misspelt_inner_words",
            &["unexpected"; 5],
            "program a = \"/a\" wiht children\nprogram a = \"/a\" with childern\nallow a -> b exept c\na -> onyl b\ndefault alow",
        ),
        mistake("misspelt_expectation", &["unexpected"], "test \"t\" {\n  a -> b allowd\n}"),
        mistake("missing_name", &["unexpected", "unexpected"], "policy\nprogram = \"/a\""),
        mistake("missing_program", &["unexpected"], "only -> kms"),
        mistake("missing_destination", &["unexpected"], "only signer ->   # to be done"),
        mistake("missing_arrow", &["unexpected"], "only signer kms"),
        mistake("missing_comma", &["unexpected"], "allow a -> {\n  b\n  c\n}"),
        mistake("missing_braces", &["unexpected", "unexpected"], "only a, b -> c\nonly a -> b, c"),
        mistake("missing_port", &["unexpected"], "allow a -> kms.internal:"),
        mistake("port_without_a_colon", &["unexpected"], "allow a -> kms.internal 443"),
        mistake(
            "url",
            &["unexpected"; 5],
            "only a -> https://kms.internal/v1?x=1\na -> only { ssh://git@git.corp.example, b }\nonly a -> x://\n\
             allow a -> postgresql://db.internal:5433/main\ndeny a -> gopher://b.example\n",
        ),
        mistake("comments_of_other_languages", &["unexpected"; 4], "// one\n/* two */\n-- three\n; four\n"),
        mistake("two_statements_on_one_line", &["unexpected"], "default allow policy b"),
        mistake("text_behind_a_test", &["unexpected"], "test \"t\" { a -> b allowed } default allow"),
        mistake("rule_inside_a_test", &["statement_in_test"], "test \"t\" {\n    only a -> b allowed\n}"),
        mistake(
            "statements_inside_a_test",
            &["statement_in_test"; 4],
            "test \"t\" {\n  deny a -> b\n  a -> b allowed\n  audit only a -> b\n  host c = b\n  default deny\n}\nonly a -> b",
        ),
        mistake("confinement_inside_a_test", &["unexpected"], "test \"t\" {\n  a -> only b\n}"),
        mistake(
            "unclosed_test_before_a_rule",
            &["unclosed_bracket"],
            "test \"t\" {\n  a -> b allowed\n\ndeny a -> b\ntest \"u\" {\n  a -> b denied\n}\n",
        ),
        mistake(
            "ranges_without_a_file",
            &["reserved_word", "unexpected", "unexpected", "unexpected"],
            "host a = ranges\nhost a = ranges(b)\nhost a = ranges(\"f\", \"k\")\nhost a = ranges(\"f\" k = \"v\")",
        ),
        mistake(
            "verity_without_a_digest",
            &["unexpected"; 3],
            "program a = \"/a\" verity\nprogram a = \"/a\" verity \"f\"\nprogram a = \"/a\" verity file(f)",
        ),
        mistake(
            "look_alike",
            &["look_alike"; 7],
            "оnly a -> b\nonly sіgner -> b\nonly a -> ｂ\na -> оnly b\nonly a –> b\nprogram p = “/usr/bin/p”\ntest \"t\" {\n  a -> b аllowed\n}",
        ),
        mistake(
            "look_alike_in_a_dns_name",
            &["look_alike", "look_alike", "mixed_scripts"],
            "only a -> kmѕ.internal:443\nonly a -> \"ѕсоре.com\":443\nonly a -> abcש.example",
        ),
        mistake("two_expectations_on_one_line", &["unexpected"], "test \"t\" {\n  a -> b allowed a -> c denied\n}"),
        mistake("except_of_programs", &["unexpected"], "only { a except b } -> c"),
        mistake(
            "change_in_the_wrong_words",
            &["unexpected"; 4],
            "host a = b.c may chnage\nhost a = b.c may\nallow d -> b.c may change\nhost a = b.c change",
        ),
        mistake(
            "source_of_a_list",
            &["unexpected"; 6],
            "ranges(\"a.json\") from \"https://b.example\"\nranges \"a.json\"\nranges a.json from \"https://b.example\"\nranges \"a.json\" form \"https://b.example\"\nranges \"a.json\" from https://b.example\nranges \"a.json\" from \"https://b.example\" may change",
        ),
        mistake(
            "within_what_is_no_list",
            &["unexpected"; 5],
            "host a = b.c within 10.0.0.0/8\nhost a = b.c within\nhost a = b.c may change within ranges(\"d\")\nallow a -> b.c within ranges(\"d\")\nhost a = b.c within ranges(\"d\"):443",
        ),
        mistake("children_of_a_rule", &["unexpected"], "only \"/a\" with children -> c"),
        mistake("verity_of_a_name", &["unexpected"], "only a verity file(\"f\") -> c"),
        mistake("include_without_quotes", &["unexpected"], "include common.bfp"),
        mistake("unclosed_bracket", &["unclosed_bracket"], "host a = { b,\n  c\n\nonly d -> a\n"),
        mistake("unclosed_bracket_at_the_end", &["unclosed_bracket"], "test \"t\" {\n  a -> b allowed\n"),
        mistake("stray_bracket", &["stray_bracket"], "host a = b }\n"),
        mistake("wrong_bracket", &["stray_bracket"], "host a = { b )"),
        mistake("unterminated_string", &["unterminated_string"], "program a = \"/usr/bin/a\npolicy b"),
        mistake("unknown_escape", &["unknown_escape"], r#"program a = "/usr\bin""#),
        mistake(
            "hidden_character",
            &["hidden_character", "hidden_character"],
            "host a = 10.0.0.1 # \u{202E}\nhost b\u{200B} = c",
        ),
        mistake("binary_file", &["hidden_character"], "\u{0}\u{1}\u{2}\u{0}\u{0}"),
        ("too_deep", &["too_deep"], format!("host a = {}b{}", hex("{", 65), hex("}", 65))),
        ("too_many_excepts", &["too_deep"], format!("host a = b{}", " except b".repeat(65))),
        mistake("reserved_word", &["reserved_word", "reserved_word"], "host deny = a.b\nallow test -> a"),
        mistake("bad_name", &["bad_name", "bad_name", "bad_name"], "policy 9lives\nhost a.b = c\nallow a -> größe"),
        mistake("unquoted_path", &["unquoted_path"], "only /usr/bin/signer -> kms"),
        mistake("destination_as_program", &["destination_as_program"], "only kms.internal:443 -> kms"),
        mistake(
            "path_as_destination",
            &["path_as_destination", "path_as_destination"],
            "only kms -> \"/usr/bin/signer\"\nonly kms -> /usr/bin/signer",
        ),
        mistake(
            "empty_set",
            &["empty_set"; 4],
            "host a = {}\nonly { } -> a\nallow a -> b:{}\nprogram a = \"/a\" verity {}",
        ),
        mistake(
            "declared_ports",
            &["unexpected", "unexpected", "unexpected", "unexpected", "reserved_word", "ports_on_icmp", "unexpected"],
            "ports = 443\nports web = {80, https}\nports web = {80, other}\nports web = *\nports icmp = {icmp}\nports a = 1/icmp\nports a = 80, 443",
        ),
        mistake(
            "ports_on_any",
            &["ports_on_any", "ports_on_any", "ports_on_icmp", "ports_on_any"],
            "allow a -> *:443/tcp\nallow a -> */icmp\nallow a -> *:*/icmp",
        ),
        mistake("icmp_in_capitals", &["bad_address"; 2], "allow a -> 10.0.0.1/ICMP\nallow a -> 10.0.0.1/imcp"),
        mistake(
            "ports_on_icmp",
            &["ports_on_icmp"; 5],
            "allow a -> b:443/icmp\nallow a -> [fd00::/8]:{80, 443}/icmp\nallow a -> 10.0.0.0/8:*/icmp\nallow a -> kms.internal/icmp:443\nallow a -> ranges(\"a-long-name-of-a-list.json\", service = \"S3\", region = \"eu-central-1\"):443/icmp",
        ),
        mistake(
            "protocol_twice",
            &["unexpected", "bad_address", "protocol_without_port", "unexpected"],
            "allow a -> b/icmp /icmp\nallow a -> 10.0.0.1/icmp/udp\nallow a -> [::1]/icmp/icmp",
        ),
        mistake(
            "wildcard_name",
            &["wildcard_name"; 3],
            "allow a -> *.example.com:443\nallow a -> \"*.example.com\"\nallow a -> api-*.example.com",
        ),
        mistake(
            "bad_dns_name",
            &["bad_dns_name"; 4],
            "allow a -> a..b\nallow a -> \"\"\nallow a -> \"10.0.0.1\"\nallow a -> \"kms internal\"",
        ),
        mistake(
            "bad_v4_address",
            &["bad_address"; 4],
            "allow a -> 10.0.0\nallow a -> 10.0.0.0.1\nallow a -> 10.0.0.010\nallow a -> 10.0.0.0/x",
        ),
        mistake(
            "bad_v6_address",
            &["bad_address"; 4],
            "allow a -> [fd00::x]\nallow a -> [fd00::]/8\nallow a -> [10.0.0.1]\nallow a -> [fe80::1%eth0]",
        ),
        mistake("octet_too_large", &["octet_too_large"], "allow a -> 10.0.256.1"),
        mistake(
            "prefix_too_long",
            &["prefix_too_long", "prefix_too_long"],
            "allow a -> 10.0.0.0/33\nallow a -> [fd00::/129]:443",
        ),
        mistake("prefix_on_name", &["prefix_on_name"], "allow a -> kms.internal/24:443"),
        mistake(
            "unbracketed_v6",
            &["unbracketed_v6"; 3],
            "allow a -> fd00::/8\nallow a -> ::1\nallow a -> 2001:db8::1:443",
        ),
        mistake(
            "protocols_in_a_set_of_ports",
            &[
                "protocol_twice",
                "ports_on_icmp",
                "ports_on_icmp",
                "unknown_protocol",
                "unexpected",
                "unexpected",
                "unexpected",
            ],
            "allow a -> b:{443/tcp, 53}/udp\nallow a -> b:{443/tcp}/icmp\nallow a -> b:{53/icmp}\nallow a -> b:{443/other}\nallow a -> b:{*, 80}\nallow a -> b:{-/tcp}\nallow a -> b:{443/tcp/udp}",
        ),
        mistake("port_too_large", &["port_too_large"], "allow a -> b:{ 80, 65536 }"),
        mistake("reversed_ports", &["reversed_ports"], "allow a -> b:8010-8000"),
        mistake(
            "unknown_protocol",
            &["unknown_protocol", "unknown_protocol"],
            "allow a -> b:443/sctp\nallow a -> [::1]/icmpv6",
        ),
        mistake(
            "protocol_without_port",
            &["protocol_without_port"; 5],
            "allow a -> b/tcp\nallow a -> 10.0.0.0/8/udp\nallow a -> [::1]/udp\nallow a -> b/tcp:443\nallow a -> { b, /udp }",
        ),
        (
            "bad_digest",
            &["bad_digest"; 3],
            format!(
                "program a = \"/a\" verity sha256:{}\nprogram b = \"/b\" verity sha256:{}\nprogram c = \"/c\" verity sha512:{}",
                hex("0", 63),
                hex("x", 64),
                hex("0", 128)
            ),
        ),
        mistake(
            "several_in_one_statement",
            &["octet_too_large", "port_too_large", "reversed_ports", "wildcard_name"],
            "allow a -> { 10.0.0.999, b:70000, c:{ 9-8, 443 }, *.example.com }",
        ),
        mistake(
            "three_broken_lines",
            &["unexpected", "unknown_statement", "port_too_large"],
            "policy a b\nhost fine = kms.internal:443\nhots kms = kms.internal:443\nonly a -> fine\nallow a -> b:99999\n",
        ),
    ]
}

#[test]
fn every_mistake_has_its_own_code_label_and_help() {
    for (name, codes, source) in mistakes() {
        let errors = bfp_grammar::parse(&source).expect_err(name);
        let found: Vec<String> = errors.iter().map(|error| error.code().unwrap().to_string()).collect();
        let wanted: Vec<String> = codes.iter().map(|code| format!("syntax::{code}")).collect();
        assert_eq!(found, wanted, "{name}\n{}", reports(&source, &errors));
        for error in &errors {
            assert!(error.help().is_some(), "{name}");
            for label in error.labels().unwrap() {
                assert!(label.label().unwrap().split(' ').count() < 8, "{name}: a label is short");
                assert!(
                    source.get(label.offset()..label.offset() + label.len()).is_some_and(|at| !at.is_empty()),
                    "{name}"
                );
            }
        }
        insta::assert_snapshot!(format!("mistake_{name}"), source_then_outcome(&source));
    }
}

#[test]
fn every_code_is_shown_by_a_snapshot() {
    let declared: BTreeSet<&str> = include_str!("../../src/error.rs")
        .split("code(syntax::")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    let mistakes = mistakes();
    let shown: BTreeSet<&str> = mistakes.iter().flat_map(|(_, codes, _)| codes.iter().copied()).collect();
    assert_eq!(declared, shown);
}

#[test]
fn no_message_names_a_grammar_rule() {
    for (name, _, source) in mistakes() {
        let Err(errors) = bfp_grammar::parse(&source) else { continue };
        for error in &errors {
            let shown = format!("{error} {}", error.help().unwrap());
            for word in ["_line", "_kw", "_set", "_word", "_host", "EOI", "Rule::"] {
                assert!(!shown.contains(word), "{name} shows {word}: {shown}");
            }
        }
    }
}

#[test]
fn each_line_of_a_test_reports_for_itself() {
    let source = "test \"t\" {\n  a -> b\n  a b denied\n  a -> b allowed\n  -> b denied\n}\n";
    let errors = bfp_grammar::parse(source).unwrap_err();
    assert_eq!(errors.len(), 3, "{}", reports(source, &errors));
}

#[test]
fn nesting_of_64_levels_is_accepted() {
    let source = format!("host a = {}b{}", hex("{", 64), hex("}", 64));
    assert!(bfp_grammar::parse(&source).is_ok());
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for bracket in ["{", "(", "[", "a except ", "a except {", "!", "\"/a\" verity {", "ranges("] {
        let source = format!("host a = {}", bracket.repeat(200_000));
        assert!(bfp_grammar::parse(&source).is_err());
        let source = format!("only {}", bracket.repeat(200_000));
        assert!(bfp_grammar::parse(&source).is_err());
    }
}

#[test]
fn combined_nesting_is_counted_together() {
    let link = "{ b except b except ";
    let source = format!("host a = {}b{}", link.repeat(40), " }".repeat(40));
    let errors = bfp_grammar::parse(&source).unwrap_err();
    assert_eq!(errors[0].code().unwrap().to_string(), "syntax::too_deep");
}
