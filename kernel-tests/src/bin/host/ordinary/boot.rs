//! The boot test: Debian boots to multi-user twice, without bfp and with ten thousand rules that are applied before the
//! network. Both boots are measured, and anything more in the second is a fault.

use std::collections::{BTreeMap, BTreeSet};

use bfp_kernel_tests::Guest;
use bfp_kernel_tests::command::say;

const SCRIPT: &str = include_str!("boot.sh");

/// Applies the policy when the local file systems are there, and before any network and any other service.
const APPLY: &str = "[Unit]
Description=Egress control
DefaultDependencies=no
After=systemd-remount-fs.service systemd-tmpfiles-setup-dev-early.service
Before=sysinit.target network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/bfp-enforcer apply /bfp/rules.bfpb --trust /trust
";

/// Makes the kernel log every call that ends in EPERM.
const WATCH: &str = "[Unit]
Description=Notes of refused calls
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target bfp-apply.service shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'cd /sys/kernel/tracing; echo 8192 >buffer_size_kb; \
echo \"ret == -1\" >events/raw_syscalls/sys_exit/filter; echo 1 >events/raw_syscalls/sys_exit/enable'
";

/// What both boots must report alike, word for word.
const ALIKE: [&str; 2] = ["state", "package"];
/// What the second boot may report less of, but not more.
const NOT_MORE: [&str; 4] = ["failed", "errors", "refusals in the journal", "calls that ended in EPERM"];
/// The enforcer's counters of denials; no process here may meet one.
const COUNTED: [&str; 7] = ["denied", "exclusive", "confined", "not_granted", "overflow", "fault", "dropped"];

/// A call of the enforcer's that must end in EPERM, by which it knows that the kernel calls its programs. It shows that
/// the log of denied calls works, and it is not another program's.
const CANARY: &str = "bfp-enforcer ";

type Sections = BTreeMap<String, Vec<String>>;

pub(crate) fn run(guest: &Guest<'_>) -> Result<bool, String> {
    let watched = guest.clone().unit("bfp-watch.service", "sysinit.target", WATCH);
    let without = boot(&watched)?;
    let with = boot(&watched.unit("bfp-apply.service", "sysinit.target", APPLY))?;
    let mut complaints = compare(&without, &with);
    complaints.extend(enforced(&with));
    for (name, lines) in &with {
        say(&format!("== {name} ({} lines; {} without bfp)", lines.len(), of(&without, name).len()));
        lines.iter().take(30).for_each(|line| say(&format!("  {line}")));
    }
    complaints.iter().for_each(|complaint| say(&format!("FAIL boot: {complaint}")));
    if complaints.is_empty() {
        say("ok  boot: with ten thousand rules it is as without");
    }
    Ok(complaints.is_empty())
}

fn boot(guest: &Guest<'_>) -> Result<Sections, String> {
    let outcome = guest.run(SCRIPT).map_err(|failure| failure.to_string())?;
    Ok(sections(&outcome.text()))
}

fn sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut name = String::new();
    for line in text.lines() {
        match line.strip_prefix("== ") {
            Some(next) => {
                name = next.to_owned();
                sections.insert(name.clone(), Vec::new());
            }
            None => sections.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    sections
}

fn of<'a>(sections: &'a Sections, name: &str) -> &'a [String] {
    sections.get(name).map_or(&[], Vec::as_slice)
}

fn compare(without: &Sections, with: &Sections) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in ALIKE {
        let (before, after) = (of(without, name), of(with, name));
        if before.is_empty() || before != after {
            complaints.push(format!("{name}: without bfp {before:?}, with it {after:?}"));
        }
    }
    for name in NOT_MORE {
        let before: BTreeSet<&String> = of(without, name).iter().collect();
        let more = of(with, name).iter().filter(|line| !before.contains(line) && !line.starts_with(CANARY));
        complaints.extend(more.map(|line| format!("{name}: only with bfp: {line}")));
    }
    for (name, wanted) in [("state", "active"), ("package", "hello from a package")] {
        if !of(with, name).iter().any(|line| line == wanted) {
            complaints.push(format!("{name}: no `{wanted}` in {:?}", of(with, name)));
        }
    }
    complaints
}

/// Whether the policy was in force, and denied nothing.
fn enforced(with: &Sections) -> Vec<String> {
    let status = of(with, "enforcer");
    let mut complaints = Vec::new();
    if !of(with, "calls that ended in EPERM").iter().any(|line| line.starts_with(CANARY)) {
        complaints.push("the enforcer's own refused call was not noted, so others may be missing too".to_owned());
    }
    let since = |unit: &str| {
        let told = of(with, "order").iter().find_map(|line| line.strip_prefix(unit)?.trim().parse().ok());
        told.filter(|microseconds: &u64| *microseconds > 0)
    };
    match (since("bfp-apply.service"), since("network-pre.target"), since("sysinit.target")) {
        (Some(applied), Some(network), Some(system)) if applied <= network && applied <= system => {}
        seen => complaints.push(format!("the policy was not applied before the network and the services: {seen:?}")),
    }
    if !status.iter().any(|line| line.split_whitespace().eq(["policy", "rules"])) {
        complaints.push(format!("the policy is not enforced: {status:?}"));
    }
    for reason in COUNTED {
        let mut counts =
            status.iter().filter_map(|line| line.trim_start().strip_prefix(reason)?.split_whitespace().next());
        match counts.next() {
            Some("0") => {}
            Some(count) => {
                complaints.push(format!("{count} requests met `{reason}`, and no rule is about anybody here"))
            }
            None => complaints.push(format!("`status` does not count `{reason}`")),
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::{compare, enforced, sections};

    #[test]
    fn a_line_that_only_the_second_boot_has_is_a_complaint() {
        let without = sections("== state\nrunning\nactive\n== package\nhello from a package\n== failed\na.service\n");
        let more = sections("== state\nrunning\nactive\n== package\nhello from a package\n== failed\nb.service\n");
        assert!(compare(&without, &without).is_empty());
        assert_eq!(compare(&without, &more), ["failed: only with bfp: b.service"]);
        assert!(!compare(&sections(""), &sections("")).is_empty());
    }

    #[test]
    fn a_counted_refusal_is_a_complaint() {
        let counts = |denied: u32| {
            let reasons = ["exclusive", "confined", "not_granted", "overflow", "fault", "dropped"];
            let rest: String = reasons.iter().map(|reason| format!("  {reason}   0  words\n")).collect();
            let order = "== order\nbfp-apply.service 5\nnetwork-pre.target 6\nsysinit.target 7\n";
            let calls = "== calls that ended in EPERM\nbfp-enforcer 42\n";
            sections(&format!("{order}{calls}== enforcer\npolicy    rules\n  denied   {denied}  refused\n{rest}"))
        };
        assert!(enforced(&counts(0)).is_empty());
        assert_eq!(enforced(&counts(3)).len(), 1);
        assert!(!enforced(&sections("== enforcer\nnothing is enforced\n")).is_empty());
    }
}
