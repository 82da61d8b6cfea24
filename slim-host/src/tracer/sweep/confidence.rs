//! How far a sweep can be trusted to know the start of a container: a pure judgement over collected [`Signs`].
//!
//! The kernel gives names back when memory is short, least recently used first, and never those that a process holds.
//! So a file that is open or mapped says nothing about the others; names that were used once, at the start, and that
//! nobody holds are the witnesses. The rule:
//!
//! - *low*: a witness is gone, or there is none and names were given back, or the sweep itself left names out;
//! - *high*: there is a witness, all of them are there, and no name can have been given back since the start;
//! - *medium*: everything else. Names may have been forgotten, and nothing shows that they were.

use std::time::Duration;

use super::{Name, NameKind};

/// How likely it is that all names of the start are still known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Names are missing that must have been there.
    Low,
    /// Nothing is known to be missing, and something may be.
    Medium,
    /// Nothing was forgotten, as far as the kernel's counters tell.
    High,
}

impl Confidence {
    /// The stable name, used in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What became of a name that the start of a container used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Still known although nobody holds it, present or absent: a witness.
    Remembered,
    /// A process holds it, so the kernel had to remember it: no witness.
    Held,
    /// Not known any more.
    Forgotten,
    /// A symlink leads there: its name is not the one to look for.
    Elsewhere,
}

/// A name that the start of the container used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupName {
    /// Its path (quoted).
    pub path: String,
    /// Why the start used it, such as `the loader's cache`.
    pub role: &'static str,
    /// What became of it.
    pub trace: Trace,
}

/// What is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// Names that the start used.
    pub startup: Vec<StartupName>,
    /// What the sweep left out.
    pub left_out: u64,
    /// Memory pages that the kernel looked through in this control group since it was made, to give some back; `None` when
    /// it does not tell.
    pub group_scanned: Option<u64>,
    /// Kernel objects, names among them, that it looked through on the whole machine since that was booted.
    pub host_scanned: Option<u64>,
    /// How often somebody had it forget all unused names (`drop_caches`) since boot.
    pub dropped: Option<u64>,
    /// How long the first process has run.
    pub uptime: Option<Duration>,
}

/// A level with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The level.
    pub level: Confidence,
    /// Why, most important first; fragments without a point.
    pub reasons: Vec<String>,
}

/// Judges by the rule of the module.
#[must_use]
pub fn judge(signs: &Signs) -> Judgement {
    let with = |trace| signs.startup.iter().filter(move |name| name.trace == trace);
    let mut reasons = Vec::new();
    let (gone, witnesses) = (with(Trace::Forgotten).count(), with(Trace::Remembered).count());
    for StartupName { path, role, .. } in with(Trace::Forgotten) {
        reasons.push(format!("{path} ({role}) was used at the start and is forgotten"));
    }
    if signs.left_out > 0 {
        reasons.push(format!("{} directories were too deep or too many to look into", signs.left_out));
    }
    for StartupName { path, role, .. } in with(Trace::Remembered) {
        reasons.push(format!("{path} ({role}) is still known"));
    }
    if gone == 0 && witnesses == 0 {
        reasons.push("no name of the start is known that nobody holds open".to_owned());
    }
    let reclaimed = reclaimed(signs);
    reasons.extend(reclaimed.as_ref().err().cloned());
    reasons.extend(reclaimed.as_ref().ok().map(|said| (*said).to_owned()));
    reasons
        .extend(signs.uptime.map(|time| format!("it has run for {}", crate::output::text::duration(time))));
    let level = if gone > 0 || signs.left_out > 0 || (witnesses == 0 && reclaimed.is_err()) {
        Confidence::Low
    } else if witnesses > 0 && reclaimed.is_ok() {
        Confidence::High
    } else {
        Confidence::Medium
    };
    Judgement { level, reasons }
}

/// Whether the kernel kept all names since the start, or else why that is not known.
fn reclaimed(signs: &Signs) -> Result<&'static str, String> {
    if let Some(dropped) = signs.dropped.filter(|&times| times > 0) {
        return Err(format!("somebody dropped the kernel's caches since boot, {dropped} times"));
    }
    match (signs.group_scanned, signs.host_scanned) {
        (_, Some(0)) => Ok("the kernel has given back no names since boot"),
        (Some(0), _) => Ok("the kernel has looked for no memory to give back in this container"),
        (Some(pages), _) => {
            Err(format!("the kernel looked through {pages} pages of this container for memory to give back"))
        }
        (None, Some(_)) => {
            Err("the kernel has given back memory since boot, perhaps before the start".to_owned())
        }
        (None, None) => Err("the kernel does not tell whether it gave back memory".to_owned()),
    }
}

