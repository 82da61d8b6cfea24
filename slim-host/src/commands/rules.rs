//! What the user asks for, gathered from options and rule files.

use std::{fs::File, io::Read as _, path::PathBuf};

use super::CommandError;
use crate::{
    cli::BuildArgs,
    keep::{RuleSpec, Rules},
};

/// Bytes of a rule file that are read: it goes into a label of the slim image, so that `slim explain` can plan
/// again, and labels should stay readable.
const MAX_RULE_FILE: u64 = 64 << 10;

/// The rules of a build.
pub(super) fn of(args: &BuildArgs) -> Result<Rules, CommandError> {
    let closure = &args.closure;
    let spec = RuleSpec {
        level: closure.level,
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        executables: closure.include_exe.clone(),
        packages: closure.include_package.clone(),
        facilities: closure.facilities(),
        files: closure.rules.iter().map(read).collect::<Result<_, _>>()?,
    };
    Ok(Rules::compile(spec)?)
}

fn read(file: &PathBuf) -> Result<(String, String), CommandError> {
    let failed = |source| CommandError::RuleFile { file: file.clone(), limit: MAX_RULE_FILE, source };
    let mut text = String::new();
    let read = File::open(file).map_err(failed)?.take(MAX_RULE_FILE + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > MAX_RULE_FILE {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    // The name alone: a path of this machine has no business in an image.
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, text))
}
