# Sourced, not run. Packages of a Debian suite, whatever suite this machine itself runs: fetched
# through apt with lists, state and archives of its own, unpacked into a folder, never installed.
#
#   debian_open SUITE…            reads the suites' package lists
#   debian_newest REGEX           the newest package whose name matches
#   debian_unpack DIR PACKAGE…    unpacks these packages into DIR
#
# Signatures are checked as for the machine's own packages. The mirror is the one that the machine's
# apt sources name; BFP_DEBIAN_MIRROR names one where they name none.

debian_fail() {
    echo "$0: $*" >&2
    exit 1
}

debian_mirror() {
    if [ -n "${BFP_DEBIAN_MIRROR:-}" ]; then
        echo "$BFP_DEBIAN_MIRROR"
        return
    fi
    local sources=()
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] && sources+=("$file")
    done
    [ ${#sources[@]} -eq 0 ] || sed 's/#.*//' "${sources[@]}" | grep -oE '[a-z+]+://[^] ]*/debian/?( |$)' | tr -d ' ' | head -1
}

# A flaky network is given three chances, a minute in all.
debian_retry() {
    local try
    for try in 1 2 3; do
        "$@" && return
        [ "$try" = 3 ] || sleep $((try * 5))
    done
    return 1
}

debian_open() {
    for tool in apt-get dpkg; do
        command -v "$tool" >/dev/null || debian_fail "needs Debian's \`$tool\` to fetch and unpack packages: run this on Debian or Ubuntu, or in a container of one"
    done
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror suite
    [ -e "$keyring" ] || debian_fail "needs the keys that Debian signs its packages with: install \`debian-archive-keyring\`"
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || debian_fail "no Debian mirror in this machine's apt sources: set BFP_DEBIAN_MIRROR to the address of one"

    debian_root=$(mktemp -d)
    trap 'rm -rf "$debian_root"' EXIT
    mkdir -p "$debian_root"/{lists/partial,archives/partial,debs,none}
    : >"$debian_root/status"
    for suite in "$@"; do
        echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main"
    done >"$debian_root/sources.list"
    # Only what would mix with the machine's own packages is replaced; its proxies stay in force.
    cat >"$debian_root/apt.conf" <<C
Dir::Etc::sourcelist "$debian_root/sources.list";
Dir::Etc::sourceparts "$debian_root/none";
Dir::Etc::preferences "$debian_root/none/preferences";
Dir::Etc::preferencesparts "$debian_root/none";
Dir::State "$debian_root";
Dir::State::status "$debian_root/status";
Dir::Cache "$debian_root";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "5";
C
    export APT_CONFIG=$debian_root/apt.conf
    debian_retry apt-get -qq -o APT::Update::Error-Mode=any update || debian_fail "cannot read the package lists of $* at $mirror"
}

debian_newest() {
    local found
    found=$(apt-cache pkgnames | grep -xE "$1" | sort -V | tail -1)
    [ -n "$found" ] || debian_fail "no package matches \`$1\` in the suites of $(sed 's/.*\] //' "$debian_root/sources.list" | tr '\n' ';')"
    echo "$found"
}

debian_unpack() {
    local dir=$1 deb
    shift
    rm -f "$debian_root"/debs/*
    (cd "$debian_root/debs" && debian_retry apt-get -qq download "$@") || debian_fail "cannot download $*"
    for deb in "$debian_root"/debs/*.deb; do
        dpkg -x "$deb" "$dir"
    done
}
