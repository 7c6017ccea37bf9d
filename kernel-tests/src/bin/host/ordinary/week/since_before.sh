# since_before.sh: probers that run since before the policy. They find out that a try succeeds, until it does not.
run() { "$2" tally 80 "$3" 443 >/run/week/log/running-"$1" 2>&1 </dev/null & }
run pattern /opt/rel/r1/bin/app 127.0.0.7
run folder /opt/folder/bin/agent 127.0.0.7
run upper /opt/merged/upper/bin/agent 127.0.0.7
run thief /opt/thief 127.0.0.9
sleep 1
