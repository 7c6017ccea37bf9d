use super::*;

const ANSWER: PortRange = PortRange { protocol: Protocol::Answer, first: 0, last: u16::MAX };

fn of_rule(text: &str) -> Vec<Destination> {
    resolved(text).rules.remove(0).destinations
}

fn codes(text: &str) -> Vec<String> {
    errors(text).iter().filter_map(|error| Some(miette::Diagnostic::code(error)?.to_string())).collect()
}

#[test]
fn clients_are_every_address_with_the_ports_of_the_server() {
    let all = of_rule("\"/a\" -> only clients");
    assert!(all.iter().all(|to| to.ports == [ANSWER] && to.is_of_clients()));
    assert_eq!(all.len(), 3, "IPv4, and IPv6 beside the mapped addresses");
    let ports = of_rule("\"/a\" -> only clients:{80, 443}/tcp from [fd00::/8]");
    let port = |port| PortRange { first: port, last: port, ..ANSWER };
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0].ports, [port(80), port(443)]);
    assert_eq!(of_rule("\"/a\" -> only clients from *"), all);
    assert_eq!(of_rule("host c = clients:443\n\"/a\" -> only c"), of_rule("\"/a\" -> only clients:443"));
}

#[test]
fn clients_have_the_addresses_of_names_and_sets() {
    let from = |from: &str| {
        of_rule(&format!(
            "host corp = {{ 10.0.0.0/8, kms.internal }}\nhost x = clients from {from}\n\"/a\" -> only {{ x, corp:1 }}"
        ))
    };
    let addresses = |all: Vec<Destination>| -> Vec<Addresses> {
        let of_clients = all.into_iter().filter(|to| to.ports.contains(&ANSWER));
        of_clients.map(|to| to.addresses).collect()
    };
    let corp = [v4("10.0.0.0", "10.255.255.255"), v4("203.0.113.7", "203.0.113.7")];
    let v6 = Addresses::V6(0x2001_0db8 << 96 | 7, 0x2001_0db8 << 96 | 7);
    assert_eq!(addresses(from("corp")), [&corp[..], &[v6]].concat());
    assert_eq!(addresses(from("{ corp except 10.0.0.0/9 }"))[0], v4("10.128.0.0", "10.255.255.255"));
}

#[test]
fn only_a_policy_with_the_word_distinguishes_answers() {
    let without = resolved("\"/a\" -> only 10.0.0.0/8");
    assert!(!without.clients && without.rules[0].destinations[0].ports == PortRange::all());
    let with = resolved("\"/a\" -> only 10.0.0.0/8\ndeny \"/b\" -> clients\nallow * -> *");
    assert!(with.clients && with.rules[0].destinations[0].ports == PortRange::all_and_answers());
    assert!(with.rules[2].covers_everything);
    let tested = resolved("\"/a\" -> only 10.0.0.0/8\ntest \"t\" { \"/a\" -> clients denied }");
    assert!(tested.clients);
}

#[test]
fn test_is_about_requests_unless_it_names_clients() {
    let policy = resolved(
        "host corp = 10.0.0.0/8\n\"/a\" -> only { corp, clients }\ntest \"t\" {\n\"/a\" -> corp allowed\n\"/a\" -> * denied\n\"/a\" -> clients allowed\n}",
    );
    let lines = &policy.tests[0].expectations;
    assert_eq!(lines[0].destinations[0].ports, PortRange::all());
    assert!(lines[1].destinations.iter().all(|to| to.ports == PortRange::all()));
    assert!(lines[2].destinations.iter().all(Destination::is_of_clients));
}

#[test]
fn clients_are_not_taken_where_they_would_mean_something_else() {
    for (right, code) in [
        ("clients:53/udp", "resolve::clients_protocol"),
        ("clients/icmp", "resolve::clients_protocol"),
        ("clients:{443/tcp, 53/udp}", "resolve::clients_protocol"),
        ("clients from 10.0.0.1:443", "resolve::clients_from"),
        ("clients from raw", "resolve::clients_from"),
        ("clients from { 10.0.0.1, clients }", "resolve::clients_from"),
        ("clients except 10.0.0.1", "resolve::clients_except"),
        ("* except clients", "resolve::clients_except"),
        ("{ 10.0.0.0/8, clients } except 10.0.0.1", "resolve::clients_except"),
        ("c except 10.0.0.1", "resolve::clients_except"),
    ] {
        let declared = if right.starts_with("c ") { "host c = { 10.0.0.0/8, clients }\n" } else { "" };
        let text = format!("{declared}\"/a\" -> only {right}");
        assert_eq!(codes(&text), [code], "{text}");
    }
    assert_eq!(codes("only \"/a\" -> { 10.0.0.1, clients }"), ["resolve::exclusive_clients"]);
    assert_eq!(codes("host c = clients\nonly \"/a\" -> only c"), ["resolve::exclusive_clients"]);
    assert_eq!(codes("host clients = 10.0.0.1\n\"/a\" -> only 10.0.0.1"), ["resolve::builtin_name"]);
}
