//! The steps: `VERB [PATH] [WORD...] [= ERROR]`, separated by single spaces, all of them bytes.
//!
//! A step that ends otherwise than it says is an error, so that no case passes because its operation never happened.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use slim_tests::kernel::errno;

use crate::{
    exotic::{self, Gift},
    race,
    raw::{call, interrupted},
    sockets, timed,
};

const AT_FDCWD: usize = libc::AT_FDCWD as usize;
const DIRECTORY: usize = (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) as usize;

/// What one step may need of those before.
pub(crate) struct Runner {
    /// Control groups that may be joined.
    procs: Vec<File>,
    /// A descriptor that waits in a socket.
    gift: Option<Gift>,
    /// The directory or file that the steps with `at` start from.
    slot: usize,
    /// Large enough for whatever a call writes.
    buffer: Box<[u8; 8192]>,
}

impl Runner {
    pub(crate) fn new(procs: Vec<File>, gift: Option<Gift>) -> Self {
        Self { procs, gift, slot: usize::MAX, buffer: Box::new([0; 8192]) }
    }

    /// Performs one step.
    pub(crate) fn perform(&mut self, step: &[u8]) -> Result<()> {
        let quoted = || slim_host::path::quote(step);
        let mut words = step.split(|&byte| byte == b' ').collect::<Vec<_>>();
        let expected = match words.iter().position(|word| *word == b"=") {
            Some(at) => String::from_utf8(words.split_off(at).get(1).context("no error after =")?.to_vec())?,
            None => "success".to_owned(),
        };
        let verb = std::str::from_utf8(words.remove(0)).context("a verb is text")?;
        let words = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let result = match self.control(verb, &words)? {
            Some(result) => result,
            None => match exotic::attempt(verb, &words, self.gift.as_ref())? {
                Some(result) => result,
                None => self.attempt(verb, &words).with_context(quoted)?,
            },
        };
        let got = result.map_or_else(errno::name, |_| "success".to_owned());
        ensure!(got == expected, "step {} gave {got}", quoted());
        Ok(())
    }

    /// Opens `name` in the directory `top`.
    pub(crate) fn open_at(&mut self, top: &OwnedFd, name: &CStr) -> Result<()> {
        self.slot = usize::try_from(top.as_raw_fd())?;
        let opened = call(libc::SYS_openat, [self.slot, name.as_ptr() as usize, 0]);
        opened.map(drop).map_err(|number| anyhow::anyhow!("the sentinel gave {}", errno::name(number)))
    }

