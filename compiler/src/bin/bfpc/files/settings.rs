//! `--set NAME=VALUE`: which values the parameters of a policy have.

use std::path::Path;

use bfp_compiler::diagnostics::findings::boxed;
use bfp_compiler::source::parameters::{self, Values};
use clap::Args;

use super::input::InputError;
use super::policy_files::Files;
use crate::Failure;

/// The values that a command was given.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The value of a parameter of the policy, such as env=prod; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    given: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write the name and the value: `--set env=prod`")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Settings {
    /// Rejects them beside a bundle, which was built with its values.
    pub(crate) fn refuse_for(&self, bundle: &Path) -> Result<(), InputError> {
        if self.given.is_empty() { Ok(()) } else { Err(InputError::SetOfBundle { file: bundle.display().to_string() }) }
    }

    /// The same without what a policy does not declare, as an earlier revision may not.
    pub(crate) fn known_to(&self, files: &Files) -> Settings {
        let is_known = |name: &str| parameters::names(&files.loaded).any(|known| known == name);
        Settings { given: self.given.iter().filter(|(name, _)| is_known(name)).cloned().collect() }
    }
}

impl Files {
    /// The policy with the values that a command was given, one for each parameter.
    pub(crate) fn set(mut self, settings: &Settings) -> Result<Files, Failure> {
        let choices = self.choices(settings)?;
        let open = parameters::not_set(&self.loaded, &settings.given);
        match choices.into_iter().next().filter(|_| open.is_empty()) {
            Some(choice) => {
                self.loaded = std::mem::take(&mut self.loaded).with(choice);
                Ok(self)
            }
            None => Err(self.show(boxed(open))),
        }
    }

    /// The policy once for each choice of values that agrees with those given.
    pub(crate) fn each(self, settings: &Settings) -> Result<Vec<Files>, Failure> {
        let mut choices = self.choices(settings)?;
        // Most policies have one, and some are long.
        let Some(last) = choices.pop() else { return Ok(Vec::new()) };
        let with = |mut files: Files, choice: Values| {
            files.loaded = std::mem::take(&mut files.loaded).with(choice);
            files
        };
        let mut each: Vec<Files> = choices.into_iter().map(|choice| with(self.clone(), choice)).collect();
        each.push(with(self, last));
        Ok(each)
    }

    /// What the policy names under any of these choices. It can be searched, and not compiled.
    pub(crate) fn any(mut self, settings: &Settings) -> Result<Files, Failure> {
        let choices = self.choices(settings)?;
        self.loaded = std::mem::take(&mut self.loaded).with_any(&choices);
        Ok(self)
    }

    fn choices(&self, settings: &Settings) -> Result<Vec<Values>, Failure> {
        parameters::choices(&self.loaded, &settings.given).map_err(|errors| self.show(boxed(errors)))
    }
}
