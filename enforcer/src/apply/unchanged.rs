//! Whether a bundle is what is enforced already, so that applying it again would change nothing: a configuration manager
//! applies the same one every half hour, and neither counters nor unread events are to suffer from it.

use bfp_bundle::verify::{Refusal, VerifiedBundle};

use crate::apply::survey;
use crate::kernel::about::About;
use crate::kernel::health;
use crate::kernel::links::Survey;
use crate::kernel::pins::Pins;

/// What this host makes of the bundle, where it is enforced by this very release, whole, and its links lead where they
/// led; `None` where it must be applied.
pub fn unchanged(bundle: &VerifiedBundle<'_>, about: &About) -> Result<Option<Survey>, Refusal> {
    let same = about.manifest_digest == bundle.manifest_digest() && about.enforcer_version == env!("CARGO_PKG_VERSION");
    if !same || !is_whole(about) {
        return Ok(None);
    }
    let executables = bundle.executables()?;
    // Which files have a content that the policy pins is found out when it is applied.
    if executables.iter().any(|executable| !executable.pins.is_empty() || executable.libraries.is_some()) {
        return Ok(None);
    }
    let Ok(survey) = survey(bundle, &executables, &about.earlier) else { return Ok(None) };
    Ok(Some(survey).filter(|survey| survey.links() == about.links))
}

/// Whether everything that was attached still is.
fn is_whole(about: &About) -> bool {
    let Ok(Some(pins)) = Pins::find() else { return false };
    let Ok(Some(folder)) = pins.newest() else { return false };
    health::attached(&folder, about).is_ok_and(|attached| attached.faults.is_empty() && attached.expected > 0)
}
