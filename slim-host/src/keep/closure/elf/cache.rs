//! `/etc/ld.so.cache`, as glibc's ldconfig writes it (sysdeps/generic/dl-cache.h).
//!
//! The current format begins with `glibc-ld.so.cache1.1`, either at once or, in caches of before glibc 2.32,
//! behind the entries of the old format. The old format alone (libc 5) is not read. Everything is
//! attacker-chosen: offsets are checked, and the paths are only ever looked up in the image's tree.

use std::collections::BTreeMap;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Header and entry sizes of the old format: magic with padding and a count; flags, key, value.
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
/// Of the current format: magic, counts, flags, extension offset; flags, key, value, osversion, hwcap.
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Entries that are read; large desktop systems have about ten thousand.
const MAX_ENTRIES: usize = 1 << 18;

/// Paths that are taken for one name: some directories, each with copies for several processors.
const MAX_PATHS: usize = 64;

/// Library name to paths, in the order of preference of the file.
pub(super) type Cache = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Reads a cache; `None` when it is not one. Entries that point outside the file are left out.
pub(super) fn parse(bytes: &[u8]) -> Option<Cache> {
    let table = current_format(bytes)?;
    // Bits 0 and 1 of the flags byte are the byte order since glibc 2.33; 0 means that of the machine.
    let little_count = u32::from_le_bytes(field(table, 20)?);
    let big = match table.get(28)? & 3 {
        2 => false,
        3 => true,
        _ => little_count as usize > table.len() / ENTRY,
    };
    let number =
        |at| field(table, at).map(|raw| if big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) });
    let count = number(20)? as usize;
    if count > table.len() / ENTRY || count > MAX_ENTRIES {
        return None;
    }
    let mut cache = Cache::new();
    for entry in 0..count {
        let at = HEADER + entry * ENTRY;
        let (Some(key), Some(value)) = (number(at + 4), number(at + 8)) else { break };
        if let (Some(name), Some(path)) = (string(table, key), string(table, value)) {
            let paths = cache.entry(name.to_vec()).or_default();
            if paths.len() < MAX_PATHS {
                paths.push(path.to_vec());
            }
        }
    }
    Some(cache)
}

fn current_format(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(MAGIC) {
        return Some(bytes);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return None;
    }
    let raw = field(bytes, 12)?;
    // The old header does not tell its byte order, and the table is aligned to 8 bytes on most machines, 4 on i386.
    [u32::from_le_bytes(raw), u32::from_be_bytes(raw)].into_iter().find_map(|count| {
        let end = (count as usize).checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
        [end.checked_next_multiple_of(8)?, end]
            .into_iter()
            .find_map(|at| bytes.get(at..).filter(|rest| rest.starts_with(MAGIC)))
    })
}

fn field(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}

/// The string at `offset`; longer ones than a path can be are refused.
fn string(table: &[u8], offset: u32) -> Option<&[u8]> {
    let rest = table.get(offset as usize..)?;
    let rest = rest.get(..4096).unwrap_or(rest);
    let end = rest.iter().position(|&b| b == 0)?;
    (end > 0).then(|| &rest[..end])
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A cache in the current format, little or big endian by `flags`.
    pub(crate) fn build(entries: &[(&str, &str)], flags: u8) -> Vec<u8> {
        let number = |n: usize| if flags == 3 { (n as u32).to_be_bytes() } else { (n as u32).to_le_bytes() };
        let mut strings = Vec::new();
        let mut table = Vec::new();
        for (name, path) in entries {
            let key = HEADER + entries.len() * ENTRY + strings.len();
            strings.extend([name.as_bytes(), b"\0"].concat());
            let value = HEADER + entries.len() * ENTRY + strings.len();
            strings.extend([path.as_bytes(), b"\0"].concat());
            table.extend([number(0x303), number(key), number(value), [0; 4], [0; 4], [0; 4]].concat());
        }
        let header =
            [MAGIC, &number(entries.len()), &number(strings.len()), &[flags, 0, 0, 0], &[0; 16]].concat();
        [header, table, strings].concat()
    }

    fn combined(current: &[u8], old_entries: usize, alignment: usize) -> Vec<u8> {
        let mut bytes = [OLD_MAGIC, &[0], &(old_entries as u32).to_le_bytes()].concat();
        bytes.resize(bytes.len() + old_entries * OLD_ENTRY, 7);
        bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        [bytes, current.to_vec()].concat()
    }

    #[test]
    fn every_form_is_read() {
        let entries =
            [("liba.so.1", "/opt/liba.so.1"), ("libb.so", "/lib/x/libb.so"), ("libb.so", "/lib/libb.so")];
        let expected: Cache = BTreeMap::from([
            (b"liba.so.1".to_vec(), vec![b"/opt/liba.so.1".to_vec()]),
            (b"libb.so".to_vec(), vec![b"/lib/x/libb.so".to_vec(), b"/lib/libb.so".to_vec()]),
        ]);
        for flags in [0, 2, 3] {
            assert_eq!(parse(&build(&entries, flags)).as_ref(), Some(&expected), "flags {flags}");
        }
        for (old, alignment) in [(0, 8), (1, 8), (2, 8), (1, 4), (3, 4)] {
            let bytes = combined(&build(&entries, 2), old, alignment);
            assert_eq!(parse(&bytes).as_ref(), Some(&expected), "{old} old entries");
        }
    }

    #[test]
    fn what_lies_is_left_out() {
        let mut bytes = build(&[("liba.so", "/lib/liba.so"), ("libb.so", "/lib/libb.so")], 2);
        bytes[HEADER + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&bytes).unwrap().keys().collect::<Vec<_>>(), [b"libb.so"]);
        bytes[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(&bytes), None);
        for bytes in [b"".as_slice(), b"ld.so-1.7.0", b"ld.so-1.7.0\0\xff\xff\xff\xff", MAGIC] {
            assert_eq!(parse(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), old in any::<bool>()) {
            let _ = parse(&bytes);
            let magic = if old { OLD_MAGIC } else { MAGIC };
            let _ = parse(&[magic, &bytes].concat());
        }

        #[test]
        fn any_damage_is_survived(at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let mut bytes = combined(&build(&[("liba.so", "/lib/liba.so")], 2), 1, 8);
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = parse(&bytes);
        }
    }
}
