//! Settings and what this machine allows: read once, where a process starts, and passed down.

use std::path::{Path, PathBuf};
use sysinfo::System;

/// The settings that come from the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `PLAIT_ADDRESS`: a join line, or a file that holds one.
    pub address: Option<String>,
    /// `PLAIT_HOME`: where keys and join files are kept.
    pub home: PathBuf,
    /// `PLAIT_LOG`: the tracing filter of plait's own processes.
    pub log: Option<String>,
    /// Where objects go for which there is no memory.
    pub spill_dir: SpillDir,
}

/// Where objects go for which there is no memory: to `PLAIT_SPILL_DIR`, wherever that is; else into the temporary folder, or
/// into `/var/tmp`, but not into one that is memory itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpillDir {
    /// Into this one.
    Folder(PathBuf),
    /// Nowhere: there is only this one, which is memory itself.
    Memory(PathBuf),
}

impl SpillDir {
    fn choose(temporary: PathBuf, is_memory: impl Fn(&Path) -> Option<bool>) -> Self {
        let spacious = PathBuf::from("/var/tmp");
        match is_memory(&temporary) {
            Some(false) => Self::Folder(temporary),
            _ if is_memory(&spacious) == Some(false) => Self::Folder(spacious),
            Some(true) => Self::Memory(temporary),
            // What is wrong with it is found out once it is used.
            None => Self::Folder(temporary),
        }
    }

    /// The folder in question.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Memory(path) => path,
        }
    }
}

/// What `statfs` calls the file systems that are memory.
const MEMORY_FILE_SYSTEMS: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Whether what lies in a folder lies in memory; nothing if there is no such folder.
fn is_memory(folder: &Path) -> Option<bool> {
    let stat = rustix::fs::statfs(folder).ok()?;
    // The kinds are numbers of 32 bits, with or without a sign.
    Some(MEMORY_FILE_SYSTEMS.contains(&(stat.f_type as u32)))
}

impl Settings {
    /// Reads the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var(name).ok(), is_memory)
    }

    fn read(variable: impl Fn(&str) -> Option<String>, is_memory: impl Fn(&Path) -> Option<bool>) -> Self {
        let set = |name: &str| variable(name).filter(|text| !text.is_empty());
        let default = || Path::new(set("HOME").as_deref().unwrap_or("/")).join(".config/plait/default");
        let home = set("PLAIT_HOME").map_or_else(default, PathBuf::from);
        let temporary = || set("TMPDIR").unwrap_or_else(|| "/tmp".into()).into();
        let spill_dir = match set("PLAIT_SPILL_DIR") {
            Some(folder) => SpillDir::Folder(folder.into()),
            None => SpillDir::choose(temporary(), is_memory),
        };
        Self { address: set("PLAIT_ADDRESS"), home, log: set("PLAIT_LOG"), spill_dir }
    }
}

/// Whether processes of one machine hand large values to each other as memory, not only as bytes: unless
/// `PLAIT_SHARE_MEMORY=0` says no.
#[must_use]
pub fn shares_memory() -> bool {
    std::env::var_os("PLAIT_SHARE_MEMORY").is_none_or(|text| text != "0")
}

/// The part of the memory that values may take while they live with a coordinator.
const HELD_PART: u64 = 4;

/// The part of the memory that objects may take while they stay with a worker: as much as may live with a coordinator,
/// which may be on the same machine.
const STORE_PART: u64 = 4;

/// The memory of a machine that does not tell, in bytes.
const ASSUMED_MEMORY: u64 = 4 << 30;

/// Bytes of values that may live with a coordinator on this machine.
#[must_use]
pub fn held_bytes_limit() -> u64 {
    memory_limit() / HELD_PART
}

/// Bytes of objects that may lie in a worker's memory on this machine; beyond that they go to disk.
#[must_use]
pub fn store_bytes_limit() -> u64 {
    memory_limit() / STORE_PART
}

