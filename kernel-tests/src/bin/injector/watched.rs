//! What the series under a kernel start from, and come back to: one policy enforced, and the probers at work.

use std::cell::Cell;

use bfp_kernel_tests::objects::Inventory;

use crate::host::Host;
use crate::state::State;
use crate::watch::Watch;

/// What there is while one policy is enforced, and nobody was disturbed.
pub(crate) struct Whole<'a> {
    /// In the kernel.
    pub(crate) objects: Inventory,
    /// On disk.
    pub(crate) state: State,
    pub(crate) host: &'a Host,
}

impl Whole<'_> {
    /// Whether there is exactly that again.
    pub(crate) fn is_all(&self) -> Result<(), String> {
        self.objects.is_all()?;
        self.host.remembered()?.is_tidy(&self.state)
    }
}

/// Under the eyes of the probers.
pub(crate) struct Watched<'a> {
    pub(crate) watch: &'a Watch,
    pub(crate) all: &'a Whole<'a>,
    /// The revision that is enforced.
    pub(crate) revision: Cell<u64>,
}
