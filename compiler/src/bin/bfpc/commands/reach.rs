//! `explain --all`: everything that a program can reach, or everyone who can reach a destination.

use std::collections::HashMap;
use std::fmt::Write as _;

use bfp_bundle::record::NO_RULE;
use bfp_compiler::policy::Destination;
use bfp_compiler::query::describe::{AddressNames, Described, describe};
use bfp_compiler::query::queryable::{Queryable, Who};
use bfp_compiler::query::question::check_size;
use bfp_compiler::query::regions::{Plane, Region, judge};
use serde::Serialize;

use crate::Answer;
use crate::files::input::{Format, json, shortened};

/// The answer, as a machine reads it.
#[derive(Serialize)]
struct Document {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    destinations: Option<Vec<Described>>,
    programs: Vec<Reach>,
}

/// What one program may reach of what was asked for.
#[derive(Serialize)]
struct Reach {
    program: String,
    allowed: Vec<Described>,
    denied: Vec<Described>,
    /// What is allowed, and an audit rule would refuse.
    audited: Vec<Described>,
}

impl Reach {
    fn of(compiled: &Queryable, who: &Who, regions: &[Region], names: &AddressNames) -> Reach {
        let label = who.label(&compiled.image);
        let mut known = HashMap::new();
        let (mut allowed, mut denied, mut audited) = (Vec::new(), Vec::new(), Vec::new());
        for region in regions {
            let verdict = *known.entry(region.kind).or_insert_with(|| judge(&compiled.image, &label, region.sample()));
            if !verdict.is_allowed() {
                denied.push(region.destination());
                continue;
            }
            allowed.push(region.destination());
            if verdict.audited != NO_RULE {
                audited.push(region.destination());
            }
        }
        Reach {
            program: who.text(),
            allowed: describe(&allowed, names),
            denied: describe(&denied, names),
            audited: describe(&audited, names),
        }
    }
}

/// Everything that these programs can reach.
pub(crate) fn reached_by(compiled: &Queryable, programs: &[Who], format: Format) -> Answer {
    let regions = Plane::of(&[&compiled.image]).regions();
    check_size(programs.len(), regions.len())?;
    let names = AddressNames::of(&compiled.debug);
    let programs: Vec<Reach> = programs.iter().map(|who| Reach::of(compiled, who, &regions, &names)).collect();
    if format == Format::Json {
        return Ok(json(&Document { version: 1, destinations: None, programs }));
    }
    let mut said = String::new();
    for reach in &programs {
        let program = &reach.program;
        // Writing to a string cannot fail, here and below.
        let _ = match (reach.allowed.as_slice(), reach.denied.as_slice()) {
            ([], _) => writeln!(said, "{program} may reach nothing"),
            (_, []) => writeln!(said, "{program} may reach everything"),
            (allowed, denied) if denied.len() < allowed.len() => {
                let _ = writeln!(said, "{program} may reach everything but");
                list(&mut said, denied);
                Ok(())
            }
            (allowed, _) => {
                let _ = writeln!(said, "{program} may reach");
                list(&mut said, allowed);
                writeln!(said, "and nothing else")
            }
        };
        if !reach.audited.is_empty() {
            let _ = writeln!(said, "of which an audit rule would refuse");
            list(&mut said, &reach.audited);
        }
    }
    Ok(said)
}

/// Everyone who can reach these destinations.
pub(crate) fn reaching(compiled: &Queryable, destinations: &[Destination], format: Format) -> Answer {
    let regions = Plane::of(&[&compiled.image]).within(destinations);
    let names = AddressNames::of(&compiled.debug);
    let everyone = compiled.everyone();
    check_size(everyone.len(), regions.len())?;
    let programs: Vec<Reach> = everyone.iter().map(|who| Reach::of(compiled, who, &regions, &names)).collect();
    let asked = describe(destinations, &names);
    if format == Format::Json {
        return Ok(json(&Document { version: 1, destinations: Some(asked), programs }));
    }
    let mut said = String::new();
    for to in &asked {
        let _ = writeln!(said, "{}", shortened(&to.text()));
    }
    for reach in &programs {
        let (word, shown) = match (reach.allowed.as_slice(), reach.denied.as_slice()) {
            ([], _) => ("no", &[] as &[Described]),
            (_, []) => ("yes", &[] as &[Described]),
            (allowed, _) => ("part", allowed),
        };
        let audited = if reach.audited.is_empty() { "" } else { "  (an audit rule would refuse some of it)" };
        let _ = writeln!(said, "  {word:<4}  {}{audited}", reach.program);
        for to in shown {
            let _ = writeln!(said, "          {}", shortened(&to.text()));
        }
    }
    Ok(said)
}

fn list(said: &mut String, destinations: &[Described]) {
    for to in destinations {
        let _ = writeln!(said, "  {}", shortened(&to.text()));
    }
}
