//! Empty kernel programs: what merely being called on a hook costs. No tracer on that hook can cost less.
#![expect(unsafe_code, reason = "the bpf system call has no safe binding")]

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};

/// Commands, types and kinds of include/uapi/linux/bpf.h.
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const TYPE_RAW_TRACEPOINT: u32 = 17;
const TYPE_TRACING: u32 = 26;
const ATTACH_FENTRY: u32 = 24;
const ATTACH_FEXIT: u32 = 25;

/// `BTF_KIND_FUNC` of include/uapi/linux/btf.h.
const KIND_FUNC: u32 = 12;

/// `r0 = 0; exit`.
const NOTHING: [u64; 2] = [0xb7, 0x95];

/// Where an empty program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook<'a> {
    /// A raw tracepoint, such as `sys_exit`.
    Tracepoint(&'a str),
    /// The call of a kernel function.
    Entry(&'a str),
    /// The return of a kernel function.
    Exit(&'a str),
}

/// An attached program; detached when dropped.
#[derive(Debug)]
pub struct Empty {
    _link: OwnedFd,
    _program: OwnedFd,
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`, up to `attach_btf_id`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

impl Load {
    /// Makes it a program on a kernel function.
    fn traces(&mut self, attach_type: u32, function: &str) -> Result<()> {
        self.prog_type = TYPE_TRACING;
        self.expected_attach_type = attach_type;
        self.attach_btf_id = function_id(function)?;
        Ok(())
    }
}

/// The part for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

impl Empty {
    /// Loads and attaches one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(hook: Hook<'_>) -> Result<Self> {
        let license = c"GPL";
        let mut load = Load {
            insn_cnt: 2,
            insns: NOTHING.as_ptr() as u64,
            license: license.as_ptr() as u64,
            ..Load::default()
        };
        let name = match hook {
            Hook::Tracepoint(name) => {
                load.prog_type = TYPE_RAW_TRACEPOINT;
                Some(CString::new(name)?)
            }
            Hook::Entry(function) => {
                load.traces(ATTACH_FENTRY, function)?;
                None
            }
            Hook::Exit(function) => {
                load.traces(ATTACH_FEXIT, function)?;
                None
            }
        };
        let program = bpf(PROG_LOAD, &load).with_context(|| format!("load an empty program for {hook:?}"))?;
        let open = Open {
            name: name.as_ref().map_or(0, |name| name.as_ptr() as u64),
            prog_fd: program.as_raw_fd().cast_unsigned(),
            padding: 0,
        };
        let link = bpf(RAW_TRACEPOINT_OPEN, &open).with_context(|| format!("attach to {hook:?}"))?;
        Ok(Self { _link: link, _program: program })
    }
}

/// A command that gives a descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: attr, and what it points at, live through the call; the kernel is told its size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The number of a function among the kernel's types: types are numbered from 1 in the order in which they stand.
fn function_id(wanted: &str) -> Result<u32> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").context("read the kernel's types")?;
    let word =
        |at: usize| -> Option<u32> { Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
    let find = || -> Option<u32> {
        // struct btf_header: hdr_len at 4, then type_off, type_len, str_off, str_len.
        let base = word(4)? as usize;
        let types = base + word(8)? as usize;
        let (end, strings) = (types + word(12)? as usize, base + word(16)? as usize);
        let (mut at, mut id) = (types, 1);
        while at < end {
            let (name, info) = (word(at)? as usize, word(at + 4)?);
            let (kind, members) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let text = bytes.get(strings + name..)?;
            if kind == KIND_FUNC && text.starts_with(wanted.as_bytes()) && text.get(wanted.len()) == Some(&0)
            {
                return Some(id);
            }
            // What follows struct btf_type: integers, variables and tags a word; arrays three; members and 64-bit
            // enumerators three, enumerators and parameters two, sections' variables three each.
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => 12 * members,
                    6 | 13 => 8 * members,
                    _ => 0,
                };
            id += 1;
        }
        None
    };
    find().with_context(|| format!("this kernel has no function {wanted}"))
}
