//! The kernel's resources: BPF programs, maps and links, the memory of maps, slabs, and available memory.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// How much the slabs of a machine of this size may grow after as much traffic, in KiB: a leak of 128 bytes per attempt
/// shows after some fifty thousand.
const SLAB_SLACK_KIB: u64 = 6 * 1024;
const MEMORY_SLACK_KIB: u64 = 24 * 1024;

/// The resources at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resources {
    programs: usize,
    maps: usize,
    links: usize,
    /// The memory of all maps.
    map_bytes: u64,
    slab_kib: u64,
    available_kib: u64,
}

impl Resources {
    /// Measures once everything has settled.
    pub(super) fn measure() -> Result<Self, String> {
        // BPF objects are freed after grace periods, sockets after their last timers.
        sleep(Duration::from_secs(65));
        let sync = Command::new("sync").status().map_err(|error| format!("sync: {error}"))?;
        if !sync.success() {
            return Err(format!("sync: {sync}"));
        }
        // Pages on the processors' own lists are free, but not counted as such: compacting returns them.
        for (file, value) in [("drop_caches", "3"), ("compact_memory", "1")] {
            fs::write(format!("/proc/sys/vm/{file}"), value).map_err(|error| format!("{file}: {error}"))?;
        }
        sleep(Duration::from_secs(2));
        let maps = listed("map")?;
        Ok(Resources {
            programs: listed("prog")?.len(),
            links: listed("link")?.len(),
            map_bytes: maps.iter().filter_map(|map| map.get("bytes_memlock")?.as_u64()).sum(),
            maps: maps.len(),
            slab_kib: meminfo("SUnreclaim")?,
            available_kib: meminfo("MemAvailable")?,
        })
    }

    /// What has grown since.
    pub(super) fn leaks(&self, later: &Resources) -> Vec<String> {
        let mut leaks = Vec::new();
        for (what, before, after) in [
            ("programs", self.programs, later.programs),
            ("maps", self.maps, later.maps),
            ("links", self.links, later.links),
        ] {
            if before != after {
                leaks.push(format!("{before} {what} of BPF became {after}"));
            }
        }
        if self.map_bytes != later.map_bytes {
            leaks.push(format!("the maps' {} bytes became {}", self.map_bytes, later.map_bytes));
        }
        if later.slab_kib > self.slab_kib + SLAB_SLACK_KIB {
            leaks.push(format!("slabs of {} KiB became {}", self.slab_kib, later.slab_kib));
        }
        if later.available_kib + MEMORY_SLACK_KIB < self.available_kib {
            leaks.push(format!("{} KiB available became {}", self.available_kib, later.available_kib));
        }
        leaks
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} programs, {} maps ({} KiB), {} links of BPF; {} KiB of slabs, {} KiB available",
            self.programs,
            self.maps,
            self.map_bytes / 1024,
            self.links,
            self.slab_kib,
            self.available_kib
        )
    }
}

/// What bpftool lists of a kind.
fn listed(kind: &str) -> Result<Vec<serde_json::Value>, String> {
    let output = Command::new("bpftool").args(["-j", kind, "list"]).output();
    let output = output.map_err(|error| format!("cannot run bpftool: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("bpftool {kind}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn meminfo(name: &str) -> Result<u64, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| format!("/proc/meminfo: {error}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no `{name}` in /proc/meminfo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told_and_slack_is_not() {
        let before =
            Resources { programs: 20, maps: 30, links: 20, map_bytes: 4096, slab_kib: 50_000, available_kib: 600_000 };
        assert!(before.leaks(&before).is_empty());
        let noise = Resources { slab_kib: 53_000, available_kib: 590_000, ..before.clone() };
        assert!(before.leaks(&noise).is_empty());
        let worse = Resources { programs: 40, map_bytes: 8192, slab_kib: 60_000, ..before.clone() };
        assert_eq!(before.leaks(&worse).len(), 3);
    }
}
