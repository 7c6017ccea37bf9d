#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

/// The networks as text, or the error about the list.
fn told(text: &str, filters: &[(&str, &str)]) -> String {
    match networks(text, filters) {
        Ok(found) => found.iter().map(|(at, length)| format!("{at}/{length}")).collect::<Vec<_>>().join(" "),
        Err(fault) => format!("it {fault}; {}", fault.help()),
    }
}

#[test]
fn nothing_of_a_file_is_shown_but_addresses() {
    for (text, shown) in [
        ("API_KEY=sk-live-1234\n", ""),
        ("sk.live.cafe.12\n", ""),
        ("DATABASE=postgres://app:hunter2@10.0.0.1:5432/app\n", ""),
        ("key hunter2 10.0.0.1:443\n", "10.0.0.1:443"),
        ("{ \"a\": \"hunter2@fe80::1%eth0\" }", "fe80::1"),
        ("{ \"a\": \"10.0.0.1/8\" }", "10.0.0.1/8"),
    ] {
        let said = told(text, &[]);
        let fault = said.split("; write").next().unwrap_or_default();
        let part = fault.split('`').nth(1).unwrap_or_default();
        assert_eq!(part, shown, "{text}: {said}");
        assert!(said.contains("is not a network"), "{text}: {said}");
    }
}

/// The networks that a password opens, as a policy from a pull request could name them.
const PASSWORDS: &str = r#"{ "accounts": [
    { "net": "192.0.2.0/24", "password": "correct horse battery", "pin": 4711, "token": [ "hunter2", "tr0ub4dor" ] },
    { "net": "198.51.100.0/24", "password": "Tr0ub4dor&3", "pin": "0815", "token": "swordfish" } ] }"#;

#[test]
fn no_value_of_a_file_is_shown() {
    let secrets = ["correct horse battery", "4711", "hunter2", "tr0ub4dor", "Tr0ub4dor&3", "0815", "swordfish"];
    for key in ["password", "pin", "token", "list", "member"] {
        for value in ["x", "", "secret", "correct horse", "47", "471", "hunt", "sword", "Tr0ub4d", "acc"] {
            let fault = networks(PASSWORDS, &[(key, value)]).unwrap_err();
            let said = format!("{fault}; {} {fault:?}", fault.help());
            for secret in secrets.iter().chain(&["accounts"]) {
                assert!(!said.contains(secret), "{key} = {value}: {said}");
            }
        }
    }
    assert!(told(PASSWORDS, &[("token", "x")]).ends_with("where entries have 3 different values of `token`"));
    assert!(told(PASSWORDS, &[("list", "x")]).ends_with("where entries have 1 value of `list`"));
}

#[test]
fn only_a_value_that_was_nearly_written_is_offered() {
    for (key, written, offered) in [
        ("password", "correct hrse batery", true),
        ("password", "correct hrse bateri", false),
        ("token", "swordfis", true),
        ("token", "swordfi", false),
        ("token", "hunter", true),
        ("token", "hunte", false),
        ("pin", "0816", true),
        ("pin", "081", false),
    ] {
        let said = told(PASSWORDS, &[(key, written)]);
        assert_eq!(said.contains("did you mean"), offered, "{key} = {written}: {said}");
    }
}

#[test]
fn plain_list_is_a_network_a_line() {
    let text = "# ours\r\n192.0.2.0/24 ; first\n\n2001:db8::/32\n198.51.100.7\n192.0.2.0/24\n";
    assert_eq!(told(text, &[]), "192.0.2.0/24 198.51.100.7/32 2001:db8::/32");
    assert!(told(text, &[("region", "x")]).contains("filters cannot narrow"));
    assert!(told("192.0.2.0/24\nnonsense\n", &[]).contains("contains a text that is not a network (line 2)"));
    assert!(told("192.0.2.1/24", &[]).contains("not a network"), "host bits");
    assert!(told("192.0.2.0/+24", &[]).contains("not a network"));
    assert!(told("# nothing\n", &[]).contains("contains no network"));
}

