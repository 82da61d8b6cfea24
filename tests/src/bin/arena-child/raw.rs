//! The one place with system calls that no safe binding offers: legacy numbers, odd arguments, the 32-bit gate.
#![expect(unsafe_code, reason = "the tests are about system calls, not about their bindings")]

use std::io;

/// Performs system call `number`; what it returned, or its error number.
///
/// Pointers in `arguments` must be valid for what the call does with them, or known to be refused by it.
pub(crate) fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> Result<usize, i32> {
    let mut all = [0; 6];
    for (slot, argument) in all.iter_mut().zip(arguments) {
        *slot = argument;
    }
    let [a, b, c, d, e, f] = all;
    // SAFETY: the callers pass addresses of live strings and of buffers that are large enough.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or_default())
}

/// Performs a call that waits, and lets a signal end it; must be `EINTR` then, for the handler asks for no restart.
///
/// The timer goes on until it was heard: the first signals may come before the call waits.
pub(crate) fn interrupted(number: libc::c_long, arguments: [usize; 3]) -> Result<usize, i32> {
    extern "C" fn heard(_: libc::c_int) {}
    let interval = libc::timeval { tv_sec: 0, tv_usec: 1_000 };
    let mut timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: the action is all zero (no flags, empty mask) but for a handler that does nothing; the timer is a local.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = heard as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
    }
    let result = call(number, arguments);
    timer.it_value = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: as above.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    result
}

/// Calls the kernel through the 32-bit gate from 64-bit code: call `number` with two arguments below 4 GiB. The register
/// of the first argument of a native call holds no address.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_by_gate(number: u32, first: usize, second: usize) -> Result<usize, i32> {
    let result: i64;
    // SAFETY: as above. rbx is reserved by the compiler, hence exchanged; the gate clobbers r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) first => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") second,
            in("rdx") 0,
            in("rdi") 1,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as i32;
    usize::try_from(result).map_err(|_| -result)
}

/// Opens and closes each of `paths`, which are addresses of strings.
///
/// Assembly, or an unoptimised loop would be a good part of what is measured.
#[cfg(target_arch = "x86_64")]
pub(crate) fn open_all(paths: &[usize]) -> Result<(), i32> {
    let result: i64;
    // SAFETY: the strings live through the call; only descriptors of its own are closed. `syscall` clobbers rcx and r11.
    unsafe {
        std::arch::asm!(
            "2:",
            "mov rsi, [{at}]",
            "mov rdi, -100",
            "xor edx, edx",
            "mov eax, 257",
            "syscall",
            "test eax, eax",
            "js 3f",
            "mov edi, eax",
            "mov eax, 3",
            "syscall",
            "add {at}, 8",
            "cmp {at}, {end}",
            "jne 2b",
            "xor eax, eax",
            "3:",
            at = inout(reg) paths.as_ptr() => _,
            end = in(reg) paths.as_ptr_range().end,
            out("rax") result, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r11") _,
        );
    }
    if result == 0 { Ok(()) } else { Err(-(result as i32)) }
}

/// Examines each of `paths`, likewise.
#[cfg(target_arch = "x86_64")]
pub(crate) fn stat_all(paths: &[usize]) -> Result<(), i32> {
    const _: () = assert!(size_of::<libc::stat>() == 18 * 8);
    let mut buffer = [0_u64; 18];
    let result: i64;
    // SAFETY: the strings live through the call, and the kernel writes one `struct stat`.
    unsafe {
        std::arch::asm!(
            "2:",
            "mov rsi, [{at}]",
            "mov rdi, -100",
            "mov rdx, {buffer}",
            "xor r10d, r10d",
            "mov eax, 262",
            "syscall",
            "test eax, eax",
            "js 3f",
            "add {at}, 8",
            "cmp {at}, {end}",
            "jne 2b",
            "xor eax, eax",
            "3:",
            at = inout(reg) paths.as_ptr() => _,
            end = in(reg) paths.as_ptr_range().end,
            buffer = in(reg) buffer.as_mut_ptr(),
            out("rax") result, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r10") _,
            out("r11") _,
        );
    }
    if result == 0 { Ok(()) } else { Err(-(result as i32)) }
}

/// Opens and closes each of `paths`, which are addresses of strings.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn open_all(paths: &[usize]) -> Result<(), i32> {
    paths.iter().try_for_each(|&path| {
        let fd = call(libc::SYS_openat, [libc::AT_FDCWD as usize, path, 0])?;
        call(libc::SYS_close, [fd]).map(drop)
    })
}

/// Examines each of `paths`, likewise.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn stat_all(paths: &[usize]) -> Result<(), i32> {
    let mut buffer = [0_u64; 32];
    let buffer = buffer.as_mut_ptr() as usize;
    let examine = |&path| call(libc::SYS_newfstatat, [libc::AT_FDCWD as usize, path, buffer, 0]).map(drop);
    paths.iter().try_for_each(examine)
}

/// Reads a byte of the first of `paths`, as many times as there are paths: a call that names nothing. What the loop itself
/// takes is little beside it.
pub(crate) fn read_all(paths: &[usize]) -> Result<(), i32> {
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD as usize, paths.first().copied().unwrap_or(0), 0])?;
    let mut byte = 0_u8;
    let buffer = (&raw mut byte) as usize;
    for _ in paths {
        call(libc::SYS_pread64, [fd, buffer, 1, 0])?;
    }
    call(libc::SYS_close, [fd]).map(drop)
}

/// A copy of `bytes` with a NUL, below 4 GiB; never freed.
#[cfg(target_arch = "x86_64")]
pub(crate) fn low_copy(bytes: &[u8]) -> Result<usize, i32> {
    mapped_copy(bytes, libc::MAP_32BIT)
}

/// Bytes of the mapping that [`mapped_copy`] makes.
pub(crate) const MAPPED: usize = 8192;

/// A copy of `bytes` with a NUL in a mapping of its own, made with these flags too; never freed.
pub(crate) fn mapped_copy(bytes: &[u8], flags: i32) -> Result<usize, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    let address = call(
        libc::SYS_mmap,
        [0, MAPPED, (libc::PROT_READ | libc::PROT_WRITE) as usize, flags as usize, usize::MAX, 0],
    )?;
    // SAFETY: the mapping is fresh, zeroed, and longer than any path.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len().min(4096)) };
    Ok(address)
}
