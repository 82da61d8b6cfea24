//! What the layers of an image amount to, and how two images differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::image::{Entries, Entry};

/// Type flags of a tar header.
const HARD_LINK: u8 = b'1';
const SYMLINK: u8 = b'2';
const DIRECTORY: u8 = b'5';

/// Most symlinks on the way to a file, as in the kernel.
const MAX_LINKS: usize = 40;

/// What slim writes itself, since it tells about what is left: the package databases.
const GENERATED: &[&str] =
    &["var/lib/dpkg/status", "var/lib/dpkg/status.d", "lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// A file of a flattened image.
#[derive(Clone, Debug)]
pub struct Node {
    /// Names that share a file have the same number.
    pub file: usize,
    /// Its metadata and content; a hard link shows what it leads to.
    pub entry: Entry,
}

/// A flattened image: the files by path, without a leading or a final slash.
#[derive(Debug, Default)]
pub struct Tree(pub BTreeMap<Vec<u8>, Node>);

impl Tree {
    /// Applies the layers, lowest first, with their whiteouts.
    pub fn flatten(layers: Vec<Entries>) -> Tree {
        let mut tree = Tree::default();
        let mut files = 0;
        for layer in layers {
            for path in layer.keys() {
                tree.white_out(path);
            }
            let mut links = Vec::new();
            for (path, entry) in layer {
                let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(&path);
                if name.starts_with(b".wh.") {
                    continue;
                }
                if entry.kind == HARD_LINK {
                    links.push((path, entry));
                    continue;
                }
                files += 1;
                if entry.kind != DIRECTORY {
                    tree.remove_below(&path);
                }
                tree.0.insert(path, Node { file: files, entry });
            }
            for (path, entry) in links {
                let target = entry.link.as_deref().unwrap_or_default();
                let target = [b"./".as_slice(), b"/"]
                    .iter()
                    .fold(target, |at, &lead| at.strip_prefix(lead).unwrap_or(at));
                if let Some(node) = tree.0.get(target).cloned() {
                    tree.0.insert(path, node);
                }
            }
        }
        tree
    }

    fn white_out(&mut self, path: &[u8]) {
        let cut = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (folder, name) = path.split_at(cut);
        if name == b".wh..wh..opq" {
            let doomed: Vec<Vec<u8>> =
                self.0.keys().filter(|known| known.starts_with(folder)).cloned().collect();
            doomed.iter().for_each(|path| drop(self.0.remove(path)));
        } else if let Some(name) = name.strip_prefix(b".wh.") {
            let gone = [folder, name].concat();
            self.0.remove(&gone);
            self.remove_below(&gone);
        }
    }

    fn remove_below(&mut self, path: &[u8]) {
        let folder = [path, b"/"].concat();
        let below = self.0.range(folder.clone()..).map(|(path, _)| path);
        let doomed: Vec<Vec<u8>> = below.take_while(|path| path.starts_with(&folder)).cloned().collect();
        doomed.iter().for_each(|path| drop(self.0.remove(path)));
    }

    /// The path in the tree that the absolute path of a process leads to, through all symlinks.
    pub fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let is_end = |path: &Vec<u8>| self.0.get(path).is_none_or(|node| node.entry.kind != SYMLINK);
        self.way(path).pop().filter(is_end)
    }

    /// The symlinks on the way of the absolute path of a process, then its end, if it has one: a way that leads nowhere
    /// ends with the last symlink.
    pub fn way(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut rest: Vec<Vec<u8>> = path.split(|&b| b == b'/').rev().map(<[u8]>::to_vec).collect();
        let (mut at, mut links): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        while let Some(name) = rest.pop() {
            match name.as_slice() {
                b"" | b"." => {}
                b".." => drop(at.pop()),
                _ => {
                    at.push(name);
                    let here = at.join(&b'/');
                    let Some(node) = self.0.get(&here) else { return links };
                    if node.entry.kind == SYMLINK {
                        links.push(here);
                        let target = node.entry.link.clone().unwrap_or_default();
                        if links.len() > MAX_LINKS {
                            return links;
                        }
                        at.pop();
                        if target.starts_with(b"/") {
                            at.clear();
                        }
                        rest.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
                    }
                }
            }
        }
        links.push(at.join(&b'/'));
        links
    }

    /// Where this tree, made from `source`, differs in what it kept: one line each.
    pub fn defects(&self, source: &Tree) -> Vec<String> {
        let mut defects = Vec::new();
        let mut pairs: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (path, node) in &self.0 {
            let name = path.escape_ascii();
            let Some(original) = source.0.get(path) else {
                if !generated(path) {
                    defects.push(format!("/{name} is not in the source"));
                }
                continue;
            };
            if generated(path) {
                continue;
            }
            for (what, differs) in differences(&original.entry, &node.entry) {
                // Layers do not record the root itself; only the first can, as it was then.
                let unknown = path.is_empty() && what == "time of change";
                if differs && !unknown {
                    defects.push(format!("/{name}: other {what}"));
                }
            }
            pairs.insert((node.file, original.file));
        }
        let mut split: BTreeMap<usize, usize> = BTreeMap::new();
        let mut joined: BTreeMap<usize, usize> = BTreeMap::new();
        for (file, original) in pairs {
            *split.entry(original).or_default() += 1;
            *joined.entry(file).or_default() += 1;
        }
        let count = |kind: &str, groups: BTreeMap<usize, usize>| {
            let wrong = groups.values().filter(|&&others| others > 1).count();
            (wrong > 0).then(|| format!("hard links: {wrong} files are {kind}"))
        };
        defects.extend(count("split", split));
        defects.extend(count("joined", joined));
        defects
    }
}

