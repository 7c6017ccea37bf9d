#!/bin/bash
# Runs fuzz targets in turn, from seeds that are made of the fixtures: run.sh LIMIT [TARGET…]
#
# LIMIT is an option of libFuzzer: -max_total_time=600 or -runs=2000. What it finds grows in corpus/, and a
# failure leaves its input in artifacts/: `cargo fuzz run -s none TARGET FILE` shows it again.
set -euo pipefail
cd "$(dirname "$0")"

limit=$1
shift
targets=("$@")
[ $# -gt 0 ] || targets=(parse fmt_round_trip compile verify decode)

if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz: installing cargo-fuzz"
    cargo install cargo-fuzz --version 0.13.2 --locked --quiet
fi

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target"
done

# A policy and its lock are one input.
mkdir -p corpus/compile
for folder in ../fixtures/accept/*/ ../fixtures/allow-lists/*/; do
    {
        cat "$folder/policy.bfp"
        echo "--- lock"
        cat "$folder/policy.bfp.lock" 2>/dev/null || true
    } >"corpus/compile/$(basename "$folder")"
done
# What follows the first byte are edits of a valid bundle; the first byte says of which part.
mkdir -p corpus/verify corpus/decode
for part in 0 1 2 3 4 5 6 7; do
    printf '%b' "\\x0$part\\x08\\x00\\x04\\x01" | tee "corpus/verify/part-$part" >"corpus/decode/part-$part"
done

for target in "${targets[@]}"; do
    seeds=()
    options=(-timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0)
    case $target in
        parse | fmt_round_trip) seeds=(../fixtures/accept ../fixtures/allow-lists ../fixtures/reject) ;;&
        parse | fmt_round_trip | compile) options+=(-dict=bfp.dict -max_len=4096) ;;
        *) options+=(-max_len=256) ;;
    esac
    echo "fuzz: $target"
    # No sanitizer: nothing here is unsafe, and a stable compiler builds it. Overflow and the bounds of
    # indexes are checked all the same.
    cargo fuzz run --sanitizer none "$target" "corpus/$target" "${seeds[@]}" -- "$limit" "${options[@]}"
done
