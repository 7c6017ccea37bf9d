# An ordinary week of a host, as root in a Debian system that has booted with the units and the probers of week.rs.
# $STAGE says which of its days this is: between two of them the machine loses its power.
failed=0
ok() { echo "ok  week: $1"; }
fail() { echo "FAIL week: $1"; failed=1; }
check() { if eval "$2"; then ok "$1"; else fail "$1"; return 1; fi; }
now() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}0"; }
# From now on, this is what happens.
event() { echo "$(now) $STAGE: $1" >>/run/week/events; }
goes_on() { sleep "${1:-4}"; }
# Waits until something holds, for at most five minutes: under emulation an apply takes more than one.
wait_until() {
    local until=$(($(now) + 300000))
    while [ "$(now)" -lt $until ]; do
        if eval "$1"; then return 0; fi
        sleep 0.25
    done
    return 1
}
# Runs a command and says whether its exit code is the one that is documented.
exits() {
    local wanted=$1 name=$2 got=0
    shift 2
    "$@" >/tmp/out 2>&1 || got=$?
    [ "$got" = "$wanted" ] || sed 's/^/    /' /tmp/out
    check "$name: exit $got" "[ $got = $wanted ]"
}
status_of() { bfp-enforcer status --format json; }
revision() { status_of | sed -n 's/.*"revision":\([0-9]*\).*/\1/p'; }
state_of() { status_of | grep -oF "{\"path\":\"$1\",\"state\":\"$2\""; }
# Whether the link was followed to there when what is enforced was applied.
followed() { status_of | grep -qF "{\"link\":\"/opt/app/current/bin/app\",\"target\":\"$1\"}"; }
# When a unit's command was started, or has ended, in milliseconds since the machine came up.
started() { echo $(($(systemctl show "$1" -p ExecMainStartTimestampMonotonic --value) / 1000)); }
ended() { echo $(($(systemctl show "$1" -p ExecMainExitTimestampMonotonic --value) / 1000)); }
has_ended() { case $(systemctl show "$1" -p ActiveState --value) in inactive | failed) ;; *) return 1 ;; esac; }
said() { journalctl -b -u "$1" -o cat --no-pager | grep -qF "$2"; }
hold() { "$2" tally 80 127.0.0.7 443 >/run/week/log/"$1" 2>&1 </dev/null & }
refused() { [ "$("$1" tcp 127.0.0.7 443)" = EPERM ]; }
granted() { [ "$("$1" sendto 127.0.0.9 443)" = ok ]; }
switch() { ln -s "$2" "$1.next" && mv -T "$1.next" "$1"; }

event "nothing happens"
check "the state has a filesystem of its own, and the layers are mounted" \
    'mountpoint -q /var/lib/bfp && mountpoint -q /opt/merged && systemctl -q is-active week-mounts.service' ||
    journalctl -b -u week-mounts.service -o cat --no-pager | sed 's/^/    /'
boot_status=$(systemctl show bfp-enforcer.service -p ExecMainStatus --value)
applied=$(ended bfp-enforcer.service)
echo "the policy is in force $applied ms after the machine came up; bfp-enforcer.service ended with $boot_status"
hold held-link /opt/app/current/bin/app
[ ! -e /usr/bin/week-agent ] || hold held-package /usr/bin/week-agent

