#!/bin/sh
# Builds the enforcer of an earlier commit, where it is missing, and prints where it is: before.sh COMMIT
set -eu
cache="${BFP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bfp}/releases"
commit=$(git rev-parse --verify "$1^{commit}")
program="$cache/$commit/bfp-enforcer"
if [ ! -x "$program" ]; then
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    git archive "$commit" | tar -x -C "$source"
    (cd "$source" && just enforcer) >&2
    mkdir -p "$cache/$commit"
    cp "$source/target/enforcer/bfp-enforcer" "$program.new"
    mv "$program.new" "$program"
fi
echo "$program"
