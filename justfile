# Recipes of bfp. `just` lists them.

# What is here?
@default:
    just --list --unsorted

# --- set-up ---------------------------------------------------------------------------------------

# Install what is missing: rust-src, bpf-linker, QEMU, knot, Python, Debian kernels (by default 6.1 and 6.12)
setup *KERNELS: toolchain
    @kernel-tests/setup.sh {{ KERNELS }}

# Install what building the kernel programs needs
@toolchain:
    enforcer-ebpf/toolchain.sh

# `-Z build-std` is what the bootstrap variable is for: the target has no compiled `core`.
# The debug sections are for people: the kernel reads .BTF and .BTF.ext, which stay.
# Build the programs for the kernel: target/bpfel-unknown-none/bpf/programs.o
ebpf:
    @PATH="$(enforcer-ebpf/toolchain.sh --path):$PATH" RUSTC_BOOTSTRAP=1 \
        cargo build -p bfp-enforcer-ebpf --profile bpf --target bpfel-unknown-none -Z build-std=core
    @LD_LIBRARY_PATH="$(rustc --print sysroot)/lib" \
        "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-objcopy --strip-debug \
        target/bpfel-unknown-none/bpf/bfp-enforcer-ebpf {{ object }}

# Run a command as root under a stock Debian kernel: just vm --kernel 6.1 -- uname -r
[no-exit-message]
[positional-arguments]
@vm *ARGS:
    kernel-tests/setup.sh --quiet >&2
    cargo run --quiet -p bfp-kernel-tests --bin vm -- "$@"

# --- build ----------------------------------------------------------------------------------------

object := justfile_directory() / "target/bpfel-unknown-none/bpf/programs.o"

# It is linked with all that it executes: a library could be replaced by whoever is root (docs/lockdown.md).
# Build bfp-enforcer, which embeds the kernel programs: target/enforcer/bfp-enforcer
enforcer: toolchain ebpf
    @BFP_EBPF_OBJECT={{ object }} RUSTFLAGS="-C target-feature=+crt-static" cargo build -p bfp-enforcer \
        --features kernel-programs --profile enforcer --target x86_64-unknown-linux-gnu
    @mkdir -p target/enforcer && cp target/x86_64-unknown-linux-gnu/enforcer/bfp-enforcer target/enforcer/

# Build bfpc: target/release/bfpc
compiler:
    @cargo build --release -p bfp-compiler

cargo_deny := "0.20.2"
knot := cache / "knot/root"
cache := env("BFP_CACHE", env("XDG_CACHE_HOME", env("HOME") / ".cache") / "bfp")

# A policy's whole life: DNS, lock, build, verify, and a signer and an unlisted program that really connect
demo: setup guest-programs
    @cargo run --quiet -p bfp-kernel-tests --bin demo -- --programs {{ guest_programs }} \
        --knotd {{ cache }}/knot/bin/knotd

# The demo as it runs on a host that can enforce, in a guest, for a machine that cannot
demo-direct: setup guest-programs
    @cargo build --quiet -p bfp-kernel-tests --bin demo
    @LD_LIBRARY_PATH={{ knot }}/usr/lib/x86_64-linux-gnu:{{ knot }}/lib/x86_64-linux-gnu \
        cargo run --quiet -p bfp-kernel-tests --bin vm -- --memory 768 --timeout 300 \
        --tree {{ knot }}:/knot --file {{ knot }}/usr/sbin/knotd:/bin/knotd --tree fixtures/demo:/repo/fixtures/demo \
        --file target/guest/bfpc --file target/guest/bfp-enforcer --tree {{ guest_programs }}:/programs \
        --file target/debug/demo -- 'cd /repo && demo --programs /programs --knotd /bin/knotd'

# --- tests ----------------------------------------------------------------------------------------

# Everything that needs no kernel: format, lints, unit, snapshot and property tests
check: doc deny
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    cargo test

