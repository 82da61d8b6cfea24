//! The commands that the image configuration names: entrypoint, cmd and health check.
//!
//! The engine starts them, or `docker run IMAGE` will, even when no container did so while we watched. The
//! first word is looked up as `execvp` does. Later words stay too when they name a file of the image: a
//! wrapper's program (`tini -- nginx`) or an operand (`node server.js`).
//! A command line for a shell is split at its metacharacters and treated alike; it is not interpreted.

use std::collections::BTreeSet;

use super::{Lookup, Source, Want};
use crate::keep::KeepReason;

/// `PATH` where the image sets none (moby, oci/defaults.go and daemon/container: `DefaultPathEnv`).
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories of `PATH` that are searched; real images have about ten.
pub(crate) const MAX_PATH_DIRS: usize = 256;

/// Words of one command that are looked at; real commands have less than a hundred.
const MAX_WORDS: usize = 1024;

/// What the configured commands need.
pub(crate) fn wants(source: Source<'_>) -> Vec<Want> {
    let health = source.config.healthcheck();
    let (health, health_shell) = match health.split_first() {
        Some((&"CMD", words)) => (words, None),
        Some((&"CMD-SHELL", words)) => (&[][..], Some(words)),
        // "NONE" switches the check off; anything else is no check that an engine knows.
        Some(_) | None => (&[][..], None),
    };
    let mut wants = exec_form(source, &source.config.entrypoint(), "entrypoint");
    wants.extend(exec_form(source, &source.config.cmd(), "cmd"));
    wants.extend(exec_form(source, health, "healthcheck"));
    if let Some(line) = health_shell {
        wants.extend(shell(source).map(|found| found.want(KeepReason::Command("healthcheck"))));
        wants.extend(shell_words(source, line, "healthcheck"));
    }
    wants
}

/// Whether a word can name a file: not empty, no option, no assignment.
pub(crate) fn is_operand(word: &[u8]) -> bool {
    !word.is_empty() && word.first() != Some(&b'-') && !word.contains(&b'=')
}

fn exec_form(source: Source<'_>, words: &[&str], field: &'static str) -> Vec<Want> {
    let operands = words.iter().take(MAX_WORDS).filter(|word| is_operand(word.as_bytes()));
    let mut wants: Vec<Want> = operands
        .filter_map(|word| operand(source, word.as_bytes()))
        .map(|found| found.want(KeepReason::Command(field)))
        .collect();
    // The shell form `CMD a b` is stored as `["/bin/sh", "-c", "a b"]`.
    if let [_, "-c", line, ..] = words {
        wants.extend(shell_words(source, &[line], field));
    }
    wants
}

/// The shell that the engine runs `CMD-SHELL` with: `config.Shell`, or `/bin/sh`.
fn shell(source: Source<'_>) -> Option<Lookup> {
    let shell = source.config.json().pointer("/config/Shell/0").and_then(serde_json::Value::as_str);
    source.executable(shell.unwrap_or("/bin/sh").as_bytes())
}

fn shell_words(source: Source<'_>, lines: &[&str], field: &'static str) -> Vec<Want> {
    let words: BTreeSet<&str> = lines
        .iter()
        .flat_map(|line| line.split(|c: char| c.is_ascii_whitespace() || ";|&()<>\"'`$={}!".contains(c)))
        .filter(|word| is_operand(word.as_bytes()))
        .take(MAX_WORDS)
        .collect();
    words
        .into_iter()
        .filter_map(|word| operand(source, word.as_bytes()))
        .map(|found| found.want(KeepReason::Command(field)))
        .collect()
}

/// The program that `word` names, or else the file.
fn operand(source: Source<'_>, word: &[u8]) -> Option<Lookup> {
    source.executable(word).or_else(|| source.regular_file(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::testing::{Image, found};

    fn image() -> Image {
        Image::new()
            .executable("/usr/bin/dash", b"")
            .symlink("/bin", "usr/bin")
            .symlink("/usr/bin/sh", "dash")
            .executable("/usr/bin/curl", b"")
            .executable("/usr/sbin/nginx", b"")
            .executable("/usr/local/bin/nginx", b"")
            .file("/usr/local/sbin/nginx", b"not executable")
            .directory("/usr/local/sbin/curl")
            .executable("/opt/tool", b"")
            .file("/srv/server.js", b"")
    }

    #[test]
    fn commands_are_looked_up_as_execvp_does() {
        for (config, expected) in [
            (r#"{"Cmd":["nginx","-g","daemon off;"]}"#, vec!["/usr/local/bin/nginx"]),
            (r#"{"Cmd":["nginx"],"Env":["PATH=/usr/sbin"]}"#, vec!["/usr/sbin/nginx"]),
            (r#"{"Cmd":["nginx"],"Env":["PATH=/nowhere"]}"#, vec![]),
            (r#"{"Cmd":["curl"]}"#, vec!["/usr/bin/curl"]),
            (r#"{"Cmd":["/bin/sh"]}"#, vec!["/usr/bin/dash"]),
            (r#"{"Cmd":["./tool"],"WorkingDir":"/opt"}"#, vec!["/opt/tool"]),
            (r#"{"Cmd":["tool"],"WorkingDir":"/opt","Env":["PATH=:/usr/bin"]}"#, vec!["/opt/tool"]),
            (
                r#"{"Entrypoint":["/opt/tool","--"],"Cmd":["curl","-f","/missing"]}"#,
                vec!["/opt/tool", "/usr/bin/curl"],
            ),
            (r#"{"Cmd":["curl","server.js"],"WorkingDir":"/srv"}"#, vec!["/usr/bin/curl", "/srv/server.js"]),
            (r#"{"Cmd":["/bin/sh","-c","cd /srv && exec curl"]}"#, vec!["/usr/bin/dash", "/usr/bin/curl"]),
            (r#"{"Cmd":[""],"WorkingDir":"../.."}"#, vec![]),
            (r"{}", vec![]),
        ] {
            assert_eq!(found(&wants(image().config(config).source())), expected, "{config}");
        }
    }

    #[test]
    fn health_checks() {
        for (test, expected) in [
            (r#"["CMD","curl","-f"]"#, vec!["/usr/bin/curl"]),
            (r#"["CMD-SHELL","curl -f http://localhost/||exit 1"]"#, vec!["/usr/bin/dash", "/usr/bin/curl"]),
            (r#"["NONE"]"#, vec![]),
            (r#"["NONE","curl"]"#, vec![]),
            ("[]", vec![]),
        ] {
            let config = format!(r#"{{"Healthcheck":{{"Test":{test}}}}}"#);
            assert_eq!(found(&wants(image().config(&config).source())), expected, "{test}");
        }
    }

    #[test]
    fn the_way_through_symlinks_is_part_of_the_want() {
        let image = image().config(r#"{"Cmd":["/bin/sh"]}"#);
        let wants = wants(image.source());
        let links: Vec<_> = wants[0].resolution.symlinks.iter().map(ToString::to_string).collect();
        assert_eq!(links, ["/bin", "/usr/bin/sh"]);
    }
}