package() {
    mkdir -p "/tmp/$1/DEBIAN" "/tmp/$1/usr/bin"
    cp /usr/bin/probe "/tmp/$1/usr/bin/week-agent"
    # Another build.
    echo "$1" >>"/tmp/$1/usr/bin/week-agent"
    printf 'Package: week-agent\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody <nobody@example.invalid>\nDescription: an agent\n' \
        "$1" >"/tmp/$1/DEBIAN/control"
    dpkg-deb -Znone --root-owner-group --build "/tmp/$1" "/root/week-agent_$1.deb" >/dev/null
}
pressure() {
    find / -xdev >/dev/null 2>&1
    sync
    for what in 3 2 3; do echo $what >/proc/sys/vm/drop_caches; done
    python3 - <<'P'
import re, time
open('/proc/self/oom_score_adj', 'w').write('1000')
left = int(re.search(r'MemAvailable:\s+(\d+)', open('/proc/meminfo').read())[1])
held = bytearray((left - 40000) * 1024)
for page in range(0, len(held), 4096):
    held[page] = 1
time.sleep(3)
P
}
monday() {
    check "the policy is in force when the machine comes up: exit $boot_status" '[ "$boot_status" = 0 ] && [ "$(revision)" = 1 ]'
    exits 0 "all is well, says status" bfp-enforcer status
    check "the link holds the grant" 'granted /opt/app/current/bin/app'
    goes_on

    event "a release link is switched"
    before=$(now)
    switch /opt/app/current r2
    hold moment-link /opt/app/r2/bin/app
    switch /opt/rel/current r2
    wait_until 'followed /opt/app/r2/bin/app && has_ended bfp-apply.service'
    check "bfp-links.service has it applied again" 'followed /opt/app/r2/bin/app'
    after=$(ended bfp-apply.service)
    echo "$before $after" >>/run/week/moments
    echo "moment: $(($(started bfp-apply.service) - before)) ms from the switch to the begin of the apply that follows," \
        "$((after - before)) ms to its end"
    check "it names the process that was started in between, and ends well" \
        'said bfp-apply.service "Finished bfp-apply.service" && said bfp-apply.service "started \`/opt/app/current/bin/app\` before the policy"' ||
        journalctl -b -u bfp-apply.service -o cat --no-pager | sed 's/^/    /'
    event "the new release runs"
    check "a new release that is started then holds the grant" 'granted /opt/app/current/bin/app'
    exits 0 "all is well again" bfp-enforcer status
    goes_on

    event "a link is switched, and nobody watches"
    systemctl stop bfp-links.service
    before=$(now)
    switch /opt/app/current r3
    exits 1 "status is degraded" bfp-enforcer status
    check "and says which link" 'grep -qF "leads" /tmp/out && grep -qF "apply the policy again" /tmp/out'
    check "a release that no apply has seen holds no grant" '! granted /opt/app/r3/bin/app'
    check "the one before still does, and is restricted" 'granted /opt/app/r2/bin/app && refused /opt/app/r2/bin/app'
    goes_on
    exits 0 "apply follows the link" bfp-enforcer apply /etc/bfp/policy.bfpb
    echo "$before $(now)" >>/run/week/moments
    event "the next release runs"
    exits 0 "all is well again" bfp-enforcer status
    exits 0 "applied once more, nothing changes" bfp-enforcer apply /etc/bfp/policy.bfpb
    check "and it says so" 'grep -qF "is enforced already" /tmp/out'
    check "the new release holds the grant" 'granted /opt/app/current/bin/app'
    check "the release before it holds none any more" '! granted /opt/app/r2/bin/app'
    check "and is restricted still" 'refused /opt/app/r2/bin/app && refused /opt/app/r1/bin/app'
    check "which status tells" 'bfp-enforcer status | grep -q "^before *[^ ]*/opt/app/r2/bin/app"'
    systemctl start bfp-links.service
    goes_on

    event "a package is installed over it"
    package 1.0 && package 2.0
    dpkg -i /root/week-agent_1.0.deb >/dev/null || fail "dpkg"
    goes_on
    event "the package is upgraded"
    dpkg -i /root/week-agent_2.0.deb >/dev/null || fail "dpkg"
    check "the new build holds the grant" 'granted /usr/bin/week-agent'
    goes_on
    event "the package is removed"
    dpkg -r week-agent >/dev/null 2>&1 || fail "dpkg"
    check "status says that it is not here" '[ -n "$(state_of /usr/bin/week-agent not_here)" ]'
    exits 1 "and is degraded" bfp-enforcer status
    exits 1 "apply tells it" bfp-enforcer apply /etc/bfp/policy.bfpb
    check "by its name" 'grep -qF "\`/usr/bin/week-agent\` is not on this host: nobody holds its grants" /tmp/out'
    exits 1 "applied anew, it tells it too" bfp-enforcer apply --again /etc/bfp/policy.bfpb
    goes_on
    event "the package is installed again"
    dpkg -i /root/week-agent_1.0.deb >/dev/null || fail "dpkg"
    check "no apply is needed for its grant" 'granted /usr/bin/week-agent'
    check "status says that it is there" '[ -n "$(state_of /usr/bin/week-agent bound)" ]'
    goes_on
    event "its file is replaced by a rename"
    cp /usr/bin/probe /usr/bin/.week-agent && mv -T /usr/bin/.week-agent /usr/bin/week-agent
    check "the new file holds the grant" 'granted /usr/bin/week-agent'
    goes_on

    event "a folder is replaced"
    cp -a /opt/folder /opt/folder.new
    mv -T /opt/folder /opt/folder.old && mv -T /opt/folder.new /opt/folder
    goes_on
    event "it is exchanged with the old one"
    mv --exchange -T /opt/folder /opt/folder.old || fail "mv --exchange"
    goes_on
    event "the old one is deleted"
    rm -r /opt/folder.old
    goes_on

    event "an overlay is evicted"
    echo "the folder in the overlay is inode $(stat -c %i /opt/merged/lower/bin)"
    pressure
    echo "and $(stat -c %i /opt/merged/lower/bin) after it was evicted"
    exits 0 "all is well" bfp-enforcer status

    event "/var/lib/bfp is full"
    check "no room is left" "sh /opt/week/fill.sh"
    exits 0 "what is enforced is applied all the same" bfp-enforcer apply /etc/bfp/policy.bfpb
    exits 4 "what cannot be remembered is not applied" bfp-enforcer apply /opt/week/next.bfpb
    check "and what was enforced stays" '[ "$(revision)" = 1 ]'
    goes_on
}

