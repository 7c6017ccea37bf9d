# What an operator does with the units, as root in a Debian system that has booted with them.
# A locked policy answers to the very file that applied it, and to no copy.
PATH=/usr/sbin:$PATH
failed=0
ok() { echo "ok  units: $1"; }
fail() { echo "FAIL units: $1"; failed=1; }
check() { if eval "$2"; then ok "$1"; else fail "$1"; fi; }
revision() { bfp-enforcer status --format json | sed -n 's/.*"revision":\([0-9]*\).*/\1/p'; }
# Waits until something holds, for at most half a minute.
wait_until() { for _ in $(seq 60); do if eval "$1"; then return 0; fi; sleep 0.5; done; return 1; }
# Whether no apply is running: a unit that does one thing is `activating` while it does it.
idle() { case $(systemctl show bfp-apply.service -p ActiveState --value) in inactive | failed) ;; *) return 1 ;; esac; }
since() { systemctl show "$1" -p ActiveEnterTimestampMonotonic --value; }
# Whether /etc/hosts has the names of a revision, or will soon.
has_names() { wait_until "grep -q '^# BEGIN bfp-enforcer hosts: policy payments revision $1\$' /etc/hosts"; }
said() { journalctl -b -u "$1" -o cat --no-pager | grep -qF "$2"; }

refusals() { journalctl -b -u bfp-events.service -o cat --no-pager | grep -cF 192.0.2.1; }
tries() { (exec 3<>/dev/tcp/192.0.2.1/443) 2>/dev/null; bash -c "exec 3<>/dev/tcp/192.0.2.1/443" 2>/dev/null; }

check "systemd finds nothing to say about them" \
    '[ -z "$(systemd-analyze verify --man=no $(ls -d /run/systemd/system/bfp-* | grep -v "\.wants$") 2>&1 | grep -F bfp- |
        tee /dev/stderr)" ]'
check "the policy is in force" '[ "$(revision)" = 1 ] && systemctl -q is-active bfp-enforcer.service'
check "it was before the network and the first services" \
    '[ "$(since bfp-enforcer.service)" -gt 0 ] && [ "$(since bfp-enforcer.service)" -le "$(since network-pre.target)" ] \
        && [ "$(since bfp-enforcer.service)" -le "$(since sysinit.target)" ]'
for unit in bfp-enforcer bfp-apply bfp-events bfp-links bfp-hosts; do
    level=$(systemd-analyze security --no-pager $unit.service | sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/\1/p')
    check "$unit.service is exposed at $level of 10, at most 3" '[ "${level%%.*}" -le 2 ] || [ "$level" = 3.0 ]'
done
check "what is refused is in the journal" 'systemctl -q is-active bfp-events.service
    tries
    wait_until "said bfp-events.service 192.0.2.1"'

check "the names of the policy are in /etc/hosts" 'has_names 1 && grep -q localhost /etc/hosts'
check "links that were followed are watched" 'systemctl -q is-active bfp-links.service'

cp /bfp/next.bfpb /etc/bfp/next && mv /etc/bfp/next /etc/bfp/policy.bfpb
wait_until '! idle'
# It has read its file by now, and goes on for seconds.
sleep 2
cp /bfp/after.bfpb /etc/bfp/next && mv /etc/bfp/next /etc/bfp/policy.bfpb
check "a bundle that is put in place is applied, also while another one is" 'wait_until "[ \$(revision) = 3 ]"'
wait_until 'idle'
check "and so are its names" 'has_names 3'

cp /bfp/foreign.bfpb /etc/bfp/next && mv /etc/bfp/next /etc/bfp/policy.bfpb
check "a bad one fails its unit" 'wait_until "systemctl -q is-failed bfp-apply.service"'
check "and says why" 'said bfp-apply.service "it is signed by the unknown key"'
check "and changes nothing" '[ "$(revision)" = 3 ]'
for bad in $(seq 20); do cp /bfp/foreign.bfpb /etc/bfp/next && mv /etc/bfp/next /etc/bfp/policy.bfpb; sleep 0.3; done
wait_until 'idle'
check "twenty bad ones do not switch the watching off" 'systemctl -q is-active bfp-apply.path'

check "stopping the unit changes nothing" 'systemctl stop bfp-enforcer.service && [ "$(revision)" = 3 ]'

# As when the host comes up: the kernel has forgotten everything, and the bad bundle is in place.
systemctl stop bfp-events.service bfp-links.service
rm -rf /sys/fs/bpf/bfp
check "nothing is enforced" 'bfp-enforcer status | grep -q "nothing is enforced"'
systemctl start bfp-events.service bfp-links.service
sleep 1
check "without a policy its readers wait for one" \
    'systemctl -q is-active bfp-events.service && systemctl -q is-active bfp-links.service'
systemctl start bfp-enforcer.service
check "a bad bundle when the host comes up fails the unit" 'systemctl -q is-failed bfp-enforcer.service'
check "and the last good one is in force" '[ "$(revision)" = 3 ]'
check "and the journal says so" 'said bfp-enforcer.service "the last good bundle is enforced instead"'
told=$(refusals)
check "what is refused is in the journal again" 'wait_until "tries; [ \$(refusals) -gt $told ]"'

mkdir -p /run/systemd/system/bfp-enforcer.timer.d
printf '[Timer]\nOnUnitInactiveSec=\nOnUnitInactiveSec=3\n' >/run/systemd/system/bfp-enforcer.timer.d/soon.conf
systemctl daemon-reload
systemctl restart bfp-enforcer.timer
cp /bfp/after.bfpb /etc/bfp/next && mv /etc/bfp/next /etc/bfp/policy.bfpb
wait_until 'idle'
check "where it has failed it is tried again" 'wait_until "systemctl -q is-active bfp-enforcer.service"'

cp /bfp/locked.bfpb /etc/bfp/next && mv /etc/bfp/next /etc/bfp/policy.bfpb
check "a locked policy is applied" 'wait_until "[ \$(revision) = 4 ]"'
check "and so are its names" 'has_names 4'
systemctl restart bfp-events.service bfp-links.service
told=$(refusals)
check "under a lock what is refused is in the journal" 'wait_until "tries; [ \$(refusals) -gt $told ]"'
check "and links that were followed are watched" 'systemctl -q is-active bfp-links.service'
[ $failed = 0 ] || journalctl -b -o cat --no-pager -u bfp-enforcer -u bfp-apply -u bfp-events -u bfp-links -u bfp-hosts | tail -40
exit $failed
