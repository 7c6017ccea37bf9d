//! A destination that stands outside of a policy, such as a question's → the requests that it covers.
//!
//! It is read as the right side of a rule is. It can name the hosts and the lists of a policy, and the DNS names whose
//! addresses are known.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bfp_grammar::syntax::{Destinations, HostDeclaration, Spanned};

use super::declarations::{Declarations, Errors};
use super::resolver::{Known, Resolver};
use super::{ResolveError, coverage};
use crate::names::lock::Lock;
use crate::policy::Destination;
use crate::source::load::Loaded;

/// What a destination outside of a policy can name.
pub struct Names<'a> {
    declarations: Declarations<'a>,
    known: Known<'a>,
}

impl<'a> Names<'a> {
    /// The names of a policy that resolves without an error.
    pub fn of_policy(loaded: &'a Loaded, lock: &'a Lock) -> Names<'a> {
        let (declarations, _) = Declarations::of(&loaded.syntax, &loaded.sources);
        Names { declarations, known: Known::of(loaded, lock) }
    }

    /// These hosts, and DNS names with their addresses, by their canonical texts. There are no lists.
    pub fn of_hosts(hosts: &'a [HostDeclaration], addresses: BTreeMap<&'a str, Vec<IpAddr>>) -> Names<'a> {
        Names { declarations: Declarations::of_hosts(hosts), known: Known { addresses, ..Known::default() } }
    }
}

/// The requests that a destination covers.
///
/// # Errors
///
/// Every error in it, in the order of the text. A list that the policy does not read covers nothing: look it up before.
pub fn destinations(names: &Names<'_>, written: &Spanned<Destinations>) -> Result<Vec<Destination>, Vec<ResolveError>> {
    let mut resolver = Resolver::new(&names.declarations, names.known.clone(), Errors::default());
    // A place in the question is not one in the policy.
    resolver.known.lists_by_name = true;
    let found = resolver.destinations(written, &mut Vec::new());
    resolver.errors.none()?;
    Ok(coverage::union(&found))
}
