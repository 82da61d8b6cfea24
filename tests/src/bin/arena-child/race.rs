//! A string that another thread rewrites while the kernel looks at it, more than once, or takes away.

use std::{
    ffi::CStr,
    fs,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
use slim_tests::{Deadline, kernel::errno};

use crate::raw;

/// Files are called by numbers of four digits, which are rewritten at once.
const FIRST: usize = 1_000;

/// `/many/` and the digits, so that these lie at a multiple of their size.
struct Name([AtomicU32; 4]);

impl Name {
    fn new() -> Self {
        let words = [*b"\0\0/m", *b"any/", [0; 4], [0; 4]];
        Self(words.map(|bytes| AtomicU32::new(u32::from_ne_bytes(bytes))))
    }

    /// Makes it the name of a file.
    fn set(&self, digits: u32) {
        self.0[2].store(digits, Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0[2].load(Ordering::Relaxed)
    }

    fn address(&self) -> usize {
        self.0.as_ptr() as usize + 2
    }
}

fn digits(file: usize) -> Result<u32> {
    let digits = file.to_string().into_bytes().try_into().ok().context("a file has four digits")?;
    Ok(u32::from_ne_bytes(digits))
}

/// Examines the files from `many/1001` up to `many/LAST` on one CPU, while another thread turns the name into `many/1000`
/// at any time; then each once more in peace.
pub(crate) fn run(last: usize) -> Result<()> {
    ensure!(last > FIRST, "a race of no files");
    let mut elsewhere = sched_getaffinity(None)?;
    // What a CPU has met before it recognises by itself, so all must happen on one.
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    elsewhere.unset(sched_getcpu());
    ensure!(elsewhere.count() > 0, "a race on one CPU");
    sched_setaffinity(None, &here)?;
    let (name, known, over) = (Name::new(), digits(FIRST)?, AtomicBool::new(false));
    name.set(known);
    examine(&name)?;
    std::thread::scope(|scope| {
        let rewriter = scope.spawn(|| {
            sched_setaffinity(None, &elsewhere)?;
            rewrite(&name, known, &over);
            anyhow::Ok(())
        });
        let raced = (FIRST + 1..=last).try_for_each(|file| {
            name.set(digits(file)?);
            examine(&name)
        });
        over.store(true, Ordering::Relaxed);
        rewriter.join().ok().context("the other thread panicked")??;
        raced
    })?;
    (FIRST + 1..=last).try_for_each(|file| {
        name.set(digits(file)?);
        examine(&name)
    })
}

/// Rewrites each name within some microseconds.
fn rewrite(name: &Name, known: u32, over: &AtomicBool) {
    let mut random = 1_u32;
    while !over.load(Ordering::Relaxed) {
        if name.get() == known {
            continue;
        }
        // Some constants of a generator (Numerical Recipes).
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (0..random >> 24).for_each(|step| {
            std::hint::black_box(step);
        });
        name.set(known);
    }
}

fn examine(name: &Name) -> Result<()> {
    raw::stat_all(&[name.address()]).map_err(|number| anyhow::anyhow!("race: {}", errno::name(number)))
}

/// Opens the FIFO `path`, which takes until somebody opens its other end; meanwhile the memory with its name goes away.
pub(crate) fn vanish(path: &CStr) -> Result<()> {
    let failed = |number| anyhow::anyhow!("vanish: {}", errno::name(number));
    let open = |name: usize, flags: i32| {
        raw::call(libc::SYS_openat, [libc::AT_FDCWD as usize, name, flags as usize]).map_err(failed)
    };
    let name = raw::mapped_copy(path.to_bytes(), 0).map_err(failed)?;
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            tell.send(gettid())?;
            open(name, libc::O_RDONLY)?;
            anyhow::Ok(())
        });
        let call = format!("/proc/self/task/{}/syscall", told.recv()?.as_raw_nonzero());
        // The number of a call in which it waits; the kernel has its copy of the name then (fs/namei.c).
        let waits = Deadline::after(60).retry("wait in open", |_| {
            let waits = fs::read_to_string(&call)?.starts_with(&format!("{} ", libc::SYS_openat));
            ensure!(waits, "not yet");
            Ok(())
        });
        let gone = waits.and_then(|()| raw::call(libc::SYS_munmap, [name, raw::MAPPED]).map_err(failed));
        // Whatever went wrong, the reader must not wait for ever, nor this.
        open(path.as_ptr() as usize, libc::O_RDWR)?;
        gone?;
        reader.join().ok().context("the reader panicked")?
    })
}
