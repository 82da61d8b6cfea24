//! Taking containers into the scope of a session, and what their processes hold into its evidence.

use std::collections::BTreeMap;

use slim_common::scope::{ContainerId, ScopeEntry};

use super::{Session, now_ns};
use crate::{
    commands::CommandError,
    engine::ContainerView,
    path::quote,
    tracer::{
        cgroup::{self, Group},
        root::{self, RootMount},
        snapshot,
    },
};

impl Session {
    /// Takes a running container into the scope, and what its processes hold into the evidence.
    ///
    /// # Errors
    /// When its processes are not on this kernel, or in no control group of their own.
    pub(in crate::commands) fn attach(
        &mut self,
        container: &ContainerView,
        target: u32,
    ) -> Result<(), CommandError> {
        let pid = running_pid(container)?;
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            let container = quote(container.name.as_bytes());
            return Err(CommandError::OtherKernel { container, pid: pid.cast_unsigned() });
        }
        let group = cgroup::of_container(pid, &container.id, &self.mode)?;
        let root = self.check_root(container, pid, &group)?;
        self.attach_group(&group, Some(&container.id), root.dev, target)
    }

    /// Takes a control group whose processes have the root with device `root_dev` into the scope, and what they hold
    /// into the evidence. With the id of its container also groups that are made later for it are in scope: those of a
    /// restart or an exec.
    ///
    /// # Errors
    /// When its groups cannot be listed, or are more than we follow.
    pub(in crate::commands) fn attach_group(
        &mut self,
        group: &Group,
        container: Option<&str>,
        root_dev: u32,
        target: u32,
    ) -> Result<(), CommandError> {
        let entry = ScopeEntry::new(target, root_dev);
        cgroup::each_descendant(group, |group| self.tracer.watch(group.id, entry))?;
        if let Some(id) = container {
            self.announce(id, target)?;
        }
        self.snapshot_group(group, target)
    }

    /// Looks again at an announced container that has started: refuses it when its root cannot be traced, and corrects
    /// the kernel's idea of its root, which it learned from the first program that ran in the control group. An engine
    /// whose own root is another than ours makes that program one of the engine's.
    ///
    /// A container that ended already, or whose processes all changed their root, is left as the kernel learned it.
    ///
    /// # Errors
    /// When its root is shared with others, or the kernel refuses to tell its scope.
    pub(in crate::commands) fn settle(
        &mut self,
        container: &ContainerView,
        target: u32,
    ) -> Result<(), CommandError> {
        let Some(pid) = container.pid.and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
        // Its process may end at any moment; then there is nothing left to correct.
        let Ok(group) = cgroup::of_container(pid, &container.id, &self.mode) else { return Ok(()) };
        let Some(root) = root_of(pid, &group) else { return Ok(()) };
        judge_root(&container.name, &root)?;
        let learned: BTreeMap<u64, ScopeEntry> = self.tracer.scope()?.into_iter().collect();
        cgroup::each_descendant(&group, |group| {
            let entry = ScopeEntry::new(target, root.dev);
            match learned.get(&group.id) {
                Some(known) if known.target == target && known.root_dev == root.dev => Ok(()),
                Some(_) | None => self.tracer.watch(group.id, entry),
            }
        })
        .or_else(|error| if group.dir.exists() { Err(error.into()) } else { Ok(()) })
    }

    /// The container's root, if its files can be told from others.
    fn check_root(
        &self,
        container: &ContainerView,
        pid: i32,
        group: &Group,
    ) -> Result<RootMount, CommandError> {
        let Some(root) = root_of(pid, group) else {
            let found = "out of sight of all its processes (chroot)".to_owned();
            return Err(CommandError::SharedRoot { container: quote(container.name.as_bytes()), found });
        };
        judge_root(&container.name, &root)?;
        Ok(root)
    }

    /// Takes what the processes of a running container hold into the evidence.
    ///
    /// # Errors
    /// When its control group cannot be read.
    pub(in crate::commands) fn snapshot(
        &mut self,
        container: &ContainerView,
        target: u32,
    ) -> Result<(), CommandError> {
        let group = cgroup::of_container(running_pid(container)?, &container.id, &self.mode)?;
        self.snapshot_group(&group, target)
    }

    /// As [`Self::snapshot`], of the processes in `group` and below.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub(in crate::commands) fn snapshot_group(
        &mut self,
        group: &Group,
        target: u32,
    ) -> Result<(), CommandError> {
        let now = now_ns();
        let found = snapshot::take(group)?;
        self.snapshot_failed += found.failed;
        for holder in found.holders {
            self.aggregate.add_holder(target, holder, now);
        }
        Ok(())
    }
}

/// The key under which the kernel looks for a container's control group.
pub(super) fn container_id(id: &str) -> Option<ContainerId> {
    id.as_bytes().try_into().ok().filter(|id: &ContainerId| id.iter().all(u8::is_ascii_hexdigit))
}

fn running_pid(container: &ContainerView) -> Result<i32, CommandError> {
    let pid = container.pid.and_then(|pid| i32::try_from(pid).ok());
    pid.ok_or_else(|| CommandError::NotRunning(quote(container.name.as_bytes())))
}

/// The root mount that process `pid` sees, or else another one of the group: the first may have changed its root.
pub(in crate::commands) fn root_of(pid: i32, group: &Group) -> Option<RootMount> {
    let others = || cgroup::processes(group).unwrap_or_default().into_iter();
    std::iter::once(pid).chain(others()).find_map(|pid| root::of_process(pid).ok().flatten())
}

/// Refuses a root that others share.
pub(in crate::commands) fn judge_root(name: &str, root: &RootMount) -> Result<(), CommandError> {
    let host = root::own()?.map_or(0, |root| root.dev);
    if root.is_own(host) {
        return Ok(());
    }
    let found = format!("{} of a file system of type {}", root.dir, root.fs_type);
    Err(CommandError::SharedRoot { container: quote(name.as_bytes()), found })
}
