//! Putting the slim image into the engine: load, tag, and take back.

use std::io::Read;

use bollard::query_parameters as query;
use futures_util::{Stream, StreamExt};

use super::error::{Intent, foreign, is_not_found};
use super::{Engine, EngineError, QUICK, SLOW, STALL, in_time, name, within};

/// Bytes of an archive handed to the engine at a time.
const CHUNK: usize = 256 << 10;
/// Chunks in flight between the thread that reads an archive and the socket.
const CHUNKS_IN_FLIGHT: usize = 4;

/// What to do with a tag that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Leave it and fail.
    Refuse,
    /// Move it to the new image.
    Replace,
}

impl Engine {
    /// Loads an archive (as `docker load` takes it) that holds one image, and returns the image's id.
    ///
    /// Reading happens on another thread; at most [`CHUNKS_IN_FLIGHT`] chunks are held.
    ///
    /// # Errors
    /// When `archive` cannot be read, or the engine refuses it (a full disk, a wrong digest); it keeps nothing then.
    pub async fn load(&self, archive: impl Read + Send + 'static) -> Result<String, EngineError> {
        let intent = Intent { operation: "load", object: "the image" };
        let (reader, body) = read_ahead(archive);
        let options = query::ImportImageOptionsBuilder::default().build();
        let mut answers = std::pin::pin!(self.docker.import_image_stream(options, body, None));
        let mut said = String::new();
        let result = loop {
            match in_time(STALL, intent, answers.next()).await? {
                Some(Ok(answer)) => said.push_str(answer.stream.as_deref().unwrap_or_default()),
                Some(Err(error)) => break Err(intent.failed(error)),
                None => break Ok(()),
            }
        };
        // A reader that failed broke the request, too; its reason is the one that helps.
        let read = reader.await.map_err(std::io::Error::other).flatten();
        read.map_err(|source| EngineError::Io { operation: "read the image archive", source })?;
        result?;
        self.loaded_id(&said).await
    }

    async fn loaded_id(&self, said: &str) -> Result<String, EngineError> {
        let intent = Intent { operation: "load", object: "the image" };
        let name = loaded_name(said).ok_or_else(|| intent.lacks("the name of what was loaded"))?;
        let inspect =
            self.inspect_image(name).await?.ok_or_else(|| intent.lacks("the image that was loaded"))?;
        inspect.id.ok_or_else(|| intent.lacks("an id"))
    }

    /// The id of the image that has this tag; `None` when the tag is free.
    ///
    /// # Errors
    /// When `tag` is no tag, or the engine fails.
    pub async fn tagged(&self, tag: &str) -> Result<Option<String>, EngineError> {
        let (repo, tag) = name::new_tag(tag)?;
        let inspect = self.inspect_image(&format!("{repo}:{tag}")).await?;
        Ok(inspect.and_then(|inspect| inspect.id))
    }

    /// Names the image; a tag that names the same image already is no conflict.
    ///
    /// # Errors
    /// When the tag names another image and is not to be replaced, or the engine fails.
    pub async fn tag(&self, image_id: &str, tag: &str, overwrite: Overwrite) -> Result<(), EngineError> {
        let intent = Intent { operation: "tag image", object: image_id };
        match (self.tagged(tag).await?, overwrite) {
            (Some(id), _) if id == image_id => return Ok(()),
            (Some(id), Overwrite::Refuse) => return Err(EngineError::TagExists { tag: tag.to_owned(), id }),
            (Some(_), Overwrite::Replace) | (None, Overwrite::Refuse | Overwrite::Replace) => {}
        }
        let (repo, tag) = name::new_tag(tag)?;
        let options = query::TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
        within(QUICK, intent, self.docker.tag_image(name::image(image_id)?, Some(options))).await
    }

    /// Removes an image that has no tag and carries the label `key`: only slim's own do. One that has a tag, or lacks
    /// the label, stays without an error.
    ///
    /// # Errors
    /// When the engine fails, or containers use the image.
    pub async fn remove_untagged(&self, image_id: &str, key: &str) -> Result<(), EngineError> {
        let Some(inspect) = self.inspect_image(image_id).await? else { return Ok(()) };
        if inspect.repo_tags.is_some_and(|tags| !tags.is_empty()) {
            return Ok(());
        }
        let labels = inspect.config.and_then(|config| config.labels).unwrap_or_default();
        match labels.get(key) {
            Some(value) => self.remove_own_image(image_id, (key, value)).await,
            None => Ok(()),
        }
    }

