//! Ring bytes to events: the only reader of the wire format of `slim_common::event`.
//!
//! The bytes come from our own programs, but names inside are hostile and a version mix-up is possible, so every
//! length is checked and unknown kinds are errors that get counted.

use slim_common::event::{DedupKey, EventHeader, flag, kind};

use crate::{
    capture::{AccessKind, Outcome},
    path::RequestedPath,
};

/// Why bytes from the ring are not an event.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer or more bytes than the header and its lengths say.
    #[error("event has {have} bytes instead of {want}")]
    Length {
        /// Bytes in the ring.
        have: usize,
        /// Bytes that the header announces.
        want: usize,
    },
    /// A kind of event that this version does not know.
    #[error("unknown kind of event {0}")]
    Kind(u32),
    /// A path section is not a path.
    #[error("event holds a malformed path")]
    Path,
}

/// One access, as the kernel saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Under which key the kernel counts repetitions.
    pub key: DedupKey,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Id of the control group in which the task ran.
    pub cgroup: u64,
    /// Whose capture it belongs to.
    pub target: u32,
    /// The operation.
    pub kind: AccessKind,
    /// Success or errno.
    pub outcome: Outcome,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread name.
    pub comm: Vec<u8>,
    /// The object on the container's root file system that was reached, as path from that root.
    pub object: Option<RequestedPath>,
    /// What was asked for, made absolute with the kernel's idea of root, working directory and descriptor.
    pub requested: Option<RequestedPath>,
    /// Path of the executable on its file system; empty when unknown.
    pub exe: Vec<u8>,
}

impl Event {
    /// Decodes one ring entry.
    ///
    /// # Errors
    /// When the bytes are not an event of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, want: EventHeader::SIZE };
        let key = [reader.u64()?, reader.u64()?];
        let time_ns = reader.u64()?;
        let cgroup = reader.u64()?;
        let target = reader.u32()?;
        let kind = access_kind(reader.u32()?)?;
        let result = reader.u32()?.cast_signed();
        let flags = reader.u32()?;
        let pid = reader.u32()?;
        let _tid = reader.u32()?;
        let comm = reader.take(16)?;
        let lens = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
        let _reserved = reader.u32()?;
        reader.want = lens.iter().fold(EventHeader::SIZE, |sum, &len| sum.saturating_add(len as usize));
        let requested = reader.take(lens[0] as usize)?;
        let object = climb(reader.take(lens[1] as usize)?)?;
        let base = climb(reader.take(lens[2] as usize)?)?;
        let root = climb(reader.take(lens[3] as usize)?)?;
        let exe = reader.take(lens[4] as usize)?;
        if !reader.bytes.is_empty() {
            return Err(DecodeError::Length { have: bytes.len(), want: reader.want });
        }
        Ok(Self {
            key,
            time_ns,
            cgroup,
            target,
            kind,
            outcome: if result == 0 { Outcome::Found } else { Outcome::Failed(-result) },
            pid,
            comm: comm.split(|&b| b == 0).next().unwrap_or_default().to_vec(),
            object: (flags & flag::OBJECT_ON_ROOT != 0)
                .then(|| RequestedPath::new(object))
                .transpose()
                .map_err(|_| DecodeError::Path)?,
            requested: absolute(base, &root, made_in(requested, flags))?,
            exe: if exe.is_empty() { Vec::new() } else { climb(exe)? },
        })
    }
}

fn access_kind(value: u32) -> Result<AccessKind, DecodeError> {
    Ok(match value {
        kind::EXEC => AccessKind::Exec,
        kind::OPEN => AccessKind::Open,
        kind::STAT => AccessKind::Stat,
        kind::ACCESS => AccessKind::Access,
        kind::READLINK => AccessKind::Readlink,
        kind::CHDIR => AccessKind::Chdir,
        kind::MODIFY => AccessKind::Modify,
        kind::FOLLOW => AccessKind::Follow,
        kind::READDIR => AccessKind::Readdir,
        kind::LOOKUP => AccessKind::Lookup,
        kind::RECEIVE => AccessKind::Receive,
        kind::CONNECT => AccessKind::Connect,
        kind::WRITE => AccessKind::Write,
        unknown => return Err(DecodeError::Kind(unknown)),
    })
}

