//! Every form of every statement, with the tree it gives.

use bfp_grammar::syntax::{Destinations, Spanned, Statement};

use crate::rendered::source_then_outcome;

/// One snapshot a form, named after it.
macro_rules! forms {
    ($($name:ident: $source:expr,)*) => {
        $(#[test]
        fn $name() {
            assert!(bfp_grammar::parse($source).is_ok(), "{}", source_then_outcome($source));
            insta::assert_snapshot!(stringify!($name), source_then_outcome($source));
        })*
    };
}

const DIGEST: &str = "3f5a000000000000000000000000000000000000000000000000000000000001";

fn pinned(template: &str) -> String {
    template.replace("HEX", DIGEST)
}

forms! {
    acceptance: "accept check::path_grant because \"the build pins it\"",
    acceptance_everywhere: "accept check::path_grant everywhere because \"the image is read-only\"",
    policy_name: "policy payments-kms",
    program_by_path: "program signer = \"/usr/bin/signer\"",
    program_pinned_by_digest: &pinned("program signer = \"/usr/bin/signer\" verity sha256:HEX"),
    program_pinned_by_several_digests:
        &pinned("program signer = \"/usr/bin/signer\" verity { sha256:HEX, sha256:HEX, file(\"dist/signer\"), }"),
    program_pinned_by_build_artifact: "program signer = \"/usr/bin/signer\" verity file(\"dist/signer\") with children",
    program_with_pinned_libraries: &pinned(
        "program signer = \"/usr/bin/signer\" verity sha256:HEX libraries { \"/lib/libc.so.6\" verity { sha256:HEX, file(\"libc\") }, \"/lib/ld.so\", } with children",
    ),
    program_that_maps_nothing_but_itself: &pinned("program signer = \"/usr/bin/signer\" verity sha256:HEX libraries { }"),
    program_with_children: "program backup = \"/usr/bin/restic\" with children",
    program_set: "program ci = { \"/usr/bin/cargo\", \"/usr/bin/rustc\", { other, * } }",
    path_with_escapes: r#"program odd = "/opt/a \"b\" \\ c\n\t#{""#,
    host_by_dns_name: "host kms = kms.internal:443",
    host_by_quoted_dns_name: "host kms = { \"kms\", \"kms\":443, \"kms.internal.\" }",
    host_by_unicode_dns_name: "host shop = { bücher.example, 例え.テスト:443 }",
    host_by_address: "host a = { 10.0.0.1, 10.0.0.0/8:443, [2001:db8::1]:443, [2001:db8::/32]:443, [fd00::/8] }",
    host_by_mapped_address: "host a = [::ffff:10.0.0.1]:443",
    host_by_range: "host a = { 10.0.0.1-10.0.0.20, 10.0.0.0-10.0.0.255:443/tcp, 10.0.0.7-10.0.0.7/icmp, [2001:db8::1-2001:db8::20]:443, [fd00::-fdff::] except [fd00::1-fd00::2] }",
    host_set_with_except: "host corp = { 10.0.0.0/8 except 10.9.0.0/16, [fd00::/8], git.corp.example:{22, 443} }",
    except_is_left_associative: "host a = 10.0.0.0/8 except 10.1.0.0/16 except { 10.2.0.1, b }",
    host_that_may_change: "host api = { api.example.com:443, cdn.example.com:443 } may change",
    host_within_a_list: "host s3 = { s3.eu-1.example:443, s3.example:443/tcp } within ranges(\"ip-ranges.json\", service = \"S3\",)\nhost a = b.c within ranges(\"d\") may change",
    host_of_clients: "host web = { clients, clients:443, clients from 10.0.0.0/8, clients:{80, 443} from { * except metadata }, clients:*/tcp from corp except from }",
    ranges_of_a_provider: "host s3 = ranges(\"aws-ip-ranges.json\", service = \"S3\", region = \"eu-1\",):443/tcp except 52.0.0.1",
    source_of_a_list: "ranges \"lists/ip-ranges.json\" from \"https://ip-ranges.example.com/v1?a=b\"",
    ranges_without_filter: "host all = ranges(\"ranges.json\")",
    ports: "allow * -> { a:443, b:{80, 443}, c:8000-8010, d:*, e:443/tcp, f:{53, 5300-5310}/udp, g:*/udp }",
    ports_of_several_protocols: "allow * -> { a:{443/tcp, 53/udp, icmp}, [::1]:{ 443 , 8000-8010 /udp, */tcp, icmp, }, b:{443/tcp, 80/tcp}, c:{*/udp, 53/udp}, d:{icmp}, e:{7/tcp} }",
    ports_of_a_set: "allow * -> { { a, { b.c, 10.0.0.1 }:{80, 443}/tcp }, { d except e } : 53 /udp, {f}/icmp }",
    declared_ports: "ports etcd = { 2379, 2380, }\nports dns = 53\nports web = {80,443}/tcp\nports all = { */tcp }\nports ping = {icmp}\nports mix = {443/tcp, 8000-8010/udp, icmp}\nports one = 8000-8010 /udp",
    named_ports: "allow * -> { a:etcd, 10.0.0.1:{etcd, 53/udp}, { b, c }:dns/udp, d:{ etcd /tcp, 80/tcp }, e:{etcd/tcp, */tcp}, [fd00::1]:my-ports_2 }",
    word_of_ports_is_a_name: "program ports = \"/p\"\nports -> only ports:ports\nports ports = 1",
    icmp: "allow * -> { a/icmp, 10.0.0.1/icmp, 10.0.0.0/8/icmp, [::1]/icmp, [fd00::/8]/icmp, kms.internal/icmp, \"kms\"/icmp, loopback/icmp, ranges(\"r.json\")/icmp except 10.1.0.0/16/icmp }",
    icmp_with_spaces: "allow * -> { a /icmp, 10.0.0.0/8 # why\n /icmp, [::1]\n/icmp }",
    ports_with_spaces: "allow * -> { a : 443 /tcp, b:{ 80 , 443 , } }",
    exclusive_rule: "only signer -> kms",
    confined_rule: "signer -> only { kms, 127.0.0.53:53 }",
    exclusive_and_confined_rule: "only signer -> only kms",
    rule_without_declarations: "only \"/usr/bin/signer\" -> kms.internal:443",
    deny_rule: "deny * -> 169.254.169.254",
    allow_rule: "allow ci -> { git.corp.example:22/tcp, artifacts.corp.example:443 }",
    notes: "allow a -> b.c:5432 until 2027-01-31 owner \"payments\" ticket \"SEC-12\" because \"migration, \\\"old\\\" db\"\nonly a -> only { b, c }:443 until 2028-02-29\naudit a -> only b owner \"x\" because \"y\" # why\ndeny * -> owner:ticket ticket \"T-1\"",
    parameters: "param env = { \"staging\", \"prod\", }\nparam region = {\"eu-1\"}\nhost kms = \"kms.${env}.${region}.internal\":443\nonly \"/opt/${env}/bin/*\" -> { kms, \"${env}\" }",
    word_of_parameters_is_a_name: "program param = \"/p\"\nparam -> only param\nparam param = { \"x\" }",
    shared_rules: "shared only a -> b\naudit shared only a -> only b\nalso { a, \"/c\" } -> b:443 owner \"x\"\nshared only shared -> also\nalso also -> shared",
    words_of_shared_rules_are_names: "program shared = \"/s\"\nhost also = b.c\nshared -> only also\nalso -> only shared\nallow { shared, also } -> shared",
    words_of_notes_are_names: "program until = \"/u\"\nprogram owner = until\nhost ticket = b.c\nowner -> only ticket\nonly until -> ticket owner \"until\"",
    audited_rules: "audit only backup -> backup.example.com:8000-8010\naudit a -> only b\naudit deny * -> raw\naudit allow a -> *",
    default_effects: "default allow\ndefault deny",
    include: "include \"common/corp.bfp\"",
    arrow_without_spaces: "only my-signer->kms",
    words_of_change_are_names: "host may = may.example may change\nhost change = may\nallow * -> { may, change }",
    contextual_words_are_names: "program file = \"/f\"\nprogram children = \"/c\"\nallow file -> sha256",
    test_block: "test \"the KMS is the signer's alone\" {\n    signer -> kms            allowed\n    backup -> kms            denied\n\n    { a, b } -> 10.0.0.0/8 except 10.0.0.1 denied # why\n}",
    empty_test_block: "test \"nothing yet\" {}",
    statement_over_lines: "allow {\n  a, # first\n  b\n} -> {\n  c:{\n 80,\n 443 },\n}",
    windows_text: "\u{FEFF}policy a # name\r\nhost b = {\r\n  c.d,\r\n}\r\n",
    nothing_at_all: "\n  # only a comment\n",
}

