//! What an image's history says: which instruction made which layer, as far as builders record it.
//!
//! Invariants: pure; the history is text that anybody can write, so nothing here is proof; an entry whose form is not
//! known stays [`Made::Unknown`] with its text, and no entry is dropped; layers are assigned only when there are as many
//! entries that claim one as the image has layers.
//!
//! Forms: Docker's classic builder and buildah (`/bin/sh -c #(nop) CMD ["x"]`, `/bin/sh -c apt-get ...`, sources as
//! checksums), BuildKit (`CMD ["x"]`, `RUN /bin/sh -c apt-get ... # buildkit`, sources by name). Both write Go's
//! formatting of lists and maps, which is read back where it is unambiguous.
//!
//! Non-goals: `docker commit`, Bazel, Nix, Jib and others write what they like; they are [`Made::Unknown`].

use serde_json::Value;

use super::ImageConfig;

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What made it.
    pub made: Made,
    /// As the builder wrote it.
    pub text: String,
    /// The layer that it made, counted from 0; `None` when it made none, or nobody can say which.
    pub layer: Option<usize>,
    /// Whether it claims a layer, whichever.
    pub claims_layer: bool,
}

/// An instruction, as far as its entry tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A command.
    Run {
        /// `NAME=value` texts of build arguments, in one piece: their ends are not recorded.
        arguments: String,
        /// What ran the command, such as `/bin/sh -c`.
        shell: String,
        /// The command.
        command: String,
    },
    /// `COPY` or `ADD` of what only a checksum tells.
    Checksum {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// Such as `--chown=1000:1000`; empty when there are none.
        options: String,
        /// Such as `file:1ab2...`.
        checksum: String,
        /// Where it went.
        target: String,
    },
    /// `COPY` or `ADD` of names in a build context or another stage.
    Names {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// Options, sources and target as written.
        words: String,
    },
    /// Any instruction that only changes the configuration.
    Setting {
        /// Such as `CMD`.
        keyword: &'static str,
        /// What follows it.
        value: String,
    },
    /// No form that is known.
    Unknown,
}

/// The whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// In order.
    pub steps: Vec<Step>,
    /// Whether its entries claim as many layers as there are.
    pub fits: bool,
}

/// Instructions that make no layer, or only an empty directory.
const SETTINGS: [&str; 14] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
    "ARG",
];

/// What BuildKit writes behind commands and copies.
const BUILDKIT: &str = "# buildkit";

/// What the classic builder writes before everything but commands.
const NO_OPERATION: &str = "#(nop)";

/// What runs commands unless `SHELL` says otherwise.
const DEFAULT_SHELL: &str = "/bin/sh -c";

impl History {
    /// Reads the history in `config`.
    #[must_use]
    pub fn of(config: &ImageConfig) -> Self {
        let entries = config.json().get("history").and_then(Value::as_array);
        let mut shell = DEFAULT_SHELL.to_owned();
        let mut steps: Vec<Step> =
            entries.into_iter().flatten().map(|entry| step(entry, &mut shell)).collect();
        let claimed = steps.iter().filter(|step| step.claims_layer).count();
        let fits = claimed == config.diff_ids().len();
        if fits {
            let claiming = steps.iter_mut().filter(|step| step.claims_layer);
            claiming.enumerate().for_each(|(at, step)| step.layer = Some(at));
        }
        Self { steps, fits }
    }

    /// The entry that made a layer.
    #[must_use]
    pub fn of_layer(&self, layer: usize) -> Option<&Step> {
        self.steps.iter().find(|step| step.layer == Some(layer))
    }
}

/// Reads one entry; `shell` is what runs commands there, and changes with it.
fn step(entry: &Value, shell: &mut String) -> Step {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let text = field("created_by").to_owned();
    let claims_layer = !entry.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
    let buildkit = field("comment").starts_with("buildkit.") || text.trim_end().ends_with(BUILDKIT);
    let made = if buildkit { of_buildkit(&text, shell) } else { of_classic(&text, shell) };
    let made = made.unwrap_or(Made::Unknown);
    if let Made::Setting { keyword: "SHELL", value } = &made
        && let Some(words) = list(value)
    {
        *shell = words.join(" ");
    }
    Step { made, text, layer: None, claims_layer }
}

