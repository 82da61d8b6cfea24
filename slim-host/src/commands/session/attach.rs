//! Taking containers into the scope of a session, and what their processes hold into its evidence.

use std::collections::BTreeMap;

use slim_common::scope::{ContainerId, ScopeEntry};

use super::{
    Session,
    machine::{Machine, check_privileges},
    now_ns,
};
use crate::{
    commands::{
        CommandError,
        sweeps::{Arrival, Start, Subject},
    },
    engine::ContainerView,
    path::quote,
    tracer::{
        CgroupMode, TracerError,
        aggregate::Holder,
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
        arrival: Arrival,
    ) -> Result<(), CommandError> {
        let (pid, group, root) = home(container, &self.mode)?;
        let held = self.take_in(&group, Some(&container.id), root.dev, target)?;
        let start = match arrival {
            Arrival::InTime => Start::Seen,
            Arrival::Late => Start::Missed(held),
        };
        let (id, command) = (&container.id, &container.command);
        self.sweeps.add(Subject { id, pid, command }, target, group, &root, start);
        Ok(())
    }

    /// Takes a control group whose processes have the root mount `root` into the scope, and what they hold
    /// into the evidence. With the id of its container also groups that are made later for it are in scope: those of a
    /// restart or an exec.
    ///
    /// # Errors
    /// When its groups cannot be listed, or are more than we follow.
    pub(in crate::commands) fn attach_group(
        &mut self,
        group: &Group,
        (container, command): (Option<&str>, &[String]),
        root: &RootMount,
        target: u32,
    ) -> Result<(), CommandError> {
        let held = self.take_in(group, container, root.dev, target)?;
        let Some(&pid) = cgroup::processes(group)?.first() else { return Ok(()) };
        let name = group.dir.to_string_lossy();
        let id = container.unwrap_or(&name);
        let subject = Subject { id, pid, command };
        self.sweeps.add(subject, target, group.clone(), root, Start::Missed(held));
        Ok(())
    }

    fn take_in(
        &mut self,
        group: &Group,
        container: Option<&str>,
        root_dev: u32,
        target: u32,
    ) -> Result<Vec<Holder>, CommandError> {
        let entry = ScopeEntry::new(target, root_dev);
        cgroup::each_descendant(group, |group| self.tracer.watch(group.id, entry))?;
        if let Some(id) = container {
            self.announce(id, target)?;
        }
        self.take_snapshot(group, target)
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
        .or_else(|error: TracerError| if group.dir.exists() { Err(error) } else { Ok(()) })?;
        let subject = Subject { id: &container.id, pid, command: &container.command };
        self.sweeps.add(subject, target, group, &root, Start::Seen);
        Ok(())
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
        self.take_snapshot(group, target).map(drop)
    }

    fn take_snapshot(&mut self, group: &Group, target: u32) -> Result<Vec<Holder>, CommandError> {
        if self.sieve.is_some() {
            // What is there is no finding.
            return Ok(Vec::new());
        }
        let now = now_ns();
        let found = snapshot::take(group)?;
        self.snapshot_failed += found.failed;
        for holder in &found.holders {
            self.aggregate.add_holder(target, holder.clone(), now);
        }
        Ok(found.holders)
    }
}

/// The key under which the kernel looks for a container's control group.
pub(super) fn container_id(id: &str) -> Option<ContainerId> {
    id.as_bytes().try_into().ok().filter(|id: &ContainerId| id.iter().all(u8::is_ascii_hexdigit))
}

/// Where a running container is, without tracing it: its first process, control group and root.
///
/// # Errors
/// When slim may not look, it is not on this machine, or its root is not its own.
pub(in crate::commands) fn container_home(
    container: &ContainerView,
    machine: &Machine,
) -> Result<(i32, Group, RootMount), CommandError> {
    check_privileges()?;
    home(container, &machine.mode)
}

fn home(container: &ContainerView, mode: &CgroupMode) -> Result<(i32, Group, RootMount), CommandError> {
    let pid = running_pid(container)?;
    let name = || quote(container.name.as_bytes());
    if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
        return Err(CommandError::OtherKernel { container: name(), pid: pid.cast_unsigned() });
    }
    let group = cgroup::of_container(pid, &container.id, mode)?;
    let Some(root) = root_of(pid, &group) else {
        let found = "out of sight of all its processes (chroot)".to_owned();
        return Err(CommandError::SharedRoot { container: name(), found });
    };
    judge_root(&container.name, &root)?;
    Ok((pid, group, root))
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
