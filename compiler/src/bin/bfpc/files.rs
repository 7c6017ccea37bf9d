//! Files that commands read and write, and the options that name them.

pub(crate) mod download;
pub(crate) mod git_revision;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod policy_files;
pub(crate) mod settings;
