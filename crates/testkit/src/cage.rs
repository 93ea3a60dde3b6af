//! Limits the memory of a process and its descendants with a control group, as systemd would.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// A limit for one process and its descendants. The system enforces it if the machine has writable control groups. Otherwise the
/// memory is only measured. Dropping it after the end of the process removes the group.
pub struct Cage {
    process: u32,
    group: Option<(PathBuf, Version)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cage {
    /// Limits a process to `memory` bytes.
    pub fn around(process: u32, memory: u64) -> Self {
        let group = group(process, memory).inspect_err(|error| println!("memory is measured, not limited: {error:#}"));
        Self { process, group: group.ok() }
    }

    /// The number of processes that the system killed because of the limit; 0 if it does not enforce one.
    pub fn ended_for_memory(&self) -> Result<u64> {
        let file = match &self.group {
            Some((folder, Version::One)) => folder.join("memory.oom_control"),
            Some((folder, Version::Two)) => folder.join("memory.events"),
            None => return Ok(0),
        };
        let text = fs::read_to_string(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.map_or(Ok(0), |count| count.trim().parse())?)
    }

    /// The memory of the process and its descendants in bytes, without the system's cache of files.
    pub fn resident(&self) -> u64 {
        let mut family = vec![self.process];
        let parents: Vec<(u32, u32)> = processes().filter_map(|process| Some((process, parent(process)?))).collect();
        let mut at = 0;
        while let Some(&process) = family.get(at) {
            family.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| child));
            at += 1;
        }
        family.into_iter().filter_map(resident).sum::<u64>() * 1_024
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        if let Some((folder, _)) = &self.group {
            // Fails while the group has processes.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(process: u32) -> Option<u32> {
    status(process, "PPid:")?.parse().ok()
}

/// In KiB.
fn resident(process: u32) -> Option<u64> {
    status(process, "VmRSS:")?.parse().ok()
}

fn status(process: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next().map(str::to_owned)
}

/// Creates a control group and moves the process into it.
fn group(process: u32, memory: u64) -> Result<(PathBuf, Version)> {
    let (above, version) = own_group()?;
    let folder = above.join(format!("starlane-test-{process}"));
    fs::create_dir(&folder).with_context(|| format!("cannot create the control group {}", folder.display()))?;
    let limit = match version {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    };
    let set = |file: &str, text: String| {
        fs::write(folder.join(file), text).with_context(|| format!("cannot set {file} of {}", folder.display()))
    };
    let filled = set(limit, memory.to_string()).and_then(|()| set("cgroup.procs", process.to_string()));
    if let Err(error) = filled {
        let _ = fs::remove_dir(&folder);
        return Err(error);
    }
    Ok((folder, version))
}

/// The group of this process, in which a group for memory can be created.
fn own_group() -> Result<(PathBuf, Version)> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounted = |kind: &str, option: &str| {
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find_map(|fields| match fields.as_slice() {
            [_, place, of, options, ..]
                if *of == kind && (option.is_empty() || options.split(',').any(|o| o == option)) =>
            {
                Some(PathBuf::from(place))
            }
            _ => None,
        })
    };
    let path_of = |named: &dyn Fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            named(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    if let (Some(place), Some(path)) =
        (mounted("cgroup", "memory"), path_of(&|controllers| controllers.split(',').any(|name| name == "memory")))
    {
        return Ok((existing(&place, &path)?, Version::One));
    }
    let place = mounted("cgroup2", "").context("this machine has no control groups")?;
    let path = path_of(&|controllers| controllers.is_empty()).unwrap_or_default();
    Ok((existing(&place, &path)?, Version::Two))
}

/// A group by its path. In a container the path may belong to the host: then the root is the own group.
fn existing(place: &Path, path: &str) -> io::Result<PathBuf> {
    let own = place.join(path);
    Ok(if own.is_dir() { own } else { place.to_owned() })
}
