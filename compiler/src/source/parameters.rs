//! Parameters: `param env = { "staging", "prod" }` and `${env}` in DNS names and paths → the policy for one choice of
//! values, or for all of them.
//!
//! Always: a value is one word of letters, digits, `-` and `_`, so it can neither end a DNS name or a path nor become
//! a pattern. The text of the policy does not change: places, and the digest of the source, are those of the files.

use std::collections::BTreeMap;

use bfp_grammar::syntax::{Destinations, Host, ParamDeclaration, Policy, Programs, Span, Spanned, Statement};
use miette::Diagnostic;

use super::load::Loaded;
use crate::diagnostics::nearest::did_you_mean;

/// The most choices that a policy may have, each of which is checked.
const MOST_CHOICES: usize = 64;

/// The longest value: a label of a DNS name is not longer.
const LONGEST_VALUE: usize = 63;

/// A value for each parameter.
pub type Values = BTreeMap<String, String>;

/// What is wrong with parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum ParameterError {
    /// Two declarations of one name.
    #[error("the parameter `{name}` is declared twice")]
    #[diagnostic(code(parameter::declared_twice), help("keep one of the two"))]
    DeclaredTwice {
        /// Which.
        name: String,
        /// The first declaration.
        #[label("first declared here")]
        first: Span,
        /// The second one.
        #[label("and again here")]
        second: Span,
    },
    /// A parameter that no text contains.
    #[error("the parameter `{name}` is declared and never used")]
    #[diagnostic(
        code(parameter::unused),
        help("write `${{{name}}}` in a DNS name in quotes or in a path of a program, or remove the declaration")
    )]
    Unused {
        /// Which.
        name: String,
        /// Where.
        #[label("never used")]
        span: Span,
    },
    /// `"kms.${evn}.internal"`
    #[error("no parameter is called `{name}`")]
    #[diagnostic(code(parameter::unknown))]
    Unknown {
        /// What was written.
        name: String,
        /// What may have been meant.
        #[help]
        help: String,
        /// Where.
        #[label("names no parameter")]
        span: Span,
    },
    /// `"kms.${env.internal"`
    #[error("a `${{` in this text is not closed")]
    #[diagnostic(code(parameter::unclosed), help("write the name of a parameter in brackets: `${{env}}`"))]
    Unclosed {
        /// Where.
        #[label("`}}` missing")]
        span: Span,
    },
    /// `param env = { "a/b" }`
    #[error("`{value}` cannot be the value of a parameter")]
    #[diagnostic(
        code(parameter::bad_value),
        help("write one to 63 ASCII letters, digits, `-` and `_`, with a letter or a digit first and last")
    )]
    BadValue {
        /// The value.
        value: String,
        /// Where.
        #[label("more than a word")]
        span: Span,
    },
    /// `param env = { "prod", "prod" }`
    #[error("the value `{value}` is listed twice")]
    #[diagnostic(code(parameter::value_twice), help("remove one of the two"))]
    ValueTwice {
        /// The value.
        value: String,
        /// The first time.
        #[label("once")]
        first: Span,
        /// The second time.
        #[label("and again")]
        second: Span,
    },
    /// More choices than are checked.
    #[error("the parameters have {count} combinations of values, and the limit is {MOST_CHOICES}")]
    #[diagnostic(
        code(parameter::too_many),
        help("declare fewer values, or write several policies that include one file")
    )]
    TooMany {
        /// How many.
        count: usize,
        /// The last declaration.
        #[label("one parameter too many")]
        span: Span,
    },
    /// A command that needs one value was given none.
    #[error("the parameter `{name}` has no value")]
    #[diagnostic(code(parameter::not_set))]
    NotSet {
        /// Which.
        name: String,
        /// What to write.
        #[help]
        help: String,
        /// Where it is declared.
        #[label("has several values")]
        span: Span,
    },
    /// `--set env=production`
    #[error("`{value}` is not a value of the parameter `{name}`")]
    #[diagnostic(code(parameter::not_allowed))]
    NotAllowed {
        /// What was given.
        value: String,
        /// Which parameter.
        name: String,
        /// What to write.
        #[help]
        help: String,
        /// Where it is declared.
        #[label("has other values")]
        span: Span,
    },
    /// `--set evn=prod`
    #[error("the policy has no parameter `{name}`")]
    #[diagnostic(code(parameter::not_declared))]
    NotDeclared {
        /// Which.
        name: String,
        /// What to write.
        #[help]
        help: String,
    },
}

