#!/bin/bash
# guest.sh [--quiet]: makes the Debian system that the tests of ordinary programs boot, in the cache:
# debian/disk (ext4 with fs-verity), debian/kernel (the release of the kernel whose modules it has) and
# debian/packages (what is installed). It is Debian 13 with the stock kernel of the series 6.12, which
# `setup.sh` fetches. Nothing of it is started here; packages are unpacked and set up by mmdebstrap in a
# mount namespace of its own. A second run finds it and changes nothing.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=debian.sh
. ./debian.sh

suite=trixie
cache=${BFP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bfp}
kernel=$cache/kernels/6.12
made=$cache/debian
# Large folders that nothing in a guest reads. Packages put links of their own into the manual's sections, so
# those stay, empty.
unread=(/usr/share/doc '/usr/share/man/*' /usr/share/info /usr/share/locale /usr/share/icons /usr/share/gtk-doc)

# What the entries of fixtures/ordinary use. What follows `#` says what a line is for.
packages=$(sed 's/#.*//' <<'P' | tr '\n' ' '
systemd systemd-sysv systemd-container dbus udev kmod libpam-systemd cron     # the system
apt ca-certificates adduser login passwd sudo util-linux bsdutils procps psmisc
rsyslog
iproute2 iputils-ping iputils-arping traceroute tcpdump ethtool nftables      # networks
socat netcat-openbsd bind9-host dnsmasq-base dhcpcd-base udhcpc chrony lksctp-tools iperf3
curl wget git openssh-client openssh-server rsync nginx-light busybox caddy   # clients and servers
postgresql postgresql-client redis-server redis-tools
python3 python3-pycares python3-aioquic perl ruby nodejs openjdk-21-jre-headless # languages
strace gdb bpftool linux-perf bubblewrap fsverity attr                                    # tools
P
)

fail() {
    echo "guest: $*" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "making a Debian system needs root: run \`sudo $0\` with BFP_CACHE=$cache"
[ -e "$kernel/package" ] || fail "no kernel \`6.12\` in the cache: run \`just setup 6.12\`"
modules=$(find "$kernel" -maxdepth 4 -type d -path '*/lib/modules/*' | head -1)
[ -n "$modules" ] || fail "no modules in $kernel"
release=${modules##*/}

# Of several runs that need it at the same time, one makes it and the others wait.
exec 9>"$cache/debian.lock"
flock 9

# The system is made again when this script, or the kernel, is another one.
recipe=$(cat guest.sh "$kernel/package" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$made/recipe" 2>/dev/null)" = "$recipe" ]; then
    [ "${1:-}" = --quiet ] || echo "guest: $made/disk is ready"
    exit
fi

echo "guest: making a Debian system in $made (some minutes)"
mkdir -p "$cache"
find "$cache" -maxdepth 1 -name 'debian.??????' -mmin +120 -exec rm -rf {} +
work=$(mktemp -d "$cache/debian.XXXXXX")
debian_open "$suite"
trap 'rm -rf "$debian_root" "$work"' EXIT
debian_unpack "$work/tools" mmdebstrap
mirror=$(debian_mirror)
# The machine's way to its mirror, should it be a special one. It does not stay in the image.
unset APT_CONFIG
apt-config dump | grep -E '^Acquire::(http|https|ftp)::' >"$work/apt.conf" || true

excluded=()
for folder in "${unread[@]}"; do
    excluded+=(--dpkgopt="path-exclude=$folder/*")
done
# A service is set up, and enabled as its package says; those that would listen are not to start in every
# guest: the tests start what they need.
cat >"$work/customize" <<'C'
set -e
root=$1
for unit in nginx caddy postgresql redis-server chrony rsyslog ssh dhcpcd apt-daily.timer apt-daily-upgrade.timer \
    e2scrub_all.timer e2scrub_reap man-db.timer dpkg-db-backup.timer fstrim.timer logrotate.timer; do
    chroot "$root" systemctl disable "$unit" >/dev/null 2>&1 || true
done
# What brings a login prompt to the test's serial line, and waits for networks that never come.
chroot "$root" systemctl mask getty@tty1 serial-getty@ttyS0 serial-getty@ttyS1 systemd-networkd-wait-online >/dev/null 2>&1
chroot "$root" useradd --create-home --shell /bin/bash somebody
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* \
    "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/var/log/*.log
mkdir -p "$root"/var/cache/apt/archives/partial "$root"/var/lib/apt/lists/partial
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 guest\n' >"$root/etc/hosts"
echo 'nameserver 127.0.0.1' >"$root/etc/resolv.conf"
# The root is mounted before systemd starts.
: >"$root/etc/fstab"
C
# shellcheck disable=SC2086
PATH=$work/tools/usr/bin:$PATH unshare --mount mmdebstrap --quiet --mode=root --variant=minbase --architectures=amd64 \
    --aptopt="$work/apt.conf" --aptopt='Acquire::Retries "5"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io "${excluded[@]}" --include="$(printf '%s\n' $packages | paste -sd,)" \
    --customize-hook="sh '$work/customize' \"\$1\"" "$suite" "$work/root" \
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" ||
    fail "mmdebstrap could not make the system"

mkdir -p "$work/root/usr/lib/modules"
cp -a "$modules" "$work/root/usr/lib/modules/"
chroot "$work/root" depmod "$release"
chroot "$work/root" dpkg-query -W >"$work/packages"

# A guest writes some hundred megabytes at most.
size=$(($(du -sm "$work/root" | cut -f1) + 768))
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -b 4096 -O verity,^has_journal \
    -E lazy_itable_init=1,nodiscard,root_owner=0:0 -d "$work/root" "$work/disk" "${size}M"
echo "$release" >"$work/kernel"
echo "$recipe" >"$work/recipe"
rm -rf "$work/root" "$work/tools" "$work/apt.conf" "$work/customize"
chmod 755 "$work"
rm -rf "$made"
mv "$work" "$made"
[ "${1:-}" = --quiet ] || echo "guest: $made/disk is ready ($(du -m "$made/disk" | cut -f1) MB, $(wc -l <"$made/packages") packages)"
