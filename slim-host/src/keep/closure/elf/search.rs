//! Where the loaders look for a library, in their order.

use object::elf;

use super::{
    Loaded,
    binary::{Abi, Binary},
    cache::{self, Cache},
    config,
    variants::Variants,
};
use crate::{
    keep::{
        KeepError, KeepReason, Note,
        closure::{Source, Want},
    },
    path::ImagePath,
};

/// Directories taken from one search path; Nix packages, the longest in use, have some dozens.
const MAX_DIRECTORIES: usize = 256;
/// Directories inherited along a chain of loading objects.
pub(super) const MAX_INHERITED: usize = 1024;
/// Bytes read of `/etc/ld.so.cache`; large desktop systems have 1 MiB.
const MAX_CACHE: u64 = 16 << 20;
/// The kernel's limit of a path, terminating NUL included.
const PATH_MAX: usize = 4096;
/// Names below `/etc/ld.so.conf.d` that are kept as configuration.
const MAX_CONFIGURATION: usize = 256;

/// Which C library's loader runs a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// `ld-linux*.so`, and whatever is not musl.
    Glibc,
    /// `ld-musl-ARCH.so.1`.
    Musl,
}

impl Flavour {
    /// Whether the loader itself is that library, so that no file is looked for (musl: ldso/dynlink.c, `reserved`).
    pub(super) fn provides(self, name: &[u8]) -> bool {
        let own: [&[u8]; 7] = [b"c.", b"pthread.", b"rt.", b"m.", b"dl.", b"util.", b"xnet."];
        match self {
            Self::Glibc => false,
            Self::Musl => {
                name.strip_prefix(b"lib").is_some_and(|rest| own.iter().any(|own| rest.starts_with(own)))
            }
        }
    }
}

/// The directories searched for the libraries of one object.
pub(super) struct SearchPath {
    flavour: Flavour,
    before_cache: Vec<Vec<u8>>,
    /// Directories whose entries in the cache do not count (`DF_1_NODEFLIB`).
    skipped: Vec<Vec<u8>>,
    after_cache: Vec<Vec<u8>>,
}

impl SearchPath {
    fn skips(&self, cached: &[u8]) -> bool {
        let directory = cached.iter().rposition(|&b| b == b'/').and_then(|slash| cached.get(..slash));
        directory.is_some_and(|directory| self.skipped.iter().any(|skipped| skipped == directory))
    }
}

/// The image-wide part of the search.
pub(super) struct Directories {
    cache: Cache,
    /// Of ld.so.conf: the loader reads only the cache made from it, but a cache can be missing or stale.
    configured: Vec<Vec<u8>>,
    /// `LD_LIBRARY_PATH` of the image configuration.
    library_path: Vec<Vec<u8>>,
    variants: Variants,
    configuration: Vec<ImagePath>,
    /// musl's path file and its directories, if the image has one.
    musl: Option<Vec<Vec<u8>>>,
    usual: Flavour,
}

impl Directories {
    pub(super) fn new(source: Source<'_>) -> Result<(Self, Vec<(ImagePath, Note)>), KeepError> {
        let mut notes = Vec::new();
        let mut cache = Cache::new();
        if let Some(found) = source.regular_file(b"/etc/ld.so.cache") {
            match cache::parse(&source.read(&found.file, MAX_CACHE)?) {
                Some(parsed) => cache = parsed,
                None => notes.push((found.file, Note::MalformedLoaderCache)),
            }
        }
        let names = || source.tree.iter().map(|(path, _, _)| path);
        let musl_loader = names().find(|path| is_musl_loader(path.as_bytes()));
        let usual = if musl_loader.is_some() && cache.is_empty() { Flavour::Musl } else { Flavour::Glibc };
        let musl_files: Vec<_> = names().filter(|path| is_musl_path_file(path.as_bytes())).collect();
        let musl = match musl_files.first() {
            Some(path) => config::musl_path(source, path.as_bytes())?,
            None => None,
        };
        let glibc_files =
            names().filter(|path| is_glibc_configuration(path.as_bytes())).take(MAX_CONFIGURATION);
        let configuration = glibc_files.chain(musl_files.iter().copied()).cloned().collect();
        let library_path = source.variable("LD_LIBRARY_PATH").unwrap_or_default();
        let library_path =
            library_path.split([':', ';']).take(MAX_DIRECTORIES).map(|dir| dir.as_bytes().to_vec());
        let directories = Self {
            cache,
            configured: config::ld_so_conf(source)?,
            library_path: library_path.filter(|dir| dir.starts_with(b"/")).collect(),
            variants: Variants::new(source.tree),
            configuration,
            musl,
            usual,
        };
        Ok((directories, notes))
    }

    /// Which loader runs `binary`: its interpreter tells, or Alpine's name of the C library, or the image.
    pub(super) fn flavour(&self, binary: &Binary) -> Flavour {
        match &binary.interpreter {
            Some(path) if is_musl_loader(path) => Flavour::Musl,
            Some(_) => Flavour::Glibc,
            None if binary.needed.iter().any(|name| name.starts_with(b"libc.musl-")) => Flavour::Musl,
            None => self.usual,
        }
    }

