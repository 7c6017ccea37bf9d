#!/bin/bash
# setup.sh [--quiet] [KERNEL…]: installs what the tests need beyond Rust and this machine lacks: QEMU and
# the tools that make its disks from the machine's packages; the knot DNS server, a Python environment for
# bundles/reader and stock Debian kernels into the cache. KERNEL is a series: 6.1, 6.12, 6.18 or 7.3 (by
# default 6.1 and 6.12). A second run finds everything and changes nothing (and with --quiet says nothing).
# No service is ever started.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=debian.sh
. ./debian.sh

cache=${BFP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bfp}
quiet=
if [ "${1:-}" = --quiet ]; then
    quiet=yes
    shift
fi
[ $# -gt 0 ] || set -- 6.1 6.12
PATH=$PATH:/usr/sbin:/sbin

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "the kernel tests run on Linux on x86_64; this is $(uname -sm)"

# What an interrupted run left half done. A younger one may be another run's, still at work.
[ ! -d "$cache" ] || find "$cache" -maxdepth 2 \( -name 'knot.??????' -o -name 'reader.??????' -o -name '.*.??????' \) -mmin +120 -exec rm -rf {} +

machine_apt() {
    if [ "$(id -u)" = 0 ]; then "$@"; else
        command -v sudo >/dev/null || fail "needs root to install ${missing[*]}: run as root \`apt-get install ${missing[*]}\`"
        sudo "$@"
    fi
}

# One line per tool: the command, and the package that brings it.
missing=()
while read -r tool package; do
    command -v "$tool" >/dev/null || case " ${missing[*]} " in *" $package "*) ;; *) missing+=("$package") ;; esac
done <<'T'
qemu-system-x86_64 qemu-system-x86
busybox busybox-static
mke2fs e2fsprogs
fsverity fsverity
strace strace
mkfs.btrfs btrfs-progs
ip iproute2
nft nftables
openssl openssl
setpriv util-linux
ldd libc-bin
cp coreutils
gzip gzip
xz xz-utils
lz4 lz4
zstd zstd
c++ g++
python3 python3
T
# A busybox that needs libraries would not start in the guest's first, nearly empty file system.
if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then
    missing+=(busybox-static)
fi
# Debian splits what makes environments off.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi
# The machine's package lists are read at most once, and only when something is missing.
machine_lists() {
    [ -n "${lists_read:-}" ] || debian_retry machine_apt apt-get -qq update || fail "cannot read the machine's package lists"
    lists_read=yes
}
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "no apt-get on this machine: install by hand what Debian calls ${missing[*]}"
    say "installing ${missing[*]}"
    machine_lists
    debian_retry machine_apt env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=5 install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install ${missing[*]}"
fi

# Installing knot's package would start it as a service, so its files are only unpacked, with the
# libraries that the machine lacks, and started through a wrapper that finds those.
if ! "$cache/knot/bin/knotd" --version >/dev/null 2>&1; then
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "no apt-get or dpkg on this machine: unpack knot into $cache/knot so that $cache/knot/bin/knotd runs"
    say "unpacking the knot DNS server into $cache/knot"
    missing=(knot)
    machine_lists
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/knot.XXXXXX")
    mkdir -p "$work"/{debs,root,bin}
    packages=$(apt-get -s install --no-install-recommends --no-upgrade knot knot-dnsutils | sed -n 's/^Inst \([^ ]*\).*/\1/p' | sort -u)
    # Where they are installed already (and then run as a service or not: not our business), once more.
    packages="$packages knot knot-dnsutils"
    # shellcheck disable=SC2086
    (cd "$work/debs" && debian_retry apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=5 download $(printf '%s\n' $packages | sort -u)) || fail "cannot download knot"
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/root"
    done
    rm -r "$work/debs"
    for tool in "$work"/root/usr/sbin/* "$work"/root/usr/bin/*; do
        name=${tool##*/}
        cat >"$work/bin/$name" <<W
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../root
LD_LIBRARY_PATH=\$root/usr/lib/$(uname -m)-linux-gnu:\$root/lib/$(uname -m)-linux-gnu exec "\$root/${tool#"$work"/root/}" "\$@"
W
        chmod +x "$work/bin/$name"
    done
    "$work/bin/knotd" --version >/dev/null || fail "knotd does not run from $work"
    chmod 755 "$work"
    rm -rf "$cache/knot"
    mv "$work" "$cache/knot"
fi

# The reader's environment, with the very files that its requirements name. It is moved to its place when it is
# whole; what would not survive that, the scripts in its bin, is not used.
if ! cmp -s ../bundles/reader/requirements.txt "$cache/reader/requirements.txt" || ! "$cache/reader/bin/python" -c 'import cryptography' 2>/dev/null; then
    say "installing what bundles/reader needs into $cache/reader"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/reader.XXXXXX")
    python3 -m venv "$work" || fail "cannot make a Python environment in $work"
    "$work/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r ../bundles/reader/requirements.txt || fail "pip could not install bundles/reader/requirements.txt"
    cp ../bundles/reader/requirements.txt "$work/"
    chmod 755 "$work"
    rm -rf "$cache/reader"
    mv "$work" "$cache/reader"
fi

# The suite that carries a series.
kernel_suite() {
    case $1 in
    6.1) echo bookworm ;;
    6.12) echo trixie ;;
    6.18 | 7.3) echo trixie-backports ;;
    *) fail "no kernel \`$1\`: known are 6.1, 6.12, 6.18 and 7.3" ;;
    esac
}

wanted=() suites=()
for series in "$@"; do
    suite=$(kernel_suite "$series")
    if [ ! -e "$cache/kernels/$series/package" ]; then
        wanted+=("$series")
        suites+=("$suite")
    fi
done
if [ ${#wanted[@]} -gt 0 ]; then
    say "reading Debian's package lists"
    # shellcheck disable=SC2046
    debian_open $(printf '%s\n' "${suites[@]}" | sort -u)
    mkdir -p "$cache/kernels"
    for series in "${wanted[@]}"; do
        image=$(debian_newest "linux-image-${series//./\\.}\.[0-9][0-9.+a-z~-]*-cloud-amd64")
        # From 7.0 on the image is split up, and linux-image only depends on its parts.
        # shellcheck disable=SC2207
        packages=("$image" $(apt-cache depends "$image" | sed -n 's/.*Depends: \(linux-\(base\|binary\|modules\)-[0-9].*\)/\1/p'))
        say "fetching kernel $series (${packages[*]})"
        work=$(mktemp -d "$cache/kernels/.$series.XXXXXX")
        debian_unpack "$work" "${packages[@]}"
        rm -rf "$work/usr/share"
        [ -n "$(find "$work" -name 'vmlinuz*' | head -1)" ] || fail "$image holds no vmlinuz"
        apt-cache show "$image" | sed -n '/^Package:/p;/^Version:/p' | head -2 >"$work/package"
        chmod 755 "$work"
        rm -rf "$cache/kernels/$series"
        mv "$work" "$cache/kernels/$series"
    done
fi
[ -n "$quiet" ] || say "ready: QEMU, knot, Python, kernels $* in $cache"