/// What is wrong with the parameters of a policy, whatever their values.
pub(super) fn faults(loaded: &Loaded) -> Vec<ParameterError> {
    let mut declared: BTreeMap<&str, &ParamDeclaration> = BTreeMap::new();
    let mut faults = Vec::new();
    for declaration in declarations(&loaded.syntax) {
        let name = &declaration.name;
        match declared.get(name.node.as_str()) {
            Some(first) => faults.push(ParameterError::DeclaredTwice {
                name: name.node.clone(),
                first: first.name.span,
                second: name.span,
            }),
            None => drop(declared.insert(&name.node, declaration)),
        }
        faults.extend(wrong_values(declaration));
    }
    let mut unused = declared.clone();
    for Spanned { node: text, span } in templates(loaded) {
        for part in parts(&text) {
            match part {
                Part::Text(_) => {}
                Part::Unclosed => faults.push(ParameterError::Unclosed { span }),
                Part::Parameter(name) => {
                    unused.remove(name);
                    if !declared.contains_key(name) {
                        let near = did_you_mean(name, declared.keys().copied());
                        let help = near.unwrap_or_else(|| format!("declare it: `param {name} = {{ \"a\", \"b\" }}`"));
                        faults.push(ParameterError::Unknown { name: name.to_owned(), help, span });
                    }
                }
            }
        }
    }
    // Included files declare parameters for several policies.
    let is_library = loaded.is_library();
    let is_own = |at: &ParamDeclaration| !is_library && loaded.sources.is_in_policy(at.name.span.start);
    let own = unused.into_values().filter(|declaration| is_own(declaration));
    faults.extend(own.map(|declaration| ParameterError::Unused {
        name: declaration.name.node.clone(),
        span: declaration.name.span,
    }));
    let mut count: usize = 1;
    for declaration in declared.into_values() {
        count = count.saturating_mul(declaration.values.len());
        if count > MOST_CHOICES {
            faults.push(ParameterError::TooMany { count, span: declaration.name.span });
            break;
        }
    }
    faults
}

fn wrong_values(declaration: &ParamDeclaration) -> Vec<ParameterError> {
    let mut faults = Vec::new();
    for (index, Spanned { node: value, span }) in declaration.values.iter().enumerate() {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let begins_and_ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let is_word = value.len() <= LONGEST_VALUE
            && value.bytes().all(is_inner)
            && begins_and_ends(value.as_bytes().first())
            && begins_and_ends(value.as_bytes().last());
        if !is_word {
            let value = if value.is_empty() { "\"\"".to_owned() } else { value.escape_debug().to_string() };
            faults.push(ParameterError::BadValue { value, span: *span });
        }
        let first = declaration.values.iter().take(index).find(|first| first.node == *value);
        faults.extend(first.map(|first| ParameterError::ValueTwice {
            value: value.clone(),
            first: first.span,
            second: *span,
        }));
    }
    faults
}

fn declarations(policy: &Policy) -> impl Iterator<Item = &ParamDeclaration> {
    policy.statements.iter().filter_map(|statement| match &statement.node {
        Statement::Param(declaration) => Some(declaration),
        _ => None,
    })
}

/// The names of the declared parameters.
pub fn names(loaded: &Loaded) -> impl Iterator<Item = &str> {
    declarations(&loaded.syntax).map(|declaration| declaration.name.node.as_str())
}

