//! The names in the object of the kernel programs: hooks, maps, and the sections of an image that each map holds.

use bfp_bundle::manifest::SectionKind;

/// The hook that reports the identity of a file to an enforcer. Attached only while it is queried.
pub const LEARNING_HOOK: &str = "inode_getattr";

/// The hooks that keep labels, attached before any hook that decides by labels.
///
/// Secure-exec mode is noted before the task is labelled with it.
pub const LABELLING_HOOKS: [&str; 5] =
    ["task_alloc", "bprm_creds_from_file", "bprm_committed_creds", "socket_post_create", ACCEPTING_HOOK];

/// The one of them that a generation has from the release on that records its links.
pub const ACCEPTING_HOOK: &str = "inet_csk_clone";

/// The hooks that decide.
pub const DECIDING_HOOKS: [&str; 11] = [
    "socket_create",
    "socket_connect",
    "socket_sendmsg",
    "socket_setsockopt",
    "tun_dev_create",
    "tun_dev_open",
    "file_receive",
    "ptrace_access_check",
    "ptrace_traceme",
    "mmap_file",
    "file_mprotect",
];

/// The hooks of lockdown, attached last, and only for a policy under lockdown.
pub const LOCKDOWN_HOOKS: [&str; 7] =
    ["bpf", "inode_permission", "inode_rename", "inode_unlink", "sb_umount", "sb_remount", "task_kill"];

/// The kernel's function at which splice and sendfile are judged on kernels where they do not call `socket_sendmsg`.
pub const SPLICE_HOOK: &str = "inet_sendpage";

/// The hook at which older enforcers judged them, which is called for every read and write.
pub const SPLICE_HOOK_BEFORE: &str = "file_permission";

/// The egress filter, which sees every packet that leaves by a socket.
pub(crate) const EGRESS: &str = "egress";

/// Guards the kernel switches that these programs depend on.
pub(crate) const SYSCTL: &str = "sysctl";

/// The program that finds the first process, whose root is the host's.
pub(crate) const FINDING: (&str, &str) = ("iter_first_process", "task");
/// The programs on the root cgroup, attached on every kernel.
pub const ATTACHED_ALWAYS: [&str; 2] = [EGRESS, SYSCTL];

/// The programs that label running tasks and their open sockets: their names, and what they iterate over.
pub(crate) const ITERATORS: [(&str, &str); 2] = [("iter_task", "task"), ("iter_task_file", "task_file")];

/// The map of task labels, which outlives the programs.
pub const LABELS: &str = "LABELS";

/// The map of socket labels, which outlives the programs.
pub const SOCKETS: &str = "SOCKETS";

/// The map of the enforcer's own processes, which outlives the programs.
pub const ENFORCERS: &str = "ENFORCERS";

/// The map of the enforcer's file.
pub const ENFORCER: &str = "ENFORCER";

/// The map of the objects that lockdown guards.
pub const OBJECTS: &str = "OBJECTS";

/// The map of the places that lockdown guards.
pub const PLACES: &str = "PLACES";

/// The map of the filesystem that has the pins.
pub const MOUNTED: &str = "MOUNTED";

/// The word that says whether an enforcer is replacing the policy.
pub const BUSY: &str = "BUSY";

/// The map of pinned contents.
pub const DIGESTS: &str = "DIGESTS";

/// The map of the files that were measured to have one of them.
pub const INODES: &str = "INODES";

/// The map of verdict counters.
pub const VERDICTS: &str = "VERDICTS";

/// The ring buffer of events.
pub(crate) const EVENTS: &str = "EVENTS";

/// The label of unlisted programs.
pub(crate) const UNLISTED: &str = "UNLISTED";

/// What was seen of each exec; this map outlives the programs.
pub const EXECUTED: &str = "EXECUTED";

/// The first process of the host.
pub(crate) const FIRST_PROCESS: &str = "FIRST_PROCESS";

/// The tables, and the sections that they hold.
pub(crate) const TABLES: [(&str, SectionKind); 13] = [
    ("POLICY", SectionKind::Policy),
    ("NODES32", SectionKind::Nodes32),
    ("NODES128", SectionKind::Nodes128),
    ("CELLS", SectionKind::Cells),
    ("PROGRAMS", SectionKind::Programs),
    ("PAIRS", SectionKind::Pairs),
    ("NAMES", SectionKind::Names),
    ("NAME_BUCKETS", SectionKind::NameBuckets),
    ("NAME_TABLE", SectionKind::NameTable),
    ("NAME_WORDS", SectionKind::NameWords),
    ("NAME_STATES", SectionKind::NameStates),
    ("NAME_STEPS", SectionKind::NameSteps),
    ("MATCHES", SectionKind::Matches),
];

/// The tables of the names behind symbolic links, which the host builds itself.
pub(crate) const ALIAS_TABLES: [(&str, SectionKind); 7] = [
    ("ALIASES", SectionKind::Names),
    ("ALIAS_BUCKETS", SectionKind::NameBuckets),
    ("ALIAS_TABLE", SectionKind::NameTable),
    ("ALIAS_WORDS", SectionKind::NameWords),
    ("ALIAS_STATES", SectionKind::NameStates),
    ("ALIAS_STEPS", SectionKind::NameSteps),
    ("ALIAS_MATCHES", SectionKind::Matches),
];
