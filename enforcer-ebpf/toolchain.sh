#!/bin/bash
# Installs what building the kernel programs needs beyond the pinned Rust toolchain: rust-src of
# exactly its version, into its sysroot, and bpf-linker built on its own LLVM, into the cache.
# A second run finds both and changes nothing.
#
#   toolchain.sh          says what it did
#   toolchain.sh --path   says it on standard error, and prints the folder that PATH needs
set -euo pipefail
cd "$(dirname "$0")"

talk=1
[ "${1:-}" != --path ] || talk=2

linker_version=0.13.0
rust=$(rustc -vV | sed -n 's/^release: //p')
sysroot=$(rustc --print sysroot)
cache=${BFP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bfp}
linker=$cache/bpf-linker-$linker_version-rust-$rust

say() { echo "toolchain: $*" >&"$talk"; }
fail() {
    echo "toolchain: $*" >&2
    exit 1
}

has_rust_src() { [ -e "$sysroot/lib/rustlib/src/rust/library/core/src/lib.rs" ]; }

rust_src_by_rustup() {
    command -v rustup >/dev/null && rustup component add rust-src >/dev/null 2>&1 && has_rust_src
}

# Debian packages the same sources for its own rustc; they serve when the version is the same.
rust_src_by_debian() {
    # shellcheck source=../kernel-tests/debian.sh
    . ../kernel-tests/debian.sh
    say "rustup cannot fetch rust-src: taking it from Debian's package"
    debian_open trixie-backports
    local version
    version=$(apt-cache show rust-src | sed -n 's/^Version: //p' | grep "^$rust[+-]" | head -1) || true
    [ -n "$version" ] || fail "Debian has no rust-src $rust: install it where rustup can download (\`rustup component add rust-src\`)"
    debian_unpack "$debian_root/rust-src" "rust-src=$version"
    local library
    library=$(echo "$debian_root"/rust-src/usr/src/rustc-"$rust"/library)
    [ -e "$library/core/src/lib.rs" ] || fail "rust-src $version does not hold library/core"
    local to=$sysroot/lib/rustlib/src/rust
    mkdir -p "$to"
    rm -rf "$to/library.new"
    cp -r "$library" "$to/library.new"
    rm -rf "$to/library"
    mv "$to/library.new" "$to/library"
}

build_linker() {
    local llvm
    # The library itself: its neighbour libLLVM-NN-….so is a linker script.
    llvm=$(find "$sysroot/lib" -maxdepth 1 -name 'libLLVM.so.*-rust-*' | head -1)
    [ -n "$llvm" ] || fail "no libLLVM in $sysroot/lib: bpf-linker needs the LLVM of a toolchain installed by rustup"
    local major=${llvm##*/libLLVM.so.}
    major=${major%%.*}
    local work
    work=$(mktemp -d)
    mkdir -p "$work/llvm/lib" "$cache"
    ln -s "$llvm" "$work/llvm/lib/libLLVM.so"
    say "building bpf-linker $linker_version on LLVM $major of rustc $rust (about a minute)"
    # Without optimising: what takes long is in LLVM, and it links the programs in some seconds.
    env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS \
        LLVM_PREFIX="$work/llvm" RUSTFLAGS="-C link-arg=-Wl,-rpath,$sysroot/lib" CARGO_TARGET_DIR="$work/target" \
        cargo install --quiet --debug bpf-linker --version "$linker_version" --locked --root "$work/root" \
        --no-default-features --features "llvm-$major" 2>"$work/log" || {
        cat "$work/log" >&2
        rm -rf "$work"
        fail "bpf-linker $linker_version did not build"
    }
    mkdir -p "$linker"
    rm -rf "$linker/bin"
    mv "$work/root/bin" "$linker/bin.new"
    mv "$linker/bin.new" "$linker/bin"
    rm -rf "$work"
}

if ! has_rust_src; then
    rust_src_by_rustup || rust_src_by_debian
    has_rust_src || fail "rust-src is still missing in $sysroot"
    say "rust-src $rust is in $sysroot"
fi
# It is run, not only looked for: it stops working when the toolchain it was linked to moves.
if ! "$linker/bin/bpf-linker" --version >/dev/null 2>&1; then
    build_linker
    "$linker/bin/bpf-linker" --version >/dev/null || fail "$linker/bin/bpf-linker does not run"
fi
if [ "$talk" = 2 ]; then
    echo "$linker/bin"
else
    say "ready: rustc $rust with rust-src, $linker/bin/bpf-linker"
fi
