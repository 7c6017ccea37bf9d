# table.awk -v applied=MS: one row for each event, from /run/week/events (`MS NAME`), /run/week/moments (`FROM TO`, in
# which a link leads to what no apply has seen yet) and the logs of probers (`FIRST LAST COUNT ANSWER`).
# What was let through outside of the documented moments is in the column `let through`.
FILENAME == "/run/week/events" { at[++events] = $1; sub(/^[0-9]+ /, ""); event[events] = $0; next }
FILENAME == "/run/week/moments" { from[++moments] = $1; to[moments] = $2; next }
FNR == 1 { kind = FILENAME; sub(/.*\//, "", kind); class = kind; sub(/-.*/, "", class); last = 0 }
$4 == "absent" { next }
{
    e = 1
    for (i = 2; i <= events; i++) if (at[i] <= $1) e = i
    if (kind == "new-free") { control[e] += $3; if ($4 == "EPERM") refused_control++; next }
    if (class == "running" && $2 <= applied) { before += $3; if ($4 != "EPERM") before_through += $3; last = $2; next }
    tries[e, kind ~ /thief/ ? "thief" : class] += $3
    if (class != "new") { if (last && $1 - last > pause[e]) pause[e] = $1 - last; last = $2 }
    if ($4 == "EPERM") next
    inside = 0
    if (kind ~ /-link$/ && class != "held")
        for (i = 1; i <= (kind == "new-link" ? moments : 1); i++) if ($2 >= from[i] && $1 <= to[i]) inside = 1
    if (inside) moment[e] += $3
    else {
        through[e] += $3
        if (++told <= 10) print "let through: " kind " " $0 " during " event[e] >"/dev/stderr"
    }
}
END {
    bad = refused_control
    for (e = 1; e <= events; e++) {
        printf "row %-44s %9d %7d %7d %7d %9d %8d %7d\n", event[e], tries[e, "running"] + tries[e, "held"] + tries[e, "moment"],
            tries[e, "new"], tries[e, "thief"], control[e], through[e], moment[e], pause[e]
        if (through[e] || !tries[e, "running"] || !tries[e, "new"] || !tries[e, "thief"] || !control[e] || pause[e] > 15000) bad++
    }
    printf "row %-44s %9d %7s %7s %7s %9s %8s %7s\n", "  (before the policy, let through: " before_through + 0 ")", before, "", "", "", "", "", ""
    if (!before_through) bad++
    exit bad ? 1 : 0
}