const PREFIXES: &str = r#"{ "syncToken": "1", "prefixes": [
    { "ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "S3" },
    { "ip_prefix": "198.51.100.0/24", "region": "eu-west-1", "service": "S3" },
    { "ip_prefix": "203.0.113.0/24", "region": "us-east-1", "service": "EC2" } ],
  "ipv6_prefixes": [ { "ipv6_prefix": "2001:db8::/32", "region": "us-east-1", "service": "S3" } ] }"#;

#[test]
fn filters_of_one_list_hold_together() {
    let of = |filters: &[(&str, &str)]| told(PREFIXES, filters);
    assert_eq!(of(&[("service", "S3"), ("region", "us-east-1")]), "192.0.2.0/24 2001:db8::/32");
    assert_eq!(of(&[("service", "EC2")]), "203.0.113.0/24");
    assert_eq!(of(&[("list", "ipv6_prefixes")]), "2001:db8::/32");
    assert!(of(&[("servcie", "S3")]).contains("no entry with a member `servcie`; did you mean `service`?"));
    assert!(of(&[("service", "S4")]).ends_with("where entries have 2 different values of `service`"));
    assert!(of(&[("region", "us-west-1")]).ends_with("did you mean `eu-west-1`?"));
    assert!(of(&[("service", "EC2"), ("region", "eu-west-1")]).contains("matches every filter"));
}

#[test]
fn lists_of_other_shapes_are_read_too() {
    let tags = r#"{ "values": [ { "name": "Sql", "properties": { "region": "", "addressPrefixes":
        [ "192.0.2.0/24" ] } }, { "name": "Web", "properties": { "addressPrefixes": [ "198.51.100.0/24" ] } } ] }"#;
    assert_eq!(told(tags, &[("name", "Sql")]), "192.0.2.0/24");
    let named = r#"{ "hooks": [ "192.0.2.0/24" ], "web": [ "198.51.100.0/24", "2001:db8::/32" ] }"#;
    assert_eq!(told(named, &[("list", "web")]), "198.51.100.0/24 2001:db8::/32");
    let nested =
        r#"{ "regions": [ { "region": "eu", "cidrs": [ { "cidr": "192.0.2.0/24", "tags": ["OSN", "OBJ"] } ] } ] }"#;
    assert_eq!(told(nested, &[("region", "eu"), ("tags", "OBJ")]), "192.0.2.0/24");
}

#[test]
fn member_keeps_what_stands_anywhere_in_it() {
    let products = r#"{ "agents": { "prefixes_ipv4": ["192.0.2.0/24"], "prefixes_ipv6": ["2001:db8::/32"] },
        "api": { "prefixes_ipv4": ["198.51.100.0/24"] }, "own": "203.0.113.7/32" }"#;
    let of = |filters: &[(&str, &str)]| told(products, filters);
    assert_eq!(of(&[("member", "agents")]), "192.0.2.0/24 2001:db8::/32");
    assert_eq!(of(&[("member", "own")]), "203.0.113.7/32");
    assert_eq!(of(&[("member", "agents"), ("member", "prefixes_ipv4")]), "192.0.2.0/24");
    assert_eq!(of(&[("list", "prefixes_ipv4")]), "192.0.2.0/24 198.51.100.0/24");
    assert!(of(&[("member", "agent")]).contains("did you mean `agents`?"));
    assert!(of(&[("list", "own")]).ends_with("where entries have 2 different values of `list`"));
    assert!(of(&[("member", "api"), ("member", "prefixes_ipv6")]).contains("matches every filter"));
}

#[test]
fn page_is_told_from_a_list() {
    assert!(told("\n<!DOCTYPE html>\n<title>Sign in</title>", &[]).contains("is an HTML page"));
    assert!(told("<html>", &[("region", "x")]).contains("is an HTML page"));
    assert!(told("<none>", &[]).contains("not a network"));
}

