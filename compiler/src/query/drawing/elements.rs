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
            collect(&rule.destinations, &text, &mut found);
            found
        }
        // The text in a bundle may not be in the language.
        _ => vec![written.to_owned()],
    }
}

fn collect(destinations: &Spanned<Destinations>, text: &str, found: &mut Vec<String>) {
    match &destinations.node {
        Destinations::Set(elements) => elements.iter().for_each(|element| collect(element, text, found)),
        Destinations::Any => found.push("everything".to_owned()),
        _ => found.push(destinations.span.text_in(text).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::elements;

    #[test]
    fn set_is_cut_into_its_elements() {
        let found = elements("{ kms, { 10.0.0.0/8 except 10.9.0.0/16, git.example:{22, 443} }, [2001:db8::1]:1/udp }");
        assert_eq!(found, ["kms", "10.0.0.0/8 except 10.9.0.0/16", "git.example:{22, 443}", "[2001:db8::1]:1/udp"]);
        assert_eq!(elements("kms"), ["kms"]);
        assert_eq!(elements("*"), ["everything"]);
        assert_eq!(elements("} no language <script>"), ["} no language <script>"]);
    }
}
