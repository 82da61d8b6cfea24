//! Whether an ELF file is a shared library, and what it calls itself.

use std::io::{Read, Seek};

use object::{
    Endianness, ReadCache, ReadRef, elf,
    read::elf::{Dyn as _, FileHeader, ProgramHeader as _},
};

use super::binary::{Capped, file_offset, string_at};

/// The longest single read: real program headers and dynamic sections take a few kilobytes.
const MAX_READ: u64 = 1 << 20;

/// The longest name that is believed; the longest in use have some fifty bytes.
const MAX_NAME: u64 = 255;

/// `None` when the file is no shared library; else its `DT_SONAME`, if it has one.
pub(crate) fn name<R: Read + Seek>(reader: R) -> Option<Option<Vec<u8>>> {
    let cache = ReadCache::new(reader);
    let data = Capped::new(&cache, MAX_READ);
    match data.read_bytes_at(0, 16).ok()? {
        [0x7f, b'E', b'L', b'F', 1, ..] => of::<elf::FileHeader32<Endianness>, _>(data),
        [0x7f, b'E', b'L', b'F', 2, ..] => of::<elf::FileHeader64<Endianness>, _>(data),
        _ => None,
    }
}

fn of<'data, Elf, R>(data: R) -> Option<Option<Vec<u8>>>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.e_type(endian) != elf::ET_DYN {
        return None;
    }
    let segments = header.program_headers(endian, data).ok()?;
    let entries = segments.iter().find_map(|segment| segment.dynamic(endian, data).ok()?)?;
    let value = |wanted| {
        let entries = entries.iter().map(|entry| (entry.tag(endian), entry.val(endian)));
        let mut entries = entries.take_while(|(tag, _)| *tag != elf::DT_NULL);
        entries.find_map(|(tag, value)| (tag == wanted).then_some(value))
    };
    if value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0) {
        return None;
    }
    let soname = value(elf::DT_SONAME).and_then(|name| {
        let table = file_offset::<Elf>(segments, endian, value(elf::DT_STRTAB)?)?;
        string_at(data, table.checked_add(name)?, MAX_NAME).filter(|name| !name.is_empty())
    });
    let has_interpreter = segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    (soname.is_some() || !has_interpreter).then_some(soname)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// The name of the file of this machine that `path` leads to.
    fn told(path: &std::path::Path) -> Option<Option<String>> {
        let name = name(File::open(path).unwrap());
        name.map(|name| name.map(|name| String::from_utf8(name).unwrap()))
    }

    #[test]
    fn libraries_of_this_machine_and_programs() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(told(&own), None, "this test is a position-independent program");
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let library = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.contains("/libc.so"));
        let Some(library) = library else { return };
        assert_eq!(told(library.as_ref()), Some(Some("libc.so.6".to_owned())));
        assert_eq!(told("/etc/passwd".as_ref()), None);
    }

    #[test]
    fn what_makes_no_sense_is_no_library() {
        for bytes in
            [&b""[..], b"\x7fELF", &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]]
        {
            assert_eq!(name(std::io::Cursor::new(bytes)), None);
        }
    }
}
