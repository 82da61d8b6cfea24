//! One event for one distinct access, however often it happens.
//!
//! The key of an access is a 128-bit hash over the requested string, the identities of object and base, and kind,
//! result, target and device. It is seeded at random; by chance one pair among a million accesses collides with probability
//! 2^-89. Names can be chosen so that one of the two lanes collides under every seed; against those the other lane stands,
//! whose 64 bits nobody can look at. Nothing beside the hash: the map hashes and compares
//! every byte of the key once more on each access.
//!
//! Most accesses are repetitions of a few: see [`crate::familiar`].
//!
//! A key is claimed before the event is sent and the claim is taken back when the ring is full: the next access
//! of the same path tries again. Claims are never consumed; the host reads them as running totals.

use slim_common::{
    event::{DedupKey, flag, kind},
    familiar::SENT,
    limits::PATH_MAX,
};

use crate::{
    kernel::{Identity, config},
    maps::{RECENT, SEEN, Scratch, add, add_one, reload},
};

const BPF_NOEXIST: u64 = 1;
const EEXIST: i32 = -17;
const ENOENT: i32 = 2;

/// Two lanes of multiply-and-fold over 64-bit words.
pub struct PathHash {
    lanes: [u64; 2],
}

impl PathHash {
    /// An empty hash under the seeds of this run.
    #[inline(always)]
    pub fn new() -> Self {
        Self { lanes: config!(seeds) }
    }

    #[inline(always)]
    fn word(&mut self, word: u64) {
        let [a, b] = &mut self.lanes;
        *a = (*a ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        *a ^= *a >> 32;
        *b = (*b ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
        *b ^= *b >> 29;
    }

    /// Mixes in eight bytes of a string.
    #[inline(always)]
    pub fn text(&mut self, word: u64) {
        self.word(word);
    }

    /// What was mixed so far.
    #[inline(always)]
    pub fn lanes(&self) -> [u64; 2] {
        self.lanes
    }

    /// Mixes in what identifies an object or a base.
    #[inline(always)]
    pub fn identity(&mut self, identity: &Identity) {
        self.word(identity.ino);
        self.word(identity.name);
        self.word(identity.fs);
    }

    /// Mixes in where the file system is mounted that a base lies on; see [`crate::mounted`].
    #[inline(always)]
    pub fn place(&mut self, place: u64) {
        self.word(place);
    }

    /// What was mixed so far, in one word.
    #[inline(always)]
    pub fn fold(self) -> u64 {
        let [a, b] = self.lanes;
        a ^ b.rotate_left(32)
    }

    /// Mixes in the requested string, of which `scratch` has the length.
    #[inline(always)]
    pub fn requested(&mut self, scratch: &mut Scratch) {
        scratch.lanes = self.lanes;
        hash_requested(scratch.entry());
        self.lanes = reload(&scratch.lanes);
    }

    /// Mixes in the string of this length at the start of the sections.
    ///
    /// What is behind its end is masked away in a register. To write zeros there would stall the load that follows: a
    /// processor does not forward several small stores to one larger load. The length needs no word of its own: the
    /// last word is the only one with a zero byte, and every string has one.
    #[inline(always)]
    fn string(&mut self, scratch: &Scratch, len: u32) {
        let words = scratch.words();
        let whole = len as usize / 8 % (PATH_MAX / 8);
        for i in 0..PATH_MAX / 8 {
            if i >= whole {
                break;
            }
            // SAFETY: `i` is below PATH_MAX / 8, and the sections hold more than PATH_MAX bytes.
            self.word(unsafe { *words.add(i) });
        }
        // SAFETY: as above.
        self.word(leading_bytes(unsafe { *words.add(whole) }, len % 8));
    }

    /// The finished key of an access with these properties.
    ///
    /// They are not mixed but added, half to each lane: two accesses with the same paths differ in one lane then for
    /// certain, two with different paths differ by the lanes themselves.
    #[inline(always)]
    pub fn key(self, kind: u32, flags: u32, result: i32, target: u32, root_dev: u32) -> DedupKey {
        let [a, b] = self.lanes;
        let kind = kind | (flags & flag::CREATED) << 8;
        let place = u64::from(target) << 32 | u64::from(root_dev);
        let meaning = u64::from(result.cast_unsigned()) << 32 | u64::from(kind);
        [a ^ place, b ^ meaning]
    }
}

/// [`PathHash::requested`] for the verifier, which follows 512 words once instead of from each state in which a hook comes
/// here ([`crate::path::walk_step`]). The result means nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hash_requested(entry: u32) -> u32 {
    if let Some(scratch) = Scratch::at(entry) {
        let mut hash = PathHash { lanes: reload(&scratch.lanes) };
        hash.string(scratch, reload(&scratch.header.requested_len));
        scratch.lanes = hash.lanes;
    }
    0
}

/// The first `count` bytes in memory of `word`, at most 7; the others become zero.
#[inline(always)]
pub fn leading_bytes(word: u64, count: u32) -> u64 {
    let others = if cfg!(target_endian = "little") { !0 << (count * 8) } else { !0 >> (count * 8) };
    word & !others
}

/// For how long a key is remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Until the end, and counted.
    Lasting,
    /// For a while: there is no end of these, and to send them again changes nothing.
    Fading,
}

