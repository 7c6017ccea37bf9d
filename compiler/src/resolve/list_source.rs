//! Where the lists of a policy are published: `ranges "FILE" from "URL"` → the URL of each list that the policy uses, or
//! what is wrong with such a statement.
//!
//! Always: a list has at most one URL, and only `https` is accepted. Nothing is fetched here.

use std::collections::{BTreeMap, BTreeSet};

use bfp_grammar::syntax::Span;

use super::{ResolveError, name_use};
use crate::source::load::{ListSource, Loaded};

/// What is wrong with where a list is published, or with where its file came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ListSourceError {
    /// A list that did not come from where the policy says.
    #[error("the list `{name}` was not fetched from its URL")]
    #[diagnostic(
        code(resolve::list_not_fetched),
        help("run `bfpc fetch FILE`, and review the list and what it writes into the lock file")
    )]
    NotFetched {
        /// The file.
        name: String,
        /// Where it is used.
        #[label("not fetched yet")]
        span: Span,
        /// Where it is published.
        #[label("published here")]
        url: Span,
    },
    /// `ranges "list.json" from "ftp://…"`
    #[error("`{url}` is not a URL that a list can be fetched from: {reason}")]
    #[diagnostic(code(resolve::list_url), help("write the list's address as `https://HOST/PATH`"))]
    Url {
        /// What was written.
        url: String,
        /// Why not.
        reason: &'static str,
        /// Where.
        #[label("not usable")]
        span: Span,
    },
    /// Two sources of one list.
    #[error("the list `{name}` is said to come from two URLs")]
    #[diagnostic(code(resolve::two_sources), help("keep the URL that the provider documents, and remove the other"))]
    TwoSources {
        /// The file.
        name: String,
        /// The first URL.
        #[label("first here")]
        first: Span,
        /// The second.
        #[label("and otherwise here")]
        second: Span,
    },
    /// A source of a list that nothing reads.
    #[error("no `ranges(…)` reads the list `{name}`")]
    #[diagnostic(
        code(resolve::unused_source),
        help("use it as `ranges(\"{name}\")` in a declaration or a rule, or remove the line")
    )]
    UnusedSource {
        /// The file.
        name: String,
        /// Where.
        #[label("never read")]
        span: Span,
    },
}

impl From<ListSourceError> for ResolveError {
    fn from(error: ListSourceError) -> ResolveError {
        ResolveError::ListSource(error)
    }
}

impl ResolveError {
    /// A list that is not what was locked; `source` is where it is published, if the policy says so.
    pub fn list_changed(name: String, source: Option<&ListSource>, span: Span) -> ResolveError {
        let help = match source {
            Some(_) => "fetch the list with `bfpc fetch FILE`, and review the changes: a longer list may grant more",
            None => "review the list's changes, then run `bfpc lock FILE`: a longer list may grant more",
        };
        ResolveError::ListChanged { name, help, span }
    }
}

/// The lists that a policy uses and that have a URL, by their paths from the policy's own directory.
///
/// # Errors
///
/// Every statement that is wrong.
pub fn list_sources(loaded: &Loaded) -> Result<BTreeMap<&str, &ListSource>, Vec<ListSourceError>> {
    let faults = faults(loaded);
    if !faults.is_empty() {
        return Err(faults);
    }
    let used: BTreeSet<&str> = name_use::lists(loaded).map(|list| list.name.as_str()).collect();
    let sources = loaded.list_sources.iter().filter(|source| used.contains(source.name.as_str()));
    Ok(sources.map(|source| (source.name.as_str(), source)).collect())
}

/// What is wrong with the sources of a policy's lists.
pub(super) fn faults(loaded: &Loaded) -> Vec<ListSourceError> {
    let mut faults = Vec::new();
    let mut known: BTreeMap<&str, &ListSource> = BTreeMap::new();
    let read: BTreeSet<&str> = loaded.lists.values().map(|list| list.name.as_str()).collect();
    for source in &loaded.list_sources {
        let (name, url) = (source.name.clone(), &source.url);
        if let Some(reason) = unusable(&url.node) {
            faults.push(ListSourceError::Url { url: url.node.escape_debug().to_string(), reason, span: url.span });
        }
        // Two files may both say where one list comes from, if they agree.
        let first = known.entry(&source.name).or_insert(source);
        if first.url.node != url.node {
            faults.push(ListSourceError::TwoSources { name, first: first.url.span, second: url.span });
        } else if loaded.sources.is_in_policy(source.file.start) && !read.contains(source.name.as_str()) {
            faults.push(ListSourceError::UnusedSource { name, span: source.file });
        }
    }
    faults
}

/// Why a list cannot be fetched from a URL.
fn unusable(url: &str) -> Option<&'static str> {
    let Some(rest) = url.strip_prefix("https://") else {
        return Some(if url.contains("://") {
            "only `https` is accepted"
        } else {
            "it does not begin with `https://`"
        });
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("it has a character that a URL must escape")
    } else if authority.contains('@') {
        Some("it has a user's name, and a policy is no place for credentials")
    } else if host.is_empty() {
        Some("it names no host")
    } else if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        Some("its port is not a number up to 65535")
    } else if rest.contains('#') {
        Some("it has a fragment (`#…`), which no server gets")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::unusable;

    #[test]
    fn only_plain_https_urls_are_usable() {
        for url in ["https://a.example", "https://a.example:8443/x?y=z", "https://[2001:db8::1]/l", "https://[::1]:1/"]
        {
            assert_eq!(unusable(url), None, "{url}");
        }
        for (url, reason) in [
            ("http://a.example/", "only `https`"),
            ("file:///etc/passwd", "only `https`"),
            ("a.example/list", "does not begin"),
            ("HTTPS://a.example", "only `https`"),
            ("https://", "names no host"),
            ("https:///x", "names no host"),
            ("https://:443/x", "names no host"),
            ("https://u:p@a.example/", "credentials"),
            ("https://a.example/a b", "escape"),
            ("https://a.example/\n", "escape"),
            ("https://a.example/é", "escape"),
            ("https://a.example:99999/", "port"),
            ("https://a.example/#x", "fragment"),
        ] {
            assert!(unusable(url).is_some_and(|found| found.contains(reason)), "{url}: {:?}", unusable(url));
        }
    }
}
