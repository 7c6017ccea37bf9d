//! The tags of this host: its name, and the words that its administrator added.

use std::path::Path;

use crate::admit::input::{self, InputError};

/// The administrator's file of host tags, one per line; `#` starts a comment. The file is optional.
pub const LABELS: &str = "/etc/bfp/labels";

const MAX_BYTES: u64 = 64 << 10;

/// The host's name, the tags in `file`, and the tags in `given`.
pub fn read(file: &Path, given: &[String]) -> Result<Vec<String>, InputError> {
    let mut labels = given.to_vec();
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        labels.push(name.trim().to_owned());
    }
    if file.exists() {
        let text = input::read_own(file, MAX_BYTES)?;
        labels.extend(parse(&String::from_utf8_lossy(&text)));
    }
    Ok(labels)
}

fn parse(text: &str) -> impl Iterator<Item = String> {
    let labels = text.lines().map(|line| line.split_once('#').map_or(line, |(label, _)| label).trim());
    labels.filter(|label| !label.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_label_and_comments_are_none() {
        let text = "payments   # the team\n\n# all\n  eu-west \n";
        assert_eq!(parse(text).collect::<Vec<_>>(), ["payments", "eu-west"]);
    }
}