/// What became of `path` according to a sweep; `held` says whether a process holds it.
#[must_use]
pub fn trace_of(path: &str, names: &[Name], held: &dyn Fn(&str) -> bool) -> Trace {
    if held(path) {
        return Trace::Held;
    }
    let kind = |path: &str| names.iter().find(|n| n.path.as_bytes() == path.as_bytes()).map(|n| n.kind);
    let above = path.match_indices('/').skip(1).filter_map(|(at, _)| path.get(..at));
    for directory in above {
        match kind(directory) {
            Some(NameKind::Symlink) => return Trace::Elsewhere,
            // A name below one that is absent was not looked for either: looking for it ended there.
            Some(NameKind::Absent) => return Trace::Remembered,
            Some(NameKind::Way | NameKind::Directory | NameKind::File) => {}
            None => return Trace::Forgotten,
        }
    }
    if kind(path).is_some() { Trace::Remembered } else { Trace::Forgotten }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::RequestedPath;

    fn signs(traces: &[Trace]) -> Signs {
        let name = |&trace| StartupName { path: "/x".into(), role: "role", trace };
        Signs { startup: traces.iter().map(name).collect(), ..Signs::default() }
    }

    #[track_caller]
    fn check(signs: &Signs, level: Confidence, reasons: &[&str]) {
        assert_eq!(judge(signs), Judgement { level, reasons: reasons.iter().map(|&r| r.into()).collect() });
    }

    #[test]
    fn the_rule() {
        use Trace::{Elsewhere, Forgotten, Held, Remembered};
        let untold = "the kernel does not tell whether it gave back memory";
        let known = "/x (role) is still known";
        let none = "no name of the start is known that nobody holds open";
        let kept = "the kernel has looked for no memory to give back in this container";
        let gone = "/x (role) was used at the start and is forgotten";

        let calm = |signs: Signs| Signs { group_scanned: Some(0), host_scanned: Some(9), ..signs };
        check(&calm(signs(&[Remembered, Held])), Confidence::High, &[known, kept]);
        check(&calm(signs(&[Held, Elsewhere])), Confidence::Medium, &[none, kept]);
        check(&calm(signs(&[Forgotten, Remembered])), Confidence::Low, &[gone, known, kept]);
        check(&signs(&[Remembered]), Confidence::Medium, &[known, untold]);
        check(&signs(&[]), Confidence::Low, &[none, untold]);

        let booted = Signs { host_scanned: Some(0), ..signs(&[Remembered]) };
        check(&booted, Confidence::High, &[known, "the kernel has given back no names since boot"]);
        let dropped = Signs { dropped: Some(2), ..booted };
        let why = "somebody dropped the kernel's caches since boot, 2 times";
        check(&dropped, Confidence::Medium, &[known, why]);
        let pressed = Signs { group_scanned: Some(7), host_scanned: Some(9), ..signs(&[Remembered]) };
        let why = "the kernel looked through 7 pages of this container for memory to give back";
        check(&pressed, Confidence::Medium, &[known, why]);
        let host = Signs { host_scanned: Some(9), ..signs(&[Remembered]) };
        let why = "the kernel has given back memory since boot, perhaps before the start";
        check(&host, Confidence::Medium, &[known, why]);

        let cut = Signs { left_out: 3, uptime: Some(Duration::from_secs(90)), ..calm(signs(&[Remembered])) };
        let why = "3 directories were too deep or too many to look into";
        check(&cut, Confidence::Low, &[why, known, kept, "it has run for 1 min 30 s"]);
    }

    #[test]
    fn what_became_of_a_name() {
        let name = |(path, kind): (&str, NameKind)| Name { path: RequestedPath::new(path).unwrap(), kind };
        let names = [
            ("/etc", NameKind::Way),
            ("/etc/ld.so.cache", NameKind::File),
            ("/etc/ld.so.preload", NameKind::Absent),
            ("/bin", NameKind::Symlink),
            ("/opt", NameKind::Absent),
        ]
        .map(name);
        let of = |path: &str| trace_of(path, &names, &|path| path == "/usr/sbin/nginx");
        assert_eq!(of("/etc/ld.so.cache"), Trace::Remembered);
        assert_eq!(of("/etc/ld.so.preload"), Trace::Remembered);
        assert_eq!(of("/etc/passwd"), Trace::Forgotten);
        assert_eq!(of("/usr/bin/env"), Trace::Forgotten);
        assert_eq!(of("/opt/app/run"), Trace::Remembered);
        assert_eq!(of("/bin/sh"), Trace::Elsewhere);
        assert_eq!(of("/usr/sbin/nginx"), Trace::Held);
    }
}
