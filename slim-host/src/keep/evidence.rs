//! What an access proves about the image.
//!
//! A call that succeeded used whatever its path leads to in the image. A call that failed used it too, unless
//! the failure is absence itself: `EACCES`, `EISDIR`, `ENOEXEC`, `EEXIST`, `ELOOP` (with `O_NOFOLLOW`), `EINVAL`
//! (of `readlink`) and so on tell a program something about an object, and an image without the object would
//! tell it something else. Failures that say nothing about the object (`EMFILE`, `EINTR`) are kept as well: the
//! program wanted it. So the rule needs no table of errnos:
//!
//! - `ENOENT` proves nothing. (A dangling symlink or a script without its interpreter also fails so, but fails
//!   in the same way when it is gone.)
//! - Anything else keeps what the path resolves to in the image, as far as it does. For `ENOTDIR` that is the
//!   file in the middle of the path; the missing tail resolves to nothing.
//!
//! Paths that the container made at run time resolve to nothing either, but the symlinks on the way to them
//! are of the image and stay.
//!
//! One gap is known: a path through a symlink that was made at run time (`/run/current` to `/usr/share/app`) ends
//! nowhere in the image, and only calls that open something tell which object they reached. What is reached in this
//! way by `stat`, `access` or `readlink` alone is not seen. Such a path cannot be told from one of a file that was
//! made at run time, of which there are many more, so nothing is guessed from it: `--include` names what is missing.

use crate::{
    capture::{AccessKey, AccessKind, Outcome},
    path::ImagePath,
    rootfs::{
        FileTree,
        resolve::{LastLink, Outcome as Reached, Resolution, resolve},
    },
};

/// `ENOENT`, the one failure that means absence.
const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

/// What the access used in the image; `None` when it proves nothing.
#[must_use]
pub fn used(tree: &FileTree, access: &AccessKey) -> Option<Resolution> {
    match access.outcome {
        Outcome::Failed(ENOENT) => None,
        Outcome::Found | Outcome::Failed(_) => Some(resolve(tree, &access.path, last_link(access.kind))),
    }
}

/// The directory of the image that the access listed; `None` when it did not. A directory that is opened counts as
/// listed: hardly anything else is done with one, and the file system hooks do not tell of listings.
pub(crate) fn listed(tree: &FileTree, access: &AccessKey, used: &Resolution) -> Option<ImagePath> {
    let lists = match access.kind {
        AccessKind::Readdir | AccessKind::Open | AccessKind::Snapshot => true,
        AccessKind::Exec
        | AccessKind::Stat
        | AccessKind::Access
        | AccessKind::Readlink
        | AccessKind::Chdir
        | AccessKind::Modify
        | AccessKind::Follow
        | AccessKind::Lookup
        | AccessKind::Receive
        | AccessKind::Connect
        | AccessKind::Write
        | AccessKind::Resolved
        | AccessKind::Healed => false,
    };
    let Reached::Found(path) = &used.outcome else { return None };
    (lists && access.outcome == Outcome::Found && tree.is_dir(path)).then(|| path.clone())
}

/// Whether the operation looks behind a symlink in the last component.
///
/// `open` has `O_NOFOLLOW` and `stat` has `lstat`, which a path alone does not show: following keeps the link
/// and its target, so it is the safe answer for all but `readlink`. Sources that know the object and no string tell its
/// real path: a symlink there is the object itself.
pub(crate) fn last_link(kind: AccessKind) -> LastLink {
    match kind {
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
        // The name behind a link is known by itself, unless the kernel forgot it.
        | AccessKind::Resolved
        | AccessKind::Healed => LastLink::Follow,
    }
}
