//! Lockdown, and the query of the enforcer while it applies a policy.

mod bpf;
mod inode_getattr;
mod inode_permission;
mod inode_rename;
mod sb_umount;
mod task_kill;