#[test]
fn addresses_ranges_and_netmasks_count_in_every_form() {
    for (written, networks) in [
        ("192.0.2.81", "192.0.2.81/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("192.0.2.0/24 ", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("0.0.0.0/0.0.0.0", "0.0.0.0/0"),
        ("192.0.2.7/255.255.255.255", "192.0.2.7/32"),
        ("192.0.2.0-192.0.2.9", "192.0.2.0/29 192.0.2.8/31"),
        ("192.0.2.1 - 192.0.2.1", "192.0.2.1/32"),
        ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
        ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
        ("2001:db8::1-2001:db8::2", "2001:db8::1/128 2001:db8::2/128"),
    ] {
        assert_eq!(told(written, &[]), networks, "{written}");
        assert_eq!(told(&format!("{{ \"W\": [ \"{written}\" ] }}"), &[]), networks, "{written}");
        assert_eq!(told(&format!("{{ \"{written}\": true }}"), &[]), networks, "{written} as a member");
        assert!(told(&format!("[ \"198.51.100.0/24\", \"{written}\" ]"), &[]).contains(networks), "{written}");
    }
}

#[test]
fn nearly_a_network_is_an_error_beside_one_that_counts() {
    for written in [
        "10.0/16",
        "10.0.0.256",
        "300.1.1.1",
        "10.0.0.0/33",
        "10.0.0.0/255.0.255.0",
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-9",
        "10.0.0.1-2001:db8::1",
        "2001:db8:::1",
        "2001:db8::/129",
        "10.0.0.1/8",
        "10.0.0.0 /8",
    ] {
        let said = told(&format!("[ \"198.51.100.0/24\", \"{written}\" ]"), &[]);
        assert!(said.contains("is not a network"), "{written}: {said}");
        assert!(told(&format!("198.51.100.0/24\n{written}\n"), &[]).contains("(line 2)"), "{written}");
    }
    let others = r#"[ "198.51.100.0/24", "2026-07-14", "2026-07-14T09:30:00Z", "08:00-17:00", "00:1a:2b:3c:4d:5e",
        "1.2.3", "us-east-1", "https://192.0.2.1/a", "a/b", "2026/07/14", "", "-", "/", "text/plain" ]"#;
    assert_eq!(told(others, &[]), "198.51.100.0/24");
}

#[test]
fn member_that_stands_twice_is_an_error() {
    let said = told(r#"{ "a": [ "192.0.2.0/24" ], "b": { "a": "10.0.0.0/8" }, "a": [ "198.51.100.0/24" ] }"#, &[]);
    assert!(said.contains("the member `a` occurs twice in one object"), "{said}");
}

#[test]
fn booleans_and_numbers_can_be_filtered_by() {
    let text = r#"[ { "net": "192.0.2.0/24", "required": true, "id": 7 },
        { "net": "198.51.100.0/24", "required": false, "id": 8, "ports": [443, 80] } ]"#;
    assert_eq!(told(text, &[("required", "true")]), "192.0.2.0/24");
    assert_eq!(told(text, &[("id", "8")]), "198.51.100.0/24");
    assert_eq!(told(text, &[("ports", "80")]), "198.51.100.0/24");
    assert!(told(text, &[("required", "yes")]).ends_with("2 different values of `required`"));
}