fn of_buildkit(text: &str, shell: &str) -> Option<Made> {
    let text = text.trim_end();
    let text = text.strip_suffix(BUILDKIT).unwrap_or(text).trim_end_matches(' ');
    let (keyword, rest) = text.split_once(' ')?;
    match keyword {
        "RUN" => run(rest, shell),
        "COPY" => Some(Made::Names { keyword: "COPY", words: rest.to_owned() }),
        "ADD" => Some(Made::Names { keyword: "ADD", words: rest.to_owned() }),
        _ => setting(keyword, rest),
    }
}

fn of_classic(text: &str, shell: &str) -> Option<Made> {
    let Some((before, rest)) = text.split_once(NO_OPERATION) else { return run(text, shell) };
    // A command may hold the mark as well; the builder's stands right behind the shell.
    if before.trim_end() != shell && before.trim_end() != DEFAULT_SHELL {
        return run(text, shell);
    }
    let (keyword, rest) = rest.trim_start().split_once(' ')?;
    let keyword = match keyword {
        "COPY" => "COPY",
        "ADD" => "ADD",
        _ => return setting(keyword, rest),
    };
    // A checksum holds no space, a target may.
    let (source, target) = rest.trim().split_once(" in ")?;
    let (options, checksum) = source.rsplit_once(' ').unwrap_or(("", source));
    let [options, checksum, target] = [options, checksum, target].map(str::to_owned);
    Some(Made::Checksum { keyword, options, checksum, target })
}

fn setting(keyword: &str, value: &str) -> Option<Made> {
    let keyword = SETTINGS.into_iter().find(|known| *known == keyword)?;
    Some(Made::Setting { keyword, value: value.trim().to_owned() })
}

/// `|2 A=1 B=2 /bin/sh -c command`, with or without the arguments.
fn run(text: &str, shell: &str) -> Option<Made> {
    let (arguments, rest) = match text.strip_prefix('|') {
        None => (String::new(), text.to_owned()),
        Some(counted) => {
            let (number, rest) = counted.split_once(' ')?;
            number.parse::<u32>().ok()?;
            let known = [shell, DEFAULT_SHELL].into_iter();
            let at = known.filter_map(|shell| rest.find(&format!("{shell} "))).min()?;
            let (arguments, rest) = rest.split_at_checked(at)?;
            (arguments.trim().to_owned(), rest.to_owned())
        }
    };
    let by = [shell, DEFAULT_SHELL].into_iter().find(|by| rest.starts_with(&format!("{by} ")))?;
    let command = rest.strip_prefix(by)?.strip_prefix(' ')?.to_owned();
    Some(Made::Run { arguments, shell: by.to_owned(), command })
}

