//! Trials against a real engine: `SLIM_TEST_ENGINE=unix:///path cargo test`.
//!
//! They make images of one static busybox, and containers; all names begin with `slimeng-` and are removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;

use super::*;

/// Generous: the machine may run several engines and compilers at once.
const DEADLINE: Duration = Duration::from_secs(120);
const BUSYBOX: &str = "/usr/bin/busybox";
pub(crate) const TRIAL_LABEL: (&str, &str) = ("slimeng", "trial");

/// Runs `trial` against the engine that the environment names, or says why it does not.
pub(crate) async fn with_engine(trial: impl AsyncFnOnce(&Engine, &Cleanup)) {
    let host = std::env::var("SLIM_TEST_ENGINE").ok();
    let reason = match &host {
        None => "SLIM_TEST_ENGINE names no engine",
        Some(_) if !Path::new(BUSYBOX).exists() => "busybox-static is not installed",
        Some(_) => {
            let engine = Engine::connect(host.as_deref()).await.unwrap();
            let cleanup = Cleanup::new(engine.clone());
            tokio::time::timeout(DEADLINE, trial(&engine, &cleanup)).await.unwrap();
            let failures = cleanup.finish().await;
            assert!(failures.is_empty(), "{failures:?}");
            return;
        }
    };
    assert!(std::env::var_os("CI").is_none(), "cannot run in CI: {reason}");
    eprintln!("skipped: {reason}");
}

/// An image archive with busybox and a configuration that has fields which no engine knows.
fn archive(tag: &str) -> (Vec<u8>, Vec<u8>) {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    let busybox = std::fs::read(BUSYBOX).unwrap();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    layer.append_data(&mut header, "bin/busybox", &*busybox).unwrap();
    let layer = layer.into_inner().unwrap();
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({
        "x-unknown": {"kept": ["verbatim", 1.50]}, "architecture": machine, "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        // The tag makes the configuration, and so the image id, different for every trial.
        "config": {"Cmd": ["/bin/busybox", "sleep", "600"], "Labels": {TRIAL_LABEL.0: TRIAL_LABEL.1, "tag": tag},
                   "Env": ["PATH=/bin", "GONE=1"], "StopSignal": "SIGKILL", "Volumes": {"/data": {}}},
        "rootfs": {"type": "layers", "diff_ids": [digest::Digest::of(&layer).to_string()]}, "history": [{}],
    });
    // Odd spacing: a configuration that is parsed and written again would not have this digest.
    let config = format!(" {}\n", serde_json::to_string_pretty(&config).unwrap()).into_bytes();
    let config_name = format!("{}.json", digest::Digest::of(&config).hex());
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"]}]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [(&*config_name, &config), ("layer.tar", &layer), ("manifest.json", &manifest)] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, &**content).unwrap();
    }
    (archive.into_inner().unwrap(), config)
}

pub(crate) async fn load(engine: &Engine, tag: &str) -> (SourceImage, Vec<u8>) {
    let (archive, config) = archive(tag);
    let id = engine.load(std::io::Cursor::new(archive)).await.unwrap();
    let image = engine.image(tag).await.unwrap();
    assert_eq!(image.id, id);
    (image, config)
}