#[test]
fn geofeeds_and_json_lines_are_read() {
    let feed = "# geofeed\n192.0.2.0/24,US,US-CA,San Jose,95110\n2001:db8::/32,DE,DE-BE,Berlin,\n";
    assert_eq!(told(feed, &[]), "192.0.2.0/24 2001:db8::/32");
    assert_eq!(told("192.0.2.0/24, 198.51.100.7\n", &[]), "192.0.2.0/24 198.51.100.7/32", "no field is lost");
    assert_eq!(told("\"192.0.2.0/24\",\"x\"\n", &[]), "192.0.2.0/24");
    assert!(told("prefix,country\n192.0.2.0/24,US\n", &[]).contains("(line 1)"));
    let lines = "{\"cidr\":\"192.0.2.0/24\",\"rir\":\"arin\"}\n{\"cidr\":\"198.51.100.0/24\",\"rir\":\"ripe\"}\n\
                 {\"type\":\"metadata\"}\n";
    assert_eq!(told(lines, &[]), "192.0.2.0/24 198.51.100.0/24");
    assert_eq!(told(lines, &[("rir", "ripe")]), "198.51.100.0/24");
    assert!(told("{\"cidr\":\"192.0.2.0/24\"}\n{\"cidr\":", &[]).contains("is not JSON"));
}

