//! What the canonical text looks like.

use crate::rendered::reports;

fn formatted(source: &str) -> String {
    bfp_grammar::format(source).unwrap_or_else(|errors| panic!("{}", reports(source, &errors)))
}

/// The source and its canonical text; that the second is final and says the same is checked too.
#[track_caller]
fn check(name: &str, source: &str) {
    let canonical = formatted(source);
    assert_eq!(formatted(&canonical), canonical, "formatting twice changes nothing");
    let (before, after) = (bfp_grammar::parse(source).unwrap(), bfp_grammar::parse(&canonical).unwrap());
    assert!(bfp_grammar::same_tree(&before, &after), "{canonical}");
    insta::assert_snapshot!(format!("canonical_{name}"), format!("{source}\n----\n{canonical}"));
}

#[test]
fn spaces_and_blank_lines() {
    check(
        "spaces",
        "\n\n  policy   a\n\n\n\nprogram  b=\"/b\"   with   children\n  only b->only{c,d : 443 /tcp}\nhost  c=e.example   may    change # moves\n\n\ninclude \"x\"\n\n",
    );
}

#[test]
fn clients_and_their_addresses() {
    check(
        "clients",
        "a->only{db , clients :{443}  from{10.0.0.0/8,\n[::1]/* }}\nhost c=clients from   [::1/128]\nhost d = { clients # whoever\n from # there\n e }\n"
            .replace("/*", "")
            .as_str(),
    );
}

#[test]
fn comments_stay_where_they_were() {
    check(
        "comments",
        "# first\n\n\n# second\npolicy a# tight\nhost b = { # opening\n  c, # of c\n  # own line\n\n  # of d\n  d # of d\n  , e\n  # last\n} # closing\n\n# end",
    );
}

#[test]
fn comments_without_a_place_move_above() {
    check(
        "hoisted",
        "host b = {\n  c except # why\n  d,\n  e: # the port\n  443, f:{80, # web\n 443}/tcp\n}\nprogram p = \"/p\" verity file( # built\n\"f\")\nprogram q = \"/q\" verity { # pinned\nfile(\"f\")} libraries { # all\n\"/l\" verity file(\"l\"), # libc\n}\nhost r = ranges( # from aws\n \"r.json\", # file\n s = \"S3\" # filter\n):443\n",
    );
}

#[test]
fn sets_written_over_lines_stay_over_lines() {
    check(
        "sets",
        "host a = {b, c}\nhost d = {b,\nc}\nhost e = {\n{b, c}, {d,\ne}, f:{80,443} }\nhost f = {\n\n\n  a,\n\n\n  b,\n\n}",
    );
}

#[test]
fn long_lines_are_broken_at_their_sets() {
    let hosts = "first.services.example.com:443, second.services.example.com:443, third.services.example.com:443";
    check(
        "long",
        &format!(
            "allow {{ one, two }} -> {{ {hosts} }}\nhost a = {{ {hosts} }} except {{ {hosts} }}\nallow a -> b.example.com:{{ {} }}\nonly {{ {hosts}0 }} -> {{ b }}\n",
            (0..40).map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
        )
        .replace("only { first.services.example.com:443, second.services.example.com:443, third.services.example.com:4430 }", "only { \"/usr/lib/one/long/path/to/program\", \"/usr/lib/another/long/path/to/program\", \"/opt/x\" }"),
    );
}

#[test]
fn expected_words_of_a_test_are_aligned() {
    check(
        "test",
        "test \"t\" { \n# about\n  a -> b allowed # yes\n\n\n longer-name->10.0.0.0/8:443   denied\n {a,\nb} -> { c, d } denied }\ntest \"empty\" {\n}\ntest \"comment\" {\n # nothing yet\n}\ntest \"one\" { a -> b denied }",
    );
}

#[test]
fn literals_have_one_spelling() {
    check(
        "literals",
        "host a = { 10.0.0.1/32, [2001:DB8:0:0::1/128]:0443, \"kms.internal\", \"kms\", \"größe.example\":80-80, b:{443}, b:{443}/udp, c:*, c /icmp, [2001:DB8::1]# why\n/icmp }\nprogram p = \"/a\tb\" verity { sha256:ABCDEF0000000000000000000000000000000000000000000000000000000000 }",
    );
}

#[test]
fn ports_have_one_spelling() {
    check(
        "ports",
        "ports  a={ 1 , 2 }\nports b = { # why\n 80 }\nports c={80}/tcp\nports d = { */udp }\nports e = {icmp, 1/tcp}\nports f={\n80,\n443/tcp}\nallow * -> { {a, b }: 443, {\na.b\n}:{ x , y/tcp }, {c}:{x}/tcp, d:{*/tcp, x/tcp} }",
    );
}

#[test]
fn windows_text_becomes_plain_text() {
    check("windows", "\u{FEFF}policy a # name\r\n\r\n\r\nhost b = {\r\n  c.d,# e\r\n}\r\n");
}

#[test]
fn an_empty_file_stays_empty() {
    assert_eq!(formatted(""), "");
    assert_eq!(formatted("\n \n"), "");
    assert_eq!(formatted("\u{FEFF}"), "");
    assert_eq!(formatted("# c"), "# c\n");
}

#[test]
fn the_example_is_almost_canonical() {
    check("example", include_str!("payments.bfp"));
}

#[test]
fn the_policies_of_the_reference_are_canonical() {
    let reference = include_str!("../../../docs/language.md");
    let mut policies = 0;
    for block in reference.split("```bfp\n").skip(1) {
        let policy = block.split("```").next().unwrap();
        assert_eq!(formatted(policy), policy);
        policies += 1;
    }
    assert!(policies > 0, "the reference shows policies");
}
