//! Real programs under the file system hooks, where no container engine is: what others see of the same processes.
//!
//! `tests/tests/oracles.rs` has more workloads and strace; but there only the hooks that the machine's own kernel allows.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, ensure};
use slim_host::{
    path::{ImagePath, RequestedPath},
    rootfs::{FileTree, LastLink, Outcome, resolve},
    tracer::{
        Choice, Options,
        sweep::{NameKind, Sweeper},
    },
};
use slim_tests::{
    kernel::{Entry, Hierarchy, Session, Tree, capability, preempted, skipped},
    oracle::fanotify,
};

use crate::{plan, sources, sweep};

/// The programs that the script calls, where Debian has them. `cargo xtask vm` puts them into the machine.
const PROGRAMS: &str = include_str!("workload/programs.txt");
const SCRIPT: &str = include_str!("workload/work.sh");

/// So many files each oracle must see at least, or this proves nothing: fanotify, sweep.
const AT_LEAST: [usize; 2] = [30, 40];

/// What the hooks alone see: what the kernel opens by itself inside `execve`, and the link on its way.
const BY_HOOKS_ALONE: [&str; 2] = ["/lib64", "/usr/lib64/ld-linux-x86-64.so.2"];

/// The files and links of `/data` that the script uses, each in one line of it.
const USED: [&str; 14] = [
    "/data/copied/file",
    "/data/functions",
    "/data/linked.txt",
    "/data/listed/file",
    "/data/moved/file",
    "/data/other.txt",
    "/data/packed/file",
    "/data/packed/link",
    "/data/read",
    "/data/searched",
    "/data/tested",
    "/data/texts/one.txt",
    "/data/texts/two.txt",
    "/data/unwanted/file",
];

/// A small root: the programs, what they load, and the files that they work on.
fn root() -> Result<Tree> {
    let tree = Tree::empty()?;
    for directory in ["usr/bin", "usr/lib", "usr/lib64", "usr/lib/work", "etc/alternatives", "tmp"] {
        tree.directory(directory)?;
    }
    for (target, link) in [("usr/bin", "bin"), ("usr/lib", "lib"), ("usr/lib64", "lib64")] {
        tree.symlink(target, link)?;
    }
    for program in PROGRAMS.lines() {
        tree.host_program(program)?;
    }
    for directory in ["copied", "listed", "moved", "packed", "texts", "unwanted"] {
        tree.directory(&format!("data/{directory}"))?;
    }
    for (target, link) in [
        ("dash", "usr/bin/sh"),
        ("/etc/alternatives/awk", "usr/bin/awk"),
        ("/usr/bin/mawk", "etc/alternatives/awk"),
        ("other.txt", "data/linked.txt"),
        ("nowhere", "data/packed/link"),
        ("other.txt", "data/unused-link"),
    ] {
        tree.symlink(target, link)?;
    }
    for file in
        USED.iter().filter(|file| !file.contains("link")).chain(&["/data/unused", "/data/texts/unused"])
    {
        tree.content(file, "a line\n")?;
    }
    tree.content("data/functions", "twice() { cat \"$@\"; cat \"$@\"; }\n")?;
    tree.content("usr/lib/work/sum.awk", "{ sum += $1 } END { print sum }\n")?;
    tree.content("work.sh", SCRIPT)?;
    Ok(tree)
}

/// Whether this machine has the programs; says so, if not. Virtual machines have what they are given.
fn has_programs() -> bool {
    let absent = PROGRAMS.lines().find(|program| !Path::new(program).exists());
    if let Some(program) = absent.filter(|_| !capability::emulated()) {
        skipped(&format!("no {program}"));
        return false;
    }
    true
}

/// What each saw, as entries of the image that are no directories.
struct Seen {
    fanotify: BTreeSet<String>,
    sweep: BTreeSet<String>,
    calls: BTreeSet<String>,
    hooks: BTreeSet<String>,
}