    /// Steps that belong to the test and not to what is tested.
    fn control(&mut self, verb: &str, words: &[CString]) -> Result<Option<Result<usize, i32>>> {
        let number = |at: usize| -> Result<usize> {
            Ok(words.get(at).context("a word is missing")?.to_str()?.parse()?)
        };
        match verb {
            "join" => {
                let mut group = self.procs.get(number(0)?).context("no such group")?;
                group.write_all(b"0").context("cannot join")?;
            }
            "pause" => {
                std::io::stdout().write_all(b"paused\n")?;
                std::io::stdout().flush()?;
                ensure!(std::io::stdin().read(&mut [0])? <= 1, "cannot pause");
            }
            // Opens the files `many/0` to `many/N-1`, M times each, from T threads at once.
            "many" => {
                let (files, rounds, threads) = (number(0)?, number(1)?, number(2)?);
                let paths = (0..files)
                    .map(|file| CString::new(format!("/many/{file}")))
                    .collect::<Result<Vec<_>, _>>()?;
                std::thread::scope(|scope| {
                    let work = || (0..rounds).try_for_each(|_| open_each(&paths));
                    let running = (0..threads).map(|_| scope.spawn(work)).collect::<Vec<_>>();
                    running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(libc::EFAULT)))
                })
                .map_err(|number| anyhow::anyhow!("many: {}", errno::name(number)))?;
            }
            // Examines `many/1001` to `many/LAST` by a string that another thread rewrites to `many/1000`.
            "race" => race::run(number(0)?)?,
            // Opens a FIFO whose name is gone when the call returns; needs /proc.
            "vanish" => race::vanish(words.first().context("no path")?)?,
            // Says how many nanoseconds a loop takes: `timed open|stat|read FILES ROUNDS`.
            "timed" => {
                let what = words.first().context("what is timed?")?.to_bytes();
                let took = timed::run(what, number(1)?, number(2)?)?;
                std::io::stdout().write_all(format!("{took}\n").as_bytes())?;
                std::io::stdout().flush()?;
            }
            _ => return Ok(None),
        }
        Ok(Some(Ok(0)))
    }

    /// Everything else: one system call each.
    fn attempt(&mut self, verb: &str, words: &[CString]) -> Result<Result<usize, i32>> {
        let argument = |at: usize| words.get(at).map_or(0, |word| word.as_ptr() as usize);
        let path = argument(0);
        let buffer = self.buffer.as_mut_ptr() as usize;
        let slot = self.slot;
        let flags = || open_flags(words.get(1));
        Ok(match verb {
            "open" => call(libc::SYS_openat, [AT_FDCWD, path, flags()?, 0o600]),
            "openat" => call(libc::SYS_openat, [slot, path, flags()?, 0o600]),
            "openat2-in-root" => {
                let how = [0_u64, 0, libc::RESOLVE_IN_ROOT];
                call(libc::SYS_openat2, [slot, path, how.as_ptr() as usize, size_of_val(&how)])
            }
            "openat2-write" => {
                let how = [libc::O_WRONLY as u64, 0, 0];
                call(libc::SYS_openat2, [AT_FDCWD, path, how.as_ptr() as usize, size_of_val(&how)])
            }
            "openat2-invalid" => {
                let how = [u64::MAX, 0, 0];
                call(libc::SYS_openat2, [slot, 1, how.as_ptr() as usize, size_of_val(&how)])
            }
            "slot" => call(libc::SYS_openat, [AT_FDCWD, path, flags()?]).inspect(|&fd| self.slot = fd),
            "dir" => call(libc::SYS_openat, [AT_FDCWD, path, DIRECTORY]).inspect(|&fd| self.slot = fd),
            "reopen" => {
                let link = CString::new(format!("/proc/self/fd/{slot}"))?;
                call(libc::SYS_openat, [AT_FDCWD, link.as_ptr() as usize, flags()?])
            }
            "handle" => self.open_by_handle(path),
            "statat" => call(libc::SYS_newfstatat, [slot, path, buffer, 0]),
            "stat-empty" => call(
                libc::SYS_newfstatat,
                [slot, c"".as_ptr() as usize, buffer, libc::AT_EMPTY_PATH as usize],
            ),
            "statx" => call(libc::SYS_statx, [AT_FDCWD, path, 0, libc::STATX_BASIC_STATS as usize, buffer]),
            "statx-null" => call(libc::SYS_statx, [slot, 0, libc::AT_EMPTY_PATH as usize, 0, buffer]),
            "accessat" => call(libc::SYS_faccessat, [slot, path, 0]),
            "accessat2" => call(libc::SYS_faccessat2, [slot, path, 0, libc::AT_EACCESS as usize]),
            // The kernel refuses the mode before it looks at the path, which is no address at all.
            "access-invalid" => call(libc::SYS_faccessat, [AT_FDCWD, 1, 0o777]),
            "access-fault" => call(libc::SYS_faccessat, [AT_FDCWD, 1, 0]),
            "readlinkat" => call(libc::SYS_readlinkat, [slot, path, buffer, 4096]),
            "chdir" => call(libc::SYS_chdir, [path]),
            "fchdir" => call(libc::SYS_fchdir, [slot]),
            "exec" => spawn(libc::SYS_execve, [path, [path, argument(1), 0].as_ptr() as usize, 0, 0, 0]),
            "execat" => {
                spawn(libc::SYS_execveat, [slot, path, [path, argument(1), 0].as_ptr() as usize, 0, 0])
            }
            "exec-empty" => {
                let arguments = [path, argument(1), 0];
                let empty = c"".as_ptr() as usize;
                let flags = libc::AT_EMPTY_PATH as usize;
                spawn(libc::SYS_execveat, [slot, empty, arguments.as_ptr() as usize, 0, flags])
            }
            "list" => call(libc::SYS_getdents64, [slot, buffer, 8192]),
            // Instead of this process: the sentinel must then be opened by the program.
            "become" => call(libc::SYS_execve, [path, [path, argument(1), 0].as_ptr() as usize, 0]),
            _ => return arrange(verb, words, slot, buffer),
        })
    }

    /// Opens `path` by its handle.
    fn open_by_handle(&mut self, path: usize) -> Result<usize, i32> {
        const MAX_HANDLE: u32 = 128;
        self.buffer[..4].copy_from_slice(&MAX_HANDLE.to_ne_bytes());
        let mut mount_id = 0_i32;
        let (handle, mount) = (self.buffer.as_mut_ptr() as usize, (&raw mut mount_id) as usize);
        call(libc::SYS_name_to_handle_at, [AT_FDCWD, path, handle, mount, 0])?;
        call(libc::SYS_open_by_handle_at, [self.slot, handle, 0])
    }
}