    /// The loader's own files, wanted for the program `by`.
    pub(super) fn configuration(&self, flavour: Flavour, by: &ImagePath) -> Vec<Want> {
        let read = |path: &&ImagePath| match flavour {
            Flavour::Glibc => is_glibc_configuration(path.as_bytes()),
            Flavour::Musl => is_musl_path_file(path.as_bytes()),
        };
        let reason = KeepReason::LoaderConfig { by: by.clone() };
        self.configuration.iter().filter(read).map(|path| Want::exactly(path, reason.clone())).collect()
    }

    /// Where the loader looks for the libraries of `object`.
    pub(super) fn search_path(&self, object: &Loaded) -> SearchPath {
        match object.flavour {
            Flavour::Glibc => self.glibc_search_path(object),
            Flavour::Musl => self.musl_search_path(object),
        }
    }

    /// The paths at which the loader looks for `name`, in order.
    pub(super) fn candidates(&self, path: &SearchPath, name: &[u8]) -> Vec<Vec<u8>> {
        let mut candidates: Vec<_> =
            path.before_cache.iter().flat_map(|dir| self.in_directory(dir, name)).collect();
        if path.flavour == Flavour::Glibc {
            let cached = self.cache.get(name).into_iter().flatten();
            candidates.extend(cached.filter(|cached| !path.skips(cached)).cloned());
        }
        candidates.extend(path.after_cache.iter().flat_map(|dir| self.in_directory(dir, name)));
        candidates
    }

    fn glibc_search_path(&self, object: &Loaded) -> SearchPath {
        let binary = &object.binary;
        let expanded = |path: &[u8]| directories(path, &object.origins, binary.abi);
        let mut before_cache = Vec::new();
        if binary.runpath.is_empty() {
            before_cache.extend(expanded(&binary.rpath));
            before_cache.extend(object.inherited.iter().cloned());
        }
        before_cache.extend(self.library_path.iter().cloned());
        before_cache.extend(expanded(&binary.runpath));
        let defaults = default_directories(binary.abi);
        let (skipped, after_cache) = if binary.no_default_directories {
            (defaults, Vec::new())
        } else {
            (Vec::new(), self.configured.iter().cloned().chain(defaults).collect())
        };
        SearchPath { flavour: Flavour::Glibc, before_cache, skipped, after_cache }
    }

    fn musl_search_path(&self, object: &Loaded) -> SearchPath {
        const DEFAULT: [&[u8]; 3] = [b"/lib", b"/usr/local/lib", b"/usr/lib"];
        let own = directories(object.binary.musl_path(), &object.origins, object.binary.abi);
        let before = self.library_path.iter().chain(&own).chain(object.inherited.iter());
        let before_cache = before.cloned().collect();
        let after_cache = self.musl.clone().unwrap_or_else(|| DEFAULT.map(<[u8]>::to_vec).to_vec());
        SearchPath { flavour: Flavour::Musl, before_cache, skipped: Vec::new(), after_cache }
    }

    /// Where other copies of the library at `path` may lie, for other processors.
    pub(super) fn copies(&self, path: &ImagePath) -> Vec<ImagePath> {
        self.variants.copies(path)
    }

    /// `name` in the processor-specific directories below `directory`, then in itself.
    fn in_directory(&self, directory: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
        let below = ImagePath::new(directory).ok().map(|dir| self.variants.below(&dir).to_vec());
        let below = below.into_iter().flatten().map(|dir| dir.as_bytes().to_vec());
        below.chain([directory.to_vec()]).map(|dir| [&dir, b"/".as_slice(), name].concat()).collect()
    }
}

/// The directories of a search path with its tokens expanded. Relative ones depend on where a process is
/// started and are left out.
pub(super) fn directories(path: &[u8], origins: &[ImagePath], abi: Abi) -> Vec<Vec<u8>> {
    let parts = path.split(|&b| b == b':').filter(|part| !part.is_empty());
    let expanded = parts.flat_map(|part| expand(part, origins, abi));
    expanded.filter(|part| part.starts_with(b"/")).take(MAX_DIRECTORIES).collect()
}

/// Every meaning of the dynamic string tokens in `text` (ld.so(8)): which library directory and which platform
/// name a loader was built with is not known from outside.
pub(super) fn expand(text: &[u8], origins: &[ImagePath], abi: Abi) -> Vec<Vec<u8>> {
    if !text.contains(&b'$') {
        return vec![text.to_vec()];
    }
    let system = system(abi);
    let mut meanings = vec![text.to_vec()];
    let origins: Vec<_> = origins.iter().map(ImagePath::as_bytes).collect();
    let libraries = [[b"lib/", system.triplet.as_bytes()].concat(), b"lib64".to_vec(), b"lib".to_vec()];
    let libraries: Vec<&[u8]> = libraries.iter().map(Vec::as_slice).collect();
    let platforms: Vec<_> = system.platforms.iter().map(|name| name.as_bytes()).collect();
    for (token, values) in [("ORIGIN", &origins), ("LIB", &libraries), ("PLATFORM", &platforms)] {
        for spelling in [format!("${{{token}}}"), format!("${token}")] {
            meanings = meanings.iter().flat_map(|text| replace(text, spelling.as_bytes(), values)).collect();
        }
    }
    meanings
}

