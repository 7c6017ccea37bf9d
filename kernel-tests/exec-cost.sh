#!/bin/bash
# exec-cost.sh PROGRAMS [SERIES [ENFORCER BFPC]]: what a policy of ten thousand programs adds to starting a program that it
# does not name, and to one that reads and writes 20 000 times (`copy`), in guest instructions: under QEMU with
# `-icount shift=0`, where the guest's clock counts instructions. Prints the figures without a policy, with it, and without it
# again, and their ratio. Also the system calls of `apply`.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$1
series=${2:-6.12}
enforcer=${3:-$programs/bfp-enforcer}
bfpc=${4:-$programs/bfpc}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Counting needs one thread for the guest's processors.
cat >"$work/qemu" <<'Q'
#!/bin/bash
arguments=()
for argument in "$@"; do
    [ "$argument" = "tcg,thread=multi" ] && argument="tcg,thread=single"
    arguments+=("$argument")
done
exec qemu-system-x86_64 "${arguments[@]}" -icount shift=0,sleep=off
Q
chmod +x "$work/qemu"

{
    echo "policy ten-thousand-programs"
    for number in $(seq 0 9999); do echo "\"/opt/many/program-$number\" -> only 10.0.0.0/8"; done
} >"$work/policy.bfp"
"$bfpc" keygen "$work/key" >/dev/null
"$bfpc" build "$work/policy.bfp" -o "$work/policy.bfpb" --key "$work/key" --revision 1 >/dev/null 2>&1
mkdir -p "$work/tree/opt/many"
(cd "$work/tree/opt/many" && for number in $(seq 0 9999); do : >"program-$number"; done)

RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release -p bfp-kernel-tests --bin exec_cost \
    --target x86_64-unknown-linux-gnu
cat >"$work/run" <<'R'
#!/bin/sh
mkdir -m 700 /state
cat >/bin/copy <<'C'
#!/bin/sh
exec dd if=/dev/zero of=/dev/null bs=1 count=20000 2>/dev/null
C
chmod +x /bin/copy
exec_cost without 200 /bin/true
exec_cost copy-without 5 /bin/copy
bfp-enforcer --state /state apply /bundle --trust /key.pub || exit
exec_cost with 200 /bin/true
exec_cost copy-with 5 /bin/copy
bfp-enforcer remove >/dev/null
exec_cost without-again 200 /bin/true
exec_cost copy-without-again 5 /bin/copy
strace -f -c -o /tmp/calls bfp-enforcer --state /state apply /bundle --trust /key.pub >/dev/null
awk '$NF == "total" { print "system-calls", $(NF - 1) == "total" ? $3 : $4 }' /tmp/calls
tail -2 /tmp/calls
R
chmod +x "$work/run"
BFP_QEMU=$work/qemu cargo run --quiet -p bfp-kernel-tests --bin vm -- --kernel "$series" --memory 768 --timeout 1200 \
    --file "$enforcer:/bin/bfp-enforcer" --file "$work/policy.bfpb:/bundle" --file "$work/key.pub:/key.pub" \
    --file target/x86_64-unknown-linux-gnu/release/exec_cost:/bin/exec_cost --file /usr/bin/strace:/bin/strace \
    --file "$work/run:/bin/run" --tree "$work/tree:/" -- run | tee "$work/said"
awk '$1 == "without" { before = $2 } $1 == "with" { printf "ratio %.4f\n", $2 / before }
    $1 == "copy-with" { copy = $2 } $1 == "copy-without-again" { printf "copy-ratio %.4f\n", copy / $2 }' "$work/said"
