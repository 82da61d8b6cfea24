//! Member offsets from BTF, the kernel's description of its own types.
//!
//! rustc emits no CO-RE relocations, so the offsets are looked up here and handed to the programs as constants. The
//! format is documented in Documentation/bpf/btf.rst (magic 0xeb9f, version 1); little- or big-endian as the machine
//! is. aya reads BTF too, but keeps its members to itself.
//!
//! Not a general BTF library: it answers "at which byte of struct S is member M", "to which structures do the parameters of
//! function F point" and "what are the arguments of tracepoint T".

use std::{collections::HashMap, ops::Range};

const MAGIC: u16 = 0xeb9f;
/// Anonymous members nest a few levels deep in practice; hostile input must not nest the stack away.
const MAX_NESTING: u32 = 16;

const KIND_INT: u32 = 1;
const KIND_POINTER: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
const KIND_MAX: u32 = 19;

/// Why BTF does not answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The bytes are not BTF as we know it.
    #[error("kernel type information is malformed: {0}")]
    Malformed(&'static str),
    /// The kernel has no such structure.
    #[error("kernel type information has no struct {0}")]
    NoStruct(String),
    /// The structure has no such member, also not in its anonymous members.
    #[error("kernel type information has no member {1} in struct {0}")]
    NoMember(String, String),
    /// Members are not in the order that the programs rely on.
    #[error("this kernel lays out {0} in a way that is not supported")]
    Layout(&'static str),
}

/// The parsed type table of one kernel.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; index 0 is type id 1.
    starts: Vec<usize>,
    /// Structures by name; several types may share one.
    structs: HashMap<&'a [u8], Vec<u32>>,
}

/// What each parameter of a function points to; `None` where it is no pointer to a structure.
pub type Parameters<'a> = Vec<Option<&'a [u8]>>;

struct Type<'a> {
    name: u32,
    info: u32,
    /// Size, or the type referred to.
    size_or_type: u32,
    /// What follows the fixed part.
    rest: &'a [u8],
}

impl Type<'_> {
    fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn vlen(&self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// With the flag set, a member's offset has a bit-field size in its upper byte.
    fn has_bitfields(&self) -> bool {
        self.info >> 31 == 1
    }
}