/// `text` with `token` replaced by each of `values`; unchanged when it does not occur. Results that are longer
/// than a path can be are left out before they are made.
fn replace(text: &[u8], token: &[u8], values: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(token.len()).position(|window| window == token) {
        pieces.push(&rest[..at]);
        rest = &rest[at + token.len()..];
    }
    pieces.push(rest);
    let fixed: usize = pieces.iter().map(|piece| piece.len()).sum();
    let fits = |value: &&&[u8]| fixed + (pieces.len() - 1) * value.len() < PATH_MAX;
    match pieces.len() {
        1 => vec![text.to_vec()],
        _ => values.iter().filter(fits).map(|value| pieces.join(*value)).collect(),
    }
}

/// Names that distributions use for a machine.
struct System {
    triplet: &'static str,
    platforms: &'static [&'static str],
}

fn system(abi: Abi) -> System {
    let (triplet, platforms): (_, &[_]) = match (elf::Machine(abi.machine), abi.class, abi.data) {
        (elf::EM_X86_64, 1, _) => ("x86_64-linux-gnux32", &["x86_64"]),
        (elf::EM_X86_64, _, _) => ("x86_64-linux-gnu", &["x86_64", "haswell", "xeon_phi"]),
        (elf::EM_386, _, _) => ("i386-linux-gnu", &["i686", "i586", "i386"]),
        (elf::EM_AARCH64, _, _) => ("aarch64-linux-gnu", &["aarch64"]),
        (elf::EM_ARM, _, _) => ("arm-linux-gnueabihf", &["v7l", "v6l"]),
        (elf::EM_PPC64, _, 1) => ("powerpc64le-linux-gnu", &["power10", "power9", "power8"]),
        (elf::EM_S390, _, _) => ("s390x-linux-gnu", &["z16", "z15", "z14", "z13"]),
        (elf::EM_RISCV, 2, _) => ("riscv64-linux-gnu", &["riscv64"]),
        (elf::EM_LOONGARCH, _, _) => ("loongarch64-linux-gnu", &["loongarch64"]),
        (elf::EM_MIPS, 2, 1) => ("mips64el-linux-gnuabi64", &["mips64"]),
        _ => ("", &[]),
    };
    System { triplet, platforms }
}

/// Default directories of the loaders of Debian, Fedora and others; those of one image are a subset.
fn default_directories(abi: Abi) -> Vec<Vec<u8>> {
    let triplet = system(abi).triplet;
    let wide = if abi.class == 1 { "32" } else { "64" };
    let multiarch = [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")];
    let plain = [format!("/lib{wide}"), format!("/usr/lib{wide}"), "/lib".to_owned(), "/usr/lib".to_owned()];
    let multiarch = multiarch.into_iter().filter(|_| !triplet.is_empty());
    multiarch.chain(plain).map(String::into_bytes).collect()
}

fn is_musl_loader(path: &[u8]) -> bool {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    name.starts_with(b"ld-musl-")
}

fn is_musl_path_file(path: &[u8]) -> bool {
    path.starts_with(b"/etc/ld-musl-") && path.ends_with(b".path")
}

fn is_glibc_configuration(path: &[u8]) -> bool {
    matches!(path, b"/etc/ld.so.cache" | b"/etc/ld.so.conf" | b"/etc/ld.so.preload")
        || path.starts_with(b"/etc/ld.so.conf.d/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: Abi = Abi { class: 2, data: 1, machine: 62 };

    fn expanded(path: &str, origins: &[&str]) -> Vec<String> {
        let origins: Vec<_> = origins.iter().map(|origin| ImagePath::new(origin).unwrap()).collect();
        let all = directories(path.as_bytes(), &origins, X86_64);
        all.iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect()
    }

    #[test]
    fn tokens_take_every_meaning() {
        for (path, directories) in [
            ("/a:/b", vec!["/a", "/b"]),
            (":/a::relative:", vec!["/a"]),
            ("$ORIGIN/../lib:${ORIGIN}", vec!["/o/../lib", "/p/../lib", "/o", "/p"]),
            ("/opt/$LIB", vec!["/opt/lib/x86_64-linux-gnu", "/opt/lib64", "/opt/lib"]),
            ("/opt/$PLATFORM/x", vec!["/opt/x86_64/x", "/opt/haswell/x", "/opt/xeon_phi/x"]),
            ("/opt/$OTHER", vec!["/opt/$OTHER"]),
        ] {
            assert_eq!(expanded(path, &["/o", "/p"]), directories, "{path}");
        }
    }

    #[test]
    fn expansion_is_bounded() {
        let many = "$ORIGIN".repeat(9000);
        assert_eq!(expanded(&many, &["/origin"]), Vec::<String>::new());
        let dirs = "/a:".repeat(10_000);
        assert_eq!(expanded(&dirs, &[]).len(), MAX_DIRECTORIES);
    }
}
