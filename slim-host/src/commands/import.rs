//! `slim import`: a capture from the files of another tool.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};

use super::{CommandError, Context, source};
use crate::{
    capture::{
        self, Capture, CaptureId, EventCounts, Existing, Header, IMPORTED, ImageIdentity,
        import::{ImportFormat, Imported, Input, Start, import},
    },
    cli::ImportArgs,
    engine::Engine,
    output::{Amount, Counter},
    path::{RequestedPath, quote},
    report::{import_report, import_report::ImportReport},
    rootfs::FileTree,
};

/// Bytes of all files together, which are held in memory. A line of strace has about 100.
const MAX_BYTES: u64 = 1 << 30;

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, the engine does not have the image, or the capture cannot be written.
pub(super) async fn execute(context: &Context, args: &ImportArgs) -> Result<(), CommandError> {
    if args.output.symlink_metadata().is_ok() {
        return Err(CommandError::CaptureExists(args.output.clone()));
    }
    let cwd = args.cwd.as_ref().map(|cwd| RequestedPath::new(cwd.as_os_str().as_bytes())).transpose()?;
    let start = Start(cwd);
    let engine = Engine::connect(context.host.as_deref()).await?;
    let image = engine.image(&args.image).await?;
    let mut left = MAX_BYTES;
    let sizes = args.files.iter().filter_map(|file| file.metadata().ok());
    let all = sizes.fold(0, |sum: u64, file| sum.saturating_add(file.len()));
    let reading = context.output.progress("reading", Amount::Bytes(all));
    let counter = reading.counter();
    let mut files = Vec::with_capacity(args.files.len());
    for file in &args.files {
        files.push((quote(file.as_os_str().as_encoded_bytes()), read(file, &mut left, &counter)?));
    }
    drop(reading);
    let understanding = context.output.progress("understanding", Amount::Unknown);
    let inputs: Vec<_> = files.iter().map(|(name, bytes)| Input { name, bytes }).collect();
    let mut found = import(args.tool, &inputs, &start);
    drop(understanding);
    if !found.patterns.is_empty() {
        let files = source::open(&engine, &image, None, &context.output).await?;
        expand(&mut found, files.tree());
    }
    let id = name(args.tool, &inputs, &start);
    let capture =
        Capture { header: header(args.tool, id, image.identity(), &found), accesses: found.accesses.clone() };
    capture::store::write(&args.output, &capture, Existing::Refuse)?;
    let report = ImportReport::new(&capture, args.tool, &found, &args.output);
    context.present("import", &report, import_report::page)
}

fn read(file: &Path, left: &mut u64, counter: &Counter) -> Result<Vec<u8>, CommandError> {
    let failed = |source| CommandError::Io {
        operation: "read",
        path: quote(file.as_os_str().as_encoded_bytes()),
        source,
    };
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        counter.through(io::stdin().lock()).take(*left + 1).read_to_end(&mut bytes)
    } else {
        counter.through(File::open(file).map_err(failed)?).take(*left + 1).read_to_end(&mut bytes)
    };
    let read = read.map_err(failed)? as u64;
    *left = left.checked_sub(read).ok_or_else(|| failed(io::ErrorKind::FileTooLarge.into()))?;
    Ok(bytes)
}

/// Puts what patterns match in their place. A file that is called like a pattern is meant by it.
fn expand(found: &mut Imported, tree: &FileTree) {
    for pattern in std::mem::take(&mut found.patterns) {
        let literal = tree.beginning_with(pattern.as_bytes()).map(|(path, ..)| path);
        let literal = literal.take(1).find(|path| path.as_bytes() == pattern.as_bytes());
        let paths: Vec<RequestedPath> = match literal {
            Some(path) => vec![path.into()],
            None => {
                let all = tree.iter().map(|(path, ..)| path);
                all.filter(|path| pattern.matches(path.as_bytes())).map(RequestedPath::from).collect()
            }
        };
        if paths.is_empty() {
            found.unmatched(&pattern);
        }
        paths.into_iter().for_each(|path| found.matched(path));
    }
}

/// The same files have the same name, so that they count once however often they are imported.
fn name(format: ImportFormat, inputs: &[Input<'_>], start: &Start) -> CaptureId {
    let mut hash = Sha256::new();
    hash.update(format.name());
    hash.update(start.0.as_ref().map(RequestedPath::as_bytes).unwrap_or_default());
    for input in inputs {
        hash.update((input.bytes.len() as u64).to_be_bytes());
        hash.update(input.bytes);
    }
    let mut id = [0; 16];
    id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    CaptureId::from_bytes(id)
}

fn header(format: ImportFormat, id: CaptureId, image: ImageIdentity, found: &Imported) -> Header {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    Header {
        id,
        image,
        engine: String::new(),
        kernel: String::new(),
        slim_version: env!("CARGO_PKG_VERSION").to_owned(),
        sources: format!("{IMPORTED}{}", format.name()),
        fallback: format.limits().to_owned(),
        started_unix: i64::try_from(now).unwrap_or(i64::MAX),
        duration_ns: found.duration_ns,
        status: found.status(),
        loss: found.loss.clone(),
        counts: EventCounts::new(),
    }
}
