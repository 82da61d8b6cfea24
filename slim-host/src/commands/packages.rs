//! `slim packages`: the packages of an image by what is used of them.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use super::{CommandError, Context, side::Side};
use crate::{
    cli::PackagesArgs,
    keep,
    packages::Package,
    path::quote,
    report::{
        captures_report::{self, Asked, PackageUse, PackagesReport, Use},
        libraries_report::{LibraryUse, OwnedBy},
    },
};

/// Bytes of a list of names that are read.
const MAX_LIST: u64 = 16 << 20;

/// Runs the command.
///
/// # Errors
/// When the subject or the list of names cannot be read.
pub(super) async fn execute(context: &Context, args: &PackagesArgs) -> Result<(), CommandError> {
    let wanted = args.grep.as_deref().map(names).transpose()?;
    let side = Side::open(context, &args.subject, args.level).await?;
    let mut packages: Vec<PackageUse> =
        side.packages.iter().map(|(_, package)| usage(&side, package)).collect();
    packages.sort_by(|a, b| {
        b.used_bytes.cmp(&a.used_bytes).then_with(|| (&a.name, a.manager).cmp(&(&b.name, b.manager)))
    });
    let mut libraries = libraries(&side)?;
    let mut asked = Vec::new();
    if let Some(wanted) = wanted {
        let mut by_name: BTreeMap<&str, Vec<Use>> = BTreeMap::new();
        for package in &packages {
            by_name.entry(&package.name).or_default().push(package.usage);
            if !package.source.is_empty() && package.source != package.name {
                by_name.entry(&package.source).or_default().push(package.usage);
            }
        }
        for library in &libraries {
            by_name.entry(library.name()).or_default().push(Use::Used);
            by_name.entry(&library.soname).or_default().push(Use::Used);
        }
        // A library that nothing uses is known by the name of its file alone.
        let rest =
            side.files.tree().iter().filter_map(|(path, ..)| std::str::from_utf8(path.file_name()?).ok());
        let of_side = if side.kept.is_some() { Use::Unused } else { Use::Unknown };
        for name in rest.filter(|name| name.contains(".so")) {
            by_name.entry(name).or_default().push(of_side);
        }
        let worst = |name: &String| by_name.get(name.as_str()).and_then(|uses| uses.iter().max().copied());
        asked = wanted
            .iter()
            .map(|name| Asked { name: name.clone(), usage: worst(name).unwrap_or(Use::Absent) })
            .collect();
        packages.retain(|package| wanted.contains(&package.name) || wanted.contains(&package.source));
        libraries.retain(|library| is_asked(library, &wanted, &packages));
    }
    let bytes = side.bytes(side.entries().into_keys());
    let unreadable = side.packages.unreadable();
    let unreadable =
        unreadable.iter().map(|(manager, path)| format!("{} ({path})", manager.name())).collect();
    let report = PackagesReport { subject: side.name.clone(), bytes, packages, libraries, asked, unreadable };
    context.present("packages", &report, captures_report::packages)
}

/// The shared libraries that a build keeps, by path. Of an image alone nothing says what is used.
fn libraries(side: &Side) -> Result<Vec<LibraryUse>, CommandError> {
    let Some(kept) = &side.kept else { return Ok(Vec::new()) };
    let libraries = keep::libraries(side.files.tree(), &side.files, kept)?.into_iter();
    let told = libraries.map(|library| {
        let owner = side.packages.owners(&library.path).map(|(_, package)| package);
        let owner = owner.max_by_key(|package| package.manager.is_system());
        let soname = String::from_utf8_lossy(&library.soname).into_owned();
        LibraryUse {
            soname,
            bytes: side.bytes([&library.path]),
            package: owner.map(|package| OwnedBy {
                manager: package.manager,
                name: package.name.clone(),
                version: package.version.clone(),
            }),
            loaded: library.is_loaded,
            path: library.path,
        }
    });
    Ok(told.collect())
}

/// Whether a library was asked for, by its own name or by that of its package.
fn is_asked(library: &LibraryUse, wanted: &[String], packages: &[PackageUse]) -> bool {
    let owned = |owner: &OwnedBy| {
        packages.iter().any(|package| package.manager == owner.manager && package.name == owner.name)
    };
    let named = |name: &str| wanted.iter().any(|wanted| wanted == name);
    library.package.as_ref().is_some_and(owned) || named(&library.soname) || named(library.name())
}

fn usage(side: &Side, package: &Package) -> PackageUse {
    let used: Vec<_> = package.files.iter().filter(|path| side.has(path)).collect();
    let usage = match (&side.kept, used.is_empty()) {
        (None, _) => Use::Unknown,
        (Some(_), true) => Use::Unused,
        (Some(_), false) => Use::Used,
    };
    PackageUse {
        manager: package.manager,
        name: package.name.clone(),
        version: package.version.clone(),
        source: package.source.clone(),
        usage,
        files: package.files.len() as u64,
        used_files: used.len() as u64,
        bytes: side.bytes(&package.files),
        used_bytes: side.bytes(used),
    }
}

/// Names, one a line; what follows white space (a version, a remark) and `#` is passed over.
fn names(file: &Path) -> Result<Vec<String>, CommandError> {
    let failed = |source| CommandError::Io {
        operation: "read",
        path: quote(file.as_os_str().as_encoded_bytes()),
        source,
    };
    let mut text = String::new();
    let read = File::open(file).map_err(failed)?.take(MAX_LIST + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > MAX_LIST {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    Ok(words.filter(|word| !word.starts_with('#')).map(str::to_owned).collect())
}
