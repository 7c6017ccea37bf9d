//! Labels of tasks.

mod bprm_committed_creds;
mod bprm_creds_from_file;
mod iter_task;
mod task_alloc;
