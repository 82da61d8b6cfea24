//! Every bound that the two sides share, each with the reason for its value.

/// Longest path that a system call accepts, with its NUL (`PATH_MAX`, include/uapi/linux/limits.h).
pub const PATH_MAX: usize = 4096;

/// Longest single name (`NAME_MAX`); dentry names are never longer.
pub const NAME_MAX: usize = 255;

/// Steps that the dentry walks of one event take together: one for each name and each mount point, two for each walk.
/// What needs more is counted as too long, never cut silently. Real images stay below 32 a walk.
pub const WALK_STEPS: usize = 256;

/// Bytes that all path sections of one event may take together.
pub const SECTIONS_MAX: usize = 16 * 1024;

/// Room behind the sections for the component that is being copied when the limit is checked.
pub const SECTIONS_SLACK: usize = NAME_MAX + 1;

/// Hexadecimal digits of a container id, as engines put it into the name of the container's cgroup.
pub const CONTAINER_ID_LEN: usize = 64;

/// Distinct accesses that the kernel remembers. Bounded by the files of the traced images times a handful of
/// spellings and kinds; a full map is counted and events are then sent without deduplication.
pub const SEEN_ENTRIES: u32 = 1 << 20;

/// Accesses that the kernel remembers for a while: of absent names, of names that a program makes and removes, of which
/// there is no end, and of what finds no room among [`SEEN_ENTRIES`]. This map forgets the oldest (LRU) instead of filling
/// up; what it forgot is sent again, which changes nothing.
pub const RECENT_ENTRIES: u32 = 1 << 14;

/// Control groups in scope at once: containers plus their nested groups.
pub const SCOPE_ENTRIES: u32 = 1 << 14;

/// Containers that are announced but whose control group does not exist yet.
pub const WANTED_ENTRIES: u32 = 1 << 12;

/// File system hooks that may be attached at once, each with scratch memory of its own on every processor: one may
/// interrupt another.
pub const VFS_SLOTS: u32 = 8;

/// Other programs that report accesses: on system calls and on program starts. Each has scratch memory likewise.
pub const SCRATCHES_WITHOUT_VFS: u32 = 2;

/// And with them.
pub const SCRATCHES: u32 = SCRATCHES_WITHOUT_VFS + VFS_SLOTS;

/// Bytes of the event ring: some 30,000 events of usual length between two drains. The agent maps it twice, and
/// touched pages count as resident, so it is not larger without need. Must be a power of two.
pub const RING_BYTES: u32 = 8 << 20;

/// Dentries that one call of the sweep visits, in one RCU read section; a container has hundreds to some ten thousand.
pub const SWEEP_STEPS: usize = 512;

/// Directories that the sweep goes down. `PATH_MAX` allows 2,048 and nobody has them; what lies deeper is counted. A
/// power of two, so that the verifier believes an index by its mask.
pub const SWEEP_DEPTH: usize = 256;

/// Bytes of the ring in which one call of the sweep leaves its names: enough for [`SWEEP_STEPS`] of the longest. It is
/// drained after each call. Must be a power of two.
pub const NAMES_BYTES: u32 = 1 << 18;

const _: () = assert!(SWEEP_DEPTH.is_power_of_two());
const _: () = assert!(SWEEP_STEPS * (8 + 16 + NAME_MAX + 1) <= NAMES_BYTES as usize);
