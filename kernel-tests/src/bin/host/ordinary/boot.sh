# Runs in the Debian system once it has booted: says how the boot went, installs a package by apt from a
# repository on loopback, and says what was refused to whom. What follows `== NAME` is compared with the same
# of another boot.
set -u
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
echo "== state"
systemctl is-system-running --wait
systemctl is-active multi-user.target dbus.service systemd-journald.service systemd-logind.service cron.service
echo "== failed"
systemctl list-units --failed --plain --no-legend | cut -d' ' -f1

echo "== package"
at=/tmp/repository
mkdir -p $at/hello/DEBIAN $at/hello/usr/bin
printf '#!/bin/sh\necho hello from a package\n' >$at/hello/usr/bin/hello-bfp
chmod 755 $at/hello/usr/bin/hello-bfp
cat >$at/hello/DEBIAN/control <<C
Package: hello-bfp
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Description: says hello
C
dpkg-deb --root-owner-group --build $at/hello $at/hello-bfp_1.0_all.deb >/dev/null
{
    dpkg-deb -f $at/hello-bfp_1.0_all.deb
    echo "Filename: ./hello-bfp_1.0_all.deb"
    echo "Size: $(stat -c %s $at/hello-bfp_1.0_all.deb)"
    echo "SHA256: $(sha256sum $at/hello-bfp_1.0_all.deb | cut -d' ' -f1)"
} >$at/Packages
busybox httpd -p 127.0.0.1:8088 -h $at
echo "deb [trusted=yes] http://127.0.0.1:8088/ ./" >/etc/apt/sources.list.d/local.list
apt-get -qq update >/tmp/apt.log 2>&1 && apt-get -qq install -y hello-bfp >>/tmp/apt.log 2>&1 || cat /tmp/apt.log
hello-bfp

echo "== errors"
journalctl -b -p err -o cat --no-pager | sed 's/[0-9]\{2,\}/N/g' | sort -u
echo "== refusals in the journal"
journalctl -b -o cat --no-pager | grep -iE 'operation not permitted|EPERM' | sed 's/[0-9]\{2,\}/N/g' | sort -u
# Every system call that ended in EPERM since early in the boot, by program and number.
echo "== calls that ended in EPERM"
echo 0 >/sys/kernel/tracing/tracing_on
sed -n 's/^ *\(.*\)-[0-9]* .*sys_exit: NR \([0-9]*\) = -1$/\1 \2/p' /sys/kernel/tracing/trace | sed 's/[0-9]*:[0-9]*/N/g' | sort -u
echo "== enforcer"
bfp-enforcer status
systemctl show -p Result -p ExecMainStatus bfp-apply.service
echo "== order"
for unit in bfp-apply.service network-pre.target sysinit.target multi-user.target; do
    echo "$unit $(systemctl show -p ActiveEnterTimestampMonotonic --value $unit)"
done