impl<'a> Btf<'a> {
    /// Parses the content of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// When `bytes` is not well-formed BTF.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic));
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed("wrong magic"));
        }
        let header = word(bytes, 4)? as usize;
        let section = |offset: usize, len: usize| -> Result<Range<usize>, BtfError> {
            let start = header.checked_add(word(bytes, offset)? as usize);
            let end =
                start.zip(word(bytes, len).ok()).and_then(|(start, len)| start.checked_add(len as usize));
            start.zip(end).map(|(start, end)| start..end).ok_or(BtfError::Malformed("section out of range"))
        };
        let types = bytes.get(section(8, 12)?).ok_or(BtfError::Malformed("types out of range"))?;
        let strings = bytes.get(section(16, 20)?).ok_or(BtfError::Malformed("strings out of range"))?;
        let mut btf = Self { types, strings, starts: Vec::new(), structs: HashMap::new() };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            self.starts.push(at);
            let id = u32::try_from(self.starts.len()).map_err(|_| BtfError::Malformed("too many types"))?;
            let found = self.read(at)?;
            if found.kind() == KIND_STRUCT && found.name != 0 {
                self.structs.entry(self.name(found.name)?).or_default().push(id);
            }
            at += 12 + trailing(&found)?;
        }
        Ok(())
    }

    /// The offset in bytes of `member` in `structure`; members of anonymous structures and unions count as its own.
    ///
    /// # Errors
    /// When there is no such structure or member.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        let ids =
            self.structs.get(structure.as_bytes()).ok_or_else(|| BtfError::NoStruct(structure.to_owned()))?;
        for &id in ids {
            if let Some(bits) = self.find(id, member.as_bytes(), 0)? {
                return Ok(bits / 8);
            }
        }
        Err(BtfError::NoMember(structure.to_owned(), member.to_owned()))
    }

    /// The value of `constant` in the enumeration that has it, such as the index of a cgroup controller.
    ///
    /// # Errors
    /// When the table is malformed.
    pub fn enumerator(&self, constant: &str) -> Result<Option<u32>, BtfError> {
        for &start in &self.starts {
            let found = self.read(start)?;
            if found.kind() != KIND_ENUM {
                continue;
            }
            for entry in found.rest.chunks_exact(8).take(found.vlen()) {
                if self.name(word(entry, 0)?)? == constant.as_bytes() {
                    return word(entry, 4).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The parameters of those functions of `names` that there are, each by the name of the structure to which it points,
    /// or `None` when it is something else. All in one go: the table has a hundred thousand types.
    ///
    /// # Errors
    /// When the table is malformed.
    pub fn functions<'n>(&self, names: &[&'n str]) -> Result<HashMap<&'n str, Parameters<'a>>, BtfError> {
        let mut functions = HashMap::new();
        for &start in &self.starts {
            let found = self.read(start)?;
            if found.kind() != KIND_FUNC {
                continue;
            }
            let text = self.strings.get(found.name as usize..).unwrap_or_default();
            let is_named = |name: &&&str| {
                text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
            };
            let Some(&name) = names.iter().find(is_named) else { continue };
            let prototype = self.unqualified(found.size_or_type)?;
            let parameters = prototype.rest.chunks_exact(8).take(prototype.vlen());
            let parameters =
                parameters.map(|entry| self.pointee(word(entry, 4)?)).collect::<Result<_, _>>()?;
            functions.entry(name).or_insert(parameters);
        }
        Ok(functions)
    }

    /// The types of the arguments of raw tracepoint `name`, by name, without typedefs and qualifiers; a pointer has the name
    /// of what it points to. `None` when the kernel has no such tracepoint.
    ///
    /// # Errors
    /// When the table is malformed.
    pub fn tracepoint(&self, name: &str) -> Result<Option<Vec<&'a [u8]>>, BtfError> {
        // `typedef void (*btf_trace_NAME)(void *__data, ...)` (include/trace/bpf_probe.h, Linux 4.20).
        let typedef = format!("btf_trace_{name}");
        for (&start, id) in self.starts.iter().zip(1..) {
            let found = self.read(start)?;
            if found.kind() != KIND_TYPEDEF || self.name(found.name)? != typedef.as_bytes() {
                continue;
            }
            let pointer = self.unqualified(id)?;
            let function = self.unqualified(pointer.size_or_type)?;
            if function.kind() != KIND_FUNC_PROTO {
                return Err(BtfError::Malformed("a tracepoint is no function"));
            }
            let parameters = function.rest.chunks_exact(8).take(function.vlen()).skip(1);
            return parameters
                .map(|entry| self.parameter(word(entry, 4)?))
                .collect::<Result<_, _>>()
                .map(Some);
        }
        Ok(None)
    }

    /// The name of the structure to which type `id` is a pointer.
    fn pointee(&self, id: u32) -> Result<Option<&'a [u8]>, BtfError> {
        // Type 0 is void, which the table does not hold.
        let target = |id| if id == 0 { Ok(None) } else { self.unqualified(id).map(Some) };
        let Some(pointer) = target(id)?.filter(|found| found.kind() == KIND_POINTER) else { return Ok(None) };
        match target(pointer.size_or_type)? {
            Some(found) if found.kind() == KIND_STRUCT => self.name(found.name).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    fn parameter(&self, id: u32) -> Result<&'a [u8], BtfError> {
        let mut found = self.unqualified(id)?;
        if found.kind() == KIND_POINTER {
            if found.size_or_type == 0 {
                return Ok(b"void");
            }
            found = self.unqualified(found.size_or_type)?;
        }
        self.name(found.name)
    }

    fn find(&self, id: u32, member: &[u8], nesting: u32) -> Result<Option<u32>, BtfError> {
        if nesting > MAX_NESTING {
            return Err(BtfError::Malformed("types nest too deep"));
        }
        let found = self.unqualified(id)?;
        if !matches!(found.kind(), KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        for entry in found.rest.chunks_exact(12).take(found.vlen()) {
            let (name, kind, offset) = (word(entry, 0)?, word(entry, 4)?, word(entry, 8)?);
            let bits = if found.has_bitfields() { offset & 0x00ff_ffff } else { offset };
            if self.name(name)? == member {
                return Ok(Some(bits));
            }
            if name == 0
                && let Some(inner) = self.find(kind, member, nesting + 1)?
            {
                return bits.checked_add(inner).map(Some).ok_or(BtfError::Malformed("offset overflows"));
            }
        }
        Ok(None)
    }

    /// The type behind typedefs and qualifiers.
    fn unqualified(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let mut id = id;
        for _ in 0..MAX_NESTING {
            let start = (id as usize).checked_sub(1).and_then(|index| self.starts.get(index));
            let found = self.read(*start.ok_or(BtfError::Malformed("no such type"))?)?;
            match found.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.size_or_type;
                    if id == 0 {
                        // Qualified void.
                        return Ok(found);
                    }
                }
                _ => return Ok(found),
            }
        }
        Err(BtfError::Malformed("qualifiers nest too deep"))
    }

    fn read(&self, start: usize) -> Result<Type<'a>, BtfError> {
        let bytes = self.types.get(start..).unwrap_or_default();
        Ok(Type {
            name: word(bytes, 0)?,
            info: word(bytes, 4)?,
            size_or_type: word(bytes, 8)?,
            rest: bytes.get(12..).unwrap_or_default(),
        })
    }

    fn name(&self, offset: u32) -> Result<&'a [u8], BtfError> {
        let tail = self.strings.get(offset as usize..).ok_or(BtfError::Malformed("string out of range"))?;
        tail.split(|&byte| byte == 0).next().ok_or(BtfError::Malformed("string without end"))
    }
}

/// Bytes that follow the fixed part of a type.
fn trailing(found: &Type<'_>) -> Result<usize, BtfError> {
    let vlen = found.vlen();
    let size = match found.kind() {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * vlen,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * vlen,
        kind if kind <= KIND_MAX => 0,
        _ => return Err(BtfError::Malformed("unknown kind of type")),
    };
    if size > found.rest.len() {
        return Err(BtfError::Malformed("type is cut"));
    }
    Ok(size)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    bytes
        .get(at..)
        .and_then(|tail| tail.first_chunk())
        .map(|word| u32::from_ne_bytes(*word))
        .ok_or(BtfError::Malformed("cut"))
}

#[cfg(test)]
mod tests;