# Build the crates' API pages without a warning: target/doc
doc:
    RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet --no-deps --document-private-items \
        -p bfp-grammar -p bfp-bundle -p bfp-compiler -p bfp-enforcer

# Check licenses, sources and versions of every dependency, by deny.toml
deny:
    @test -x {{ cache }}/cargo-deny/bin/cargo-deny \
        || cargo install cargo-deny --version {{ cargo_deny }} --locked --debug --root {{ cache }}/cargo-deny
    {{ cache }}/cargo-deny/bin/cargo-deny -L error --offline check licenses bans sources

# Write the files that tests compare with: reports, snapshots, tables, generated pages. Read the difference
bless:
    BFP_BLESS=1 INSTA_UPDATE=always cargo test --no-fail-fast -p bfp-grammar -p bfp-bundle -p bfp-compiler
    BFP_BLESS=1 cargo test -p bfp-kernel-tests --lib

# `check` and `harness` in one go, so that both share their builds
[private]
check-all: setup doc
    cargo fmt --all --check
    cargo clippy --workspace --exclude bfp-enforcer-ebpf --all-targets -- -D warnings
    cargo test --workspace --exclude bfp-enforcer-ebpf

# Fuzz every parser of untrusted input, each target for so many seconds: just fuzz 60
@fuzz SECONDS="600":
    fuzz/run.sh -max_total_time={{ SECONDS }}

# Every seed and thousands of mutations of each target, on the libraries that bfpc is built of
@fuzz-smoke:
    fuzz/run.sh --smoke -runs=3000

# Where the programs that go into a guest are collected
guest_programs := justfile_directory() / "target/guest"

[private]
guest-programs: compiler enforcer
    @RUSTFLAGS="-C target-feature=+crt-static" cargo build --release -p bfp-kernel-tests \
        --bin probe --bin attacker --bin suite --bin injector --target x86_64-unknown-linux-gnu
    @cargo build --release -p bfp-kernel-tests -p bfp-misleading --bin probe --bin attacker --lib
    @mkdir -p {{ guest_programs }}
    @cp target/release/probe {{ guest_programs }}/probe-dynamic
    @cp target/release/attacker {{ guest_programs }}/attacker-dynamic
    @cp target/release/libmisleading.so {{ guest_programs }}/misleading.so
    @cp target/release/bfpc target/enforcer/bfp-enforcer target/x86_64-unknown-linux-gnu/release/probe \
        target/x86_64-unknown-linux-gnu/release/attacker \
        target/x86_64-unknown-linux-gnu/release/suite \
        target/x86_64-unknown-linux-gnu/release/injector {{ guest_programs }}/

# Every policy of fixtures/accept, every scenario and every attack, with real sockets: just kernel 6.1 6.12
kernel *KERNELS="6.12": (setup KERNELS) guest-programs
    @cargo run --quiet -p bfp-kernel-tests --bin kernel -- --programs {{ guest_programs }} {{ KERNELS }}
    @cargo run --quiet -p bfp-kernel-tests --bin killer -- --programs {{ guest_programs }} --thin {{ KERNELS }}

# As `kernel`, in less time: what hardly depends on the kernel runs under one of them
[private]
kernel-divided *KERNELS: (setup KERNELS) guest-programs
    @cargo run --quiet -p bfp-kernel-tests --bin kernel -- --programs {{ guest_programs }} --divided {{ KERNELS }}
    @cargo run --quiet -p bfp-kernel-tests --bin killer -- --programs {{ guest_programs }} --thin --divided {{ KERNELS }}

# Kill the enforcer at each of its system calls, and make each call fail: no moment may be unprotected. Hours
killer *KERNELS="6.12": (setup KERNELS) guest-programs
    @cargo run --quiet -p bfp-kernel-tests --bin killer -- --programs {{ guest_programs }} {{ KERNELS }}

# `killer` on this host, for the commands that need no enforcing kernel: a minute
killer-here: guest-programs
    @{{ guest_programs }}/injector here {{ guest_programs }}

