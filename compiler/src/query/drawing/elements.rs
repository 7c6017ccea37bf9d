//! The right side of a rule, as written → its elements.

use bfp_grammar::syntax::{Destinations, Spanned, Statement};

const BEFORE: &str = "deny * -> ";

/// The elements of the outermost set, in the order of the text; a text that is not a set is one element.
pub(super) fn elements(written: &str) -> Vec<String> {
    let text = format!("{BEFORE}{written}\n");
    let rule = bfp_grammar::parse(&text).ok().and_then(|policy| policy.statements.into_iter().next());
    match rule.map(|statement| statement.node) {
        Some(Statement::Rule(rule)) => {
            let mut found = Vec::new();
            collect(&rule.destinations, &text, "", &mut found);
            found
        }
        // The text in a bundle may not be in the language.
        _ => vec![written.to_owned()],
    }
}

/// `ports` are those of the set around the element, with their colon.
fn collect(destinations: &Spanned<Destinations>, text: &str, ports: &str, found: &mut Vec<String>) {
    let written = destinations.span.text_in(text);
    match &destinations.node {
        Destinations::Set { elements, ports: own } => {
            let own = own.as_ref().map(|own| own.span.text_in(text));
            let own = own.map(|own| if own.starts_with('/') { own.to_owned() } else { format!(":{own}") });
            elements.iter().for_each(|element| collect(element, text, own.as_deref().unwrap_or(ports), found));
        }
        Destinations::Any => found.push("everything".to_owned()),
        Destinations::Except { .. } if !ports.is_empty() => found.push(format!("{{ {written} }}{ports}")),
        _ => found.push(format!("{written}{ports}")),
    }
}

#[cfg(test)]
mod tests {
    use super::elements;

    #[test]
    fn set_is_cut_into_its_elements() {
        let found = elements("{ kms, { 10.0.0.0/8 except 10.9.0.0/16, git.example:{22, 443} }, [2001:db8::1]:1/udp }");
        assert_eq!(found, ["kms", "10.0.0.0/8 except 10.9.0.0/16", "git.example:{22, 443}", "[2001:db8::1]:1/udp"]);
        assert_eq!(
            elements("{ kms, { a.b, c except d }:{80, 443}/tcp, e }"),
            ["kms", "a.b:{80, 443}/tcp", "{ c except d }:{80, 443}/tcp", "e"]
        );
        assert_eq!(elements("kms"), ["kms"]);
        assert_eq!(elements("*"), ["everything"]);
        assert_eq!(elements("} no language <script>"), ["} no language <script>"]);
    }
}
