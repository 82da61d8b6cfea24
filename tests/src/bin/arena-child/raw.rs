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

/// A copy of `bytes` with a NUL, below 4 GiB; never freed.
#[cfg(target_arch = "x86_64")]
pub(crate) fn low_copy(bytes: &[u8]) -> Result<usize, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    let address = call(
        libc::SYS_mmap,
        [0, 8192, (libc::PROT_READ | libc::PROT_WRITE) as usize, flags as usize, usize::MAX, 0],
    )?;
    // SAFETY: the mapping is fresh, zeroed, and longer than any path.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len().min(4096)) };
    Ok(address)
}