/// Runs the script once under all of them; what was lost.
fn observe(
    tree: &Tree,
    image: &FileTree,
    [calls, hooks]: [&mut Session; 2],
    target: u32,
) -> Result<(Seen, Vec<String>)> {
    let group = Hierarchy::unified()?.group()?;
    for session in [&mut *calls, &mut *hooks] {
        session.watch(&group, target)?;
    }
    let steps = ["pause", "exec /bin/sh /work.sh", "pause"];
    let mut child = plan(tree, Entry::Pivot).in_group(&group).start(&steps)?;
    child.paused()?;
    let watch = fanotify::Watch::of_process(child.pid()).map_err(|missing| anyhow::anyhow!(missing.0))?;
    child.resume()?;
    child.paused()?;
    let opened = watch.finish()?;
    let swept = Sweeper::start()?.sweep(&sweep::home(&group, child.pid())?)?;
    child.resume()?;
    child.finish()?;

    let object = |path: &[u8]| -> Result<Option<String>> {
        let end = resolve(image, &RequestedPath::new(path)?, LastLink::NoFollow).outcome;
        Ok(if let Outcome::Found(end) = end { file(image, &end) } else { None })
    };
    let of_image = |paths: &mut dyn Iterator<Item = &[u8]>| -> Result<BTreeSet<String>> {
        paths.map(object).filter_map(Result::transpose).collect()
    };
    let there = swept.names.iter().filter(|name| !matches!(name.kind, NameKind::Absent | NameKind::Way));
    let fanotify = of_image(&mut opened.iter().map(|name| name.path.as_slice()))?;
    let sweep = of_image(&mut there.map(|name| name.path.as_bytes()))?;

    let mut lost = Vec::new();
    let mut used = |session: &mut Session| -> Result<BTreeSet<String>> {
        let keys = session.keys(target)?.into_iter().collect();
        lost.extend(session.new_losses()?);
        of_image(&mut sources::used(image, &keys).iter().map(String::as_bytes))
    };
    let (calls, hooks) = (used(calls)?, used(hooks)?);
    Ok((Seen { fanotify, sweep, calls, hooks }, lost))
}

fn file(image: &FileTree, entry: &ImagePath) -> Option<String> {
    (!image.is_dir(entry)).then(|| entry.to_string())
}

#[test]
fn hooks_miss_no_file_that_others_see_a_shell_and_its_programs_use() -> Result<()> {
    const ATTEMPTS: u32 = 5;
    if !has_programs() {
        return Ok(());
    }
    let Some(mut hooks) = sources::start(Options { sources: Choice::Vfs, ..Options::default() })? else {
        return Ok(());
    };
    let mut calls = Session::start(&Options { sources: Choice::Syscalls, ..Options::default() })?;
    let tree = root().context("make the root")?;
    let image = sources::names(&tree)?;
    let mut attempts = (1..=ATTEMPTS).map(|attempt| {
        let (seen, lost) = observe(&tree, &image, [&mut calls, &mut hooks], attempt)?;
        ensure!(lost.iter().all(|cause| cause.contains("recursion_misses")), lost.join(", "));
        if !lost.is_empty() {
            preempted(&format!("attempt {attempt} of {ATTEMPTS}: {}", lost.join(", ")));
        }
        Ok(lost.is_empty().then_some(seen))
    });
    let seen = attempts.find_map(Result::transpose).context("skipped in each attempt")??;

    let sizes = [seen.fanotify.len(), seen.sweep.len()];
    ensure!(sizes.iter().zip(AT_LEAST).all(|(size, least)| *size >= least), "too little was seen: {sizes:?}");
    let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| -> Vec<String> {
        these.difference(those).cloned().collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(only(&seen.fanotify, &seen.hooks), none, "fanotify saw more than the hooks");
    assert_eq!(only(&seen.sweep, &seen.hooks), none, "the sweep saw more than the hooks");
    assert_eq!(only(&seen.calls, &seen.hooks), none, "system calls tell more than the hooks");
    assert_eq!(only(&seen.hooks, &seen.calls), BY_HOOKS_ALONE, "the hooks tell more than system calls");
    let data: Vec<_> = seen.hooks.iter().filter(|path| path.starts_with("/data/")).collect();
    assert_eq!(data, USED, "not what the script uses");
    let all: Vec<_> = PROGRAMS.lines().filter(|program| !seen.hooks.contains(*program)).collect();
    assert_eq!(all, none, "programs that nobody saw");
    Ok(())
}
