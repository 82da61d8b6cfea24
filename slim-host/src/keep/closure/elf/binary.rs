//! What the loaders read of an ELF file, with bounded memory whatever its headers claim.

use std::io::{Read, Seek};

use object::{
    Endianness, ReadCache, ReadRef, elf,
    read::elf::{Dyn as _, FileHeader, ProgramHeader as _},
};

use crate::keep::ElfDefect;

/// The longest single read: real program headers and dynamic sections take a few kilobytes.
const MAX_READ: u64 = 1 << 20;

/// Libraries that one object may name; real programs have up to a few hundred.
const MAX_NEEDED: usize = 1024;

/// Bytes of all their names together.
const MAX_NEEDED_BYTES: usize = 64 << 10;

/// The longest `RPATH`; the longest in use take a few kilobytes.
const MAX_SEARCH_PATH: u64 = 64 << 10;

/// The kernel's limit of a path, terminating NUL included.
const PATH_MAX: u64 = 4096;

/// What must agree for two objects to share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Abi {
    /// `EI_CLASS`: 1 for 32-bit, 2 for 64-bit.
    pub(crate) class: u8,
    /// `EI_DATA`: 1 for little endian, 2 for big endian.
    pub(crate) data: u8,
    /// `e_machine`.
    pub(crate) machine: u16,
}

/// The part of an ELF file that decides what is loaded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Which processes it fits in.
    pub(crate) abi: Abi,
    /// `PT_INTERP`.
    pub(crate) interpreter: Option<Vec<u8>>,
    /// `DT_NEEDED`, `DT_AUXILIARY` and `DT_FILTER`, in order.
    pub(crate) needed: Vec<Vec<u8>>,
    /// `DT_RPATH`, or empty.
    pub(crate) rpath: Vec<u8>,
    /// `DT_RUNPATH`, or empty.
    pub(crate) runpath: Vec<u8>,
    /// `DF_1_NODEFLIB`: default directories are not searched for its libraries.
    pub(crate) no_default_directories: bool,
    /// The first part that could not be read; the fields hold the rest.
    pub(crate) defect: Option<ElfDefect>,
}

impl Binary {
    /// Reads headers, interpreter and dynamic section.
    pub(crate) fn read<R: Read + Seek>(reader: R) -> Result<Self, ElfDefect> {
        let cache = ReadCache::new(reader);
        let data = Capped::new(&cache, MAX_READ);
        let ident = data.read_bytes_at(0, 16).map_err(|()| ElfDefect::Header)?;
        match ident {
            [0x7f, b'E', b'L', b'F', 1, ..] => Self::parse::<elf::FileHeader32<Endianness>, _>(data),
            [0x7f, b'E', b'L', b'F', 2, ..] => Self::parse::<elf::FileHeader64<Endianness>, _>(data),
            _ => Err(ElfDefect::Header),
        }
    }

    /// Whether its own search path takes part in finding its libraries.
    pub(crate) fn has_search_path(&self) -> bool {
        !self.rpath.is_empty() || !self.runpath.is_empty()
    }

    /// The search path that musl uses: it treats both kinds alike and prefers `RUNPATH`.
    pub(crate) fn musl_path(&self) -> &[u8] {
        if self.runpath.is_empty() { &self.rpath } else { &self.runpath }
    }

