//! What can go wrong between slim and the container engine, each with what to do next.
//!
//! Every text that an engine, an image or a container chose is quoted and cut before it enters a message: a
//! container name or a runtime's error must not be able to drive a terminal.

use std::path::PathBuf;

use crate::path::quote;

/// Longest foreign text that a message carries; runtimes like to append whole stack traces.
const MAX_FOREIGN_TEXT: usize = 600;

/// A failed conversation with the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// None of the usual sockets exists.
    #[error(
        "no container engine found (looked for {}); start one, or name its socket with --host unix:///path",
        list(tried)
    )]
    NoSocket {
        /// Sockets that were looked for, in order.
        tried: Vec<String>,
    },
    /// The address is not a local socket.
    #[error(
        "engine address {host} is not a unix socket: slim traces containers of the kernel that it runs on; run slim on the engine's machine with --host unix:///path"
    )]
    NotLocal {
        /// The address as given (quoted).
        host: String,
    },
    /// The socket cannot be connected to.
    #[error("cannot connect to the engine at {}: {}", quote(path.as_os_str().as_encoded_bytes()), connect_advice(source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The engine speaks only an API older than the one that slim was written for.
    #[error(
        "engine {version} speaks API {api}, slim needs at least {}: update the engine",
        super::OLDEST_API
    )]
    TooOld {
        /// Engine version (quoted).
        version: String,
        /// Its newest API version (quoted).
        api: String,
    },
    /// The engine did not answer in time.
    #[error(
        "the engine did not answer within {seconds} s while slim tried to {operation} {object}: see the engine's log"
    )]
    Timeout {
        /// What was tried, such as `start container`.
        operation: &'static str,
        /// On which image or container (quoted).
        object: String,
        /// The deadline in seconds.
        seconds: u64,
    },
    /// The engine has no such image.
    #[error("no image {reference} in the engine{}; pull or load it first", did_you_mean(similar))]
    UnknownImage {
        /// The reference as given (quoted).
        reference: String,
        /// Tags that look alike (quoted), best first.
        similar: Vec<String>,
    },
    /// The engine has no such container.
    #[error("no container {name} in the engine{}; see `docker ps --all`", running_are(running))]
    UnknownContainer {
        /// The name or id as given (quoted).
        name: String,
        /// Names of the running containers (quoted), a few of them.
        running: Vec<String>,
    },
    /// The text cannot be a reference, name or id.
    #[error("{text} is not {kind}")]
    BadName {
        /// What it should be, such as `an image reference`.
        kind: &'static str,
        /// The text as given (quoted).
        text: String,
    },
    /// The tag names another image already.
    #[error("tag {tag} exists already (image {id}); choose another tag or give --force to move it")]
    TagExists {
        /// The tag.
        tag: String,
        /// The image that it names.
        id: String,
    },
    /// The object was not made by slim, so slim does not remove it.
    #[error("refusing to remove {object}: it was not made by this run of slim")]
    NotOurs {
        /// What it is (quoted).
        object: String,
    },
    /// The engine refused the request.
    #[error("the engine refused to {operation} {object}: {message} (status {status})")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// On which image or container (quoted).
        object: String,
        /// HTTP status.
        status: u16,
        /// The engine's reason (quoted and cut).
        message: String,
    },
    /// The operation began but the engine reported a failure on the way.
    #[error("the engine failed to {operation} {object}: {message}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// On which image or container (quoted).
        object: String,
        /// The engine's reason (quoted and cut).
        message: String,
    },
    /// The connection broke, or the answer was not what the API promises.
    #[error(
        "the conversation with the engine broke while slim tried to {operation} {object}: see the engine's log"
    )]
    Protocol {
        /// What was tried.
        operation: &'static str,
        /// On which image or container (quoted).
        object: String,
        /// The client library's reason.
        source: Box<bollard::errors::Error>,
    },
    /// The answer lacks something that the API promises, or the stream of answers ended too early.
    #[error("the engine's answer to \"{operation} {object}\" lacks {what}")]
    Incomplete {
        /// What was asked.
        operation: &'static str,
        /// About which image or container (quoted).
        object: String,
        /// What is missing.
        what: &'static str,
    },
    /// The image's configuration was found nowhere.
    #[error("cannot read the configuration of image {image}: {why}")]
    Config {
        /// The image id.
        image: String,
        /// What was wrong with what was found.
        why: super::archive::ConfigError,
    },
    /// A local file or pipe failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried, such as `write the image archive`.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What slim wants from the engine at the moment: the words of an error, should it come to one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intent<'a> {
    /// Verb and kind, such as `start container`.
    pub(super) operation: &'static str,
    /// Name or id; may be foreign text.
    pub(super) object: &'a str,
}

