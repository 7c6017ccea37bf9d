//! Socket calls.

mod file_receive;
mod inet_csk_clone;
mod inet_sendpage;
mod iter_task_file;
mod socket_connect;
mod socket_create;
mod socket_post_create;
mod socket_sendmsg;
mod socket_setsockopt;
mod tun_dev;