fn generated(path: &[u8]) -> bool {
    GENERATED.iter().any(|name| {
        path.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// Each property of two files, and whether it differs.
fn differences(old: &Entry, new: &Entry) -> [(&'static str, bool); 8] {
    // Extensions of the tar header may pad a fraction with zeros.
    let seconds = |entry: &Entry| match entry.mtime.contains('.') {
        true => entry.mtime.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => entry.mtime.clone(),
    };
    [
        ("type", old.kind != new.kind),
        ("mode", old.mode != new.mode),
        ("owner", old.owner != new.owner),
        ("time of change", seconds(old) != seconds(new)),
        ("device", old.device != new.device),
        ("target", old.kind == SYMLINK && old.link != new.link),
        ("extended attributes", old.xattrs != new.xattrs),
        ("content", old.content != new.content),
    ]
}

/// A stored configuration without what a slim image has of its own (its layers, their history, the labels
/// under `ebpf.slim.`) and without the notes of the engine's builder on the container of its last step, which
/// no specification knows.
pub fn comparable(mut config: Value) -> Value {
    if let Some(fields) = config.as_object_mut() {
        for other in ["rootfs", "history", "created", "container", "container_config", "parent"] {
            fields.remove(other);
        }
    }
    if let Some(Value::Object(labels)) = config.pointer_mut("/config/Labels") {
        labels.retain(|name, _| !name.starts_with("ebpf.slim."));
        if labels.is_empty()
            && let Some(Value::Object(settings)) = config.pointer_mut("/config")
        {
            settings.remove("Labels");
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::Tree;
    use crate::crafted::Layer;
    use crate::image::read_layer;

    fn tree(layers: impl IntoIterator<Item = Layer>) -> Tree {
        let read = |layer: Layer| read_layer(&layer.finish().unwrap()).unwrap();
        Tree::flatten(layers.into_iter().map(read).collect())
    }

    fn paths(tree: &Tree) -> Vec<String> {
        tree.0.keys().map(|path| path.escape_ascii().to_string()).collect()
    }

    #[test]
    fn whiteouts_take_effect_once() {
        let (mut ground, mut above) = (Layer::default(), Layer::default());
        for path in ["a/one", "a/two", "b/one", "c"] {
            ground.file(path, b"old").unwrap();
        }
        for path in ["a/.wh.one", "b/.wh..wh..opq", "b/new", ".wh.c"] {
            above.file(path, b"").unwrap();
        }
        assert_eq!(paths(&tree([ground, above])), ["a/two", "b/new"]);
    }

    #[test]
    fn symlinks_are_followed_inside_the_tree() {
        let mut layer = Layer::default();
        layer.directory("usr").unwrap();
        layer.directory("usr/lib").unwrap();
        layer.symlink("lib", "usr/lib").unwrap();
        layer.symlink("usr/lib/up", "../../../../usr/lib/file").unwrap();
        layer.symlink("loop", "loop").unwrap();
        layer.file("usr/lib/file", b"").unwrap();
        let tree = tree([layer]);
        for (path, expected) in [
            ("/lib/file", Some("usr/lib/file")),
            ("/lib/up", Some("usr/lib/file")),
            ("//usr/./lib/../lib/file", Some("usr/lib/file")),
            ("/loop", None),
            ("/lib/none", None),
        ] {
            assert_eq!(
                tree.resolve(path.as_bytes()),
                expected.map(|path| path.as_bytes().to_vec()),
                "{path}"
            );
        }
    }

    #[test]
    fn each_difference_is_a_defect() {
        let (mut source, mut slim) = (Layer::default(), Layer::default());
        source.file("same", b"x").unwrap();
        source.file("content", b"x").unwrap();
        source.symlink("link", "a").unwrap();
        source.file("kind", b"").unwrap();
        source.file("left-out", b"").unwrap();
        slim.file("same", b"x").unwrap();
        slim.file("content", b"y").unwrap();
        slim.symlink("link", "b").unwrap();
        slim.fifo("kind").unwrap();
        slim.file("more", b"").unwrap();
        slim.file("var/lib/dpkg/status.d/base-files", b"written by slim").unwrap();
        assert_eq!(
            tree([slim]).defects(&tree([source])),
            [
                "/content: other content",
                "/kind: other type",
                "/kind: other mode",
                "/link: other target",
                "/more is not in the source"
            ]
        );
    }
}
