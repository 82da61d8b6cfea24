//! What this CPU met lately, and counts by itself: a tenth of the instructions of a lookup among all.
//!
//! Only what is known to be in the ring is remembered, so nothing is withheld that might still get lost. Each program has
//! entries of its own, which nobody else changes: a program does not run twice at once on a CPU. (Before Linux 5.12 nothing
//! keeps it from that; then both would have to be preempted in the middle of one entry to do harm.)
//!
//! Objects are recognised before anybody asks whose they are, which would cost as much again. Three things make that sound.
//! An entry was made for a task in scope, on the root of its container. It holds only while the scope is what it was then:
//! [`scope_changes`] counts each group that enters or is removed, and each root that is met for the first time. And the root
//! of a container is unmounted after its group was removed; so when an address that an old superblock left belongs to a
//! container, the scope has changed since. One root belongs to one target: the host sees to that. The price: whoever else
//! uses a container's files counts as well, once the container has used them.

use slim_common::{
    event::DedupKey,
    familiar::{ENTRIES_MAX, Facts, Familiar, Region},
};

use crate::{
    kernel::{Identity, Own, config, hidden},
    maps::{
        FAMILIAR_CALLS, FAMILIAR_LOOKUPS, FAMILIAR_OPENS, FAMILIAR_USED, SEEN, add, layers_superblock,
        scope_changes,
    },
    scope::{Root, Scope},
};

/// An access that may be remembered.
pub struct Wanted {
    /// Where.
    pub region: Region,
    /// What it is recognised by.
    pub facts: Facts,
    /// Under what it is counted.
    pub key: DedupKey,
}

/// By what a CPU recognises an access.
pub enum Recall {
    /// By nothing: it is asked for among all.
    Never,
    /// By its key, when no facts about it are cheaper to have.
    ByKey,
    /// By these, which it does not know yet.
    ByFacts(Facts),
}

/// By what the access with this key is recognised: that is as good as anything else.
#[inline(always)]
pub fn facts_of_key(key: &DedupKey) -> Facts {
    [key[0], key[1], 1, scope_changes()]
}

/// By what an object on the root file system of a container is recognised, whatever is done with it.
#[inline(always)]
pub fn facts_of_object(object: &Identity, root: &Root, scope: &Scope) -> Facts {
    [object.name, object.ino, root.home_sb, scope.changes()]
}

/// Whether the access with these facts is remembered; it is counted then.
#[inline(always)]
pub fn holds(region: Region, facts: &Facts) -> bool {
    let at = place(facts[0]);
    let is_it = |entry: &Familiar| {
        entry.facts[0] == facts[0]
            && entry.facts[1] == facts[1]
            && entry.facts[2] == facts[2]
            && entry.facts[3] == facts[3]
    };
    counts(region, at, is_it) || counts(region, at ^ 1, is_it)
}

/// Whether an object tells nothing new: it is a file of a layer, such as overlayfs opens behind each of its own, or it is
/// remembered; only the latter is counted. The verifier must know the type of `dentry`.
#[inline(always)]
pub fn holds_object(region: Region, dentry: Own) -> bool {
    let superblock: u64 = dentry.typed(config!(offsets.dentry_sb));
    if superblock == layers_superblock() {
        return true;
    }
    let name = Identity::typed_name(dentry);
    let at = place(name);
    // One after the other, as they are needed.
    let is_it = |entry: &Familiar| {
        entry.facts[0] == name
            && entry.facts[2] == superblock
            && entry.facts[3] == scope_changes()
            && entry.facts[1] == Identity::typed_ino(dentry)
    };
    counts(region, at, is_it) || counts(region, at ^ 1, is_it)
}

/// Whether entry `at` is the one that is looked for; it is counted then.
#[inline(always)]
fn counts(region: Region, at: u32, is_it: impl Fn(&Familiar) -> bool) -> bool {
    let Some(entry) = entry(region, at) else { return false };
    // SAFETY: a per-CPU map value of one program alone, which does not run twice at once.
    let entry = unsafe { &mut *entry };
    if !is_it(entry) {
        return false;
    }
    entry.count += 1;
    true
}

/// Remembers an access that is sent: in the first of two entries if it is free or of another time, else in the second if that
/// is, else in the first, once who is there did not come again since the last time that its entry was wanted.
///
/// A function of its own, for it is seldom needed, and the verifier then follows it from one state.
#[inline(never)]
pub fn remember(wanted: &Wanted) -> u32 {
    let facts = &wanted.facts;
    let first = place(facts[0]);
    let Some(entry) = entry(wanted.region, first) else { return 0 };
    let Some(other) = self::entry(wanted.region, first ^ 1) else { return 0 };
    // SAFETY: as in `counts`.
    let is_over = |entry: *const Familiar| unsafe { (*entry).facts[2] == 0 || (*entry).facts[3] != facts[3] };
    let (entry, at, is_free) = if !is_over(entry) && is_over(other) {
        (other, first ^ 1, true)
    } else {
        (entry, first, is_over(entry))
    };
    // SAFETY: likewise.
    let count = unsafe { add_up(entry) };
    if is_free || count == 0 { take(entry, at, wanted) } else { 0 }
}

/// Counts among all what an entry has counted; how much that was.
///
/// # Safety
/// `entry` is a map value of this CPU.
#[inline(always)]
unsafe fn add_up(entry: *mut Familiar) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let count = (&raw const (*entry).count).read_volatile();
        if count != 0 {
            (&raw mut (*entry).count).write_volatile(0);
            if let Some(total) = SEEN.get_ptr_mut(&(*entry).key) {
                add(total, count);
            }
        }
        count
    }
}

/// Puts an access into entry `at`, of which nothing waits to be counted.
#[inline(always)]
fn take(entry: *mut Familiar, at: u32, wanted: &Wanted) -> u32 {
    let Wanted { facts, key, region } = wanted;
    // Not to be found while it is neither the one nor the other.
    // SAFETY: as in `counts`.
    unsafe {
        (&raw mut (*entry).facts[2]).write_volatile(0);
        (&raw mut (*entry).key).write_volatile(*key);
        (&raw mut (*entry).facts[0]).write_volatile(facts[0]);
        (&raw mut (*entry).facts[1]).write_volatile(facts[1]);
        (&raw mut (*entry).facts[3]).write_volatile(facts[3]);
        (&raw mut (*entry).facts[2]).write_volatile(facts[2]);
    }
    if let Some(used) = FAMILIAR_USED.get_ptr_mut(*region as u32) {
        // The mask is for the verifier.
        let word = hidden(u64::from(at / 64)) as usize & (ENTRIES_MAX as usize / 64 - 1);
        // SAFETY: as above; `word` is below the length.
        unsafe { *used.cast::<u64>().add(word) |= 1 << (at % 64) };
    }
    0
}

/// Where the access would be that is known by a word with a hash in its lower half; or beside it.
#[inline(always)]
fn place(word: u64) -> u32 {
    word as u32 & config!(familiar_mask)
}

#[inline(always)]
fn entry(region: Region, at: u32) -> Option<*mut Familiar> {
    match region {
        Region::Syscall => FAMILIAR_CALLS.get_ptr_mut(at),
        Region::Open => FAMILIAR_OPENS.get_ptr_mut(at),
        Region::Lookup => FAMILIAR_LOOKUPS.get_ptr_mut(at),
    }
}