/// Turns a walk (`awk/bin/usr/`) into a path (`/usr/bin/awk`); an empty walk is the root.
fn climb(walk: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let Some((last, names)) = walk.split_last() else { return Ok(b"/".to_vec()) };
    if *last != b'/' {
        return Err(DecodeError::Path);
    }
    let mut path = Vec::with_capacity(walk.len());
    for name in names.rsplit(|&b| b == b'/') {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    Ok(path)
}

/// The requested string behind the base from which it starts. For an absolute string that is the task's root, which is
/// not the container's after a chroot. A working directory outside of the root is no part of it: nothing holds `..` there.
fn absolute(base: Vec<u8>, root: &[u8], requested: &[u8]) -> Result<Option<RequestedPath>, DecodeError> {
    if requested.is_empty() {
        return Ok(None);
    }
    let mut path = base;
    if path == b"/" && requested.starts_with(b"/") {
        path.clear();
    } else if !requested.starts_with(b"/") && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(requested);
    let below = if root == b"/" { None } else { path.strip_prefix(root) };
    let rest = below.filter(|rest| rest.first() == Some(&b'/'));
    match rest {
        Some(rest) => RequestedPath::below(root, rest),
        None => RequestedPath::new(path),
    }
    .map(Some)
    .map_err(|_| DecodeError::Path)
}

/// The requested string, or of a name that the call made the directory in which it did so.
fn made_in(requested: &[u8], flags: u32) -> &[u8] {
    if flags & flag::CREATED == 0 || requested.is_empty() {
        return requested;
    }
    let until = |end: usize| requested.get(..end).unwrap_or_default();
    let last_but = |end: usize, slash: bool| until(end).iter().rposition(|&b| (b == b'/') == slash);
    let Some(name_end) = last_but(requested.len(), false) else { return b"/" };
    match last_but(name_end, true) {
        // Not the slashes before the name either, unless they are all.
        Some(slash) => last_but(slash, false).map_or(b"/", |end| until(end + 1)),
        None => b".",
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    want: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .bytes
            .split_at_checked(len)
            .ok_or(DecodeError::Length { have: self.bytes.len(), want: self.want })?;
        self.bytes = tail;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(self.take(4)?.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes)))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(self.take(8)?.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(kind: u32, result: i32, flags: u32, sections: [&[u8]; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1_u64, 2, 5, 6] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [7, kind, result.cast_unsigned(), flags, 8, 9] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(*b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        let [requested, object, base, exe] = sections;
        for section in [requested, object, base, b"", exe] {
            bytes.extend(u32::try_from(section.len()).unwrap().to_ne_bytes());
        }
        bytes.extend([0; 4]);
        bytes.extend(sections.concat());
        bytes
    }

    #[track_caller]
    fn check(flags: u32, sections: [&[u8]; 4], object: Option<&str>, requested: Option<&str>, exe: &str) {
        let event = Event::decode(&bytes(kind::OPEN, 0, flags, sections)).unwrap();
        assert_eq!(event.object.map(|p| p.to_string()).as_deref(), object);
        assert_eq!(event.requested.map(|p| p.to_string()).as_deref(), requested);
        assert_eq!(event.exe, exe.as_bytes());
    }

    #[test]
    fn sections_become_paths() {
        let on_root = flag::OBJECT_ON_ROOT;
        check(
            on_root,
            [b"/bin/awk", b"mawk/bin/usr/", b"", b"sh/bin/"],
            Some("/usr/bin/mawk"),
            Some("/bin/awk"),
            "/bin/sh",
        );
        check(0, [b"/data/x", b"x/", b"", b""], None, Some("/data/x"), "");
        check(0, [b"../x", b"", b"app/srv/", b""], None, Some("/srv/app/../x"), "");
        check(0, [b"x", b"", b"", b""], None, Some("/x"), "");
        // After chroot("/jail") the string is absolute, but not from the container's root.
        check(0, [b"/etc/passwd", b"", b"jail/", b""], None, Some("/jail/etc/passwd"), "");
        check(on_root, [b"", b"", b"", b""], Some("/"), None, "");
    }

    #[test]
    fn a_jail_holds_its_paths() {
        for (base, root, asked, expected) in [
            ("jail/", "jail/", "/../x", ("/jail", "/../x")),
            ("dir/jail/", "jail/", "../../x", ("/jail", "/dir/../../x")),
            ("", "jail/", "x", ("", "/x")),
            ("jailed/", "jail/", "x", ("", "/jailed/x")),
            ("dir/", "", "../x", ("", "/dir/../x")),
        ] {
            let found =
                absolute(climb(base.as_bytes()).unwrap(), &climb(root.as_bytes()).unwrap(), asked.as_bytes());
            let found = found.unwrap().unwrap();
            assert_eq!(
                found.parts(),
                (expected.0.as_bytes(), expected.1.as_bytes()),
                "{base} {root} {asked}"
            );
        }
    }

    #[test]
    fn of_a_new_name_its_directory_counts() {
        for (asked, base, directory) in [
            ("/dir/new", "", "/dir"),
            ("/dir//new//", "", "/dir"),
            ("/new", "", "/"),
            ("//new", "", "/"),
            ("new", "app/srv/", "/srv/app/."),
            ("../new/", "app/srv/", "/srv/app/.."),
            ("a/b/new", "", "/a/b"),
            ("/", "", "/"),
        ] {
            let sections = [asked.as_bytes(), b"", base.as_bytes(), b""];
            let event = Event::decode(&bytes(kind::WRITE, 0, flag::CREATED, sections)).unwrap();
            let found = event.requested.map(|p| p.to_string());
            assert_eq!((event.kind, found.as_deref()), (AccessKind::Write, Some(directory)), "{asked}");
        }
    }

    #[test]
    fn outcome_and_who() {
        let event = Event::decode(&bytes(kind::STAT, -2, 0, [b"/x", b"", b"", b""])).unwrap();
        assert_eq!((event.outcome, event.kind), (Outcome::Failed(2), AccessKind::Stat));
        assert_eq!((event.key, event.time_ns, event.cgroup, event.target, event.pid), ([1, 2], 5, 6, 7, 8));
        assert_eq!(event.comm, b"nginx");
    }

    #[test]
    fn what_is_not_an_event_is_refused() {
        assert_eq!(Event::decode(&bytes(99, 0, 0, [b"", b"", b"", b""])), Err(DecodeError::Kind(99)));
        assert_eq!(
            Event::decode(&bytes(kind::OPEN, 0, 0, [b"", b"no-slash", b"", b""])),
            Err(DecodeError::Path)
        );
        let whole = bytes(kind::OPEN, 0, 0, [b"/x", b"a/", b"b/", b"c/"]);
        for len in 0..whole.len() {
            assert!(matches!(Event::decode(&whole[..len]), Err(DecodeError::Length { .. })), "{len}");
        }
        let long = [whole, vec![0]].concat();
        assert!(matches!(Event::decode(&long), Err(DecodeError::Length { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Event::decode(&bytes);
        }
    }
}
