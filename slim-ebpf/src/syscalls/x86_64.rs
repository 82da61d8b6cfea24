//! Arguments of system calls on x86-64, natively and of 32-bit callers.

use slim_common::syscalls::{Entry, x86_64::CALLS};

use super::{Call, Simple, get};
use crate::kernel::{Own, config};

// Offsets in `struct pt_regs` (arch/x86/include/asm/ptrace.h): the user interface of ptrace, hence stable.
const BP: usize = 32;
const BX: usize = 40;
const R10: usize = 56;
const R8: usize = 72;
const CX: usize = 88;
const DX: usize = 96;
const SI: usize = 104;
const DI: usize = 112;
const ORIG_AX: usize = 120;

/// The task is in a call of the 32-bit table (arch/x86/include/asm/thread_info.h). Not its code segment decides: 64-bit
/// code may use `int 0x80` as well.
const TS_COMPAT: u32 = 2;
/// Marks the number of a call by the x32 ABI, which has the native numbers and arguments (`__X32_SYSCALL_BIT`).
const X32_BIT: u32 = 0x4000_0000;

/// What the number of the call that `regs` returns from means, natively and to 32-bit callers, if either counts.
#[inline(always)]
pub fn find(regs: *const u8) -> Option<[Entry; 2]> {
    get(&CALLS, register(regs, ORIG_AX) as u32 & !X32_BIT)
}

/// Decodes the call that was found for `regs`; `None` when it does not count after all.
#[inline(always)]
pub fn look(regs: *const u8, found: [Entry; 2], call: &mut Call) -> Option<()> {
    let [native, compat] = found;
    let (entry, arguments) = if is_compat(Own::task())? {
        (compat, [BX, CX, DX].map(|offset| register(regs, offset) & 0xffff_ffff))
    } else {
        (native, [DI, SI, DX].map(|offset| register(regs, offset)))
    };
    if !entry.counts() {
        return None;
    }
    call.set(entry, arguments);
    Some(())
}

/// Decodes the call with this native meaning, when it is native and of one of the most usual forms.
#[inline(always)]
pub fn simple(regs: *const u8, task: Own, native: Entry) -> Option<Simple> {
    if is_compat(task)? {
        return None;
    }
    Simple::of(native, [DI, SI, DX].map(|offset| register(regs, offset)))
}

/// Decodes what the first look left out.
#[inline(always)]
pub fn look_again(regs: *const u8, call: &mut Call) -> Option<()> {
    if is_compat(Own::task())? {
        let [second, third, fourth, fifth, sixth] =
            [CX, DX, SI, DI, BP].map(|offset| register(regs, offset) & 0xffff_ffff);
        // A 64-bit argument takes two registers.
        call.set_again([second, third, fourth], [fifth, sixth]);
    } else {
        let [second, third, fourth, fifth] = [SI, DX, R10, R8].map(|offset| register(regs, offset));
        call.set_again([second, third, fourth], [fourth, fifth]);
    }
    Some(())
}

#[inline(always)]
fn is_compat(task: Own) -> Option<bool> {
    let status: u32 = task.read(config!(offsets.task_status))?;
    Some(status & TS_COMPAT != 0)
}

#[inline(always)]
fn register(regs: *const u8, offset: usize) -> u64 {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
    unsafe { *regs.add(offset).cast::<u64>() }
}
