//! Collects the [`Signs`] by which a sweep is judged: from procfs, the control group and the sweep itself.
//!
//! It only reads, and nothing of what it reads has to be there: what is missing counts as not told.

use std::{collections::BTreeSet, fs, io::Read as _, path::Path, time::Duration};

use procfs::process::Process;

use super::{
    Sweep,
    confidence::{Signs, StartupName, Trace, trace_of},
};
use crate::{
    path::quote,
    tracer::{aggregate::Holder, cgroup::Group},
};

/// Longest of the files below; they are a few kilobytes.
const TEXT_MAX: u64 = 1 << 16;

/// Most executables of a container that are asked for by name.
const COMMANDS_MAX: usize = 2;

/// What is known of the container besides its sweep.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// Its control group.
    pub group: &'a Group,
    /// Its first process.
    pub pid: i32,
    /// The command line with which it was started, as the engine tells.
    pub command: &'a [String],
    /// What its processes hold.
    pub holders: &'a [Holder],
}

/// The signs for what `sweep` found in `container`.
#[must_use]
pub fn collect(container: &Container<'_>, sweep: &Sweep) -> Signs {
    let held: BTreeSet<&[u8]> = container.holders.iter().map(|holder| holder.path.as_bytes()).collect();
    let holds = |path: &str| held.contains(path.as_bytes());
    let startup = expected(container.command, &held)
        .into_iter()
        .map(|(path, role)| {
            let trace = trace_of(&path, &sweep.names, &holds);
            StartupName { path: quote(path.as_bytes()), role, trace }
        })
        .chain(usual(sweep, &holds))
        .collect();
    let vmstat = text(Path::new("/proc/vmstat"));
    let group = text(&container.group.dir.join("memory.stat"));
    Signs {
        startup,
        left_out: sweep.left_out,
        group_scanned: number(&group, "pgscan"),
        host_scanned: number(&vmstat, "slabs_scanned"),
        dropped: number(&vmstat, "drop_slab"),
        uptime: uptime(container.pid),
    }
}

/// A name that most runtimes look up before they start a container, to find its user. That it is gone proves nothing.
fn usual(sweep: &Sweep, holds: &dyn Fn(&str) -> bool) -> Option<StartupName> {
    let path = "/etc/passwd";
    let trace = trace_of(path, &sweep.names, holds);
    let role = "read by the container runtime";
    (trace == Trace::Remembered).then(|| StartupName { path: path.to_owned(), role, trace })
}

/// Names that the start of such a container cannot do without.
fn expected(command: &[String], held: &BTreeSet<&[u8]>) -> Vec<(String, &'static str)> {
    let executables = command.iter().take(COMMANDS_MAX).filter(|word| is_plain(word));
    let mut names: Vec<_> = executables.map(|word| (word.clone(), "run at the start")).collect();
    // Which loader runs the processes shows what it read first. A static program reads nothing.
    for path in held.iter().filter_map(|path| std::str::from_utf8(path).ok()) {
        let file = path.rsplit('/').next().unwrap_or_default();
        if let Some(machine) = file.strip_prefix("ld-musl-").and_then(|rest| rest.strip_suffix(".so.1")) {
            names.push((format!("/etc/ld-musl-{machine}.path"), "list of library directories"));
        } else if file.starts_with("ld-") && file.contains(".so") || file.starts_with("ld64.so") {
            names.push(("/etc/ld.so.cache".to_owned(), "cache of library paths"));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Whether `word` is a path that is spelled as the kernel would.
fn is_plain(word: &str) -> bool {
    let mut names = word.split('/');
    names.next() == Some("") && names.all(|name| !matches!(name, "" | "." | ".."))
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    let file = fs::File::open(path).map(|file| file.take(TEXT_MAX));
    match file.and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => text,
        Err(_) => String::new(),
    }
}

/// The number behind `key` in lines of a key and a number.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

/// How long a process has run.
fn uptime(pid: i32) -> Option<Duration> {
    let started = Process::new(pid).and_then(|process| process.stat()).ok()?.starttime;
    let booted = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let ticks = rustix::param::clock_ticks_per_second();
    let seconds = u64::try_from(booted.tv_sec).ok()?.checked_sub(started.checked_div(ticks)?)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &[&str], held: &[&str], paths: &[&str]) {
        let command: Vec<_> = command.iter().map(|&word| word.to_owned()).collect();
        let held = held.iter().map(|path| path.as_bytes()).collect();
        let found: Vec<_> = expected(&command, &held).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, paths);
    }

    #[test]
    fn names_that_a_start_needs() {
        let glibc = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
        check(&["/entry.sh", "nginx"], &["/usr/sbin/nginx", glibc], &["/entry.sh", "/etc/ld.so.cache"]);
        check(&["/bin/serve"], &["/bin/serve"], &["/bin/serve"]);
        check(&["sh", "-c", "/x"], &["/lib/ld-musl-x86_64.so.1"], &["/etc/ld-musl-x86_64.path"]);
        check(&["../x", "/a/../b", "/a//b", "/"], &["/lib/ld-2.31.so"], &["/etc/ld.so.cache"]);
    }

    #[test]
    fn numbers_of_the_kernel() {
        let text = "pgscan_kswapd 5\npgscan 7\nslabs_scanned x\n";
        assert_eq!(
            (number(text, "pgscan"), number(text, "slabs_scanned"), number("", "x")),
            (Some(7), None, None)
        );
        let us = std::process::id().cast_signed();
        assert!(uptime(us).is_some_and(|time| time < Duration::from_secs(1 << 30)));
        assert_eq!(uptime(i32::MAX), None);
    }
}
