//! Static programs of a few instructions, made byte by byte: in the arena there is no loader and no library.

use anyhow::{Context as _, Result};

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;

/// A program for this machine that opens the file named by its first argument, if it has one, and ends with status 0.
///
/// # Errors
/// On an architecture for which no code is written here.
pub fn opener() -> Result<Vec<u8>> {
    let code: &[u8] = if cfg!(target_arch = "x86_64") {
        &[
            0x48, 0x8b, 0x74, 0x24, 0x10, // mov rsi, [rsp+16]: argv[1]
            0xbf, 0x9c, 0xff, 0xff, 0xff, // mov edi, AT_FDCWD
            0x31, 0xd2, // xor edx, edx
            0xb8, 0x01, 0x01, 0x00, 0x00, // mov eax, openat
            0x48, 0x85, 0xf6, // test rsi, rsi
            0x74, 0x02, // jz over the call
            0x0f, 0x05, // syscall
            0x31, 0xff, // xor edi, edi
            0xb8, 0x3c, 0x00, 0x00, 0x00, // mov eax, exit
            0x0f, 0x05, // syscall
        ]
    } else if cfg!(target_arch = "aarch64") {
        &[
            0xe1, 0x0b, 0x40, 0xf9, // ldr x1, [sp, #16]: argv[1]
            0x60, 0x0c, 0x80, 0x92, // mov x0, AT_FDCWD
            0x02, 0x00, 0x80, 0xd2, // mov x2, 0
            0x08, 0x07, 0x80, 0xd2, // mov x8, openat
            0x41, 0x00, 0x00, 0xb4, // cbz x1, over the call
            0x01, 0x00, 0x00, 0xd4, // svc 0
            0x00, 0x00, 0x80, 0xd2, // mov x0, 0
            0xa8, 0x0b, 0x80, 0xd2, // mov x8, exit
            0x01, 0x00, 0x00, 0xd4, // svc 0
        ]
    } else {
        anyhow::bail!("no code for this architecture");
    };
    let machine = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let start = HEADER + PROGRAM_HEADER;
    let base = 0x40_0000_u64;
    let size = u64::try_from(start + code.len()).context("size of the program")?;
    let mut elf = identification(2);
    elf.extend([2_u16, machine].map(u16::to_le_bytes).concat());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([base + start as u64, HEADER as u64, 0].map(u64::to_le_bytes).concat());
    elf.extend(0_u32.to_le_bytes());
    elf.extend([HEADER as u16, PROGRAM_HEADER as u16, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // PT_LOAD, readable and executable.
    elf.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    elf.extend([0, base, base, size, size, 0x1000].map(u64::to_le_bytes).concat());
    elf.extend(code);
    Ok(elf)
}

/// The same for i386, by `int 0x80`.
#[must_use]
pub fn opener_i386() -> Vec<u8> {
    let code: &[u8] = &[
        0x8b, 0x5c, 0x24, 0x08, // mov ebx, [esp+8]: argv[1]
        0x31, 0xc9, // xor ecx, ecx
        0xb8, 0x05, 0x00, 0x00, 0x00, // mov eax, open
        0xcd, 0x80, // int 0x80
        0x31, 0xdb, // xor ebx, ebx
        0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, exit
        0xcd, 0x80, // int 0x80
    ];
    let (header, program_header, base) = (52_u16, 32_u16, 0x0804_8000_u32);
    let start = u32::from(header + program_header);
    let size = start + u32::try_from(code.len()).unwrap_or_default();
    let mut elf = identification(1);
    elf.extend([2_u16, 3].map(u16::to_le_bytes).concat());
    elf.extend([1, base + start, u32::from(header), 0, 0].map(u32::to_le_bytes).concat());
    elf.extend([header, program_header, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    elf.extend([1, 0, base, base, size, size, 5, 0x1000].map(u32::to_le_bytes).concat());
    elf.extend(code);
    elf
}

/// The first 16 bytes: magic, class (1: 32 bits, 2: 64 bits), little endian, version 1, System V.
fn identification(class: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF".to_vec();
    bytes.extend([class, 1, 1]);
    bytes.resize(16, 0);
    bytes
}
