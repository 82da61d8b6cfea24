//! Births, starts and deaths of an image's containers, as they happen.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt};

use super::error::Intent;
use super::image::names_of;
use super::{Engine, EngineError, QUICK, SourceImage, in_time};

/// What happened to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEventKind {
    /// It exists, and does not run yet.
    Created,
    /// Its first process runs (already: the engine tells afterwards).
    Started,
    /// Its first process has ended.
    Died,
    /// It was started, and was gone before the engine could say of which image it is; so is what it was called by.
    Vanished,
}

/// Something happened to a container of a watched image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container's full id.
    pub id: String,
    /// Id of its image; of one that has vanished, what its image was called.
    pub image_id: String,
    /// What happened.
    pub kind: ContainerEventKind,
    /// When, in nanoseconds since the epoch by the engine's clock.
    pub time_ns: i64,
}

impl Engine {
    /// Watches every container of `images` from `since` on. To miss none, call this before listing those that run
    /// already; a container may then show up twice.
    ///
    /// An event whose image name is a known name of a watched image is passed on at once, for speed: the time
    /// between `Created` and the container's first instruction is short. Any other new container is inspected,
    /// because an image may be named by a digest, a short id or a tag that has moved since. Of a container that is gone
    /// when it is inspected, the image is asked for by the name that the event tells; when that is gone too, it is told as
    /// [`ContainerEventKind::Vanished`]. Nothing is filtered by the engine: its filter compares names only.
    ///
    /// The stream fails once, then ends, when the engine goes away; watch again with the time of the last event.
    pub fn watch(
        &self,
        images: &[SourceImage],
        since: SystemTime,
    ) -> impl Stream<Item = Result<ContainerEvent, EngineError>> + Send + use<> {
        let engine = self.clone();
        let events = self.docker.events(Some(options(since, None)));
        let watched = Watched::new(images);
        // The library's stream ends quietly when the engine closes the connection; a watcher must be told.
        let events = events.map(Some).chain(futures_util::stream::once(async { None }));
        let matched = events.scan((engine, watched), |(engine, watched), event| {
            let engine = engine.clone();
            let candidate = event.map(|event| event.map(|event| watched.judge(event)));
            let image_ids = watched.ids.clone();
            async move { Some(settle(&engine, candidate, &image_ids).await) }
        });
        matched.filter_map(|event| async { event })
    }

    /// What happened to containers of `images` from `since` until now: the engine's answer is whole when it ends, so
    /// unlike [`Self::watch`] this leaves nothing to wait for. Docker remembers the last 256 events of any kind.
    ///
    /// # Errors
    /// When the engine does not answer, or not to the end.
    pub async fn past(
        &self,
        images: &[SourceImage],
        since: SystemTime,
    ) -> Result<Vec<ContainerEvent>, EngineError> {
        let watched = Watched::new(images);
        let until = SystemTime::now().max(since);
        let mut events = self.docker.events(Some(options(since, Some(until))));
        let intent = Intent { operation: "ask for past events of", object: "containers" };
        in_time(QUICK, intent, async {
            let mut past = Vec::new();
            while let Some(event) = events.next().await {
                let judged = event.map(|event| watched.judge(event));
                past.extend(settle(self, Some(judged), &watched.ids).await.transpose()?);
            }
            Ok(past)
        })
        .await?
    }
}

/// Which images are watched, by all the names that are known of them.
struct Watched {
    ids: BTreeSet<String>,
    names: HashMap<String, String>,
}

/// A relevant event, and how sure it is that it is about a watched image.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// Not about a container's life.
    Irrelevant,
    /// About a container of a watched image, by name.
    Ours(ContainerEvent),
    /// The name says nothing; the container itself must be asked.
    Ask { id: String, image: String, kind: ContainerEventKind, time_ns: i64 },
}

impl Watched {
    fn new(images: &[SourceImage]) -> Self {
        let ids = images.iter().map(|image| image.id.clone()).collect();
        let names = images
            .iter()
            .flat_map(|image| names_of(image).into_iter().map(|name| (name, image.id.clone())))
            .collect();
        Self { ids, names }
    }

    fn judge(&self, event: EventMessage) -> Judged {
        let kind = match event.action.as_deref() {
            Some("create") => ContainerEventKind::Created,
            Some("start") => ContainerEventKind::Started,
            Some("die") => ContainerEventKind::Died,
            Some(_) | None => return Judged::Irrelevant,
        };
        let actor = event.actor.unwrap_or_default();
        let (Some(id), time_ns) = (actor.id, event.time_nano.unwrap_or_default()) else {
            return Judged::Irrelevant;
        };
        let image = actor.attributes.unwrap_or_default().remove("image").unwrap_or_default();
        // `nginx` means `nginx:latest`.
        let name = match super::name::split_tag(&image) {
            (_, None) if !image.contains('@') => format!("{image}:latest"),
            (_, Some(_) | None) => image.clone(),
        };
        match self.names.get(&image).or_else(|| self.names.get(&name)) {
            Some(image_id) => Judged::Ours(ContainerEvent { id, image_id: image_id.clone(), kind, time_ns }),
            None => Judged::Ask { id, image, kind, time_ns },
        }
    }
}

