//! `slim packages`: the packages of an image by what is used of them.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use super::{CommandError, Context, side::Side};
use crate::{
    cli::PackagesArgs,
    packages::Package,
    path::quote,
    report::captures_report::{self, Asked, PackageUse, PackagesReport, Use},
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
    let mut asked = Vec::new();
    if let Some(wanted) = wanted {
        let mut by_name: BTreeMap<&str, Vec<Use>> = BTreeMap::new();
        for package in &packages {
            by_name.entry(&package.name).or_default().push(package.usage);
            if !package.source.is_empty() && package.source != package.name {
                by_name.entry(&package.source).or_default().push(package.usage);
            }
        }
        let worst = |name: &String| by_name.get(name.as_str()).and_then(|uses| uses.iter().max().copied());
        asked = wanted
            .iter()
            .map(|name| Asked { name: name.clone(), usage: worst(name).unwrap_or(Use::Absent) })
            .collect();
        packages.retain(|package| wanted.contains(&package.name) || wanted.contains(&package.source));
    }
    let bytes = side.bytes(side.entries().into_keys());
    let unreadable = side.packages.unreadable();
    let unreadable =
        unreadable.iter().map(|(manager, path)| format!("{} ({path})", manager.name())).collect();
    let report = PackagesReport { subject: side.name.clone(), bytes, packages, asked, unreadable };
    context.present("packages", &report, captures_report::packages)
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
