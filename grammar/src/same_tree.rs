//! Whether two trees have the same meaning, whatever their places.

use crate::syntax::{
    Accept, Destinations, Expectation, HostDeclaration, Library, ListSource, Notes, ParamDeclaration, Policy,
    PortRange, Ports, PortsDeclaration, ProgramDeclaration, Programs, Rule, Span, Spanned, Statement, Test, Verity,
};

/// Whether two trees are equal except for the places of their nodes.
#[must_use]
pub fn same_tree(a: &Policy, b: &Policy) -> bool {
    let (mut a, mut b) = (a.clone(), b.clone());
    a.forget_places();
    b.forget_places();
    a == b
}

/// Sets every span to the same value.
trait ForgetPlaces {
    fn forget_places(&mut self);
}

impl<T: ForgetPlaces> ForgetPlaces for Spanned<T> {
    fn forget_places(&mut self) {
        self.span = Span::default();
        self.node.forget_places();
    }
}

impl<T: ForgetPlaces> ForgetPlaces for Vec<T> {
    fn forget_places(&mut self) {
        self.iter_mut().for_each(T::forget_places);
    }
}

impl<T: ForgetPlaces> ForgetPlaces for Option<T> {
    fn forget_places(&mut self) {
        self.iter_mut().for_each(T::forget_places);
    }
}

macro_rules! leaves {
    ($($leaf:ty),* $(,)?) => {
        $(impl ForgetPlaces for $leaf {
            fn forget_places(&mut self) {}
        })*
    };
}

leaves!(
    String,
    crate::syntax::Host,
    crate::syntax::Date,
    crate::syntax::Protocol,
    crate::syntax::Effect,
    crate::syntax::Default,
    crate::syntax::Expected,
);

impl ForgetPlaces for Span {
    fn forget_places(&mut self) {
        *self = Self::default();
    }
}

impl ForgetPlaces for Policy {
    fn forget_places(&mut self) {
        self.statements.forget_places();
    }
}

impl ForgetPlaces for Statement {
    fn forget_places(&mut self) {
        match self {
            Self::Name(name) => name.forget_places(),
            Self::Program(program) => program.forget_places(),
            Self::Host(host) => host.forget_places(),
            Self::Ports(ports) => ports.forget_places(),
            Self::Param(parameter) => parameter.forget_places(),
            Self::Rule(rule) => rule.forget_places(),
            Self::Default(default) => default.forget_places(),
            Self::Include(file) => file.forget_places(),
            Self::ListSource(ListSource { file, url }) => {
                file.forget_places();
                url.forget_places();
            }
            Self::Test(test) => test.forget_places(),
            Self::Accept(accept) => accept.forget_places(),
        }
    }
}

impl ForgetPlaces for ProgramDeclaration {
    fn forget_places(&mut self) {
        let Self { name, programs, with_children } = self;
        name.forget_places();
        programs.forget_places();
        with_children.forget_places();
    }
}

impl ForgetPlaces for HostDeclaration {
    fn forget_places(&mut self) {
        let Self { name, destinations, within, may_change } = self;
        name.forget_places();
        destinations.forget_places();
        within.forget_places();
        may_change.forget_places();
    }
}

impl ForgetPlaces for PortsDeclaration {
    fn forget_places(&mut self) {
        let Self { name, ports } = self;
        name.forget_places();
        ports.forget_places();
    }
}

impl ForgetPlaces for ParamDeclaration {
    fn forget_places(&mut self) {
        let Self { name, values } = self;
        name.forget_places();
        values.forget_places();
    }
}

impl ForgetPlaces for Programs {
    fn forget_places(&mut self) {
        match self {
            Self::Any | Self::Named(_) => {}
            Self::AnyIn(unit) => unit.forget_places(),
            Self::Path { path, unit, verity, libraries } => {
                path.forget_places();
                unit.forget_places();
                verity.forget_places();
                libraries.forget_places();
            }
            Self::Set(set) => set.forget_places(),
        }
    }
}

impl ForgetPlaces for Library {
    fn forget_places(&mut self) {
        let Self { path, verity } = self;
        path.forget_places();
        verity.forget_places();
    }
}

impl ForgetPlaces for Verity {
    fn forget_places(&mut self) {
        match self {
            Self::Sha256(_) => {}
            Self::File(file) => file.forget_places(),
        }
    }
}

impl ForgetPlaces for Destinations {
    fn forget_places(&mut self) {
        match self {
            Self::Any => {}
            Self::Named { name, ports } => {
                name.forget_places();
                ports.forget_places();
            }
            Self::Endpoint { host, ports } => {
                host.forget_places();
                ports.forget_places();
            }
            Self::Ranges { file, filters, ports } => {
                file.forget_places();
                for (key, value) in filters {
                    key.forget_places();
                    value.forget_places();
                }
                ports.forget_places();
            }
            Self::Clients { ports, from } => {
                ports.forget_places();
                from.forget_places();
            }
            Self::Set { elements, ports } => {
                elements.forget_places();
                ports.forget_places();
            }
            Self::Except { base, removed } => {
                base.forget_places();
                removed.forget_places();
            }
        }
    }
}

impl ForgetPlaces for Ports {
    fn forget_places(&mut self) {
        let Self { ranges, protocol } = self;
        ranges.forget_places();
        protocol.forget_places();
    }
}

impl ForgetPlaces for PortRange {
    fn forget_places(&mut self) {
        let Self { numbers: _, protocol } = self;
        protocol.forget_places();
    }
}

impl ForgetPlaces for Rule {
    fn forget_places(&mut self) {
        let Self { audit, shared, effect, programs, destinations, notes } = self;
        audit.forget_places();
        shared.forget_places();
        effect.forget_places();
        programs.forget_places();
        destinations.forget_places();
        notes.forget_places();
    }
}

impl ForgetPlaces for Notes {
    fn forget_places(&mut self) {
        let Self { until, owner, ticket, reason } = self;
        until.forget_places();
        owner.forget_places();
        ticket.forget_places();
        reason.forget_places();
    }
}

impl ForgetPlaces for Accept {
    fn forget_places(&mut self) {
        let Self { code, everywhere, reason } = self;
        code.forget_places();
        everywhere.forget_places();
        reason.forget_places();
    }
}

impl ForgetPlaces for Test {
    fn forget_places(&mut self) {
        let Self { name, expectations } = self;
        name.forget_places();
        expectations.forget_places();
    }
}

impl ForgetPlaces for Expectation {
    fn forget_places(&mut self) {
        let Self { started_by, programs, destinations, expected } = self;
        started_by.forget_places();
        programs.forget_places();
        destinations.forget_places();
        expected.forget_places();
    }
}
