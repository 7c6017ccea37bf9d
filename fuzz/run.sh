#!/bin/bash
# Runs fuzz targets in turn: run.sh [--smoke] LIMIT [TARGET…]
#
# Seeds are made of the fixtures, and unpacked from seeds.tar.gz. LIMIT is an option of libFuzzer: -max_total_time=600
# or -runs=2000. What is found grows in corpus/, and a failure leaves its input in artifacts/:
# `cargo fuzz run -s none TARGET FILE` shows it again.
#
# --smoke: without cargo-fuzz, on what bfpc is built of: every seed once, and changes of them. Only the targets
# themselves are instrumented, so it finds what is near a seed, and keeps nothing.
set -euo pipefail
cd "$(dirname "$0")"

is_smoke=
if [ "$1" = --smoke ]; then
    is_smoke=1
    shift
fi
limit=$1
shift
targets=("$@")
[ $# -gt 0 ] || targets=(parse fmt_round_trip compile verify decode manifest trust_set token packet)

made=target/made
unpacked=target/seeds
rm -rf "$made" "$unpacked"
mkdir -p "$unpacked"
tar -xzf seeds.tar.gz -C "$unpacked"
mkdir -p "$made"/{parse,fmt_round_trip,compile,verify,decode,manifest,trust_set,token,packet}
# A policy and its lock are one input.
for folder in ../fixtures/accept/*/ ../fixtures/allow-lists/*/; do
    {
        cat "$folder/policy.bfp"
        echo "--- lock"
        cat "$folder/policy.bfp.lock" 2>/dev/null || true
    } >"$made/compile/$(basename "$folder")"
done
# What follows the first byte are edits of a valid bundle; the first byte says of which part.
for part in 0 1 2 3 4 5 6 7; do
    printf '%b' "\\x0$part\\x08\\x00\\x04\\x01" | tee "$made"/{verify,trust_set,token}/"part-$part" >"$made/decode/part-$part"
done
# What makes a nearly valid document stray from the valid one: every eighth value of a byte says so, at its place.
for place in 0 4 8 16 32 64; do
    stray=$(printf "%${place}s\\x07\\x01\\x02\\x03" "")
    printf '%b' "$stray" >"$made/manifest/stray-$place"
    printf '%b' "\\x02$stray" | tee "$made/trust_set/stray-$place" >"$made/token/stray-$place"
done

# What both ways share: the options of a target, and its seeds.
prepare() {
    seeds=("$made/$1" "$unpacked/$1")
    options=("$limit" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0)
    case $1 in
        parse | fmt_round_trip) seeds+=(../fixtures/accept ../fixtures/allow-lists ../fixtures/reject) ;;&
        parse | fmt_round_trip | compile) options+=(-dict=bfp.dict -max_len=4096) ;;
        *) options+=(-max_len=256) ;;
    esac
    echo "fuzz: $1"
}

if [ -n "$is_smoke" ]; then
    # Nothing but the targets and what they fuzz is built with other options than bfpc: all else is found, or can be
    # found again.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
    coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table)
    for target in "${targets[@]}"; do
        prepare "$target"
        cargo rustc --release --quiet --locked --bin "$target" -- "${coverage[@]}"
        mkdir -p "artifacts/$target"
        log=$made/$target.log
        if ! "$CARGO_TARGET_DIR/release/$target" -keep_seed=1 -seed=1 -artifact_prefix="artifacts/$target/" \
            "${options[@]}" "${seeds[@]}" >"$log" 2>&1; then
            tail -n 40 "$log"
            echo "fuzz: $target failed: its input is in fuzz/artifacts/$target"
            exit 1
        fi
        sed -n 's/^stat::number_of_executed_units: */    inputs: /p' "$log"
    done
    exit
fi

if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz: installing cargo-fuzz"
    cargo install cargo-fuzz --version 0.13.2 --locked --quiet
fi
# What fails is shown with its lines.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only
for target in "${targets[@]}"; do
    prepare "$target"
    mkdir -p "corpus/$target"
    # No sanitizer: nothing here is unsafe, and a stable compiler builds it. Overflow and the bounds of
    # indexes are checked all the same.
    cargo fuzz run --sanitizer none "$target" "corpus/$target" "${seeds[@]}" -- "${options[@]}"
done