# It has restarted, and nothing is new to it.
tuesday() {
    check "it came up with a full disk: exit $boot_status" '[ "$boot_status" = 0 ] && [ "$(revision)" = 1 ]'
    check "no room is left" '! dd if=/dev/zero of=/var/lib/bfp/full.last bs=1024 count=1 2>/dev/null'
    exits 0 "all is well" bfp-enforcer status
    check "the link holds the grant" 'granted /opt/app/current/bin/app'
    goes_on
    event "the next bundle comes, and no room is left"
    mv /opt/week/next.bfpb /etc/bfp/policy.bfpb
    wait_until 'has_ended bfp-apply.service && systemctl -q is-failed bfp-apply.service'
    check "it is not applied" 'systemctl -q is-failed bfp-apply.service && [ "$(revision)" = 1 ]'
    goes_on
}

# It has restarted with a bundle that it has no room to remember.
wednesday() {
    check "it came up with a full disk and the next bundle: exit $boot_status" '[ "$boot_status" = 1 ] && [ "$(revision)" = 2 ]'
    check "and says so" 'said bfp-enforcer.service "No space left"'
    goes_on
    event "room is made"
    rm -f /var/lib/bfp/full.*
    exits 0 "applied anew, it is remembered" bfp-enforcer apply --again /etc/bfp/policy.bfpb
    goes_on
    event "the package is gone for good"
    dpkg -r week-agent >/dev/null 2>&1 || fail "dpkg"
    exits 1 "apply tells it" bfp-enforcer apply /etc/bfp/policy.bfpb
    goes_on
}

# It has restarted without a program that the policy names.
thursday() {
    check "it came up without a program: exit $boot_status" '[ "$boot_status" = 1 ] && [ "$(revision)" = 2 ]'
    check "the unit is failed, and the policy in force" 'systemctl -q is-failed bfp-enforcer.service'
    check "it says which program" 'said bfp-enforcer.service "\`/usr/bin/week-agent\` is not on this host"'
    check "status says that it is not here" '[ -n "$(state_of /usr/bin/week-agent not_here)" ]'
    goes_on
    event "the package is installed after all"
    dpkg -i /root/week-agent_2.0.deb >/dev/null || fail "dpkg"
    check "no apply is needed for its grant" 'granted /usr/bin/week-agent'
    exits 0 "and apply finds nothing to tell" bfp-enforcer apply /etc/bfp/policy.bfpb
    goes_on
}

$STAGE
touch /run/week/moments
awk -v applied="$applied" -f /opt/week/table.awk /run/week/events /run/week/moments /run/week/log/* || fail "a prober"
[ $failed = 0 ] || journalctl -b -o short-monotonic --no-pager -u bfp-enforcer -u bfp-apply -u bfp-links | tail -40
sync
exit $failed