/// Calls that change the world and are not reported themselves.
fn arrange(verb: &str, words: &[CString], slot: usize, buffer: usize) -> Result<Result<usize, i32>> {
    let argument = |at: usize| words.get(at).map_or(0, |word| word.as_ptr() as usize);
    let path = argument(0);
    Ok(match verb {
        "mkfifo" => call(libc::SYS_mknodat, [AT_FDCWD, path, libc::S_IFIFO as usize | 0o600, 0]),
        "open-interrupted" => interrupted(libc::SYS_openat, [AT_FDCWD, path, 0]),
        "mkdir" => call(libc::SYS_mkdirat, [AT_FDCWD, path, 0o755]),
        "bind" => call(libc::SYS_mount, [path, argument(1), 0, libc::MS_BIND as usize, 0]),
        "mount" => call(libc::SYS_mount, [path, argument(1), path, 0, 0]),
        "umount" => call(libc::SYS_umount2, [path, 0]),
        "uid" => {
            let id = words.first().context("no user")?.to_str()?.parse()?;
            call(libc::SYS_setresuid, [id, id, id])
        }
        "map" => {
            call(libc::SYS_mmap, [0, 4096, libc::PROT_READ as usize, libc::MAP_PRIVATE as usize, slot, 0])
        }
        "close" => call(libc::SYS_close, [slot]),
        _ => return sockets::perform(verb, words).map_or_else(|| change(verb, words, slot, buffer), Ok),
    })
}

