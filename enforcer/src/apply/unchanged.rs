//! Whether a bundle is already enforced, so that applying it again would change nothing. A configuration manager
//! applies the same bundle every half hour, which must not reset counters or discard unread events.

use bfp_bundle::verify::{Refusal, VerifiedBundle};

use crate::apply::survey;
use crate::kernel::about::About;
use crate::kernel::health;
use crate::kernel::links::Survey;
use crate::kernel::pins::Pins;

/// The survey of the bundle's programs, if this release enforces the bundle already, every link is attached, and its
/// symbolic links lead where they led. `None` if it must be applied.
pub fn unchanged(bundle: &VerifiedBundle<'_>, about: &About) -> Result<Option<Survey>, Refusal> {
    let same = about.manifest_digest == bundle.manifest_digest() && about.enforcer_version == env!("CARGO_PKG_VERSION");
    if !same || !is_whole(about) {
        return Ok(None);
    }
    let executables = bundle.executables()?;
    // Only applying finds the files that have a pinned content.
    if executables.iter().any(|executable| !executable.pins.is_empty() || executable.libraries.is_some()) {
        return Ok(None);
    }
    let Ok(survey) = survey(bundle, &executables, &about.earlier) else { return Ok(None) };
    Ok(Some(survey).filter(|survey| survey.links() == about.links))
}

/// Whether everything that was attached is still attached.
fn is_whole(about: &About) -> bool {
    let Ok(Some(pins)) = Pins::find() else { return false };
    let Ok(Some(folder)) = pins.newest() else { return false };
    health::attached(&folder, about).is_ok_and(|attached| attached.faults.is_empty() && attached.expected > 0)
}
