//! How much memory the system leaves to a program.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that a program can take, where the system says: what is free, what its control group leaves, or
/// what its own limits (`ulimit -v`, `ulimit -d`) do, whichever is least.
#[must_use]
pub fn available() -> Option<u64> {
    free(Path::new("/"))
}

/// [`available`] of a system whose files are below `root`.
fn free(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let bytes = |name| kilobytes(&text, name);
    let all = bytes("MemTotal:")?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().filter_map(|line| Hierarchy::of(root, line));
    let left = groups.filter_map(|hierarchy| hierarchy.left(all));
    let limits = LIMITS.into_iter().filter_map(|limit| limit.left(root));
    left.chain(limits).chain([bytes("MemAvailable:")?]).min()
}

/// Bytes of a line of `/proc` that begins with `name`, in kilobytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

/// A limit of this process.
///
/// # Source
/// Linux, `Documentation/filesystems/proc.rst`; getrlimit(2).
struct Limit {
    /// Its line of `/proc/self/limits`.
    name: &'static str,
    /// What counts against it, a line of `/proc/self/status`.
    used: &'static str,
}

const LIMITS: [Limit; 2] = [
    Limit {
        name: "Max address space",
        used: "VmSize:",
    },
    Limit {
        name: "Max data size",
        used: "VmData:",
    },
];

impl Limit {
    fn left(&self, root: &Path) -> Option<u64> {
        let read = |file: &str| fs::read_to_string(root.join("proc/self").join(file)).ok();
        let limits = read("limits")?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(self.name))?;
        // Without a limit it is no number.
        let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(limit.saturating_sub(kilobytes(&read("status")?, self.used)?))
    }
}

/// A hierarchy of control groups that limits memory.
///
/// # Source
/// Linux, `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`.
struct Hierarchy {
    /// Where its files are.
    mount: PathBuf,
    /// The group of this process, from there on.
    group: PathBuf,
    /// Files of a limit and of what is in use.
    files: [&'static str; 2],
    /// What of that is cache of files, which is given up when it is needed: a line of `memory.stat`.
    cache: &'static str,
}

impl Hierarchy {
    /// That of a line of `/proc/self/cgroup`: a number, controllers and a path.
    fn of(root: &Path, line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let group = PathBuf::from(path.trim_start_matches('/'));
        let mount = root.join("sys/fs/cgroup");
        if controllers.is_empty() {
            let (files, cache) = (["memory.max", "memory.current"], "inactive_file");
            Some(Self {
                mount,
                group,
                files,
                cache,
            })
        } else if controllers.split(',').any(|name| name == "memory") {
            Some(Self {
                mount: mount.join("memory"),
                group,
                files: ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                cache: "total_inactive_file",
            })
        } else {
            None
        }
    }

    /// Bytes that the tightest of the group and those around it leaves; nothing without a limit below `all` the
    /// memory there is. In a container the group may be one that is seen from outside only; the mount itself then is
    /// its own.
    fn left(&self, all: u64) -> Option<u64> {
        let groups = self.group.ancestors().map(|group| self.mount.join(group));
        groups.filter_map(|group| self.left_in(&group, all)).min()
    }

    fn left_in(&self, group: &Path, all: u64) -> Option<u64> {
        let number = |file: &str| -> Option<u64> {
            let text = fs::read_to_string(group.join(file)).ok()?;
            text.trim().parse().ok()
        };
        let [limit, used] = self.files;
        let limit = number(limit).filter(|limit| *limit < all)?;
        let used = number(used)?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| {
            let bytes = line.strip_prefix(self.cache)?.trim();
            bytes.parse().ok()
        });
        let used = used.saturating_sub(cache.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const MEMINFO: &str = "MemTotal: 16384 kB\nMemFree: 1 kB\nMemAvailable:   8192 kB\n";

    /// A system of such files.
    fn system(files: &[(&str, &str)]) -> TempDir {
        let dir = TempDir::new().unwrap();
        for (name, text) in [("proc/meminfo", MEMINFO)].iter().chain(files) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_least_of_what_is_free_and_what_groups_leave() {
        const KIB: u64 = 1024;
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
            Max data size             unlimited  unlimited  bytes\n\
            Max address space         3145728    unlimited  bytes\n";
        let status = "Name:\tminigpt\nVmSize:\t    1024 kB\nVmData:\t 512 kB\n";
        let cases: [(&[(&str, &str)], u64); 7] = [
            (
                &[("proc/self/limits", limits), ("proc/self/status", status)],
                2048 * KIB,
            ),
            (&[], 8192 * KIB),
            // The group itself has no limit, the one around it has; its cache can be had.
            (
                &[
                    ("proc/self/cgroup", "0::/user.slice/run-7.scope\n"),
                    ("sys/fs/cgroup/user.slice/run-7.scope/memory.max", "max\n"),
                    (
                        "sys/fs/cgroup/user.slice/run-7.scope/memory.current",
                        "4096\n",
                    ),
                    ("sys/fs/cgroup/user.slice/memory.max", "2097152\n"),
                    ("sys/fs/cgroup/user.slice/memory.current", "1048576\n"),
                    (
                        "sys/fs/cgroup/user.slice/memory.stat",
                        "file 9\ninactive_file 524288\n",
                    ),
                ],
                1536 * KIB,
            ),
            // A container: its group has another name outside.
            (
                &[
                    ("proc/self/cgroup", "0::/docker/abc\n"),
                    ("sys/fs/cgroup/memory.max", "1048576\n"),
                    ("sys/fs/cgroup/memory.current", "1040384\n"),
                ],
                8 * KIB,
            ),
            // Version 1, beside hierarchies of other things; without a limit it says a huge one.
            (
                &[
                    (
                        "proc/self/cgroup",
                        "9:cpu,cpuacct:/a\n5:memory:/a/b\n1:name=systemd:/a\n0::/\n",
                    ),
                    (
                        "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                        "9223372036854771712\n",
                    ),
                    ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "5\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n"),
                    ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1048576\n"),
                    (
                        "sys/fs/cgroup/memory/a/memory.stat",
                        "total_inactive_file 2048\n",
                    ),
                ],
                2 * KIB,
            ),
            // More in use than is allowed.
            (
                &[
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/memory.max", "1000\n"),
                    ("sys/fs/cgroup/memory.current", "2000\n"),
                ],
                0,
            ),
            // Nonsense limits nothing.
            (
                &[
                    ("proc/self/cgroup", "no line\n0::\n::::\n"),
                    ("sys/fs/cgroup/memory.max", "soon\n"),
                    ("sys/fs/cgroup/memory.current", "2000\n"),
                ],
                8192 * KIB,
            ),
        ];
        for (files, expected) in cases {
            let dir = system(files);
            assert_eq!(free(dir.path()), Some(expected), "{files:?}");
        }
        assert_eq!(free(TempDir::new().unwrap().path()), None);
    }

    #[test]
    fn this_system_has_some() {
        if cfg!(target_os = "linux") {
            assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
