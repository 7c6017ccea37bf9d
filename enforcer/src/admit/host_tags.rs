//! The tags of this host: its name, and the words that its administrator added.

use std::path::Path;

use crate::admit::input::{self, InputError};

/// The administrator's file of host tags, one per line; `#` starts a comment. The file is optional.
pub const TAGS_FILE: &str = "/etc/bfp/labels";

const MAX_BYTES: u64 = 64 << 10;

/// The host's name, the tags in `file`, and the tags in `given`.
pub fn read(file: &Path, given: &[String]) -> Result<Vec<String>, InputError> {
    let mut tags = given.to_vec();
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        tags.push(name.trim().to_owned());
    }
    if file.exists() {
        let text = input::read_own(file, MAX_BYTES)?;
        tags.extend(parse(&String::from_utf8_lossy(&text)));
    }
    Ok(tags)
}

fn parse(text: &str) -> impl Iterator<Item = String> {
    let tags = text.lines().map(|line| line.split_once('#').map_or(line, |(tag, _)| tag).trim());
    tags.filter(|tag| !tag.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_tag_and_a_comment_is_not() {
        let text = "payments   # the team\n\n# all\n  eu-west \n";
        assert_eq!(parse(text).collect::<Vec<_>>(), ["payments", "eu-west"]);
    }
}
