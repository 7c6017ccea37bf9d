//! A whole Debian system in the cache, where `guest.sh` put it, and how a guest boots it.
//!
//! Always: the disk in the cache is never written; its modules are those of the kernel that boots it.

use crate::{Failure, Kernel, kernel::cache};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the first program prints when it continues: from then on, until the command runs, nothing reads its port.
pub(crate) const GOES_ON: &[u8] = b"bfp-goes-on\n";

/// Puts the payload and the units over the system, and becomes its systemd. /run is mounted here, and systemd leaves it
/// as it is. Files of this run alone are not written to the disk, which may be full.
pub(crate) const FIRST_PROGRAM: &str = "\
echo bfp-goes-on
mount -t ext4 -o noatime,noinit_itable /dev/vdb /disk || exit 1
mount -t ext4 /dev/vda /payload || exit 1
chown -hR 0:0 /payload
mkdir -p /disk/.bfp && mount -t tmpfs -o mode=755 bfp /disk/.bfp
cp -a /payload/. /disk/
umount /payload
mount -t tmpfs -o mode=755 run /disk/run
mkdir -p /disk/run/systemd && cp -a /disk/.bfp/units /disk/run/systemd/system
umount /proc
cd /disk && mount --move . / && exec chroot . /lib/systemd/systemd </dev/null >/dev/null 2>&1
";

/// Runs the command when everything else has started. `exec` makes the start end as the command begins.
pub(crate) const COMMAND_UNIT: &str = "[Unit]
Description=The command of a test
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/sh /.bfp/init
TasksMax=infinity
LimitNOFILE=65536
";

/// Runs the command, between two marks that no command can guess.
pub(crate) const SECOND_PROGRAM: &str = ". /.bfp/env
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
mark=$MARK; unset MARK
cd /root
printf '\\000begin-%s\\n' $mark
sh /.bfp/command
printf '\\000end-%s %d\\n' $mark $?
";

/// A Debian system.
#[derive(Debug, Clone)]
pub struct Debian {
    disk: PathBuf,
    kernel: String,
}

impl Debian {
    /// The system in the cache.
    ///
    /// # Errors
    /// `guest.sh` has not created it.
    pub fn find() -> Result<Self, Failure> {
        let made = cache()?.join("debian");
        let Ok(kernel) = fs::read_to_string(made.join("kernel")) else {
            return Err(Failure::Host("no Debian system in the cache: run `just debian-guest`".to_owned()));
        };
        Ok(Self { disk: made.join("disk"), kernel: kernel.trim().to_owned() })
    }

    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    pub(crate) fn must_fit(&self, kernel: &Kernel) -> Result<(), Failure> {
        if kernel.modules().ends_with(&self.kernel) {
            return Ok(());
        }
        let (has, boots) = (&self.kernel, kernel.modules().display());
        Err(Failure::Host(format!("the Debian system has modules of {has}, not of {boots}: run `just debian-guest`")))
    }
}

/// Debian's /bin and the like are links into /usr, over which a folder cannot be put.
pub(crate) fn place(guest: &str) -> String {
    let linked = ["/bin", "/sbin", "/lib", "/lib64"].iter().any(|folder| Path::new(guest).starts_with(folder));
    if linked { format!("/usr{guest}") } else { guest.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn what_debian_links_is_put_where_the_link_leads() {
        assert_eq!(place("/bin/probe"), "/usr/bin/probe");
        assert_eq!(place("/binaries/probe"), "/binaries/probe");
        assert_eq!(place("/usr/bin/probe"), "/usr/bin/probe");
    }
}