impl Intent<'_> {
    /// The error for `error` while pursuing this.
    pub(super) fn failed(self, error: bollard::errors::Error) -> EngineError {
        use bollard::errors::Error as Api;
        let (operation, object) = (self.operation, foreign(self.object));
        match error {
            Api::DockerResponseServerError { status_code, message } => {
                EngineError::Refused { operation, object, status: status_code, message: foreign(&message) }
            }
            Api::DockerStreamError { error } | Api::DockerContainerWaitError { error, .. } => {
                EngineError::Failed { operation, object, message: foreign(&error) }
            }
            source => EngineError::Protocol { operation, object, source: Box::new(source) },
        }
    }

    /// The error for an answer without `what`.
    pub(super) fn lacks(self, what: &'static str) -> EngineError {
        EngineError::Incomplete { operation: self.operation, object: foreign(self.object), what }
    }
}

/// Whether the engine answered that the object does not exist.
pub(super) fn is_not_found(error: &bollard::errors::Error) -> bool {
    has_status(error, 404)
}

/// Whether the engine answered with this HTTP status.
pub(super) fn has_status(error: &bollard::errors::Error, status: u16) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// Foreign text, harmless on a terminal and of bounded length.
pub(super) fn foreign(text: &str) -> String {
    let quoted = quote(text.trim().as_bytes());
    match quoted.char_indices().nth(MAX_FOREIGN_TEXT) {
        Some((end, _)) => format!("{}...", quoted.get(..end).unwrap_or_default()),
        None => quoted,
    }
}

fn list(names: &[String]) -> String {
    names.join(", ")
}

fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!(" (similar: {})", list(similar)) }
}

fn running_are(running: &[String]) -> String {
    if running.is_empty() {
        " (none is running)".to_owned()
    } else {
        format!(" (running: {})", list(running))
    }
}

fn connect_advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "permission denied; run slim as root",
        std::io::ErrorKind::NotFound => "no such socket; start the engine or name another with --host",
        std::io::ErrorKind::ConnectionRefused => "nothing listens there; start the engine",
        std::io::ErrorKind::TimedOut => "the engine does not accept connections; see its log",
        _ => "see the cause below",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_quoted_and_cut() {
        assert_eq!(foreign(" oops\x1b[2J\n"), "oops\\u{1b}[2J");
        let long = foreign(&"é".repeat(2000));
        assert_eq!(long.chars().count(), MAX_FOREIGN_TEXT + 3);
    }

    #[test]
    fn server_errors_name_operation_and_object() {
        let api = bollard::errors::Error::DockerResponseServerError {
            status_code: 409,
            message: "in\x07use".into(),
        };
        assert!(has_status(&api, 409) && !is_not_found(&api));
        let error = Intent { operation: "remove container", object: "x" }.failed(api);
        assert_eq!(error.to_string(), "the engine refused to remove container x: in\\u{7}use (status 409)");
    }

    #[test]
    fn advice_matches_the_cause() {
        let error =
            EngineError::Connect { path: "/s".into(), source: std::io::ErrorKind::PermissionDenied.into() };
        assert_eq!(
            error.to_string(),
            "cannot connect to the engine at /s: permission denied; run slim as root"
        );
        let error =
            EngineError::UnknownImage { reference: "ngnix".into(), similar: vec!["nginx:latest".into()] };
        assert_eq!(
            error.to_string(),
            "no image ngnix in the engine (similar: nginx:latest); pull or load it first"
        );
    }
}