#[test]
fn what_looks_like_a_network_must_be_one() {
    assert!(told(r#"{ "a": [ "192.0.2.0/24", "192.0.2.0/33" ] }"#, &[]).contains("192.0.2.0/33"));
    assert!(told(r#"{ "a": [ "10.0.0.1/8" ] }"#, &[]).contains("10.0.0.1/8"));
    assert!(told("{ \"a\": ", &[]).contains("is not JSON"));
    assert!(networks(&"[".repeat(100_000), &[]).is_err(), "deep nesting is refused");
    assert_eq!(networks(r#"{ "a": "10.0.0.0/8" }"#, &[]).unwrap().len(), 1);
}

/// Texts that contain a network and are not one.
const HALF_WRITTEN: [&str; 24] = [
    "1.2.3.4:443",
    "[2001:db8::1]",
    "[2001:db8::1]:443",
    "10.1.0.*",
    "10.1.*",
    "10.1.x.x",
    "2001:db8::*",
    "fe80::1%eth0",
    "10.2.0.0/16 # x",
    "10.4.0.0/16 (eu)",
    "10.5.0.0 \u{2013} 10.5.0.9",
    "10.5.0.0\u{2014}10.5.0.9",
    "10.1.0.0 255.255.0.0",
    "10.1.0.0/16 10.2.0.0/16",
    "10.1.0.0/16|10.2.0.0/16",
    "10.1.0.0/16,10.2.0.0/33",
    "10.1.0.0/16;Frankfurt",
    "eu: 10.4.0.0/16",
    "eu:10.4.0.0/16",
    "v=spf1 ip4:192.0.2.0/24 ~all",
    "ip6:2001:db8::/32",
    "192.0.2.1/bin.sh",
    "10.1.0.0_16",
    "see <10.1.0.0/16>",
];

#[test]
fn text_that_holds_an_address_counts_or_is_an_error() {
    for written in HALF_WRITTEN {
        let said = told(&format!("[ \"198.51.100.0/24\", \"{written}\" ]"), &[]);
        assert!(said.contains("is not a network"), "{written}: {said}");
        let said = told(&format!("{{ \"198.51.100.0/24\": 1, \"{written}\": 2 }}"), &[]);
        assert!(said.contains("is not a network"), "{written} as a member: {said}");
        // In a plain list, text after `#` is a comment, and a comma ends a field.
        if !written.contains(['#', ',', ';']) {
            let said = told(&format!("198.51.100.0/24, DE, {written}\n"), &[]);
            assert!(said.contains("is not a network"), "{written} as a field: {said}");
        }
    }
}

#[test]
fn several_networks_in_one_text_all_count() {
    let said = told(r#"{ "W": [ "10.1.0.0/16,10.3.0.0/16", "10.6.0.0/16;10.7.0.0/16", "10.0.0.0/24" ] }"#, &[]);
    assert_eq!(said, "10.0.0.0/24 10.1.0.0/16 10.3.0.0/16 10.6.0.0/16 10.7.0.0/16");
    let said = told(r#"[ "10.1.0.0/16, 2001:db8::/32,\n10.0.0.1 - 10.0.0.2, ", "" ]"#, &[]);
    assert_eq!(said, "10.0.0.1/32 10.0.0.2/32 10.1.0.0/16 2001:db8::/32");
    let entries = r#"[ { "ips": "10.1.0.0/16,10.2.0.0/16", "at": "eu" }, { "ips": "10.3.0.0/16" } ]"#;
    assert_eq!(told(entries, &[("at", "eu")]), "10.1.0.0/16 10.2.0.0/16");
    assert_eq!(told("\"10.1.0.0/16,10.2.0.0/16\",DE\n", &[]), "10.1.0.0/16 10.2.0.0/16");
}

#[test]
fn network_behind_a_semicolon_is_no_comment() {
    assert!(told("10.6.0.0/16;10.7.0.0/16\n", &[]).contains("`10.7.0.0/16` after a `;`"));
    assert!(told("10.6.0.0/16; DE; 10.7.0.0/16 # x\n", &[]).contains("`10.7.0.0/16`"));
    let drop = "; Spamhaus DROP List\n; 10.0.0.0/8\n1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; 10.0.0.5 is its gateway\n";
    assert_eq!(told(drop, &[]), "1.10.16.0/20 1.19.0.0/16");
}

#[test]
fn two_columns_of_addresses_are_not_guessed_at() {
    for (line, written) in [
        ("1.0.0.0,1.0.0.255,AU", "`1.0.0.0-1.0.0.255`"),
        ("10.1.0.0, 255.255.0.0", "`10.1.0.0/255.255.0.0`"),
        ("2001:db8::,2001:db8::ff", "`2001:db8::-2001:db8::ff`"),
    ] {
        let said = told(&format!("# from, to\n{line}\n"), &[]);
        assert!(said.contains("side by side") && said.contains("(line 2)") && said.contains(written), "{said}");
    }
    assert_eq!(told("10.0.0.1,10.0.0.2,10.0.0.3\n", &[]), "10.0.0.1/32 10.0.0.2/32 10.0.0.3/32");
}

/// Contents of providers' lists beside the networks, each after its own list.
const ORDINARY: [&str; 13] = [
    // Amazon, Google
    r#"{ "syncToken": "1750000000", "createDate": "2025-01-02-03-04-05", "prefixes": [ { "ip_prefix": "192.0.2.0/24",
        "region": "ap-southeast-1", "service": "ROUTE53_HEALTHCHECKS", "network_border_group": "us-west-2-lax-1" } ] }"#,
    r#"{ "syncToken": "1750000000000", "creationTime": "2025-06-15T08:00:00.123456", "prefixes": [
        { "ipv4Prefix": "192.0.2.0/24", "service": "Google Cloud", "scope": "europe-west3" } ] }"#,
    // Azure, Microsoft 365
    r#"{ "changeNumber": 383, "cloud": "Public", "values": [ { "name": "ActionGroup.WestEurope", "id": "ActionGroup",
        "properties": { "changeNumber": 9, "regionId": 18, "platform": "Azure", "systemService": "",
        "addressPrefixes": [ "192.0.2.0/24" ], "networkFeatures": [ "API", "NSG", "UDR" ] } } ] }"#,
    r#"[ { "id": 1, "serviceArea": "Exchange", "serviceAreaDisplayName": "Exchange Online",
        "urls": [ "outlook.cloud.microsoft", "*.mail.protection.outlook.com", "autodiscover.*.onmicrosoft.com" ],
        "ips": [ "192.0.2.0/24" ], "tcpPorts": "80,443", "udpPorts": "3478-3481", "expressRoute": true,
        "notes": "Skype's clients fall back to TCP; see https://aka.ms/x, section 3.2.1" } ]"#,
    // GitHub
    r#"{ "verifiable_password_authentication": false, "ssh_key_fingerprints": {
        "SHA256_ECDSA": "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
        "MD5": "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
        "labelled": "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
        "SHA1": "53:f4:01:a2:6b:11:9c:07:5e:22:d8:31:90:ab:cd:ef:00:12:34:56" },
        "ssh_keys": [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9/y6v0mKV0U2w0WZ2Y++Tpockg=" ],
        "hooks": [ "192.0.2.0/24" ], "domains": { "website": [ "*.github.com", "*.github.dev" ],
        "artifact_attestations": { "trust_domain": "", "services": [ "*.actions.githubusercontent.com" ] } } }"#,
    // Cloudflare, Fastly, Okta, Atlassian
    r#"{ "result": { "ipv4_cidrs": [ "192.0.2.0/24" ], "etag": "38f79d050aa027e3be3865e495dcc9bc" }, "errors": [] }"#,
    r#"{ "addresses": [ "192.0.2.0/24" ], "ipv6_addresses": [] }"#,
    r#"{ "us_cell_14": { "ip_ranges": [ "192.0.2.0/24" ] }, "emea_cell_2": { "ip_ranges": [] } }"#,
    r#"{ "creationDate": "2025-03-18T01:05:13.161311", "syncToken": 1742259913, "items": [ { "mask_len": 24,
        "cidr": "192.0.2.0/24", "region": [ "global" ], "product": [ "jira", "bitbucket" ], "direction": [ "egress" ] } ] }"#,
    // Datadog, Oracle, Zscaler
    r#"{ "version": 48, "modified": "2025-01-02-03-04-05", "agents": { "prefixes_ipv4": [ "192.0.2.0/24" ] } }"#,
    r#"{ "last_updated_timestamp": "2025-06-10T17:22:43.123456", "regions": [ { "region": "eu-frankfurt-1",
        "cidrs": [ { "cidr": "192.0.2.0/24", "tags": [ "OCI", "OSN" ] } ] } ] }"#,
    r#"{ "zscaler.net": { "continent : EMEA": { "city : Frankfurt IV": [ { "range": "192.0.2.0/24", "vpn": "",
        "hostname": "fra4-vpn.zscaler.net", "latitude": "50.1109", "longitude": "-8.682" } ] } } }"#,
    // Lists of addresses to block
    r#"[ { "cidr": "192.0.2.0/24", "sblid": "SBL256894", "first_seen": "2021-01-17 07:44:46",
        "as_name": "AS-64496 Example", "ptr": "192.0.2.7.static.isp.example", "reverse": "7.2.0.192.in-addr.arpa",
        "seen_at": "https://192.0.2.1:8080/a?ip=192.0.2.9", "literal": "http://[2001:db8::1]/",
        "mac": "00:1a:2b:3c:4d:5e", "uuid": "123e4567-e89b-12d3-a456-426614174000", "v": "v1.2.3", "release": "3.2.1",
        "agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0.0.0 Safari/537.36",
        "arn": "arn:aws:iam::123456789012:root", "type": "AWS::EC2::Instance", "at": "52.5200,13.4050",
        "about": "Traffic from the old range 10.0.0.0/8 has moved elsewhere.", "bytes": "1,024",
        "sha": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "copyright": "(c) 2025 The Example Project", "clock": "08:00-17:00", "place": "abc.de/24" } ]"#,
];

#[test]
fn ordinary_texts_of_providers_pass() {
    for list in ORDINARY {
        assert_eq!(told(list, &[]), "192.0.2.0/24", "{list}");
    }
    let feed = "# RFC 8805\n192.0.2.0/24,US,US-CA,San Jose,95110-1234\n192.0.2.0/25,DE,DE-BE,Berlin,10117\n\
                2001:db8::/32,GB,GB-ENG,\"Stoke-on-Trent, Staffs\",ST1 1AA\n";
    assert_eq!(told(feed, &[]), "192.0.2.0/24 192.0.2.0/25 2001:db8::/32");
}
