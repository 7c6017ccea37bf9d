//! pest's matches → the syntax tree, with every place counted from the beginning of the file.
//!
//! The grammar's leniency ends here: some forms match only to be rejected here with a better message. A reading that
//! returns `None` has pushed an error. It continues after the error where it can, so that one statement may report
//! several.

use pest::iterators::Pair as PestPair;

use crate::error::SyntaxError;
use crate::literal::{self, HostWord};
use crate::look_alike;
use crate::matcher::Rule;
use crate::parse::Text;
use crate::scan::MAX_DEPTH;
use crate::syntax::{
    Accept, Default, Destinations, Effect, Expectation, Expected, Host, HostDeclaration, Library, ListSource, Name,
    Notes, ParamDeclaration, Ports, ProgramDeclaration, Programs, Quoted, Rule as PolicyRule, Span, Spanned, Verity,
};

mod notes;
mod ports;

type Pair<'a> = PestPair<'a, Rule>;

/// Reads the matches of one statement.
pub(crate) struct Reader<'a> {
    /// The whole text of the file.
    pub(crate) text: &'a str,
    /// The place in the text where the statement begins.
    pub(crate) offset: usize,
    /// The kind of the text.
    pub(crate) kind: Text,
    /// Errors are pushed here.
    pub(crate) errors: &'a mut Vec<SyntaxError>,
}