#[test]
fn spans_count_from_the_begin_of_the_file() {
    let source = "\u{FEFF}# é\nhost kms = kms.internal:443\n";
    let policy = bfp_grammar::parse(source).unwrap();
    assert_eq!(policy.statements[0].span.text_in(source), "host kms = kms.internal:443");
}

#[test]
fn the_example_of_the_readme_parses() {
    let source = include_str!("payments.bfp");
    insta::assert_snapshot!(source_then_outcome(source));
}

#[test]
fn destination_by_itself_is_the_right_side_of_a_rule() {
    for written in [
        "*",
        "kms:443",
        "10.0.0.0/8 except { 10.9.0.0/16, corp }",
        "ranges(\"a.json\", service = \"S3\"):443",
        "{ kms.internal:{443/tcp, icmp},\n  [2001:db8::1] }",
    ] {
        let alone = bfp_grammar::parse_destinations(written).unwrap();
        assert_eq!(alone.span.text_in(written), written);
        let rule = format!("deny * -> {written}");
        let policy = bfp_grammar::parse(&rule).unwrap();
        let [Spanned { node: Statement::Rule(rule), .. }] = policy.statements.as_slice() else {
            unreachable!("{rule}")
        };
        assert_eq!(without_places(&alone.node), without_places(&rule.destinations.node));
    }
    assert!(bfp_grammar::parse_destinations("10.0.0.1:443/other").is_ok(), "as answers write it");
}

#[test]
fn more_or_less_than_a_destination_is_an_error() {
    for written in
        ["", " ", "kms kms", "kms -> kms", "only kms", "10.0.0.1\n10.0.0.2", "{ kms", "kms }", "\"kms", "kms:"]
    {
        assert!(!bfp_grammar::parse_destinations(written).unwrap_err().is_empty(), "{written}");
    }
}

/// A tree as text, with every place left out.
fn without_places(destinations: &Destinations) -> String {
    let text = format!("{destinations:?}");
    text.split("Span { start: ").map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect()
}