    /// Removes an image that carries `label` with this value, which only slim's own do. An image that is gone
    /// already is no failure; one that containers use stays, and that is an error.
    ///
    /// # Errors
    /// When the image does not carry the label, is in use, or the engine fails.
    pub async fn remove_own_image(&self, image_id: &str, label: (&str, &str)) -> Result<(), EngineError> {
        let intent = Intent { operation: "remove image", object: image_id };
        let Some(inspect) = self.inspect_image(image_id).await? else { return Ok(()) };
        let labels = inspect.config.and_then(|config| config.labels).unwrap_or_default();
        if labels.get(label.0).map(String::as_str) != Some(label.1) {
            return Err(EngineError::NotOurs { object: format!("image {}", foreign(image_id)) });
        }
        let options = query::RemoveImageOptionsBuilder::default().force(false).build();
        match in_time(SLOW, intent, self.docker.remove_image(name::image(image_id)?, Some(options), None))
            .await?
        {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(intent.failed(error)),
        }
    }
}

/// What the engine calls the one image that it loaded: its tag, or its id when the archive names no tag.
fn loaded_name(said: &str) -> Option<&str> {
    let mut names = said.lines().filter_map(|line| {
        line.trim().strip_prefix("Loaded image ID:").or_else(|| line.trim().strip_prefix("Loaded image:"))
    });
    let first = names.next()?.trim();
    // Several tags of one image are several lines; any of them names it.
    Some(first).filter(|name| !name.is_empty())
}

/// Reads `source` on a thread of its own, chunk by chunk, into the body of a request.
///
/// The body is generic over the library's own chunk type, which slim need not name.
fn read_ahead<B: From<Vec<u8>> + Send + 'static>(
    mut source: impl Read + Send + 'static,
) -> (
    tokio::task::JoinHandle<std::io::Result<()>>,
    impl Stream<Item = Result<B, std::io::Error>> + Send + 'static,
) {
    let (sender, receiver) = tokio::sync::mpsc::channel(CHUNKS_IN_FLIGHT);
    let reader = tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            match source.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
                Ok(0) => return Ok(()),
                // The receiver is gone when the request has ended; it knows why.
                Ok(_) if sender.blocking_send(Ok(B::from(chunk))).is_err() => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    let broken = std::io::Error::new(error.kind(), "the archive cannot be read");
                    // Without this the body would end as if it were whole.
                    let _ = sender.blocking_send(Err(broken));
                    return Err(error);
                }
            }
        }
    });
    let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    (reader, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_name_what_they_loaded() {
        for (said, name) in [
            ("Loaded image: a/b:1\n", Some("a/b:1")),
            ("Loaded image ID: sha256:aa\n", Some("sha256:aa")),
            ("Loading layer\nLoaded image: a:1\nLoaded image: a:2\n", Some("a:1")),
            ("Loaded image:\n", None),
            ("", None),
        ] {
            assert_eq!(loaded_name(said), name);
        }
    }

    #[tokio::test]
    async fn archives_are_read_in_chunks_to_the_end() {
        let content: Vec<u8> = (0..CHUNK * 2 + 5).map(|i| i as u8).collect();
        let (reader, body) = read_ahead::<Vec<u8>>(std::io::Cursor::new(content.clone()));
        let chunks: Vec<Vec<u8>> = body.map(Result::unwrap).collect().await;
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [CHUNK, CHUNK, 5]);
        assert_eq!(chunks.concat(), content);
        reader.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_broken_archive_never_looks_whole() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("bad disk"))
            }
        }
        let (reader, body) = read_ahead::<Vec<u8>>(std::io::Cursor::new(*b"abc").chain(Broken));
        let chunks: Vec<_> = body.collect().await;
        assert!(matches!(chunks.as_slice(), [Err(_)]));
        assert_eq!(reader.await.unwrap().unwrap_err().to_string(), "bad disk");
    }
}