/// Calls that change a path, or ask what is behind it in other ways than `stat`.
fn change(verb: &str, words: &[CString], slot: usize, buffer: usize) -> Result<Result<usize, i32>> {
    let argument = |at: usize| words.get(at).map_or(0, |word| word.as_ptr() as usize);
    let (path, other) = (argument(0), argument(1));
    let name = c"user.slim".as_ptr() as usize;
    Ok(match verb {
        "chroot" => call(libc::SYS_chroot, [path]),
        "unlink" => call(libc::SYS_unlinkat, [AT_FDCWD, path, 0]),
        "unlinkat" => call(libc::SYS_unlinkat, [slot, path, 0]),
        "symlink" => call(libc::SYS_symlinkat, [path, AT_FDCWD, other]),
        "symlinkat" => call(libc::SYS_symlinkat, [path, slot, other]),
        "rename" => call(libc::SYS_renameat2, [AT_FDCWD, path, AT_FDCWD, other, 0]),
        "rename-to-dir" => call(libc::SYS_renameat2, [AT_FDCWD, path, slot, other, 0]),
        "rename-from-dir" => call(libc::SYS_renameat2, [slot, path, AT_FDCWD, other, 0]),
        "exchange" => {
            let flags = libc::RENAME_EXCHANGE as usize;
            call(libc::SYS_renameat2, [AT_FDCWD, path, AT_FDCWD, other, flags])
        }
        "link" => call(libc::SYS_linkat, [AT_FDCWD, path, AT_FDCWD, other, 0]),
        "chmodat" => call(libc::SYS_fchmodat, [slot, path, 0o600]),
        "chmodat2" => call(libc::SYS_fchmodat2, [slot, path, 0o600, 0]),
        "chownat" => call(libc::SYS_fchownat, [slot, path, 0, 0, 0]),
        "truncate" => call(libc::SYS_truncate, [path, 0]),
        "utimensat" => call(libc::SYS_utimensat, [AT_FDCWD, path, 0, 0]),
        "futimens" => call(libc::SYS_utimensat, [slot, 0, 0, 0]),
        "statfs" => call(libc::SYS_statfs, [path, buffer]),
        "getxattr" => call(libc::SYS_getxattr, [path, name, buffer, 64]),
        "lgetxattr" => call(libc::SYS_lgetxattr, [path, name, buffer, 64]),
        "listxattr" => call(libc::SYS_listxattr, [path, buffer, 4096]),
        "llistxattr" => call(libc::SYS_llistxattr, [path, buffer, 4096]),
        "setxattr" => call(libc::SYS_setxattr, [path, name, buffer, 1, 0]),
        "lsetxattr" => call(libc::SYS_lsetxattr, [path, name, buffer, 1, 0]),
        "removexattr" => call(libc::SYS_removexattr, [path, name]),
        "lremovexattr" => call(libc::SYS_lremovexattr, [path, name]),
        "inotify" => call(libc::SYS_inotify_init1, [0])
            .and_then(|fd| call(libc::SYS_inotify_add_watch, [fd, path, libc::IN_OPEN as usize])),
        "fanotify" => call(libc::SYS_fanotify_init, [libc::FAN_CLASS_NOTIF as usize, 0]).and_then(|group| {
            let mask = libc::FAN_OPEN as usize;
            call(libc::SYS_fanotify_mark, [group, libc::FAN_MARK_ADD as usize, mask, slot, path])
        }),
        // Linux 6.13; the arguments are { value, size, flags }.
        "getxattrat" | "setxattrat" => {
            let number = if verb == "getxattrat" { 464 } else { 463 };
            let arguments = [buffer as u64, 1];
            call(number, [slot, path, 0, name, arguments.as_ptr() as usize, size_of_val(&arguments)])
        }
        "listxattrat" => call(465, [slot, path, 0, buffer, 4096]),
        "open-tree" => call(libc::SYS_open_tree, [slot, path, 0]),
        "swapon" => call(libc::SYS_swapon, [path, 0]),
        _ => return legacy(verb, path, buffer, words),
    })
}

/// Calls that only the older architectures have.
#[cfg(target_arch = "x86_64")]
fn legacy(verb: &str, path: usize, buffer: usize, words: &[CString]) -> Result<Result<usize, i32>> {
    use crate::raw::{call_by_gate, low_copy};

    let other = words.get(1).map_or(0, |word| word.as_ptr() as usize);
    Ok(match verb {
        "chmod" => call(libc::SYS_chmod, [path, 0o600]),
        "chown" => call(libc::SYS_chown, [path, 0, 0]),
        "lchown" => call(libc::SYS_lchown, [path, 0, 0]),
        "utimes" => call(libc::SYS_utimes, [path, 0]),
        "rmdir" => call(libc::SYS_rmdir, [path]),
        "rename-legacy" => call(libc::SYS_rename, [path, other]),
        "link-legacy" => call(libc::SYS_link, [path, other]),
        "symlink-legacy" => call(libc::SYS_symlink, [path, other]),
        "unlink-legacy" => call(libc::SYS_unlink, [path]),
        "open-x32" => call(libc::SYS_open | 0x4000_0000, [path, 0]),
        "open-legacy" => call(libc::SYS_open, [path, 0]),
        "creat" => call(libc::SYS_creat, [path, 0o600]),
        "stat" => call(libc::SYS_stat, [path, buffer]),
        "lstat" => call(libc::SYS_lstat, [path, buffer]),
        "access" => call(libc::SYS_access, [path, 0]),
        "readlink" => call(libc::SYS_readlink, [path, buffer, 4096]),
        "open-by-gate" => {
            const OPEN: u32 = 5;
            low_copy(words.first().context("no path")?.to_bytes())
                .and_then(|path| call_by_gate(OPEN, path, 0))
        }
        // Writes nothing. Natively 4 is stat.
        "write-by-gate" => call_by_gate(4, 1, 0),
        _ => bail!("unknown step"),
    })
}

