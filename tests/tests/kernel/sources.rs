//! What the file system hooks report, and that they agree with system calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use anyhow::{Result, ensure};
use slim_host::{
    capture::{AccessKey, AccessKind, Outcome},
    path::ImagePath,
    rootfs::{self, FileKind, FileTree, Inode, LastLink, Timestamp},
    tracer::{Choice, Options, TracerError},
};
use slim_tests::kernel::{
    Entry, Hierarchy, Plan, Session, Tree, can_run, capability, line, preempted, skipped,
};

use crate::{
    accesses,
    case::{Case, without_repeated_lookups},
    plan,
};
use objects::{COMPAT, OBJECTS};

mod objects;

/// Cases in which the sources differ about what was used of the image; what system calls alone, and what the file system
/// layer alone tell. Several tables have cases of one name: see [`known`]. A string does not say whether its last symlink
/// was followed, so system calls often tell more; what failed without reaching an object is in them alone; what no call
/// names is in the file system layer alone.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    // What failed without reaching an object.
    ("forbidden", "/private/file", ""),
    ("access, forbidden", "/private/file", ""),
    ("below a file", "/file", ""),
    ("O_NOFOLLOW on a symlink", "/file, /link", ""),
    ("O_EXCL on what is there", "/file", ""),
    ("directory for writing", "/dir", ""),
    ("unlink of a directory", "/dir", ""),
    ("symlinkat to what is there", "/dir/file", ""),
    ("not executable", "/bin/plain", ""),
    ("x32", "/file", ""),
    ("not to be written", "/private/file", ""),
    ("bind to what is there", "/file", ""),
    // The directory in which a name was made: only an open that makes one passes by the file system hooks.
    ("mkdir", "/", ""),
    ("mkdir", "/dir", ""),
    ("mkdir with a slash", "/dir", ""),
    ("mkdir of what is there", "/dir", ""),
    ("mknod", "/dir", ""),
    ("bind", "/dir", ""),
    ("unnamed temporary file", "/dir", ""),
    ("connect", "/dir", ""),
    // New names again, and the second name of a rename or link: system calls alone tell of them.
    ("link", "/", ""),
    ("link", "/dir", ""),
    ("symlink", "/", ""),
    ("symlink, legacy", "/dir", ""),
    ("interrupted", "/", ""),
    ("rename over what is there", "/other", ""),
    ("exchange", "/dir/file", ""),
    ("link to what is there", "/other", ""),
    // What a string leaves open, or tells wrongly.
    ("lstat", "/file", ""),
    ("lchown", "/file", ""),
    ("llistxattr", "/file", ""),
    ("above a root by chroot", "/file", ""),
    ("chroot to another mount, first of all", "/", ""),
    // What a failed call found on its way.
    ("by a dangling symlink", "", "/dangling"),
    ("script without its interpreter", "", "/bin/orphan"),
    // What the image alone does not tell: links of the container's own, and those of /proc.
    ("stat by a symlink that the container made", "/", "/dir/file"),
    ("above a bind mount of the root's own", "/dir/file", ""),
    ("by /proc/self/root", "", "/link, /proc"),
    ("stat by /proc/self/root", "", "/file, /proc"),
    ("stat by /proc/self/cwd", "", "/file, /proc"),
    ("stat by /proc/self/cwd of a directory", "", "/dir/file, /proc"),
    ("stat by /proc/self/fd", "", "/proc"),
    // Mounting, which is no call of interest.
    ("deleted, then reopened", "", "/proc"),
    ("open descriptor, renamed", "", "/proc"),
    ("kernel interfaces", "", "/, /proc"),
    ("kernel interfaces, opened", "", "/proc"),
    ("bind mount of the root's own", "", "/dir, /mnt"),
    ("on another mount", "", "/mnt"),
    ("another mount", "", "/mnt"),
    ("absent on another mount", "", "/mnt"),
    ("new names on another mount", "", "/mnt"),
    // What is no system call with a path.
    ("received", "", "/file"),
    ("io_uring open", "", "/file, /link"),
    ("io_uring statx", "", "/dir/file"),
    ("open by io_uring", "", "/file"),
];

/// How case number `nth` of those called `name` differs: rows of one name are in the order of their cases, the last one
/// also holds for those that follow.
fn known(name: &str, nth: usize) -> (&'static str, &'static str) {
    let rows: Vec<_> = DIFFERENCES.iter().filter(|row| row.0 == name).collect();
    rows.get(nth).or(rows.last()).map_or(("", ""), |row| (row.1, row.2))
}