/// The words of a list as Go formats it: `["a" "b c"]` (`%q`), `[a b]` (`%v`), or as JSON.
#[must_use]
pub(super) fn list(text: &str) -> Option<Vec<String>> {
    if let Ok(words) = serde_json::from_str::<Vec<String>>(text) {
        return Some(words);
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if !inner.contains('"') {
        return Some(inner.split_whitespace().map(str::to_owned).collect());
    }
    // Go's quoted strings are JSON's but for escapes that no list of a Dockerfile has; those are left to the
    // configuration, which says the same.
    let words = serde_json::Deserializer::from_str(inner).into_iter::<String>();
    words.collect::<Result<_, _>>().ok()
}

/// The keys of a map or list as Go formats it: `map[80/tcp:{} 81/tcp:{}]`, `[80/tcp]`, or plain words.
#[must_use]
pub(super) fn keys(text: &str) -> Vec<String> {
    let inner = text.strip_prefix("map").unwrap_or(text);
    let inner = inner.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(inner);
    inner.split_whitespace().map(|key| key.strip_suffix(":{}").unwrap_or(key).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(entries: &Value, layers: usize) -> History {
        let ids = vec!["sha256:x"; layers];
        let document = serde_json::json!({ "history": entries, "rootfs": { "diff_ids": ids } });
        History::of(&ImageConfig::parse(document.to_string().as_bytes()).unwrap())
    }

    fn made(text: &str, comment: &str) -> Made {
        let entries = serde_json::json!([{ "created_by": text, "comment": comment }]);
        history(&entries, 1).steps[0].made.clone()
    }

    fn run(arguments: &str, shell: &str, command: &str) -> Made {
        let [arguments, shell, command] = [arguments, shell, command].map(str::to_owned);
        Made::Run { arguments, shell, command }
    }

    #[test]
    fn forms_of_both_builders() {
        let setting = |keyword, value: &str| Made::Setting { keyword, value: value.to_owned() };
        let checksum = |keyword, options: &str, checksum: &str, target: &str| Made::Checksum {
            keyword,
            options: options.to_owned(),
            checksum: checksum.to_owned(),
            target: target.to_owned(),
        };
        for (text, comment, expected) in [
            ("/bin/sh -c #(nop) ADD file:ab12 in / ", "", checksum("ADD", "", "file:ab12", "/")),
            (
                "/bin/sh -c #(nop) COPY --chown=1:1 dir:cd in /srv/a in b ",
                "",
                checksum("COPY", "--chown=1:1", "dir:cd", "/srv/a in b"),
            ),
            ("/bin/sh -c #(nop)  CMD [\"nginx\" \"-g\"]", "", setting("CMD", "[\"nginx\" \"-g\"]")),
            ("/bin/sh -c apt-get update", "", run("", "/bin/sh -c", "apt-get update")),
            ("/bin/sh -c echo '#(nop) CMD'", "", run("", "/bin/sh -c", "echo '#(nop) CMD'")),
            ("|1 A=b c /bin/sh -c make", "", run("A=b c", "/bin/sh -c", "make")),
            ("RUN /bin/sh -c make # buildkit", "buildkit.dockerfile.v0", run("", "/bin/sh -c", "make")),
            ("RUN |1 A=b /bin/sh -c make # buildkit", "", run("A=b", "/bin/sh -c", "make")),
            (
                "COPY --chown=1 a b /x/ # buildkit",
                "",
                Made::Names { keyword: "COPY", words: "--chown=1 a b /x/".to_owned() },
            ),
            ("EXPOSE map[80/tcp:{}]", "buildkit.dockerfile.v0", setting("EXPOSE", "map[80/tcp:{}]")),
            // Somebody's own words.
            ("bazel build ...", "", Made::Unknown),
            ("EXPOSE 80", "", Made::Unknown),
            ("RUN", "buildkit.dockerfile.v0", Made::Unknown),
            ("|x A=b /bin/sh -c make", "", Made::Unknown),
            ("/bin/sh -c #(nop) NONSENSE x", "", Made::Unknown),
            ("", "", Made::Unknown),
        ] {
            assert_eq!(made(text, comment), expected, "{text}");
        }
    }

    #[test]
    fn the_shell_of_the_image_runs_what_follows() {
        let entries = serde_json::json!([
            { "created_by": "SHELL [/bin/bash -o pipefail -c]", "comment": "buildkit.dockerfile.v0", "empty_layer": true },
            { "created_by": "RUN /bin/bash -o pipefail -c a | b # buildkit", "comment": "buildkit.dockerfile.v0" },
        ]);
        let found = history(&entries, 1);
        assert!(found.fits);
        assert_eq!(found.of_layer(0).unwrap().made, run("", "/bin/bash -o pipefail -c", "a | b"));
    }

    #[test]
    fn layers_are_assigned_only_when_the_numbers_agree() {
        let entries =
            serde_json::json!([{ "created_by": "a" }, { "created_by": "b", "empty_layer": true }, {}]);
        let layers =
            |layers| history(&entries, layers).steps.iter().map(|step| step.layer).collect::<Vec<_>>();
        assert_eq!(layers(2), [Some(0), None, Some(1)]);
        assert_eq!(layers(3), [None; 3]);
        assert_eq!(history(&Value::Null, 1), History { steps: vec![], fits: false });
    }

    #[test]
    fn lists_of_go_are_read_back() {
        let words = |text| list(text).map(|words| words.join("|"));
        for (text, expected) in [
            ("[\"a\" \"b c\"]", Some("a|b c")),
            ("[\"a\", \"b\"]", Some("a|b")),
            ("[/a /b]", Some("/a|/b")),
            ("[]", Some("")),
            ("[\"\\x07\"]", None),
            ("a b", None),
        ] {
            assert_eq!(words(text).as_deref(), expected, "{text}");
        }
        assert_eq!(keys("map[80/tcp:{} 81/udp:{}]"), ["80/tcp", "81/udp"]);
        assert_eq!(keys("[80/tcp]"), ["80/tcp"]);
        assert_eq!(keys("80 443/tcp"), ["80", "443/tcp"]);
    }
}