/// What newer architectures have in their place.
#[cfg(not(target_arch = "x86_64"))]
fn legacy(verb: &str, path: usize, buffer: usize, words: &[CString]) -> Result<Result<usize, i32>> {
    const CREAT: usize = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as usize;
    let other = words.get(1).map_or(0, |word| word.as_ptr() as usize);
    Ok(match verb {
        "chmod" => call(libc::SYS_fchmodat, [AT_FDCWD, path, 0o600]),
        "chown" => call(libc::SYS_fchownat, [AT_FDCWD, path, 0, 0, 0]),
        "lchown" => call(libc::SYS_fchownat, [AT_FDCWD, path, 0, 0, libc::AT_SYMLINK_NOFOLLOW as usize]),
        "utimes" => call(libc::SYS_utimensat, [AT_FDCWD, path, 0, 0]),
        "rmdir" => call(libc::SYS_unlinkat, [AT_FDCWD, path, libc::AT_REMOVEDIR as usize]),
        "rename-legacy" => call(libc::SYS_renameat2, [AT_FDCWD, path, AT_FDCWD, other, 0]),
        "link-legacy" => call(libc::SYS_linkat, [AT_FDCWD, path, AT_FDCWD, other, 0]),
        "symlink-legacy" => call(libc::SYS_symlinkat, [path, AT_FDCWD, other]),
        "unlink-legacy" => call(libc::SYS_unlinkat, [AT_FDCWD, path, 0]),
        "open-legacy" => call(libc::SYS_openat, [AT_FDCWD, path, 0]),
        "creat" => call(libc::SYS_openat, [AT_FDCWD, path, CREAT, 0o600]),
        "stat" => call(libc::SYS_newfstatat, [AT_FDCWD, path, buffer, 0]),
        "lstat" => call(libc::SYS_newfstatat, [AT_FDCWD, path, buffer, libc::AT_SYMLINK_NOFOLLOW as usize]),
        "access" => call(libc::SYS_faccessat, [AT_FDCWD, path, 0]),
        "readlink" => call(libc::SYS_readlinkat, [AT_FDCWD, path, buffer, 4096]),
        _ => bail!("unknown step"),
    })
}

/// Opens each of `paths` and closes it again.
fn open_each(paths: &[CString]) -> Result<(), i32> {
    paths.iter().try_for_each(|path| {
        let fd = call(libc::SYS_openat, [AT_FDCWD, path.as_ptr() as usize, 0])?;
        call(libc::SYS_close, [fd]).map(drop)
    })
}

/// Performs an exec in a child of this process and waits for the program's end, which must be a good one.
fn spawn(number: libc::c_long, arguments: [usize; 5]) -> Result<usize, i32> {
    let mut status = 0_i32;
    match call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0])? {
        0 => {
            let failure = call(number, arguments).err().unwrap_or_default();
            // Does not return.
            call(libc::SYS_exit_group, [failure as usize])
        }
        child => {
            call(libc::SYS_wait4, [child, (&raw mut status) as usize, 0, 0])?;
            match libc::WEXITSTATUS(status) {
                0 if libc::WIFEXITED(status) => Ok(0),
                failure => Err(failure),
            }
        }
    }
}

fn open_flags(word: Option<&CString>) -> Result<usize> {
    let Some(word) = word else { return Ok(libc::O_RDONLY as usize) };
    let mut flags = 0;
    for name in word.to_str()?.split('|') {
        flags |= match name {
            "O_CREAT" => libc::O_CREAT,
            "O_DIRECTORY" => libc::O_DIRECTORY,
            "O_EXCL" => libc::O_EXCL,
            "O_NOFOLLOW" => libc::O_NOFOLLOW,
            "O_PATH" => libc::O_PATH,
            "O_TMPFILE" => libc::O_TMPFILE,
            "O_TRUNC" => libc::O_TRUNC,
            "O_WRONLY" => libc::O_WRONLY,
            _ => bail!("unknown flag {name}"),
        };
    }
    Ok(flags as usize)
}