pub(crate) fn busybox(image: &str, words: &[&str]) -> RunSpec {
    let cmd = ["/bin/busybox"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    RunSpec { image: image.to_owned(), cmd, ..Default::default() }
}

#[tokio::test]
async fn images_are_resolved_verbatim_tagged_and_removed() {
    with_engine(async |engine, _| {
        let tag = "slimeng-image:1";
        let (image, config) = load(engine, tag).await;
        assert_eq!(image.config_bytes, config);
        assert_eq!(image.config_digest, digest::Digest::of(&config).to_string());
        assert_eq!(image.repo_tags, [tag]);
        assert_eq!(image.diff_ids.len(), 1);
        assert_eq!(image.platform, format!("linux/{}", engine.info().platform().architecture));
        assert_eq!(engine.image(&image.id).await.unwrap().config_digest, image.config_digest);
        let by_config = digest::Digest::parse(&image.config_digest).unwrap();
        assert_eq!(engine.stored(&by_config).unwrap(), Some(config.clone()));
        // The export must tell the same as the store did.
        let mut file = tempfile::tempfile().unwrap();
        let bytes = engine.export_image(&image.id, file.try_clone().unwrap()).await.unwrap();
        assert_eq!(bytes, file.metadata().unwrap().len());
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(archive::config_in_export(file).unwrap().bytes, config);
        match &engine.info().storage {
            Storage::GraphDriver(driver) => assert_eq!(&image.graph_driver.as_ref().unwrap().name, driver),
            Storage::Containerd { .. } => assert_eq!(image.graph_driver, None),
        }

        let error = engine.image("slimeng-imgae:1").await.unwrap_err();
        let EngineError::UnknownImage { similar, .. } = &error else { panic!("{error}") };
        assert_eq!(similar, &[tag]);

        let (other, _) = load(engine, "slimeng-other:1").await;
        let error = engine.tag(&other.id, tag, Overwrite::Refuse).await.unwrap_err();
        assert!(matches!(&error, EngineError::TagExists { id, .. } if *id == image.id), "{error}");
        engine.tag(&other.id, "slimeng-free", Overwrite::Refuse).await.unwrap();
        assert_eq!(engine.tagged("slimeng-free:latest").await.unwrap(), Some(other.id.clone()));
        engine.tag(&other.id, "slimeng-free", Overwrite::Refuse).await.unwrap();
        engine.tag(&image.id, "slimeng-free", Overwrite::Replace).await.unwrap();
        assert_eq!(engine.tagged("slimeng-free").await.unwrap(), Some(image.id.clone()));
        assert_eq!(engine.tagged("slimeng-no-such").await.unwrap(), None);

        let error = engine.remove_own_image(&other.id, ("slimeng", "else")).await.unwrap_err();
        assert!(matches!(error, EngineError::NotOurs { .. }));
        for name in [tag, "slimeng-free", "slimeng-other:1"] {
            engine.remove_own_image(name, TRIAL_LABEL).await.unwrap();
        }
        engine.remove_own_image(&image.id, TRIAL_LABEL).await.unwrap();
        assert_eq!(engine.tagged(tag).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_bad_archive_is_refused_with_the_engines_reason() {
    with_engine(async |engine, _| {
        let error = engine.load(&b"this is no tar archive at all"[..]).await.unwrap_err();
        assert!(matches!(
            error,
            EngineError::Refused { .. } | EngineError::Failed { .. } | EngineError::Incomplete { .. }
        ));
    })
    .await;
}

#[tokio::test]
async fn containers_run_as_docker_run_would() {
    with_engine(async |engine, cleanup| {
        let tag = "slimeng-run:1";
        let (image, _) = load(engine, tag).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("seen"), b"by the container").unwrap();
        let mut spec =
            busybox(tag, &["sh", "-c", "echo out $GIVEN $GONE; cat /host/seen; echo err >&2; exit 7"]);
        spec.env = vec!["GIVEN=1".into(), "GONE".into()];
        // An engine in a chroot has another /tmp, so there is nothing to bind.
        let shares_our_root = engine.info().host_prefixes.len() < 3;
        if shares_our_root {
            spec.volumes = vec![format!("{}:/host:ro", dir.path().display()).parse().unwrap()];
        }
        spec.network = Some("none".into());
        spec.user = Some("0:0".into());
        // sh, echo and cat are applets of the one binary.
        spec.entrypoint = Some("/bin/busybox".into());
        spec.cmd.remove(0);
        let container = cleanup.create(&spec).await.unwrap();
        let view = engine.container(&container.name).await.unwrap();
        assert_eq!((view.state, view.pid, view.image_id), (ContainerState::Created, None, image.id.clone()));
        engine.start(&container.id).await.unwrap();
        assert_eq!(engine.wait(&container.id).await.unwrap(), 7);
        let chunks: Vec<OutputChunk> =
            engine.logs(&container.id).unwrap().map(Result::unwrap).collect().await;
        let text = |wanted| -> Vec<u8> {
            chunks
                .iter()
                .filter(|chunk| chunk.stream == wanted)
                .flat_map(|chunk| chunk.bytes.clone())
                .collect()
        };
        let bound: &[u8] = if shares_our_root { b"by the container" } else { b"" };
        assert_eq!(text(OutputStream::Stdout), [b"out 1\n", bound].concat());
        assert!(text(OutputStream::Stderr).ends_with(b"err\n"));
        let view = engine.container(&container.id).await.unwrap();
        assert_eq!((view.state, view.exit_code, view.oom_killed), (ContainerState::Exited, 7, false));
        cleanup.remove(&container).await.unwrap();
        let error = engine.container(&container.id).await.unwrap_err();
        assert!(matches!(error, EngineError::UnknownContainer { .. }));
        engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn commands_run_inside_and_the_container_stops() {
    with_engine(async |engine, cleanup| {
        let tag = "slimeng-exec:1";
        let (image, _) = load(engine, tag).await;
        let mut spec = busybox(tag, &["sleep", "600"]);
        spec.publish = "127.0.0.1::80".parse::<Publish>().unwrap().0;
        let container = cleanup.create(&spec).await.unwrap();
        engine.start(&container.id).await.unwrap();
        let view = engine.container(&container.id).await.unwrap();
        assert!(view.pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists()));
        assert!(view.ip().is_some());
        let [port] = view.ports.as_slice() else { panic!("{:?}", view.ports) };
        assert_eq!((port.container_port, port.host_ip), (80, Some("127.0.0.1".parse().unwrap())));
        // The image's VOLUME became an anonymous volume.
        assert_eq!(view.mounts.iter().map(|m| m.target.as_str()).collect::<Vec<_>>(), ["/data"]);
        assert_eq!(
            engine.running_containers_of(&image.id).await.unwrap(),
            std::slice::from_ref(&container.id)
        );

        let mut output = Vec::new();
        let words = ["/bin/busybox", "sh", "-c", "echo in; exit 3"].map(str::to_owned);
        let outcome = engine.exec(&container.id, &words, |chunk| output.extend(chunk.bytes)).await.unwrap();
        assert_eq!((outcome.exit_code, output.as_slice()), (3, &b"in\n"[..]));
        let missing = engine.exec(&container.id, &["/nowhere".to_owned()], drop).await;
        assert!(!matches!(missing, Ok(ExecOutcome { exit_code: 0 })), "{missing:?}");

        engine.stop(&container.id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(engine.wait(&container.id).await.unwrap(), 137);
        assert_eq!(engine.running_containers_of(&image.id).await.unwrap(), Vec::<String>::new());
        let error = engine.kill(&container.id, "SIGKILL").await.unwrap_err();
        assert!(matches!(error, EngineError::Refused { status: 409, .. }), "{error}");
        cleanup.remove(&container).await.unwrap();
        engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn failures_to_start_are_told() {
    with_engine(async |engine, cleanup| {
        let tag = "slimeng-fail:1";
        load(engine, tag).await;
        let mut spec = busybox(tag, &[]);
        spec.cmd = vec!["/no/such/program".into()];
        let container = cleanup.create(&spec).await.unwrap();
        let error = engine.start(&container.id).await.unwrap_err();
        assert!(
            matches!(&error, EngineError::Refused { message, .. } if message.contains("/no/such/program")),
            "{error}"
        );
        spec.name = Some(container.name.clone());
        let second = Cleanup::new(engine.clone());
        let error = second.create(&spec).await.unwrap_err();
        assert!(matches!(error, EngineError::Refused { status: 409, .. }), "{error}");
        // The name is noted by the second run, too, but the container is the first one's.
        assert!(second.finish().await.is_empty());
        engine.container(&container.id).await.unwrap();
        spec.image = "slimeng-no-such-image".into();
        spec.name = None;
        assert!(matches!(cleanup.create(&spec).await, Err(EngineError::UnknownImage { .. })));
        cleanup.remove(&container).await.unwrap();
        engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_dropped_cleanup_removes_what_it_owns() {
    with_engine(async |engine, _| {
        let tag = "slimeng-drop:1";
        load(engine, tag).await;
        let cleanup = Cleanup::new(engine.clone());
        let container = cleanup.create(&busybox(tag, &["sleep", "600"])).await.unwrap();
        engine.start(&container.id).await.unwrap();
        drop(cleanup);
        assert!(matches!(engine.container(&container.id).await, Err(EngineError::UnknownContainer { .. })));
        engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_creation_leaves_nothing() {
    with_engine(async |engine, cleanup| {
        let tag = "slimeng-cancel:1";
        load(engine, tag).await;
        let mut spec = busybox(tag, &["true"]);
        spec.name = Some("slimeng-cancelled".into());
        // Polled once, so that the request is under way, and dropped.
        assert!(tokio::time::timeout(Duration::ZERO, cleanup.create(&spec)).await.is_err());
        assert!(cleanup.finish().await.is_empty());
        let error = engine.container("slimeng-cancelled").await.unwrap_err();
        assert!(matches!(error, EngineError::UnknownContainer { .. }));
        engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn events_of_the_image_arrive_whatever_its_name() {
    with_engine(async |engine, cleanup| {
        let tag = "slimeng-events:1";
        let (image, _) = load(engine, tag).await;
        let (_, _) = load(engine, "slimeng-events-else:1").await;
        let mut events = std::pin::pin!(engine.watch(std::slice::from_ref(&image), SystemTime::now()));
        let mut expected = BTreeSet::new();
        // By tag, by id, by a tag that did not exist when the watch began; and one of another image.
        engine.tag(&image.id, "slimeng-events-late:1", Overwrite::Refuse).await.unwrap();
        for name in [tag, &image.id, "slimeng-events-late:1", "slimeng-events-else:1"] {
            let container = cleanup.create(&busybox(name, &["true"])).await.unwrap();
            engine.start(&container.id).await.unwrap();
            assert_eq!(engine.wait(&container.id).await.unwrap(), 0);
            if name != "slimeng-events-else:1" {
                expected.insert(container.id);
            }
        }
        let mut seen = Vec::new();
        while seen.len() < expected.len() * 3 {
            let event = events.next().await.unwrap().unwrap();
            // Other trials have containers of their own, which may be gone too soon to be asked whose they are.
            if event.kind == ContainerEventKind::Vanished {
                assert_ne!(event.image_id, tag);
                continue;
            }
            assert_eq!(event.image_id, image.id);
            seen.push((event.id, event.kind));
        }
        use ContainerEventKind::{Created, Died, Started};
        for id in &expected {
            let life: Vec<_> = seen.iter().filter(|(of, _)| of == id).map(|(_, kind)| *kind).collect();
            assert_eq!(life, [Created, Started, Died]);
        }
        assert!(cleanup.finish().await.is_empty());
        for name in [tag, "slimeng-events-late:1", "slimeng-events-else:1"] {
            engine.remove_own_image(name, TRIAL_LABEL).await.unwrap();
        }
    })
    .await;
}