# Every attack on updates: the command, whether it was rejected, and its message
attack KERNEL="6.12": (setup KERNEL) guest-programs
    @cargo run --quiet -p bfp-kernel-tests --bin kernel -- --programs {{ guest_programs }} --updates {{ KERNEL }}

# The release before this one, until there is a tag
before := "0bb9e10"

# Upgrade from the previous release, and go back: just releases 6.12
releases KERNEL="6.12": (setup KERNEL) guest-programs
    @cargo run --quiet -p bfp-kernel-tests --bin kernel -- --programs {{ guest_programs }} --updates \
        --updates-folder fixtures/releases --before "$(kernel-tests/before.sh {{ before }})" {{ KERNEL }}

# Make the Debian system that the next five recipes boot, where it is missing: some minutes, about 1 GB
debian-guest: (setup "6.12")
    @kernel-tests/guest.sh

ordinary := "cargo run --quiet -p bfp-kernel-tests --bin ordinary -- --programs " + guest_programs

# Boot a whole Debian system with ten thousand rules and without: nothing may differ
kernel-boot: debian-guest guest-programs
    @{{ ordinary }} boot

# Ordinary things before, during and after a policy: just ordinary --only ssh
[positional-arguments]
ordinary *ARGS: debian-guest guest-programs
    @{{ ordinary }} list "$@"

# The systemd units in that system: before the network, new bundles, a bad one at boot
units: debian-guest guest-programs
    @{{ ordinary }} units

# An ordinary week of that system: links, packages, a full disk, power loss, while probers never stop
week: debian-guest guest-programs
    @{{ ordinary }} week

# Mixed traffic under ten thousand rules: every verdict is checked, and nothing may leak
soak MINUTES="30": debian-guest guest-programs
    @{{ ordinary }} soak {{ MINUTES }}

# How a build's time divides among its stages, for policies of 1 000 to 100 000 rules over a million addresses
bench-compiler *SIZE:
    @cargo bench -p bfp-compiler --bench size -- {{ SIZE }}

# Three ways to keep names true, over 30 simulated days (docs/names.md): just bench-names, or with another seed
bench-names *SEED:
    @cargo bench -p bfp-compiler --bench replay -- {{ SEED }}

# Lints and tests of the kernel tests themselves, and fs-verity digests against the stock tool
harness: setup
    cargo clippy -p bfp-kernel-tests --all-targets -- -D warnings
    cargo test -p bfp-kernel-tests

# The format by a second reader, in Python: vectors, verdict tables; and the oracle over random policies
reader: setup compiler
    @{{ cache }}/reader/bin/python -B bundles/reader/check.py target/release/bfpc
    @{{ cache }}/reader/bin/python -B bundles/reader/oracle.py target/release/bfpc

# The oracle over more random policies, by a seed: just oracle 20000 monday
oracle POLICIES="20000" SEED="bfp": setup compiler
    @{{ cache }}/reader/bin/python -B bundles/reader/oracle.py target/release/bfpc {{ POLICIES }} {{ SEED }}

# All tests: without a kernel, fuzz targets briefly, the second reader, the demo, and the kernel tests on two kernels
test:
    #!/usr/bin/env bash
    set -euo pipefail
    taken=()
    trap 'printf "%s\n" "${taken[@]}"' EXIT
    for recipe in setup check-all fuzz-smoke reader demo killer-here "kernel-divided 6.1 6.12"; do
        SECONDS=0
        {{ just_executable() }} $recipe || { taken+=("just $recipe: failed after $SECONDS s"); exit 1; }
        taken+=("just $recipe: $SECONDS s")
    done

# The kernel tests under every supported kernel, the allow-lists under two, and a whole Debian system
kernel-all: (kernel "6.1" "6.12" "6.18" "7.3") releases kernel-boot ordinary units week
    @cargo run --quiet -p bfp-kernel-tests --bin kernel -- --programs {{ guest_programs }} \
        --fixtures fixtures/allow-lists --only table 6.1 6.12