impl Reader<'_> {
    pub(crate) fn policy_name(&mut self, line: Pair<'_>) -> Option<Name> {
        let name = line.into_inner().find(|part| part.as_rule() == Rule::name)?;
        self.name(&name)
    }

    pub(crate) fn program(&mut self, line: Pair<'_>) -> Option<ProgramDeclaration> {
        let (mut name, mut programs, mut with_children) = (None, None, None);
        for part in line.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.name(&part),
                Rule::programs => programs = self.programs(part),
                Rule::with_children => with_children = Some(self.span(&part)),
                _ => {}
            }
        }
        Some(ProgramDeclaration { name: name?, programs: programs?, with_children })
    }

    pub(crate) fn parameter(&mut self, line: Pair<'_>) -> Option<ParamDeclaration> {
        let (mut name, mut values) = (None, None);
        for part in line.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.name(&part),
                Rule::param_values => values = self.elements(part, Rule::quoted, Self::quoted),
                _ => {}
            }
        }
        Some(ParamDeclaration { name: name?, values: values? })
    }

    pub(crate) fn host(&mut self, line: Pair<'_>) -> Option<HostDeclaration> {
        let (mut name, mut destinations, mut within, mut may_change) = (None, None, None, None);
        for part in line.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.name(&part),
                Rule::destinations => destinations = self.destinations(part, 0),
                Rule::within => within = Some(self.within(part)?),
                Rule::may_change => may_change = Some(self.span(&part)),
                _ => {}
            }
        }
        Some(HostDeclaration { name: name?, destinations: destinations?, within, may_change })
    }

    fn within(&mut self, part: Pair<'_>) -> Option<Spanned<Destinations>> {
        let list = part.into_inner().find(|part| part.as_rule() == Rule::within_list)?.into_inner().next()?;
        let span = self.span(&list);
        Some(Spanned { node: self.ranges(list, None)?, span })
    }

    pub(crate) fn destination(&mut self, line: Pair<'_>) -> Option<Spanned<Destinations>> {
        let destinations = line.into_inner().find(|part| part.as_rule() == Rule::destinations)?;
        self.destinations(destinations, 0)
    }

    pub(crate) fn default(&mut self, line: Pair<'_>) -> Option<Spanned<Default>> {
        let word = line.into_inner().find(|part| part.as_rule() == Rule::default_effect)?;
        let span = self.span(&word);
        let node = match word.into_inner().next()?.as_rule() {
            Rule::allow_kw => Default::Allow,
            Rule::deny_kw => Default::Deny,
            _ => return None,
        };
        Some(Spanned { node, span })
    }

    pub(crate) fn include(&mut self, line: Pair<'_>) -> Option<Quoted> {
        let file = line.into_inner().find(|part| part.as_rule() == Rule::quoted)?;
        self.quoted(file)
    }

    pub(crate) fn list_source(&mut self, line: Pair<'_>) -> Option<ListSource> {
        let quoted: Vec<_> = line.into_inner().filter(|part| part.as_rule() == Rule::quoted).collect();
        let mut quoted = quoted.into_iter().map(|part| self.quoted(part));
        Some(ListSource { file: quoted.next()??, url: quoted.next()?? })
    }

    pub(crate) fn accept(&mut self, line: Pair<'_>) -> Option<Accept> {
        let (mut code, mut everywhere, mut reason) = (None, None, None);
        for part in line.into_inner() {
            match part.as_rule() {
                Rule::code => {
                    let (node, span) = (part.as_str().to_owned(), self.span(&part));
                    code = Some(Spanned { node, span });
                }
                Rule::everywhere_kw => everywhere = Some(self.span(&part)),
                Rule::quoted => reason = self.quoted(part),
                _ => {}
            }
        }
        let (code, reason) = (code?, reason?);
        let reason = self.not_empty("reason", reason)?;
        Some(Accept { code, everywhere, reason })
    }

    pub(crate) fn test_name(&mut self, head: Pair<'_>) -> Option<Quoted> {
        self.include(head)
    }

    pub(crate) fn rule(&mut self, line: Pair<'_>) -> Option<PolicyRule> {
        let (mut audit, mut shared, mut first, mut arrow, mut only) = (None, None, None, None, None);
        let (mut except, mut programs, mut destinations, mut notes) = (None, None, None, Some(Notes::default()));
        for part in line.into_inner() {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::audit_kw => audit = Some(span),
                Rule::shared => shared = part.into_inner().next().map(|word| self.span(&word)),
                Rule::effect => first = part.into_inner().next().map(|word| (word.as_rule(), span)),
                Rule::all_except => except = Some(span),
                Rule::programs => programs = self.programs(part),
                Rule::arrow => arrow = self.arrow(part),
                Rule::second_only => only = Some(span),
                Rule::destinations => destinations = self.destinations(part, 0),
                // After an error in one of them, the others still report theirs.
                Rule::until | Rule::owner | Rule::ticket | Rule::reason => notes = self.note(part, notes),
                _ => {}
            }
        }
        if let Some(span) = except
            && !matches!((first, only), (Some((Rule::deny_kw | Rule::allow_kw, _)), None))
        {
            let help = self.except_help(first.is_some(), only.is_some(), programs?.span, destinations?.span);
            self.errors.push(SyntaxError::ExceptOfEffect { span, help });
            return None;
        }
        let effect = match (first, only) {
            (Some((Rule::deny_kw, span)), None) if except.is_some() => (Effect::DenyOthers, span),
            (Some((Rule::allow_kw, span)), None) if except.is_some() => (Effect::AllowOthers, span),
            (Some((Rule::only_kw, span)), None) => (Effect::Exclusive, span),
            (Some((Rule::only_kw, span)), Some(_)) => (Effect::ExclusiveAndConfined, span),
            (None, Some(span)) => (Effect::Confined, span),
            (Some((Rule::deny_kw, span)), None) => (Effect::Deny, span),
            (Some((Rule::allow_kw, span)), None) => (Effect::Allow, span),
            (Some((Rule::also, span)), None) => (Effect::Also, span),
            (Some((word, first)), Some(span)) => {
                let effect = match word {
                    Rule::deny_kw => "deny",
                    Rule::also => "also",
                    _ => "allow",
                };
                self.errors.push(SyntaxError::ConflictingEffects { effect, first, span });
                return None;
            }
            (Some(_), None) => return None,
            (None, None) => {
                let help = self.effect_help(programs?.span, destinations?.span);
                self.errors.push(SyntaxError::MissingEffect { span: arrow?, help });
                return None;
            }
        };
        arrow?;
        Some(PolicyRule {
            audit,
            shared,
            effect: Spanned { node: effect.0, span: effect.1 },
            programs: programs?,
            destinations: destinations?,
            notes: notes?,
        })
    }

    pub(crate) fn expectation(&mut self, line: Pair<'_>) -> Option<Expectation> {
        let (mut chain, mut destinations, mut arrow, mut expected) = (Some(Vec::new()), None, None, None);
        for part in line.into_inner() {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::programs => {
                    let programs = self.programs(part);
                    chain = chain.zip(programs).map(|(mut chain, programs)| {
                        chain.push(programs);
                        chain
                    });
                }
                Rule::arrow => arrow = self.arrow(part),
                Rule::destinations => destinations = self.destinations(part, 0),
                Rule::expected => {
                    let node = match part.into_inner().next()?.as_rule() {
                        Rule::allowed_kw => Expected::Allowed,
                        _ => Expected::Denied,
                    };
                    expected = Some(Spanned { node, span });
                }
                _ => {}
            }
        }
        arrow?;
        let mut started_by = chain?;
        let programs = started_by.pop()?;
        Some(Expectation { started_by, programs, destinations: destinations?, expected: expected? })
    }

    fn programs(&mut self, pair: Pair<'_>) -> Option<Spanned<Programs>> {
        let span = self.span(&pair);
        let part = pair.into_inner().next()?;
        let node = match part.as_rule() {
            Rule::any => Programs::Any,
            Rule::program_word => {
                let name = literal::program_word(part.as_str(), span);
                Programs::Named(self.keep(name)?)
            }
            Rule::any_in_unit => {
                let unit = part.into_inner().find(|part| part.as_rule() == Rule::in_unit)?;
                Programs::AnyIn(self.unit(unit)?)
            }
            Rule::path => {
                let (mut path, mut unit, mut verity, mut libraries) = (None, Some(None), Some(Vec::new()), Some(None));
                for part in part.into_inner() {
                    match part.as_rule() {
                        Rule::quoted => path = self.path(part),
                        Rule::in_unit => unit = self.unit(part).map(Some),
                        Rule::libraries => libraries = self.libraries(part).map(Some),
                        _ => verity = self.verity(part),
                    }
                }
                Programs::Path { path: path?, unit: unit?, verity: verity?, libraries: libraries? }
            }
            _ => Programs::Set(self.elements(part, Rule::programs, Self::programs)?),
        };
        Some(Spanned { node, span })
    }

    fn unit(&mut self, pair: Pair<'_>) -> Option<Quoted> {
        self.quoted(pair.into_inner().find(|part| part.as_rule() == Rule::quoted)?)
    }

    fn verity(&mut self, pair: Pair<'_>) -> Option<Vec<Spanned<Verity>>> {
        let pins = pair.into_inner().find(|part| part.as_rule() != Rule::verity_kw)?;
        if pins.as_rule() == Rule::pin_set {
            self.elements(pins, Rule::pin, Self::pin)
        } else {
            Some(vec![self.pin(pins)?])
        }
    }

    fn libraries(&mut self, pair: Pair<'_>) -> Option<Spanned<Vec<Spanned<Library>>>> {
        let span = self.span(&pair);
        // An empty list has a meaning: the program may map nothing but itself.
        let libraries = pair.into_inner().filter(|part| part.as_rule() == Rule::library);
        let read: Vec<_> = libraries.map(|library| self.library(library)).collect();
        Some(Spanned { node: read.into_iter().collect::<Option<_>>()?, span })
    }

    fn library(&mut self, pair: Pair<'_>) -> Option<Spanned<Library>> {
        let span = self.span(&pair);
        let (mut path, mut verity) = (None, Some(Vec::new()));
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::quoted => path = self.path(part),
                _ => verity = self.verity(part),
            }
        }
        Some(Spanned { node: Library { path: path?, verity: verity? }, span })
    }

    fn pin(&mut self, pair: Pair<'_>) -> Option<Spanned<Verity>> {
        let span = self.span(&pair);
        let part = pair.into_inner().next()?;
        let node = if part.as_rule() == Rule::digest {
            let digest = literal::sha256(part.as_str(), span);
            Verity::Sha256(self.keep(digest)?)
        } else {
            let file = part.into_inner().find(|part| part.as_rule() == Rule::quoted)?;
            Verity::File(self.quoted(file)?)
        };
        Some(Spanned { node, span })
    }

    /// Reads `a except b except c` as `(a except b) except c`. Each `except` is a level of the tree, as each bracket
    /// is, so `depth` counts both.
    fn destinations(&mut self, pair: Pair<'_>, depth: usize) -> Option<Spanned<Destinations>> {
        let elements: Vec<_> = pair.into_inner().filter(|part| part.as_rule() == Rule::element).collect();
        let deepest = depth + elements.len().saturating_sub(1);
        if deepest > MAX_DEPTH {
            let last = elements.last().map(|element| self.span(element))?;
            self.errors.push(SyntaxError::TooDeep { span: last });
            return None;
        }
        let mut tree: Option<Spanned<Destinations>> = None;
        let mut sound = true;
        for (index, element) in elements.into_iter().enumerate() {
            // The first element is the deepest, and every later one is a level higher.
            let Some(element) = self.element(element, deepest - index.saturating_sub(1)) else {
                sound = false;
                continue;
            };
            tree = Some(match tree {
                None => element,
                Some(base) => Spanned {
                    span: Span { start: base.span.start, end: element.span.end },
                    node: Destinations::Except { base: Box::new(base), removed: Box::new(element) },
                },
            });
        }
        tree.filter(|_| sound)
    }

    fn element(&mut self, pair: Pair<'_>, depth: usize) -> Option<Spanned<Destinations>> {
        let span = self.span(&pair);
        let mut parts = pair.into_inner();
        let base = parts.next()?;
        if base.as_rule() == Rule::clients {
            return self.clients(base, span, depth);
        }
        let ports_pair = parts.next();
        let base_span = self.span(&base);
        let written_ports = ports_pair.as_ref().map(|ports| (pasteable(ports.as_str()), self.span(ports)));
        // Reads both halves before giving up, so that both may report.
        let ports = match ports_pair {
            Some(ports) => self.ports(ports, base.as_str()).map(Some),
            None => Some(None),
        };
        let node = match base.as_rule() {
            Rule::any => {
                if let Some((ports, span)) = written_ports {
                    self.errors.push(SyntaxError::PortsOnAny { ports, span });
                    return None;
                }
                Destinations::Any
            }
            Rule::destination_set => {
                let set = self.elements(base, Rule::destinations, |reader, part| reader.destinations(part, depth + 1));
                Destinations::Set { elements: set?, ports: ports? }
            }
            Rule::ranges => self.ranges(base, ports?)?,
            Rule::host_word => match literal::host_word(base.as_str(), base_span) {
                Ok(HostWord::Name(name)) => {
                    Destinations::Named { name: Spanned { node: name, span: base_span }, ports: ports? }
                }
                Ok(HostWord::Host(host)) => {
                    Destinations::Endpoint { host: Spanned { node: host, span: base_span }, ports: ports? }
                }
                Err(error) => return self.refuse(error),
            },
            _ => {
                let host = self.literal_host(base, base_span)?;
                Destinations::Endpoint { host: Spanned { node: host, span: base_span }, ports: ports? }
            }
        };
        Some(Spanned { node, span })
    }

    /// `clients:443 from 10.0.0.0/8`
    fn clients(&mut self, pair: Pair<'_>, span: Span, depth: usize) -> Option<Spanned<Destinations>> {
        if depth > MAX_DEPTH {
            self.errors.push(SyntaxError::TooDeep { span });
            return None;
        }
        let (mut ports, mut from) = (Some(None), None);
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::ports => ports = self.ports(part, "clients").map(Some),
                Rule::client_hosts => from = self.element(part, depth + 1),
                _ => {}
            }
        }
        Some(Spanned { node: Destinations::Clients { ports: ports?, from: Box::new(from?) }, span })
    }

    fn literal_host(&mut self, part: Pair<'_>, span: Span) -> Option<Host> {
        let written = part.as_str().to_owned();
        match part.as_rule() {
            Rule::wildcard => self.refuse(SyntaxError::WildcardName { name: written, span }),
            Rule::bare_v6 => self.refuse(literal::unbracketed_v6(written, span)),
            Rule::bracketed => {
                let host = literal::bracketed_v6(&written, span);
                self.keep(host)
            }
            _ => {
                let name = self.quoted(part)?;
                let host = literal::quoted_host(name.node, span);
                self.keep(host)
            }
        }
    }

    fn ranges(&mut self, pair: Pair<'_>, ports: Option<Spanned<Ports>>) -> Option<Destinations> {
        let (mut file, mut filters) = (None, Vec::new());
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::quoted => file = self.quoted(part),
                Rule::filter => {
                    let (mut key, mut value) = (None, None);
                    for part in part.into_inner() {
                        match part.as_rule() {
                            Rule::filter_key => {
                                let (node, span) = (part.as_str().to_owned(), self.span(&part));
                                key = Some(Spanned { node, span });
                            }
                            Rule::quoted => value = self.quoted(part),
                            _ => {}
                        }
                    }
                    filters.push((key?, value?));
                }
                _ => {}
            }
        }
        Some(Destinations::Ranges { file: file?, filters, ports })
    }

    /// Reads the elements of a set: all of them, or `None` and at least one error.
    fn elements<'p, T>(
        &mut self,
        set: Pair<'p>,
        wanted: Rule,
        mut read: impl FnMut(&mut Self, Pair<'p>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let span = self.span(&set);
        let parts: Vec<_> = set.into_inner().filter(|part| part.as_rule() == wanted).collect();
        if parts.is_empty() {
            return self.refuse(SyntaxError::EmptySet { span });
        }
        let read: Vec<Option<T>> = parts.into_iter().map(|part| read(self, part)).collect();
        read.into_iter().collect()
    }

    fn name(&mut self, pair: &Pair<'_>) -> Option<Name> {
        let span = self.span(pair);
        let name = literal::name(pair.as_str(), span);
        Some(Spanned { node: self.keep(name)?, span })
    }

    fn quoted(&mut self, pair: Pair<'_>) -> Option<Quoted> {
        let span = self.span(&pair);
        let text = literal::unescape(pair.into_inner().next()?.as_str(), span);
        Some(Spanned { node: self.keep(text)?, span })
    }

    /// Reads the path of a file on the host; rejects letters that only look like others.
    fn path(&mut self, pair: Pair<'_>) -> Option<Quoted> {
        let written = pair.as_str();
        if let Some(error) = look_alike::in_path(written, self.span(&pair).start) {
            return self.refuse(error);
        }
        self.quoted(pair)
    }

    /// The place of an arrow, if it is spelt correctly.
    fn arrow(&mut self, pair: Pair<'_>) -> Option<Span> {
        let span = self.span(&pair);
        let written = pair.as_str().to_owned();
        if written == "->" {
            return Some(span);
        }
        self.refuse(SyntaxError::WrongArrow { written, span })
    }

    /// The two sides of a rule as written, or letters in place of what is too long for a help.
    fn sides(&self, programs: Span, destinations: Span) -> (String, String) {
        let shown = |span: Span, otherwise: &'static str| {
            let written = span.text_in(self.text);
            if written.len() > 40 || written.contains('\n') { otherwise.to_owned() } else { written.to_owned() }
        };
        (shown(programs, "P"), shown(destinations, "D"))
    }

    /// What to write in place of `* except P` in a rule that cannot have it.
    fn except_help(&self, has_effect: bool, confines: bool, programs: Span, destinations: Span) -> String {
        let (left, right) = self.sides(programs, destinations);
        if confines {
            return "name the programs that the rule confines, or write `* -> only D` for all of them".to_owned();
        }
        if has_effect {
            return format!(
                "write `deny {left} -> {right}` to deny it to these programs, or `only {left} -> {right}` to deny it to all others"
            );
        }
        format!(
            "write `deny * except {left} -> {right}` to deny it to all others, or `allow * except {left} -> {right}` to grant it to them"
        )
    }

    fn effect_help(&self, programs: Span, destinations: Span) -> String {
        let (left, right) = self.sides(programs, destinations);
        format!(
            "write `allow {left} -> {right}` to grant it, `only {left} -> {right}` to keep everybody else out, or `{left} -> only {right}` to keep the program in"
        )
    }

    fn span(&self, pair: &Pair<'_>) -> Span {
        let place = pair.as_span();
        Span { start: self.offset + place.start(), end: self.offset + place.end() }
    }

    fn keep<T>(&mut self, read: Result<T, SyntaxError>) -> Option<T> {
        read.map_err(|error| self.errors.push(error)).ok()
    }

    fn refuse<T>(&mut self, error: SyntaxError) -> Option<T> {
        self.errors.push(error);
        None
    }
}

/// Ports in a form that can be pasted elsewhere: ICMP has none.
fn pasteable(ports: &str) -> String {
    if ports.ends_with("/icmp") { "/icmp".to_owned() } else { ports.to_owned() }
}
