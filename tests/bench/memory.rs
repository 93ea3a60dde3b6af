//! Measures the memory of processes.

use std::fs;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};

/// At least this much closed address space follows the memory of a guest.
const MIN_GUARD_BYTES: u64 = 1 << 30;

/// The private memory of a process, in bytes.
pub(crate) fn of_process(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let sum: u64 = text.lines().filter_map(private_in).sum();
    ensure!(sum > 0, "{path} lists no memory");
    Ok(sum * 1_024)
}

/// The private memory of all pages of a browser that leads a process group.
pub(crate) fn of_pages(browser: u32) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // The arguments of a page are one text, because the page has changed its title.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_page = String::from_utf8_lossy(&line).contains("--type=renderer");
        let group = fs::read_to_string(entry.path().join("stat")).ok().and_then(|stat| group_in(&stat));
        if is_page && group == Some(browser) {
            sum += of_process(process)?;
        }
    }
    ensure!(sum > 0, "the browser has no process of a page");
    Ok(sum)
}

/// The process group in the line of `/proc/PID/stat`: the third word after the name.
fn group_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// The private memory of a process without that of its guests, which is recognised by the closed address space after it.
pub(crate) fn without_guests(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/smaps");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let (mut sum, mut behind_closed, mut end) = (0, 0, 0);
    for line in text.lines() {
        if let Some((from, to)) = range_in(line) {
            let is_closed = line.contains(" ---p ");
            if from == end && is_closed && to - from >= MIN_GUARD_BYTES {
                // The open space since the last closed one belongs to a guest.
                behind_closed = 0;
            } else if from != end || is_closed {
                sum += std::mem::take(&mut behind_closed);
            }
            end = to;
        } else if let Some(kilobytes) = private_in(line) {
            behind_closed += kilobytes * 1_024;
        }
    }
    Ok(sum + behind_closed)
}

/// `7f0000000000-7f0000001000 rw-p …`
fn range_in(line: &str) -> Option<(u64, u64)> {
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
}

/// `Private_Dirty:         12 kB`
fn private_in(line: &str) -> Option<u64> {
    let text = line.strip_prefix("Private_Clean:").or_else(|| line.strip_prefix("Private_Dirty:"))?;
    text.trim().trim_end_matches(" kB").parse().ok()
}

/// Raises the limit of open files to the system's maximum, here and in started programs.
pub(crate) fn allow_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}