/// Every choice of values that agrees with `given`, which names some parameters, in the order of the declarations. A
/// policy without parameters has one.
///
/// # Errors
///
/// What is given is no value of a parameter.
pub fn choices(loaded: &Loaded, given: &[(String, String)]) -> Result<Vec<Values>, Vec<ParameterError>> {
    let declared: BTreeMap<&str, &ParamDeclaration> =
        declarations(&loaded.syntax).map(|declaration| (declaration.name.node.as_str(), declaration)).collect();
    let mut errors = Vec::new();
    for (name, value) in given {
        match declared.get(name.as_str()) {
            None => {
                let known: Vec<String> = declared.keys().map(|known| format!("`{known}`")).collect();
                let help = did_you_mean(name, declared.keys().copied()).unwrap_or_else(|| match known.as_slice() {
                    [] => "remove the option: the policy declares no parameter".to_owned(),
                    known => format!("the policy declares {}", known.join(", ")),
                });
                errors.push(ParameterError::NotDeclared { name: name.clone(), help });
            }
            Some(declaration) if !declaration.values.iter().any(|known| known.node == *value) => {
                errors.push(ParameterError::NotAllowed {
                    value: value.clone(),
                    name: name.clone(),
                    help: written(declaration),
                    span: declaration.name.span,
                });
            }
            // A second value contradicts the first.
            Some(declaration) if given.iter().any(|(of, other)| of == name && other != value) => {
                let (name, help, span) = (name.clone(), written(declaration), declaration.name.span);
                errors.push(ParameterError::NotSet { name, help, span });
                break;
            }
            Some(_) => {}
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut choices = vec![Values::new()];
    for (name, declaration) in declared {
        let allowed = declaration.values.iter().map(|value| value.node.as_str());
        let given: Vec<&str> = given.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect();
        let chosen: Vec<&str> = allowed.filter(|value| given.iter().all(|given| given == value)).collect();
        choices = choices
            .into_iter()
            .flat_map(|choice| {
                chosen.iter().map(move |value| {
                    let mut choice = choice.clone();
                    choice.insert(name.to_owned(), (*value).to_owned());
                    choice
                })
            })
            .collect();
    }
    Ok(choices)
}

/// The parameters that have no value, or two, among those that are given.
pub fn not_set(loaded: &Loaded, given: &[(String, String)]) -> Vec<ParameterError> {
    let is_set = |name: &str| given.iter().filter(|(of, _)| of == name).count() == 1;
    let open = declarations(&loaded.syntax).filter(|declaration| !is_set(&declaration.name.node));
    open.map(|declaration| ParameterError::NotSet {
        name: declaration.name.node.clone(),
        help: written(declaration),
        span: declaration.name.span,
    })
    .collect()
}

/// What to write for a parameter.
fn written(declaration: &ParamDeclaration) -> String {
    let name = &declaration.name.node;
    let options: Vec<String> =
        declaration.values.iter().map(|value| format!("`--set {name}={}`", value.node)).collect();
    format!("write {}", options.join(" or "))
}

impl Loaded {
    /// The policy for one choice of values.
    #[must_use]
    pub fn with(mut self, values: Values) -> Loaded {
        if !values.is_empty() {
            each_text(&mut self.syntax, &mut |text, _| *text = substituted(text, &values));
            self.values = values;
        }
        self
    }

    /// What the policy names under any of these choices: its statements once for each. It can be searched, and not
    /// compiled.
    #[must_use]
    pub fn with_any(mut self, choices: &[Values]) -> Loaded {
        let written = std::mem::take(&mut self.syntax);
        for choice in choices {
            let mut policy = written.clone();
            each_text(&mut policy, &mut |text, _| *text = substituted(text, choice));
            self.syntax.statements.extend(policy.statements);
        }
        self
    }
}

/// A text with values in place of parameters; what has no value stays.
pub fn substituted(text: &str, values: &Values) -> String {
    if values.is_empty() {
        return text.to_owned();
    }
    let mut result = String::with_capacity(text.len());
    for part in parts(text) {
        match part {
            Part::Text(text) => result.push_str(text),
            Part::Parameter(name) => match values.get(name) {
                Some(value) => result.push_str(value),
                None => result.extend(["${", name, "}"]),
            },
            Part::Unclosed => result.push_str("${"),
        }
    }
    result
}

enum Part<'t> {
    Text(&'t str),
    Parameter(&'t str),
    /// `${` without a `}`; the text goes on behind it.
    Unclosed,
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut pieces = text.split("${");
    let first = pieces.next().map(Part::Text);
    first.into_iter().chain(pieces.flat_map(|piece| match piece.split_once('}') {
        Some((name, rest)) => [Part::Parameter(name), Part::Text(rest)],
        None => [Part::Unclosed, Part::Text(piece)],
    }))
}

/// The texts that may contain parameters, and do contain a `${`.
fn templates(loaded: &Loaded) -> Vec<Spanned<String>> {
    let mut found = Vec::new();
    if loaded.sources.text().contains("${") {
        each_text(&mut loaded.syntax.clone(), &mut |text, span| {
            if text.contains("${") {
                found.push(Spanned { node: text.clone(), span });
            }
        });
    }
    found
}

/// Passes on each text that may contain parameters: the paths of programs, and DNS names.
fn each_text(policy: &mut Policy, found: &mut dyn FnMut(&mut String, Span)) {
    for statement in &mut policy.statements {
        match &mut statement.node {
            Statement::Program(declaration) => in_programs(&mut declaration.programs, found),
            Statement::Host(declaration) => in_destinations(&mut declaration.destinations, found),
            Statement::Rule(rule) => {
                in_programs(&mut rule.programs, found);
                in_destinations(&mut rule.destinations, found);
            }
            Statement::Test(test) => {
                for line in &mut test.expectations {
                    line.node.started_by.iter_mut().for_each(|programs| in_programs(programs, found));
                    in_programs(&mut line.node.programs, found);
                    in_destinations(&mut line.node.destinations, found);
                }
            }
            Statement::Name(_)
            | Statement::Ports(_)
            | Statement::Param(_)
            | Statement::Default(_)
            | Statement::Include(_)
            | Statement::ListSource(_)
            | Statement::Accept(_) => {}
        }
    }
}

fn in_programs(programs: &mut Spanned<Programs>, found: &mut dyn FnMut(&mut String, Span)) {
    match &mut programs.node {
        Programs::Any | Programs::AnyIn(_) | Programs::Named(_) => {}
        Programs::Path { path, .. } => found(&mut path.node, path.span),
        Programs::Set(elements) => elements.iter_mut().for_each(|element| in_programs(element, found)),
    }
}

fn in_destinations(destinations: &mut Spanned<Destinations>, found: &mut dyn FnMut(&mut String, Span)) {
    match &mut destinations.node {
        Destinations::Endpoint { host: Spanned { node: Host::Dns(name), span }, .. } => found(name, *span),
        Destinations::Clients { from, .. } => in_destinations(from, found),
        Destinations::Set { elements, .. } => elements.iter_mut().for_each(|element| in_destinations(element, found)),
        Destinations::Except { base, removed } => {
            in_destinations(base, found);
            in_destinations(removed, found);
        }
        Destinations::Any
        | Destinations::Named { .. }
        | Destinations::Endpoint { .. }
        | Destinations::Ranges { .. } => {}
    }
}