    fn parse<'data, Elf, R>(data: R) -> Result<Self, ElfDefect>
    where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let header = Elf::parse(data).map_err(|_| ElfDefect::Header)?;
        let endian = header.endian().map_err(|_| ElfDefect::Header)?;
        let ident = header.e_ident();
        let abi = Abi { class: ident.class.0, data: ident.data.0, machine: header.e_machine(endian).0 };
        let mut binary = Self {
            abi,
            interpreter: None,
            needed: Vec::new(),
            rpath: Vec::new(),
            runpath: Vec::new(),
            no_default_directories: false,
            defect: None,
        };
        let segments = match header.program_headers(endian, data) {
            Ok(segments) => segments,
            Err(_) => {
                binary.defect = Some(ElfDefect::Segments);
                return Ok(binary);
            }
        };
        for segment in segments {
            match segment.interpreter(endian, data) {
                Ok(Some(path)) if (path.len() as u64) < PATH_MAX => binary.interpreter = Some(path.to_vec()),
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => binary.note(ElfDefect::Interpreter),
            }
            match segment.dynamic(endian, data) {
                Ok(Some(entries)) => binary.read_dynamic::<Elf, R>(entries, segments, endian, data),
                Ok(None) => {}
                Err(_) => binary.note(ElfDefect::Dynamic),
            }
        }
        Ok(binary)
    }

    fn read_dynamic<'data, Elf, R>(
        &mut self,
        entries: &[Elf::Dyn],
        segments: &[Elf::ProgramHeader],
        endian: Endianness,
        data: R,
    ) where
        Elf: FileHeader<Endian = Endianness>,
        R: ReadRef<'data>,
    {
        let entries: Vec<_> = entries
            .iter()
            .map(|entry| (entry.tag(endian), entry.val(endian)))
            .take_while(|(tag, _)| *tag != elf::DT_NULL)
            .collect();
        let address = entries.iter().rev().find(|(tag, _)| *tag == elf::DT_STRTAB).map(|(_, value)| *value);
        let table = address.and_then(|address| file_offset::<Elf>(segments, endian, address));
        let mut needed_bytes = 0;
        for (tag, value) in entries {
            if tag == elf::DT_FLAGS_1 {
                self.no_default_directories = value & elf::DF_1_NODEFLIB.0 != 0;
                continue;
            }
            if ![elf::DT_NEEDED, elf::DT_AUXILIARY, elf::DT_FILTER, elf::DT_RPATH, elf::DT_RUNPATH]
                .contains(&tag)
            {
                continue;
            }
            let limit =
                if tag == elf::DT_RPATH || tag == elf::DT_RUNPATH { MAX_SEARCH_PATH } else { PATH_MAX };
            let Some(string) = table.and_then(|table| string_at(data, table.checked_add(value)?, limit))
            else {
                self.note(ElfDefect::Strings);
                continue;
            };
            if tag == elf::DT_RPATH {
                self.rpath = string;
            } else if tag == elf::DT_RUNPATH {
                self.runpath = string;
            } else if self.needed.len() < MAX_NEEDED && needed_bytes + string.len() <= MAX_NEEDED_BYTES {
                needed_bytes += string.len();
                self.needed.push(string);
            } else {
                self.note(ElfDefect::TooMany);
                break;
            }
        }
    }

    fn note(&mut self, defect: ElfDefect) {
        self.defect.get_or_insert(defect);
    }
}

/// Where the bytes at a virtual address lie in the file.
pub(super) fn file_offset<Elf: FileHeader<Endian = Endianness>>(
    segments: &[Elf::ProgramHeader],
    endian: Endianness,
    address: u64,
) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let (offset, size) = segment.file_range(endian);
        let within = address.checked_sub(segment.p_vaddr(endian).into())?;
        (within < size).then(|| offset.checked_add(within)).flatten()
    })
}

/// The NUL-terminated string at `offset`; reads a little first, since nearly all are short.
pub(super) fn string_at<'data, R: ReadRef<'data>>(data: R, offset: u64, limit: u64) -> Option<Vec<u8>> {
    let left = data.len().ok()?.checked_sub(offset)?;
    [256, limit].into_iter().find_map(|limit| {
        let bytes = data.read_bytes_at(offset, left.min(limit)).ok()?;
        bytes.iter().position(|&b| b == 0).map(|end| bytes[..end].to_vec())
    })
}

/// Refuses reads whose size only a hostile header can ask for.
pub(crate) struct Capped<'data, R: Read + Seek> {
    cache: &'data ReadCache<R>,
    most: u64,
}

impl<'data, R: Read + Seek> Capped<'data, R> {
    /// Reads of at most `most` bytes.
    pub(crate) fn new(cache: &'data ReadCache<R>, most: u64) -> Self {
        Self { cache, most }
    }
}

impl<R: Read + Seek> Clone for Capped<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Read + Seek> Copy for Capped<'_, R> {}

