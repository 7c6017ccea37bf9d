//! The parts of a policy that do not hold on this host. They are reported when it is applied; the rest is enforced.

use std::fmt;
use std::io;

use bfp_bundle::identity::Part;

/// One statement of the policy that does not hold on this host, or not yet.
#[derive(Debug)]
pub enum Lack {
    /// The program does not exist. Its restrictions hold as soon as it does.
    Missing {
        /// The path in the policy.
        path: String,
    },
    /// The path leads through a link that other users than root can change, so it names no program.
    ForeignLink {
        /// The path in the policy.
        path: String,
        /// The link.
        link: String,
    },
    /// More programs lead to one file by links than a label can hold restrictions for.
    Crowded {
        /// The file.
        path: String,
    },
    /// A file has none of its pinned contents.
    OtherContent(Pinned),
    /// A file with a pinned content does not exist.
    PinnedMissing(Pinned),
    /// The content of a file cannot be measured.
    Unmeasured(Pinned, io::Error),
    /// A process was started before its program was named, or before any policy was enforced.
    Withheld {
        /// The process ID, as the host numbers it.
        process: u32,
        /// The path of its program in the policy.
        path: String,
        /// Its cgroup, if that can be read: mostly a systemd unit.
        unit: Option<String>,
    },
}

/// A file whose content the policy pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Its path.
    pub path: String,
    /// The path of the program that it belongs to.
    pub program: String,
    /// Its role for the program.
    pub part: Part,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Program => write!(f, "`{}`", self.path),
            Part::Mapped => write!(f, "`{}`, a library of `{}`,", self.path, self.program),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = |pinned: &Pinned| match pinned.part {
            Part::Program => "nobody holds its grants".to_owned(),
            Part::Mapped => format!("`{}` cannot load it", pinned.program),
        };
        match self {
            Lack::Missing { path } => write!(f, "`{path}` is not on this host: nobody holds its grants"),
            Lack::ForeignLink { path, link } => {
                write!(
                    f,
                    "`{path}` leads through `{link}`, a link that users other than root can change: it names no program"
                )
            }
            Lack::Crowded { path } => {
                write!(
                    f,
                    "too many programs of the policy lead to `{path}` by links: one file cannot have all their \
                     restrictions"
                )
            }
            Lack::OtherContent(pinned) => {
                write!(f, "{pinned} matches none of its pinned fs-verity digests: {}", loss(pinned))
            }
            Lack::PinnedMissing(pinned) => write!(f, "{pinned} is not on this host: {}", loss(pinned)),
            Lack::Unmeasured(pinned, error) => {
                write!(f, "the fs-verity digest of {pinned} cannot be measured ({error}): {}", loss(pinned))
            }
            Lack::Withheld { process, path, unit } => {
                let unit = unit.as_ref().map(|unit| format!(" in `{unit}`")).unwrap_or_default();
                write!(f, "process {process}{unit} started `{path}` before the policy: it holds none of its grants")
            }
        }
    }
}

impl Lack {
    /// Whether the policy itself holds less on this host than it says. A process that is older than the policy does not
    /// count: its restrictions hold, and it must be restarted.
    pub fn is_of_the_policy(&self) -> bool {
        !matches!(self, Lack::Withheld { .. })
    }

    /// The next action for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            Lack::Missing { .. } | Lack::PinnedMissing(_) => "install it, or correct its path in the policy",
            Lack::ForeignLink { .. } => {
                "name the target of the link, or keep the link in a directory that only root can write to"
            }
            Lack::Crowded { .. } => "name the file itself in the policy, not links to it",
            Lack::OtherContent(_) => "install the build that the policy pins and enable fs-verity on it",
            Lack::Unmeasured(..) => {
                "keep it on a filesystem with fs-verity (ext4 made with `-O verity`, btrfs, f2fs), \
                 under a kernel built with CONFIG_FS_VERITY"
            }
            Lack::Withheld { .. } => {
                "restart it; before a host's first policy, `apply --adopt-running` grants it what its program holds"
            }
        }
    }
}