/// Two tracers on the same processes: each object is reported however it is reached, and both agree about the image.
///
/// One test, for in a virtual machine the programs take seconds to load.
#[test]
fn objects_are_reported_however_they_are_reached_and_sources_agree() -> Result<()> {
    let Some(mut vfs) = start(Options { sources: Choice::Vfs, ..Options::default() })? else { return Ok(()) };
    let mut syscalls = Session::start(&Options { sources: Choice::Syscalls, ..Options::default() })?;
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let image = names(&tree)?;
    let exact = OBJECTS.iter().chain(COMPAT).map(|(name, steps, expected)| (*name, *steps, Some(*expected)));
    let cases = exact.chain(accesses::cases().map(|(name, steps)| (name, steps, None)));
    let mut wrong = Vec::new();
    let mut called = BTreeMap::new();
    for (target, (name, steps, expected)) in (0..).zip(cases) {
        let nth = called.entry(name).and_modify(|nth| *nth += 1).or_insert(0_usize);
        let nth = *nth;
        let Some(case) = Case::read(name, steps)? else { continue };
        let group = hierarchy.group()?;
        vfs.watch(&group, target)?;
        syscalls.watch(&group, target)?;
        let seen =
            observe(&case, || plan(&tree, Entry::Pivot).in_group(&group), [&mut syscalls, &mut vfs], target);
        let [named, reached] = match seen {
            Ok(seen) => seen,
            Err(error) => {
                wrong.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        let lines = lines(&reached);
        if let Some(expected) = expected
            && lines != expected
        {
            wrong.push(format!("{name}: {lines:?} instead of {expected:?}"));
        }
        let [named, reached] = [used(&image, &named), used(&image, &reached)];
        let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
            these.difference(those).cloned().collect::<Vec<_>>().join(", ")
        };
        let found = (only(&named, &reached), only(&reached, &named));
        if (found.0.as_str(), found.1.as_str()) != known(name, nth) {
            wrong.push(format!("({name:?}, {:?}, {:?}),", found.0, found.1));
        }
    }
    if vfs.tracer.loss()?.io_uring > 0 {
        wrong.push("requests by io_uring are seen, and counted as loss nevertheless".to_owned());
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// A kernel that lacks the best functions, and one that lacks what nothing can replace.
#[test]
fn what_a_kernel_lacks_is_replaced_or_said() -> Result<()> {
    const BEST: &[&str] = &["vfs_open", "filename_lookup", "security_file_receive"];
    let lacking = |sources, absent_functions| Options { sources, absent_functions, ..Options::default() };
    let Some(mut session) = start(lacking(Choice::Vfs, BEST))? else { return Ok(()) };
    let sources = session.tracer.sources().clone();
    ensure!(sources.functions.iter().all(|function| !BEST.contains(function)), "{sources}");
    ensure!(sources.unseen == ["descriptors received over a socket"], "{:?}", sources.unseen);
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let (group, [target]) = (hierarchy.group()?, session.targets());
    session.watch(&group, target)?;
    plan(&tree, Entry::Pivot).in_group(&group).run(&["open /link", "stat /dir/file", "readlink /chain"])?;
    let seen = session.accesses(target)?;
    ensure!(seen == ["follow /link", "lookup /chain", "lookup /dir/file", "open /file"], "{seen:?}");
    drop(session);

    let session = Session::start(&lacking(Choice::Auto, &[]))?;
    ensure!(session.tracer.sources().names() == ["vfs"], "{}", session.tracer.sources());
    drop(session);

    let session = Session::start(&lacking(Choice::Auto, &["security_inode_follow_link"]))?;
    let sources = session.tracer.sources();
    let why = sources.fallback.as_deref().unwrap_or_default();
    ensure!(
        sources.names() == ["syscalls"] && why.contains("security_inode_follow_link"),
        "{sources}: {why}"
    );
    Ok(())
}

/// A kernel whose system calls do not tell all that they do on others.
#[test]
fn what_system_calls_do_not_tell_on_a_kernel_is_said() -> Result<()> {
    const BEST: &[&str] = &["io_uring_submit_req", "io_uring_submit_sqe", "bpf_tail_call"];
    if !can_run() {
        return Ok(());
    }
    let lacking = Options { sources: Choice::Syscalls, absent_functions: BEST, ..Options::default() };
    let mut session = Session::start(&lacking)?;
    let remarks = session.tracer.sources().remarks();
    let expected = "not seen on this kernel: the new names of rename and link; \
                    not seen on this kernel: requests by io_uring, which are not counted either";
    ensure!(remarks.as_deref() == Some(expected), "{remarks:?}");
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let (group, [target]) = (hierarchy.group()?, session.targets());
    session.watch(&group, target)?;
    plan(&tree, Entry::Pivot).in_group(&group).run(&["rename /file /moved"])?;
    let seen = session.accesses(target)?;
    ensure!(seen == ["modify /file"], "{seen:?}");
    Ok(())
}

/// What each session saw of the case, which is performed again when one was skipped for a preempted program (see
/// [`Case::run`]).
fn observe<const N: usize>(
    case: &Case,
    plan: impl Fn() -> Plan,
    mut sessions: [&mut Session; N],
    target: u32,
) -> Result<[BTreeSet<AccessKey>; N]> {
    const ATTEMPTS: usize = 5;
    let mut seen = [const { BTreeSet::new() }; N];
    for attempt in 1..=ATTEMPTS {
        case.perform(plan())?;
        let mut lost = Vec::new();
        for (seen, session) in seen.iter_mut().zip(&mut sessions) {
            seen.extend(session.keys(target)?);
            // System calls do not show what goes by io_uring, and say so. The caller asks the other whether it did.
            lost.extend(
                session.new_losses()?.into_iter().filter(|cause| !cause.starts_with("lost io_uring ")),
            );
        }
        if lost.is_empty() {
            return Ok(seen);
        }
        ensure!(lost.iter().all(|cause| cause.contains("recursion_misses")), lost.join(", "));
        preempted(&format!("attempt {attempt} of {ATTEMPTS}: {}", lost.join(", ")));
    }
    anyhow::bail!("skipped in each of {ATTEMPTS} attempts")
}

/// The accesses as one text, without the sentinel.
fn lines(accesses: &BTreeSet<AccessKey>) -> String {
    let mut lines: Vec<String> = accesses.iter().map(line).filter(|line| line != "open /sentinel").collect();
    lines.sort();
    without_repeated_lookups(lines).join(", ")
}

/// A session, unless this kernel refuses to attach to its functions: then it says so.
pub(crate) fn start(options: Options) -> Result<Option<Session>> {
    if !can_run() {
        return Ok(None);
    }
    let error = match Session::start(&options) {
        Ok(session) => return Ok(Some(session)),
        Err(error) => error,
    };
    ensure!(matches!(error.downcast_ref(), Some(TracerError::Vfs { .. })), error);
    // Not even with CI set is there a way around what the kernel refuses; the virtual machines run this on others, and
    // there it must attach.
    ensure!(!capability::emulated(), error);
    skipped(&format!("{error:#}"));
    Ok(None)
}

/// The names of the tree, as an image has them.
pub(crate) fn names(tree: &Tree) -> Result<FileTree> {
    let mut names = FileTree::default();
    let mut pending = vec![tree.lower()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata()?;
        let kind = if metadata.is_dir() {
            for entry in path.read_dir()? {
                pending.push(entry?.path());
            }
            FileKind::Directory
        } else if metadata.is_symlink() {
            FileKind::Symlink(path.read_link()?.into_os_string().into_vec())
        } else {
            FileKind::Regular
        };
        let name = Path::new("/").join(path.strip_prefix(tree.lower())?);
        let inode = Inode {
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            size: 0,
            xattrs: BTreeMap::new(),
        };
        names.insert(ImagePath::new(name.as_os_str().as_bytes())?, inode);
    }
    Ok(names)
}

/// What accesses prove about the image.
pub(crate) fn used(image: &FileTree, accesses: &BTreeSet<AccessKey>) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for AccessKey { path, kind, outcome } in accesses {
        if *outcome == Outcome::Failed(libc::ENOENT) {
            continue;
        }
        let last = match kind {
            AccessKind::Readlink | AccessKind::Follow | AccessKind::Lookup | AccessKind::Receive => {
                LastLink::NoFollow
            }
            AccessKind::Exec
            | AccessKind::Open
            | AccessKind::Stat
            | AccessKind::Access
            | AccessKind::Chdir
            | AccessKind::Modify
            | AccessKind::Readdir
            | AccessKind::Connect
            | AccessKind::Write
            | AccessKind::Snapshot
            | AccessKind::Resolved
            | AccessKind::Healed => LastLink::Follow,
        };
        let resolution = rootfs::resolve(image, path, last);
        used.extend(resolution.symlinks.iter().map(ToString::to_string));
        if let rootfs::Outcome::Found(end) | rootfs::Outcome::NotDirectory(end) = resolution.outcome {
            used.insert(end.to_string());
        }
    }
    used
}
