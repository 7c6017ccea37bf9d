#!/bin/sh
# Builds the compiler and the enforcer of an earlier commit, where they are missing, and prints the folder that has them:
# before.sh COMMIT
set -eu
cache="${BFP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bfp}/releases"
commit=$(git rev-parse --verify "$1^{commit}") || {
    echo "before.sh: commit $1 is not in this clone: fetch the whole history (git fetch --unshallow)" >&2
    exit 1
}
folder="$cache/$commit"
if [ ! -x "$folder/bfpc" ] || [ ! -x "$folder/bfp-enforcer" ]; then
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    git archive "$commit" | tar -x -C "$source"
    # How fast its compiler is matters to nobody.
    (cd "$source" && unset CARGO_TARGET_DIR && just enforcer && cargo build --quiet -p bfp-compiler) >&2
    mkdir -p "$folder"
    for program in enforcer/bfp-enforcer debug/bfpc; do
        cp "$source/target/$program" "$folder/${program##*/}.new"
        mv "$folder/${program##*/}.new" "$folder/${program##*/}"
    done
fi
echo "$folder"
