//! Arguments of system calls on arm64. Its 32-bit callers are not seen.

use slim_common::syscalls::{Entry, aarch64::CALLS};

use super::{Call, Simple, get};
use crate::kernel::Own;

// `struct pt_regs` of arch/arm64/include/asm/ptrace.h: regs[31], sp, pc, pstate, orig_x0, syscallno.
const X1: usize = 8;
const X2: usize = 16;
const X3: usize = 24;
const X4: usize = 32;
const PSTATE: usize = 264;
const ORIG_X0: usize = 272;
const SYSCALLNO: usize = 280;

/// The task runs 32-bit code, whose numbers are others (`PSR_MODE32_BIT`, arch/arm64/include/uapi/asm/ptrace.h).
const MODE32: u64 = 0x10;

/// What the number of the call that `regs` returns from means, if it counts.
#[inline(always)]
pub fn find(regs: *const u8) -> Option<[Entry; 2]> {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and the offset lies within it; an `s32`.
    get(&CALLS, unsafe { *regs.add(SYSCALLNO).cast::<u32>() })
}

/// Decodes the call that was found for `regs`; `None` when it does not count after all.
#[inline(always)]
pub fn look(regs: *const u8, found: [Entry; 2], call: &mut Call) -> Option<()> {
    if register(regs, PSTATE) & MODE32 != 0 {
        return None;
    }
    call.set(found[0], [ORIG_X0, X1, X2].map(|offset| register(regs, offset)));
    Some(())
}

/// Decodes the call with this native meaning, when it is native and of one of the most usual forms.
#[inline(always)]
pub fn simple(regs: *const u8, _: Own, native: Entry) -> Option<Simple> {
    if register(regs, PSTATE) & MODE32 != 0 {
        return None;
    }
    Simple::of(native, [ORIG_X0, X1, X2].map(|offset| register(regs, offset)))
}

/// Decodes what the first look left out.
#[inline(always)]
pub fn look_again(regs: *const u8, call: &mut Call) -> Option<()> {
    let [second, third, fourth, fifth] = [X1, X2, X3, X4].map(|offset| register(regs, offset));
    call.set_again([second, third, fourth], [fourth, fifth]);
    Some(())
}

#[inline(always)]
fn register(regs: *const u8, offset: usize) -> u64 {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
    unsafe { *regs.add(offset).cast::<u64>() }
}
