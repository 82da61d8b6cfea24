//! Which of a set of symbols an ELF file imports.
//!
//! The dynamic symbol table is found through the section headers, which linkers write and `strip` keeps. A file
//! that has a dynamic section and no readable table may import anything: unknown counts as imported.

use std::{
    collections::HashSet,
    io::{Read, Seek},
};

use object::{
    Endianness, ReadCache, ReadRef, elf,
    read::elf::{FileHeader, ProgramHeader as _, Sym as _},
};

/// The largest part of a file that is read at once; the largest tables in use (browsers) take a few megabytes.
const MAX_TABLE: u64 = 16 << 20;

/// Those of `symbols` that the file imports; all of them when that cannot be told.
pub(crate) fn imports<R: Read + Seek>(reader: R, symbols: &HashSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let cache = ReadCache::new(reader);
    let data = super::binary::Capped::new(&cache, MAX_TABLE);
    let found = match data.read_bytes_at(0, 16) {
        Ok([0x7f, b'E', b'L', b'F', 1, ..]) => table::<elf::FileHeader32<Endianness>, _>(data, symbols),
        Ok([0x7f, b'E', b'L', b'F', 2, ..]) => table::<elf::FileHeader64<Endianness>, _>(data, symbols),
        Ok(_) | Err(()) => Some(Vec::new()),
    };
    found.unwrap_or_else(|| symbols.iter().cloned().collect())
}

/// `None` when there should be a table and it cannot be read.
fn table<'data, Elf, R>(data: R, symbols: &HashSet<Vec<u8>>) -> Option<Vec<Vec<u8>>>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    if !segments.iter().any(|segment| segment.p_type(endian) == elf::PT_DYNAMIC) {
        return Some(Vec::new());
    }
    let sections = header.sections(endian, data).ok()?;
    let table = sections.symbols(endian, data, elf::SHT_DYNSYM).ok()?;
    if table.is_empty() {
        return None;
    }
    let undefined = table.iter().filter(|symbol| symbol.st_shndx(endian) == elf::SHN_UNDEF);
    let names = undefined.filter_map(|symbol| table.symbol_name(endian, symbol).ok());
    Some(names.filter(|name| symbols.contains(*name)).map(<[u8]>::to_vec).collect())
}
