//! What a command can fail with, and the exit code of each failure: one exhaustive match.

use std::io;
use std::path::PathBuf;

use crate::{
    capture::{CaptureError, MergeError},
    engine::{EngineError, SpecError},
    exercise::{ExerciseError, PlanError},
    image::{ImageError, ImageNameError},
    keep::{KeepError, RulesError},
    output::OutputError,
    package_data::PackageDataError,
    packages::PackagesError,
    path::{PathError, quote},
    report::overview::HtmlError,
    rootfs::{ArchiveError, RootfsError},
    tracer::{TracerError, sweep::SweepError},
    verify::Doubt,
};

mod exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The container engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A `docker run` option.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The exercise.
    #[error(transparent)]
    Exercise(#[from] ExerciseError),
    /// The kernel side.
    #[error(transparent)]
    Tracer(#[from] TracerError),
    /// The dentry sweep.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// A capture file.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Captures that do not fit together.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A capture that does not fit the image.
    #[error("capture {} is of another image ({captured}), not of {image}: name the image that was traced", quote(file.as_os_str().as_encoded_bytes()))]
    OtherImage {
        /// The capture file.
        file: PathBuf,
        /// What it was taken of (quoted).
        captured: String,
        /// What is to be built (quoted).
        image: String,
    },
    /// A capture of a container whose files are not those of the image.
    #[error("capture {} is of other files than those of {image}: name the image that was traced", quote(file.as_os_str().as_encoded_bytes()))]
    OtherFiles {
        /// The capture file.
        file: PathBuf,
        /// What is to be built or explained (quoted).
        image: String,
    },
    /// A capture names its image by its files alone.
    #[error("capture {} was made without an engine, so it names no image: ask about the image that was built from it", quote(.0.as_os_str().as_encoded_bytes()))]
    NamesNoImage(PathBuf),
    /// Evidence is missing.
    #[error(
        "the capture is incomplete ({why}), so the slim image could lack files that are needed; trace again, or build with --allow-incomplete"
    )]
    Incomplete {
        /// What happened to it.
        why: String,
    },
    /// The files of the image.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The engine's export.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The plan.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A rule file of the user.
    #[error("cannot read the rule file {}: --rules takes a TOML file of at most {limit} bytes", quote(file.as_os_str().as_encoded_bytes()))]
    RuleFile {
        /// The file.
        file: PathBuf,
        /// Bytes that are read at most.
        limit: u64,
        /// Why.
        source: io::Error,
    },
    /// The package databases of the image.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// The package databases of the slim image.
    #[error(transparent)]
    PackageData(#[from] PackageDataError),
    /// The slim image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A name for the slim image.
    #[error(transparent)]
    ImageName(#[from] ImageNameError),
    /// The image has no name of which to make another.
    #[error("{0} has no name of its own: give the slim image one with --tag")]
    NoName(String),
    /// The result cannot be printed.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A path on the command line.
    #[error(transparent)]
    Path(#[from] PathError),
    /// What `slim explain` is asked about is neither a capture nor a slim image.
    #[error("image {0} was not built by slim: ask about a capture, or about the result of `slim build`")]
    NotSlim(String),
    /// What `slim explain` is asked about does not exist.
    #[error("{0} is neither a capture file nor an image in the engine")]
    NoSubject(String),
    /// What `slim watch` is to watch does not exist.
    #[error(
        "{name} is neither a container nor an image in the engine{}: see `docker ps` and `docker images`",
        listed("similar images", similar)
    )]
    NothingToWatch {
        /// What was named (quoted).
        name: String,
        /// Images that are called nearly so.
        similar: Vec<String>,
    },
    /// A container that is to be watched does not run; it and its image (quoted).
    #[error(
        "container {0} is not running: start it, or watch its image, {1}, to see containers that start later"
    )]
    Asleep(String, String),
    /// An image without the labels of slim.
    #[error(
        "image {0} was not built by slim, so nobody knows what was removed from it: name the image that it was made of with --source"
    )]
    NoLineage(String),
    /// The source of a slim image is not here.
    #[error(
        "the source of {image} is not in the engine: {source_image} with configuration {digest}{moved}; pull it, or name an image of the same files with --source"
    )]
    SourceGone {
        /// The slim image (quoted).
        image: String,
        /// What its source is called (quoted).
        source_image: String,
        /// The source's configuration (quoted).
        digest: String,
        /// What is known of that name.
        moved: &'static str,
    },
    /// One source for several images.
    #[error("--source names one image, and {0} slim images are to be watched: watch them one by one")]
    SourceOfMany(usize),
    /// A watch found so many removed files.
    #[error("removed files were looked for: {}", counted(*.0))]
    LookedFor(usize),
    /// A compose project of which nothing runs.
    #[error(
        "no container of compose project {project} is running{}: start it with `docker-compose -p {project} up -d`",
        listed("projects that run", known)
    )]
    NoProject {
        /// The project (quoted).
        project: String,
        /// Those of which something runs (quoted).
        known: Vec<String>,
    },
    /// A capture file that `slim trace` would overwrite.
    #[error("{} exists: name another file with --output, or build from both", quote(.0.as_os_str().as_encoded_bytes()))]
    CaptureExists(PathBuf),
    /// The capture of a slim image was made elsewhere.
    #[error("the capture from which image {0} was built is not on this machine: ask about the capture file")]
    NoCapture(String),
    /// The container that is to be traced does not run.
    #[error("container {0} is not running: start it, or use --image to trace it from its start")]
    NotRunning(String),
    /// No process has this number.
    #[error("there is no process {0}: give the host's number of a process of the container")]
    NoProcess(i32),
    /// A control group without processes.
    #[error("no process runs in control group {0}: start its container first")]
    EmptyGroup(String),
    /// A control group around several containers, or around more than a container.
    #[error(
        "the processes in control group {group} have {count} different roots: give the group of one container, or --pid of one of its processes"
    )]
    SeveralRoots {
        /// The group (quoted).
        group: String,
        /// How many different roots its processes have.
        count: usize,
    },
    /// Containers whose control groups cannot be compared.
    #[error("the control groups are of different hierarchies: give those of one controller, or --pid")]
    TwoHierarchies,
    /// A capture that does not tell its image.
    #[error(
        "capture {} does not tell which image was traced: trace again with --storage naming the directory where its engine keeps images",
        quote(.0.as_os_str().as_encoded_bytes())
    )]
    UnknownSource(PathBuf),
    /// The engine runs in a virtual machine, or is another machine's.
    #[error("the engine runs on Linux {engine}, slim on {kernel}: slim has to run where the containers run")]
    EngineElsewhere {
        /// The engine's kernel release (quoted).
        engine: String,
        /// Ours.
        kernel: String,
    },
    /// The engine's processes are not ours to see.
    #[error(
        "process {pid} of container {container} is not on this kernel: slim has to run where the containers run"
    )]
    OtherKernel {
        /// The container (quoted).
        container: String,
        /// Its first process, as the engine numbers it.
        pid: u32,
    },
    /// The files of a container cannot be told from those of others.
    #[error(
        "the root of container {container} is {found}, not an overlay of its own, so its files cannot be told from others: use an engine with the overlay2 storage driver or the overlayfs snapshotter"
    )]
    SharedRoot {
        /// The container (quoted).
        container: String,
        /// What its root is (harmless text).
        found: String,
    },
    /// Exact bytes that a terminal would act upon.
    #[error("a terminal cannot show exact bytes: send --null into a file or a program")]
    BytesToTerminal,
    /// A page that no terminal shows.
    #[error("a terminal shows no HTML: name a file with --output, or ask for --format markdown")]
    PageToTerminal,
    /// A form that only reports have.
    #[error("--format html and markdown are forms of `slim report`; choose text, json or jsonl")]
    OnlyReports,
    /// The file for a report.
    #[error(transparent)]
    ReportFile(ImageError),
    /// The page of a report.
    #[error(transparent)]
    Html(#[from] HtmlError),
    /// `--compress` without an output that is compressed.
    #[error("there is nothing to compress: only oci:DIR and oci-archive:FILE hold compressed layers")]
    NothingToCompress,
    /// An exercise that is none.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Nothing to verify with.
    #[error(
        "there is no exercise: name steps with --http-path, --http-crawl, --openapi, --step, --exec, --host-exec, --until-exit or --exercise"
    )]
    NoExercise,
    /// An exercise beside --from, which runs nothing.
    #[error(
        "--from runs nothing, so nothing takes the steps of the exercise: take --no-verify or --dry-run away, or add --verify or --heal"
    )]
    IdleExercise,
    /// The slim image does not do what its source does.
    #[error("the slim image does not do what its source does: {}", counted(*.findings))]
    NotVerified {
        /// How many differences were found.
        findings: usize,
    },
    /// Nothing can be said of the slim image.
    #[error("inconclusive: {0}")]
    Inconclusive(Doubt),
    /// The doctor found something bad.
    #[error("this machine lacks something that slim needs")]
    Unfit,
    /// Not root.
    #[error("tracing takes root: run slim with sudo")]
    NotRoot,
    /// A file of ours.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what (quoted).
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A thread of ours ended early: a defect.
    #[error("slim itself failed while it {0}; this is a defect, please report it")]
    Defect(&'static str),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

fn counted(findings: usize) -> String {
    if findings == 1 { "1 finding".to_owned() } else { format!("{findings} findings") }
}

/// ` (what: a, b)`, or nothing.
fn listed(what: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" ({what}: {})", names.join(", ")) }
}
