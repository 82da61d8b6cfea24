//! dpkg's database, reduced to `status.d`.
//!
//! A paragraph stays byte for byte, so whatever a reader wants of it is there; only file lists are cut. Fields that
//! speak of files (`Conffiles`) or sizes may therefore say more than is left. In distroless images, which have
//! `status.d` already, the paragraphs are the source's own files and only checksums are made anew.

use std::collections::BTreeMap;

use super::{PackageDataError, PackageDataNote, Planner, field, paragraphs};
use crate::{
    packages::{Manager, Package},
    path::{ImagePath, quote},
    rootfs::FileKind,
};

/// Programs that read the database; where one stays, it finds what it expects.
const TOOLS: [&str; 5] =
    ["/usr/bin/dpkg", "/usr/bin/dpkg-query", "/usr/bin/apt", "/usr/bin/apt-get", "/usr/bin/apt-cache"];

/// The longest name that `NAME.md5sums` makes a file name of.
const MAX_NAME: usize = 200;

pub(super) fn plan(planner: &mut Planner<'_>) -> Result<(), PackageDataError> {
    let mut records: BTreeMap<&ImagePath, Vec<&Package>> = BTreeMap::new();
    for (_, package) in planner.inputs.packages.iter().filter(|(_, p)| p.manager == Manager::Dpkg) {
        records.entry(&package.record).or_default().push(package);
    }
    for (record, packages) in records {
        match record.file_name() {
            Some(b"status") => reduce(planner, record, &packages)?,
            Some(_) | None => {
                for package in packages {
                    reduce_distroless(planner, package)?;
                }
            }
        }
    }
    Ok(())
}

fn reduce(
    planner: &mut Planner<'_>,
    record: &ImagePath,
    packages: &[&Package],
) -> Result<(), PackageDataError> {
    let Some(database) = record.parent() else { return Ok(()) };
    if let Some(why) = planner.whole(record, &TOOLS) {
        planner.keep_whole(record, why);
        let tree = planner.inputs.tree;
        for (path, ..) in tree.descendants(&database).filter(|(.., inode)| inode.kind != FileKind::Directory)
        {
            planner.keep(path, "dpkg");
        }
        return Ok(());
    }
    let (Some(status), Some(original)) = (planner.read(record)?, planner.inputs.tree.get(record)) else {
        return Ok(());
    };
    let Ok(directory) = database.join(b"status.d") else { return Ok(()) };
    if planner.inputs.tree.get(&directory).is_some_and(|inode| inode.kind != FileKind::Directory)
        && planner.inputs.keep.contains(&directory)
    {
        planner.data.notes.push(PackageDataNote::InTheWay(directory));
        return Ok(());
    }
    let left: BTreeMap<(&str, &str), &Package> = packages
        .iter()
        .filter(|package| package.files.iter().any(|file| planner.inputs.keep.contains(file)))
        .map(|package| ((package.name.as_str(), package.architecture.as_str()), *package))
        .collect();
    let mut made = Vec::new();
    for paragraph in paragraphs(&status) {
        // What is removed but for its configuration is not installed.
        if !field(paragraph, b"Status").ends_with(b"installed") {
            continue;
        }
        let text = |name| String::from_utf8_lossy(field(paragraph, name)).into_owned();
        let (name, architecture) = (text(b"Package"), text(b"Architecture"));
        let Some(package) = left.get(&(name.as_str(), architecture.as_str())) else { continue };
        let Some(file_name) = file_name(package, &left) else {
            planner.data.notes.push(PackageDataNote::NoName(name));
            continue;
        };
        let sums = checksums(planner, &database, package)?;
        made.push((file_name, paragraph.to_vec(), sums));
    }
    let parent = planner.inputs.tree.get(&database).unwrap_or(original);
    if !made.is_empty() && !planner.inputs.tree.is_dir(&directory) {
        planner.data.generated.add_directory(directory.clone(), record, parent, original);
    }
    for (name, paragraph, sums) in made {
        let files = [(name.clone(), paragraph), (format!("{name}.md5sums"), sums)];
        for (name, bytes) in files.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let Ok(path) = directory.join(name.as_bytes()) else { continue };
            if !planner.inputs.keep.contains(&path) {
                planner.data.generated.add_file(path, bytes, record, original);
            }
        }
    }
    Ok(())
}

/// `NAME`, or `NAME:ARCHITECTURE` where several architectures of it stay; `None` when that is no safe file name.
fn file_name(package: &Package, left: &BTreeMap<(&str, &str), &Package>) -> Option<String> {
    let plain = |text: &str| {
        !text.starts_with('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-_~".contains(&b))
    };
    let Package { name, architecture, .. } = package;
    if name.is_empty() || name.len() + architecture.len() > MAX_NAME || !plain(name) || !plain(architecture) {
        return None;
    }
    let several = left.keys().filter(|(other, _)| other == name).count() > 1;
    Some(if several { format!("{name}:{architecture}") } else { name.clone() })
}

/// The checksums of a package's files that stay.
fn checksums(
    planner: &mut Planner<'_>,
    database: &ImagePath,
    package: &Package,
) -> Result<Vec<u8>, PackageDataError> {
    let Package { name, architecture, .. } = package;
    for name in [format!("info/{name}.md5sums"), format!("info/{name}:{architecture}.md5sums")] {
        let path = [database.as_bytes(), b"/", name.as_bytes()].concat();
        let Ok(path) = ImagePath::new(path) else { continue };
        if let Some(sums) = planner.read(&path)? {
            return Ok(kept_lines(planner, &sums));
        }
    }
    Ok(Vec::new())
}

/// The lines `CHECKSUM  NAME` whose file stays; names lack the leading slash.
fn kept_lines(planner: &mut Planner<'_>, sums: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in sums.split_inclusive(|&b| b == b'\n') {
        let Some(blank) = line.iter().position(|&b| b == b' ') else { continue };
        let name = line.get(blank..).unwrap_or_default().trim_ascii();
        let name = name.strip_prefix(b"./").unwrap_or(name);
        if planner.stays(&[b"/", name].concat()) {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// A package of `status.d`: the source's paragraph stays with it, the checksums are cut where some are gone.
fn reduce_distroless(planner: &mut Planner<'_>, package: &Package) -> Result<(), PackageDataError> {
    let record = &package.record;
    let Ok(sums_path) = ImagePath::new([record.as_bytes(), b".md5sums"].concat()) else { return Ok(()) };
    if planner.inputs.mode == super::PackageDataMode::Keep {
        planner.keep(record, "dpkg");
        planner.keep(&sums_path, "dpkg");
        return Ok(());
    }
    if !package.files.iter().any(|file| planner.inputs.keep.contains(file)) {
        return Ok(());
    }
    planner.keep(record, "dpkg");
    let (Some(sums), Some(original)) = (planner.read(&sums_path)?, planner.inputs.tree.get(&sums_path))
    else {
        return Ok(());
    };
    let kept = kept_lines(planner, &sums);
    if kept == sums {
        planner.keep(&sums_path, "dpkg");
    } else if !planner.inputs.keep.contains(&sums_path) {
        log::debug!("checksums of {} are cut to what stays", quote(package.name.as_bytes()));
        planner.data.generated.add_file(sums_path.clone(), kept, &sums_path, original);
    }
    Ok(())
}