impl<'data, R: Read + Seek> ReadRef<'data> for Capped<'data, R> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        if size > self.most { Err(()) } else { self.cache.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: std::ops::Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        self.cache.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::keep::testing::Elf;

    #[test]
    fn fields_are_read_in_both_classes_and_byte_orders() {
        for (class, data, machine) in [(2, 1, 62), (1, 1, 3), (2, 2, 22), (1, 2, 8)] {
            let built = Elf::new()
                .abi(class, data, machine)
                .interpreter("/lib/ld.so")
                .needed("liba.so.1")
                .needed("libb.so.2")
                .rpath("/r")
                .runpath("$ORIGIN/../lib")
                .no_default_directories();
            let expected = Binary {
                abi: Abi { class, data, machine },
                interpreter: Some(b"/lib/ld.so".to_vec()),
                needed: vec![b"liba.so.1".to_vec(), b"libb.so.2".to_vec()],
                rpath: b"/r".to_vec(),
                runpath: b"$ORIGIN/../lib".to_vec(),
                no_default_directories: true,
                defect: None,
            };
            assert_eq!(Binary::read(Cursor::new(built.build())), Ok(expected));
        }
    }

    #[test]
    fn damage_is_named_and_the_rest_is_used() {
        let whole = Elf::new().interpreter("/lib/ld.so").needed("liba.so.1").build();
        assert_eq!(Binary::read(Cursor::new(&whole[..20])), Err(ElfDefect::Header));
        assert_eq!(Binary::read(Cursor::new(b"#!/bin/sh")), Err(ElfDefect::Header));
        let cut = Binary::read(Cursor::new(&whole[..70])).unwrap();
        assert_eq!(cut.defect, Some(ElfDefect::Segments));
        let cut = Binary::read(Cursor::new(&whole[..whole.len() - 5])).unwrap();
        assert_eq!((cut.defect, cut.interpreter), (Some(ElfDefect::Strings), Some(b"/lib/ld.so".to_vec())));
    }

    #[test]
    fn names_are_bounded() {
        let read = |elf: Elf| Binary::read(Cursor::new(elf.build())).unwrap();
        let many = read((0..MAX_NEEDED + 1).fold(Elf::new(), |elf, n| elf.needed(&n.to_string())));
        assert_eq!((many.needed.len(), many.defect), (MAX_NEEDED, Some(ElfDefect::TooMany)));
        let large = read((0..40).fold(Elf::new(), |elf, _| elf.needed(&"x".repeat(4000))));
        assert_eq!((large.needed.len(), large.defect), (16, Some(ElfDefect::TooMany)));
        let long = read(Elf::new().needed(&"x".repeat(4096)).rpath(&"/r:".repeat(1400)));
        assert_eq!((long.needed.len(), long.rpath.len(), long.defect), (0, 4200, Some(ElfDefect::Strings)));
        let long = read(Elf::new().interpreter(&"/x".repeat(2048)));
        assert_eq!((long.interpreter, long.defect), (None, Some(ElfDefect::Interpreter)));
    }

    #[test]
    fn a_size_from_the_file_never_becomes_an_allocation() {
        // A sparse file may be as long as it claims to be.
        struct Endless(Cursor<Vec<u8>>, u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                assert!(buffer.len() as u64 <= MAX_READ, "{} bytes asked for", buffer.len());
                self.0.set_position(self.1);
                let n = self.0.read(buffer)?;
                buffer[n..].fill(1);
                self.1 += buffer.len() as u64;
                Ok(buffer.len())
            }
        }
        impl Seek for Endless {
            fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
                self.1 = match to {
                    std::io::SeekFrom::Start(at) => at,
                    std::io::SeekFrom::End(_) => 1 << 62,
                    std::io::SeekFrom::Current(by) => self.1.wrapping_add_signed(by),
                };
                Ok(self.1)
            }
        }
        let mut bytes = Elf::new().interpreter("/lib/ld.so").needed("liba.so.1").build();
        // p_filesz of every program header.
        for header in 0..3 {
            bytes[64 + header * 56 + 32..][..8].copy_from_slice(&(1_u64 << 61).to_le_bytes());
        }
        let binary = Binary::read(Endless(Cursor::new(bytes), 0)).unwrap();
        assert!(binary.defect.is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Binary::read(Cursor::new(&bytes));
            for class in [1, 2] {
                let elf = [b"\x7fELF".as_slice(), &[class, 1, 1], &bytes].concat();
                let _ = Binary::read(Cursor::new(elf));
            }
        }

        #[test]
        fn any_damage_is_survived(at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Elf::new().interpreter("/lib/ld.so").needed("liba.so.1").rpath("/r").build();
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = Binary::read(Cursor::new(&bytes));
            bytes.truncate(cut.index(bytes.len()));
            let _ = Binary::read(Cursor::new(&bytes));
        }
    }
}
