//! What a path leads to inside the image, as the kernel would resolve it with the image as its root.
//!
//! Invariants: a pure function of tree and path; never leaves the image (`..` stops at the root, an absolute
//! link target starts there); ends after at most [`MAX_LINKS`] symlinks; agrees with `openat2(RESOLVE_IN_ROOT)`
//! on a real directory tree, which the tests prove case by case.
//!
//! A path costs a number of lookups that grows with the logarithm of its depth, not with the depth: where a name is a
//! directory, all names above it are, so the deepest one of a path is searched for by halves. Hostile images have
//! thousands of nested directories, and every access in them is resolved.
//!
//! Not here: permissions (root resolves for the image) and mounts (a capture names image paths only).

use super::{FileKind, FileTree};
use crate::path::{ImagePath, RequestedPath};

/// How many symlinks one resolution may follow: `MAXSYMLINKS` of `include/linux/namei.h`, 40 since Linux 4.2.
pub const MAX_LINKS: usize = 40;

/// What happens when the last component is a symlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// It is followed, as by `open` and `stat`.
    Follow,
    /// It is the result, as for `lstat`, `readlink` and `O_NOFOLLOW`. A trailing slash follows it all the same.
    NoFollow,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// To this entry of the image.
    Found(ImagePath),
    /// To a name that the image does not have (`ENOENT`).
    Missing {
        /// The last existing directory on the way.
        deepest: ImagePath,
        /// The name in it that is absent.
        missing: ImagePath,
    },
    /// Something that is not a directory stands where one is needed (`ENOTDIR`).
    NotDirectory(ImagePath),
    /// More than [`MAX_LINKS`] symlinks (`ELOOP`).
    Loop,
}

/// One resolution: the outcome, and the symlinks that it depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The symlinks that were followed, in order; one that was followed twice is listed twice.
    pub symlinks: Vec<ImagePath>,
    /// Where the path leads.
    pub outcome: Outcome,
}

/// Resolves `path` over `tree`.
#[must_use]
pub fn resolve(tree: &FileTree, path: &RequestedPath, last: LastLink) -> Resolution {
    resolve_counted(tree, path, last).0
}

/// The resolution, and how many names it looked up.
fn resolve_counted(tree: &FileTree, path: &RequestedPath, last: LastLink) -> (Resolution, usize) {
    let (root, path) = path.parts();
    let mut walk = Walk {
        tree,
        last: LastLink::Follow,
        floor: ImagePath::root(),
        at: ImagePath::root(),
        symlinks: Vec::new(),
        pending: Vec::new(),
        lookups: 0,
    };
    // Twice the same: down to the root of the process, then from there.
    if let Some(outcome) = walk.run(root) {
        return walk.end(outcome);
    }
    (walk.floor, walk.last) = (walk.at.clone(), last);
    let outcome = walk.run(path).unwrap_or_else(|| Outcome::Found(walk.at.clone()));
    walk.end(outcome)
}

/// A resolution on its way. `at` is always a directory.
struct Walk<'t> {
    tree: &'t FileTree,
    last: LastLink,
    /// What no `..` and no absolute link leads above: the root of whoever asks.
    floor: ImagePath,
    at: ImagePath,
    symlinks: Vec<ImagePath>,
    /// The components still to walk, the next one last.
    pending: Vec<Box<[u8]>>,
    lookups: usize,
}

impl Walk<'_> {
    /// Walks `path`; `None` when it ends at a directory.
    fn run(&mut self, path: &[u8]) -> Option<Outcome> {
        let mut needs_directory = ends_with_slash(path);
        self.push(path);
        loop {
            self.descend();
            let component = self.pending.pop()?;
            if let Some(outcome) = self.step(&component, &mut needs_directory) {
                return Some(outcome);
            }
        }
    }

    /// Enters the plain directories at the front of what is pending, but leaves the last component to
    /// [`Walk::step`].
    fn descend(&mut self) {
        let mut path = if self.at.is_root() { Vec::new() } else { self.at.as_bytes().to_vec() };
        let ahead = self.pending.get(1..).unwrap_or_default().iter().rev();
        let mut ends = Vec::new();
        for component in ahead.take_while(|component| !matches!(&***component, b"." | b"..")) {
            path.push(b'/');
            path.extend_from_slice(component);
            ends.push(path.len());
        }
        let entered = ends.partition_point(|&end| {
            self.lookups += 1;
            self.tree.is_dir_at(path.get(..end).unwrap_or_default())
        });
        let Some(end) = entered.checked_sub(1).and_then(|last| ends.get(last)) else { return };
        if let Ok(at) = ImagePath::new(path.get(..*end).unwrap_or_default()) {
            self.at = at;
            self.pending.truncate(self.pending.len() - entered);
        }
    }

    /// Walks one component; an outcome ends the resolution.
    fn step(&mut self, component: &[u8], needs_directory: &mut bool) -> Option<Outcome> {
        match component {
            b"." => return None,
            b".." => {
                if self.at != self.floor {
                    self.at = self.at.parent().unwrap_or_else(ImagePath::root);
                }
                return None;
            }
            _name => {}
        }
        // A component has no slash and is neither `.` nor `..`; a NUL cannot occur in a RequestedPath, and one
        // in a symlink target names nothing.
        let Ok(child) = self.at.join(component) else {
            return Some(Outcome::Missing { deepest: self.at.clone(), missing: self.at.clone() });
        };
        self.lookups += 1;
        let Some(inode) = self.tree.get(&child) else {
            return Some(Outcome::Missing { deepest: self.at.clone(), missing: child });
        };
        let is_last = self.pending.is_empty();
        match &inode.kind {
            FileKind::Directory => {
                self.at = child;
                None
            }
            FileKind::Symlink(_) if is_last && self.last == LastLink::NoFollow && !*needs_directory => {
                Some(Outcome::Found(child))
            }
            FileKind::Symlink(target) => {
                if self.symlinks.len() == MAX_LINKS {
                    return Some(Outcome::Loop);
                }
                // `link -> file/` fails like `file/`, but only where nothing follows the link.
                *needs_directory |= is_last && ends_with_slash(target);
                self.symlinks.push(child);
                if target.first() == Some(&b'/') {
                    self.at = self.floor.clone();
                }
                self.push(target);
                None
            }
            FileKind::Regular
            | FileKind::CharDevice { .. }
            | FileKind::BlockDevice { .. }
            | FileKind::Fifo
            | FileKind::Socket => Some(if is_last && !*needs_directory {
                Outcome::Found(child)
            } else {
                Outcome::NotDirectory(child)
            }),
        }
    }

    fn push(&mut self, path: &[u8]) {
        self.pending.extend(path.rsplit(|&b| b == b'/').filter(|c| !c.is_empty()).map(Box::from));
    }

    fn end(self, outcome: Outcome) -> (Resolution, usize) {
        (Resolution { symlinks: self.symlinks, outcome }, self.lookups)
    }
}

fn ends_with_slash(path: &[u8]) -> bool {
    path.last() == Some(&b'/')
}

#[cfg(test)]
mod tests;