/// Bytes of memory that this process may use: the machine's, or less where a cgroup says so.
#[must_use]
pub fn memory_limit() -> u64 {
    let machine = told(System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.total_memory()
    }));
    cgroup_limits(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")).fold(machine, u64::min)
}

/// What the machine tells of its memory; 0 is what it says where `/proc` is hidden.
const fn told(memory: u64) -> u64 {
    if memory == 0 { ASSUMED_MEMORY } else { memory }
}

/// The limits of this process's cgroups and all above them, of both versions; unlimited ones are left out or huge.
fn cgroup_limits(membership: &Path, root: &Path) -> impl Iterator<Item = u64> {
    let membership = std::fs::read_to_string(membership).unwrap_or_default();
    let files: Vec<_> = membership.lines().filter_map(|line| limit_files(line, root)).flatten().collect();
    files.into_iter().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// The files that may hold a limit for a line of `/proc/self/cgroup` (`4:memory:/a/b` or `0::/a/b`).
fn limit_files(line: &str, root: &Path) -> Option<Vec<PathBuf>> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    let ancestors = Path::new(path.trim_start_matches('/')).ancestors();
    Some(ancestors.map(|group| root.join(group).join(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, text)| (*text).to_owned());
        Settings::read(variable, |folder| (!folder.starts_with("/none")).then(|| folder.starts_with("/dev/shm")))
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let settings = read(&[("PLAIT_ADDRESS", ""), ("PLAIT_HOME", ""), ("HOME", "/home/ada")]);
        assert_eq!(settings.address, None);
        assert_eq!(settings.home, PathBuf::from("/home/ada/.config/plait/default"));
        assert_eq!(read(&[("PLAIT_HOME", "/keys"), ("HOME", "/home/ada")]).home, PathBuf::from("/keys"));
    }

    #[test]
    fn objects_go_where_they_are_told_to_or_where_there_is_a_disk() {
        let folder = |path: &str| SpillDir::Folder(path.into());
        let spill = |variables| read(variables).spill_dir;
        assert_eq!(spill(&[("PLAIT_SPILL_DIR", "/dev/shm"), ("TMPDIR", "/small")]), folder("/dev/shm"));
        assert_eq!([spill(&[("TMPDIR", "/small")]), spill(&[])], ["/small", "/tmp"].map(folder));
        assert_eq!([spill(&[("TMPDIR", "/dev/shm")]), spill(&[("TMPDIR", "/none")])], ["/var/tmp"; 2].map(folder));
        let choose = |says| SpillDir::choose("/tmp".into(), |_| says);
        assert_eq!([choose(Some(true)), choose(None)], [SpillDir::Memory("/tmp".into()), folder("/tmp")]);
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        let is_memory = |folder: &str| is_memory(Path::new(folder));
        assert_eq!([is_memory("/dev/shm"), is_memory("/proc"), is_memory("/none")], [Some(true), Some(false), None]);
    }

    #[test]
    fn the_tightest_cgroup_above_this_process_counts() {
        let root = std::env::temp_dir().join(format!("plait-cgroup-{}", std::process::id()));
        for (path, text) in [
            ("memory/outer/memory.limit_in_bytes", "5000\n"),
            ("memory/outer/inner/memory.limit_in_bytes", "9223372036854771712\n"),
            ("unified/memory.max", "max\n"),
            ("slice/memory.max", "7000\n"),
        ] {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let membership = root.join("membership");
        std::fs::write(&membership, "4:cpu,memory:/outer/inner\n3:cpuset:/\n0::/slice/leaf\n").unwrap();
        let limit = cgroup_limits(&membership, &root).min();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(limit, Some(5_000));
    }

    #[test]
    fn a_machine_that_tells_nothing_has_memory_all_the_same() {
        assert_eq!([told(0), told(1 << 30)], [ASSUMED_MEMORY, 1 << 30]);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(held_bytes_limit() > 0 && memory_limit() >= held_bytes_limit());
    }
}
