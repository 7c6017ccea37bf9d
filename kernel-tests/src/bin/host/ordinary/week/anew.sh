# anew.sh: starts each program anew, about every second, and notes when it was started, when it had ended, and what it
# was answered.
now() { read -r up _ </proc/uptime; ms=${up/./}0; }
try() {
    now
    local first=$ms answer
    answer=$("$2" $how "$3" 443 2>&1)
    now
    case $answer in
    *"No such file or directory"*) answer=absent ;;
    esac
    echo "$first $ms 1 ${answer:-nothing}" >>/run/week/log/new-"$1"
}
while :; do
    for how in tcp sendto; do
        try link /opt/app/current/bin/app 127.0.0.7
        try pattern /opt/rel/current/bin/app 127.0.0.7
        try package /usr/bin/week-agent 127.0.0.7
        try folder /opt/folder/bin/agent 127.0.0.7
        try lower /opt/merged/lower/bin/agent 127.0.0.7
        try upper /opt/merged/upper/bin/agent 127.0.0.7
        try thief /opt/thief 127.0.0.9
        # One that may: were everything refused, no number of this would mean anything.
        try free /opt/thief 127.0.0.8
        sleep 0.5
    done
done