async fn settle(
    engine: &Engine,
    candidate: Option<Result<Judged, bollard::errors::Error>>,
    image_ids: &BTreeSet<String>,
) -> Option<Result<ContainerEvent, EngineError>> {
    let intent = Intent { operation: "watch", object: "containers" };
    match candidate {
        None => Some(Err(intent.lacks("more events: the engine closed the stream"))),
        Some(Err(error)) => Some(Err(intent.failed(error))),
        Some(Ok(Judged::Irrelevant)) => None,
        Some(Ok(Judged::Ours(event))) => Some(Ok(event)),
        Some(Ok(Judged::Ask { id, image, kind, time_ns })) => {
            let known = match engine.container(&id).await {
                Ok(view) => Ok(Some(view.image_id)),
                Err(EngineError::UnknownContainer { .. }) => image_called(engine, &image).await,
                Err(error) => Err(error),
            };
            let (image_id, kind) = match (known, kind) {
                (Ok(Some(image_id)), _) if image_ids.contains(&image_id) => (image_id, kind),
                (Ok(None), ContainerEventKind::Started) if !is_whole_id(&image) => {
                    (image, ContainerEventKind::Vanished)
                }
                (Ok(_), _) => return None,
                (Err(error), _) => return Some(Err(error)),
            };
            Some(Ok(ContainerEvent { id, image_id, kind, time_ns }))
        }
    }
}

/// Whether an image was named by all of its id: then it is none that is watched, or it would have been known at once.
fn is_whole_id(name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Id of the image of this name, which may be the start of an id; `None` when it is gone, or no name.
async fn image_called(engine: &Engine, name: &str) -> Result<Option<String>, EngineError> {
    match engine.inspect_image(name).await {
        Ok(found) => Ok(found.and_then(|image| image.id)),
        Err(EngineError::BadName { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn options(since: SystemTime, until: Option<SystemTime>) -> EventsOptions {
    let written = |time: SystemTime| {
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
    };
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), ["create", "start", "die"].map(str::to_owned).to_vec()),
    ]);
    EventsOptions { since: Some(written(since)), until: until.map(written), filters: Some(filters) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageConfig;

    fn watched() -> Watched {
        Watched::new(&[SourceImage {
            id: "sha256:aa".into(),
            reference: "nginx".into(),
            repo_tags: vec!["nginx:latest".into(), "nginx:1".into()],
            diff_ids: vec![],
            config: ImageConfig::parse(b"{}").unwrap(),
            config_bytes: b"{}".to_vec(),
            config_digest: "sha256:aa".into(),
            platform: "linux/amd64".into(),
            size: 0,
            graph_driver: None,
        }])
    }

    fn event(action: &str, image: &str) -> EventMessage {
        let json = serde_json::json!({
            "Type": "container", "Action": action, "timeNano": 7, "Actor": {"ID": "c1", "Attributes": {"image": image}},
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn events_are_judged_by_every_known_name() {
        for image in ["nginx", "nginx:latest", "nginx:1", "sha256:aa", "aa"] {
            let judged = watched().judge(event("create", image));
            let kind = ContainerEventKind::Created;
            let expected = ContainerEvent { id: "c1".into(), image_id: "sha256:aa".into(), kind, time_ns: 7 };
            assert_eq!(judged, Judged::Ours(expected), "{image}");
        }
        for image in ["nginx:2", "nginx@sha256:aa", "other", ""] {
            let judged = watched().judge(event("die", image));
            assert_eq!(
                judged,
                Judged::Ask {
                    id: "c1".into(),
                    image: image.into(),
                    kind: ContainerEventKind::Died,
                    time_ns: 7
                },
                "{image}"
            );
        }
        assert_eq!(watched().judge(event("exec_create: sh", "nginx")), Judged::Irrelevant);
    }

    #[test]
    fn a_whole_id_leaves_no_doubt() {
        let hex = "0123456789abcdef".repeat(4);
        assert!(is_whole_id(&hex) && is_whole_id(&format!("sha256:{hex}")));
        for name in ["0123456789ab", "nginx", &hex[1..], &format!("nginx@sha256:{hex}"), ""] {
            assert!(!is_whole_id(name), "{name}");
        }
    }

    #[test]
    fn since_is_written_with_nanoseconds() {
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::new(5, 40);
        let asked = options(since, Some(since));
        assert_eq!(
            (asked.since.as_deref(), asked.until.as_deref()),
            (Some("5.000000040"), Some("5.000000040"))
        );
        assert_eq!(options(since, None).until, None);
    }
}
