//! The state in which the series under a kernel start and end: one policy enforced, and the probers running.

use std::cell::Cell;

use bfp_kernel_tests::objects::Inventory;

use crate::host::Host;
use crate::state::State;
use crate::watch::Watch;

/// The state while one policy is enforced and nothing was disturbed.
pub(crate) struct Whole<'a> {
    /// The objects in the kernel.
    pub(crate) objects: Inventory,
    /// The files on disk.
    pub(crate) state: State,
    pub(crate) host: &'a Host,
}

impl Whole<'_> {
    /// Checks that the state is exactly the same again.
    pub(crate) fn is_all(&self) -> Result<(), String> {
        self.objects.is_all()?;
        self.host.remembered()?.is_tidy(&self.state)
    }
}

/// The state, watched by the probers.
pub(crate) struct Watched<'a> {
    pub(crate) watch: &'a Watch,
    pub(crate) all: &'a Whole<'a>,
    /// The enforced revision.
    pub(crate) revision: Cell<u64>,
}
