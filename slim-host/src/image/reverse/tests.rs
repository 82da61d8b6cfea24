use super::*;

/// The lines below the head of the Dockerfile of this document.
fn lines(document: &Value, layers: &[u64]) -> Vec<String> {
    let config = ImageConfig::parse(document.to_string().as_bytes()).unwrap();
    let text = dockerfile("app:1", &config, layers);
    let head = format!("# Read back from \"app:1\".\n{UNKNOWN}");
    let body = text.strip_prefix(&head).unwrap_or_else(|| panic!("{text}"));
    body.lines().map(str::to_owned).collect()
}

fn entry(text: &str) -> Value {
    serde_json::json!({ "created_by": text })
}

fn empty(text: &str) -> Value {
    serde_json::json!({ "created_by": text, "empty_layer": true })
}

fn built(mut entry: Value) -> Value {
    entry["comment"] = "buildkit.dockerfile.v0".into();
    entry
}

#[test]
fn a_classic_image() {
    let document = serde_json::json!({
        "config": {
            "Env": ["PATH=/usr/bin", "TITLE=a b"], "Cmd": ["nginx", "-g", "daemon off;"], "WorkingDir": "/srv",
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"x": "y"}, "User": "www",
        },
        "history": [
            entry("/bin/sh -c #(nop) ADD file:aabb in / "),
            empty("/bin/sh -c #(nop)  CMD [\"bash\"]"),
            empty("/bin/sh -c #(nop)  ENV PATH=/usr/bin TITLE=a b"),
            entry("|1 V=1 /bin/sh -c apt-get update\t&& apt-get install x     && rm -r /var"),
            entry("/bin/sh -c #(nop) COPY --chown=1:1 dir:cc/dd in /srv "),
            empty("/bin/sh -c #(nop)  EXPOSE 80"),
            empty("/bin/sh -c #(nop)  VOLUME [/data]"),
            empty("/bin/sh -c #(nop)  CMD [\"nginx\" \"-g\" \"daemon off;\"]"),
        ],
        "rootfs": {"diff_ids": ["a", "b", "c"]},
    });
    let expected = "\
FROM scratch
# layer 1 of 3, 1.0 MB
ADD unknown/file-aabb /
CMD [\"bash\"]
ENV PATH=/usr/bin
ENV TITLE=\"a b\"
# layer 2 of 3, 20 B
# with build arguments: \"V=1\"
RUN apt-get update \\
   && apt-get install x \\
    && rm -r /var
# layer 3 of 3, 300 B
COPY --chown=1:1 unknown/dir-cc-dd /srv
EXPOSE 80/tcp
VOLUME [\"/data\"]
CMD [\"nginx\",\"-g\",\"daemon off;\"]
# The configuration says also:
LABEL x=y
WORKDIR /srv
USER www";
    assert_eq!(lines(&document, &[1_000_000, 20, 300]).join("\n"), expected);
}

#[test]
fn an_image_of_buildkit() {
    let document = serde_json::json!({
        "config": {
            "Env": ["A=1", "B="], "Entrypoint": ["/e"], "WorkingDir": "/srv", "ExposedPorts": {"80/tcp": {}},
            "Shell": ["/bin/bash", "-c"], "Healthcheck": {"Test": ["CMD", "/ok"]}, "StopSignal": "SIGQUIT",
        },
        "history": [
            built(entry("WORKDIR /srv")),
            built(empty("SHELL [/bin/bash -c]")),
            built(empty("ENV A=1 B=")),
            built(entry("RUN /bin/bash -c one\ntwo\nEND0 # buildkit")),
            built(entry("COPY --chown=app main.py lib/ /srv/ # buildkit")),
            built(empty("EXPOSE map[80/tcp:{}]")),
            built(empty("HEALTHCHECK &{[\"CMD\" \"/ok\"] \"0s\"}")),
            built(empty("STOPSIGNAL SIGQUIT")),
            built(empty("ENTRYPOINT [\"/e\"]")),
        ],
        "rootfs": {"diff_ids": ["a", "b", "c"]},
    });
    let expected = "\
FROM scratch
# layer 1 of 3, 0 B
WORKDIR /srv
SHELL [\"/bin/bash\",\"-c\"]
ENV A=1
ENV B=\"\"
# layer 2 of 3, 0 B
RUN <<'END1'
one
two
END0
END1
# layer 3 of 3, 0 B
COPY --chown=app main.py lib/ /srv/
EXPOSE 80/tcp
# the history says: \"HEALTHCHECK &{[\\\"CMD\\\" \\\"/ok\\\"] \\\"0s\\\"}\"
STOPSIGNAL SIGQUIT
ENTRYPOINT [\"/e\"]
# The configuration says also:
HEALTHCHECK CMD [\"/ok\"]";
    assert_eq!(lines(&document, &[0, 0, 0]).join("\n"), expected);
}

#[test]
fn what_is_not_known_is_said() {
    let none = serde_json::json!({ "config": {"User": "a"}, "rootfs": {"diff_ids": ["a", "b"]} });
    let expected = "\
# The history tells of 0 layers, the image has 2: which made which is not known.
FROM scratch
# layer 1 of 2, 1 B
ADD unknown/layer-1.tar /
# layer 2 of 2, 2 B
ADD unknown/layer-2.tar /
# The configuration says also:
USER a";
    assert_eq!(lines(&none, &[1, 2]).join("\n"), expected);
    let foreign = serde_json::json!({ "history": [entry("bazel build ..."), empty("")], "rootfs": {"diff_ids": ["a"]} });
    let expected = "\
FROM scratch
# layer 1 of 1, 1 B
# no known form: \"bazel build ...\"
ADD unknown/layer-1.tar /
# the history names nothing that made it";
    assert_eq!(lines(&foreign, &[1]).join("\n"), expected);
}

#[test]
fn no_text_becomes_an_instruction() {
    let evil = "a\nRUN evil";
    let document = serde_json::json!({
        "config": {"User": evil},
        "history": [
            entry(evil),
            built(entry("COPY a b\nRUN evil # buildkit")),
            built(empty("ENV A=a\nRUN evil")),
            built(empty("USER a\nRUN evil")),
            built(empty("ARG a\\")),
            entry("/bin/sh -c #(nop) ADD file:a\nRUN in / "),
            entry("|1 A=\nRUN x /bin/sh -c [\"a\"]"),
        ],
        "rootfs": {"diff_ids": ["a", "b", "c", "d"]},
    });
    let found = lines(&document, &[0; 4]);
    let expected = "\
FROM scratch
# layer 1 of 4, 0 B
# no known form: \"a\\nRUN evil\"
ADD unknown/layer-1.tar /
# layer 2 of 4, 0 B
# not a line: \"COPY a b\\nRUN evil # buildkit\"
COPY unknown/source /
# the history says: \"ENV A=a\\nRUN evil\"
# the history says: \"USER a\\nRUN evil\"
# the history says: \"ARG a\\\\\"
# layer 3 of 4, 0 B
# not a line: \"/bin/sh -c #(nop) ADD file:a\\nRUN in / \"
ADD unknown/source /
# layer 4 of 4, 0 B
# with build arguments: \"A=\\nRUN x\"
RUN <<'END0'
[\"a\"]
END0";
    assert_eq!(found.get(..expected.lines().count()).unwrap().join("\n"), expected);
    assert_eq!(found.len(), expected.lines().count() + 1, "{found:?}");
    assert!(
        found.last().unwrap().starts_with("# no instruction can say all of the configuration: "),
        "{found:?}"
    );
}