impl Memory {
    /// How long an access is to be remembered.
    #[inline(always)]
    pub fn of(kind: u32, result: i32, flags: u32) -> Self {
        // Names of temporary files are made, renamed and removed all day long, each of them once.
        if result == -ENOENT || kind == kind::MODIFY || flags & flag::CREATED != 0 {
            Self::Fading
        } else {
            Self::Lasting
        }
    }
}

/// What is known of an access.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    No,
    /// It was claimed before. Its event may still fail.
    Claimed,
    /// Its event is in the ring, or was.
    Sent,
}

/// Whether the access was claimed before; it is counted then.
#[inline(always)]
pub fn is_known(key: &DedupKey, memory: Memory) -> Known {
    match memory {
        Memory::Lasting => match SEEN.get_ptr_mut(key) {
            Some(total) => {
                add_one(total);
                // SAFETY: map values stay readable until the program ends.
                if unsafe { total.read_volatile() } & SENT == 0 { Known::Claimed } else { Known::Sent }
            }
            None => Known::No,
        },
        Memory::Fading => match RECENT.get_ptr_mut(key) {
            Some(total) => {
                add_one(total);
                Known::Claimed
            }
            None => Known::No,
        },
    }
}

/// Notes that the event of `key` is in the ring.
#[inline(always)]
pub fn mark_sent(key: &DedupKey, memory: Memory) {
    if memory == Memory::Lasting
        && let Some(total) = SEEN.get_ptr_mut(key)
    {
        // Only its claimant comes here, and once.
        add(total, SENT);
    }
}

/// What became of a claim.
pub enum Claim {
    /// First of its kind: send it.
    New,
    /// It was claimed before, or at the same time by another CPU; it is counted there.
    Duplicate,
    /// The map is full: send it all the same. It is remembered for a while only, so it may come again.
    Unrecorded,
}

/// Claims `key`, which was not known.
#[inline(always)]
pub fn claim(key: &DedupKey, memory: Memory) -> Claim {
    if memory == Memory::Lasting {
        match SEEN.insert(key, &1, BPF_NOEXIST) {
            Ok(()) => return Claim::New,
            Err(EEXIST) => {
                // Whoever claimed it may have taken the claim back meanwhile, and counted that as loss.
                let _ = is_known(key, memory);
                return Claim::Duplicate;
            }
            Err(_) => {}
        }
    }
    match RECENT.insert(key, &1, BPF_NOEXIST) {
        Err(EEXIST) => Claim::Duplicate,
        Ok(()) if memory == Memory::Fading => Claim::New,
        // Of the map that forgets this is no more than a moment's trouble.
        Ok(()) | Err(_) => Claim::Unrecorded,
    }
}

/// Takes a claim back.
#[inline(always)]
pub fn release(key: &DedupKey, memory: Memory) {
    // A failure means that the key is gone already, which is what we want.
    if memory == Memory::Lasting {
        let _ = SEEN.remove(key);
    }
    let _ = RECENT.remove(key);
}
