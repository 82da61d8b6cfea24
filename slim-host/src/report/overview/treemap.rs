//! An image as nested areas: by directory, and by package.
//!
//! Invariants: pure; at most [`MAX_NODES`] nodes whatever the image holds, the largest ones; each node's numbers are
//! those of everything below it, so leaving nodes out changes no sum; a file with several names counts at the first
//! name that stays, or the first of all.

use std::{
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    ops::AddAssign,
};

use serde::Serialize;

use super::Image;
use crate::{
    packages::Manager,
    path::{ImagePath, quote},
    rootfs::{FileKind, InodeId},
};

/// Nodes of one map. A screen shows some hundred areas at once; the rest is there to be zoomed into.
const MAX_NODES: usize = 4_000;

/// Nodes directly below another; smaller ones are put together.
const MAX_CHILDREN: usize = 80;

/// Names and bytes before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Bytes in the source image.
    pub bytes: u64,
    /// Bytes that stay.
    pub kept_bytes: u64,
    /// Names in the source image, directories not counted.
    pub files: u64,
    /// Names that stay.
    pub kept_files: u64,
}

impl AddAssign for Sizes {
    fn add_assign(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.kept_bytes = self.kept_bytes.saturating_add(other.kept_bytes);
        self.files += other.files;
        self.kept_files += other.kept_files;
    }
}

/// What an area stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// A directory, or the packages of a manager.
    Group,
    /// A file, or a package.
    Leaf,
    /// Smaller ones, put together.
    Others,
}

/// One area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its own name, quoted; for [`Area::Others`] how many there are.
    pub name: String,
    /// Index of what is around it; `None` for the first, which is the whole.
    pub parent: Option<usize>,
    /// What it stands for.
    pub area: Area,
    /// How large it is.
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// The tree before it is cut: parents stand before what they hold.
struct Whole {
    nodes: Vec<(String, Option<usize>, Area, Sizes)>,
}

/// The image by directory.
pub(super) fn by_directory(image: &Image<'_>) -> Vec<Node> {
    let places = places(image);
    let mut whole = Whole { nodes: vec![("/".to_owned(), None, Area::Group, Sizes::default())] };
    let mut directories: HashMap<ImagePath, usize> = HashMap::from([(ImagePath::root(), 0)]);
    for (path, id, inode) in image.tree.iter() {
        let Some(parent) = path.parent() else { continue };
        let around = directories.get(&parent).copied().unwrap_or(0);
        let name = quote(path.file_name().unwrap_or_default());
        if inode.kind == FileKind::Directory {
            directories.insert(path.clone(), whole.nodes.len());
            whole.nodes.push((name, Some(around), Area::Group, Sizes::default()));
        } else {
            let sizes = sizes(image, path, places.get(&id) == Some(&path), inode.size);
            whole.nodes.push((name, Some(around), Area::Leaf, sizes));
        }
    }
    whole.cut()
}

/// The image by package manager and package. A file of several packages counts for the first; one that no package
/// lists, for none.
pub(super) fn by_package(image: &Image<'_>) -> Vec<Node> {
    let places = places(image);
    let mut sums: BTreeMap<Option<(Manager, &str)>, Sizes> = BTreeMap::new();
    for (path, id, inode) in image.tree.iter().filter(|(.., inode)| inode.kind != FileKind::Directory) {
        let owner = image.packages.owners(path).next();
        let owner = owner.map(|(_, package)| (package.manager, package.name.as_str()));
        *sums.entry(owner).or_default() += sizes(image, path, places.get(&id) == Some(&path), inode.size);
    }
    let mut whole = Whole { nodes: vec![("all files".to_owned(), None, Area::Group, Sizes::default())] };
    let mut managers: BTreeMap<Manager, usize> = BTreeMap::new();
    for (owner, sizes) in sums {
        let Some((manager, name)) = owner else {
            whole.nodes.push(("no package".to_owned(), Some(0), Area::Leaf, sizes));
            continue;
        };
        let around = *managers.entry(manager).or_insert_with(|| {
            whole.nodes.push((manager.name().to_owned(), Some(0), Area::Group, Sizes::default()));
            whole.nodes.len() - 1
        });
        whole.nodes.push((quote(name.as_bytes()), Some(around), Area::Leaf, sizes));
    }
    whole.cut()
}

/// The name at which each file counts.
fn places<'a>(image: &Image<'a>) -> HashMap<InodeId, &'a ImagePath> {
    let mut places = HashMap::new();
    let mut stays = HashSet::new();
    for (path, id, _) in image.tree.iter() {
        if image.stays(path) && stays.insert(id) {
            places.insert(id, path);
        } else {
            places.entry(id).or_insert(path);
        }
    }
    places
}

/// The numbers of one name, which has the bytes or leaves them to another name of the file.
fn sizes(image: &Image<'_>, path: &ImagePath, counts: bool, size: u64) -> Sizes {
    let stays = image.stays(path);
    let bytes = if counts { size } else { 0 };
    Sizes { bytes, kept_bytes: if stays { bytes } else { 0 }, files: 1, kept_files: u64::from(stays) }
}

impl Whole {
    /// Sums up, and keeps the largest nodes.
    fn cut(mut self) -> Vec<Node> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for at in (1..self.nodes.len()).rev() {
            let Some((_, Some(parent), _, sizes)) = self.nodes.get(at).cloned() else { continue };
            if let Some((.., sum)) = self.nodes.get_mut(parent) {
                *sum += sizes;
            }
            if let Some(children) = children.get_mut(parent) {
                children.push(at);
            }
        }
        let mut cut = Vec::new();
        // Groups that are in the result, largest first, each with its places in both lists.
        let mut groups = BinaryHeap::new();
        self.keep(0, None, &mut cut, &mut groups);
        while let Some((_, whole_at, cut_at)) = groups.pop() {
            let mut below = children.get_mut(whole_at).map(std::mem::take).unwrap_or_default();
            let room = MAX_NODES.saturating_sub(cut.len() + 1).min(MAX_CHILDREN);
            if room == 0 {
                continue;
            }
            below.sort_by_key(|at| {
                let size = self.nodes.get(*at).map_or(0, |(.., sizes)| sizes.bytes);
                (std::cmp::Reverse(size), *at)
            });
            // One alone needs no summary.
            let shown = if below.len() <= room + 1 { below.len() } else { room };
            let (shown, others) = below.split_at(shown);
            shown.iter().for_each(|at| self.keep(*at, Some(cut_at), &mut cut, &mut groups));
            if !others.is_empty() {
                let mut sum = Sizes::default();
                others.iter().filter_map(|at| self.nodes.get(*at)).for_each(|(.., sizes)| sum += *sizes);
                let name = others.len().to_string();
                cut.push(Node { name, parent: Some(cut_at), area: Area::Others, sizes: sum });
            }
        }
        cut
    }

    fn keep(
        &self,
        at: usize,
        parent: Option<usize>,
        cut: &mut Vec<Node>,
        groups: &mut BinaryHeap<(u64, usize, usize)>,
    ) {
        let Some((name, _, area, sizes)) = self.nodes.get(at) else { return };
        if *area == Area::Group {
            groups.push((sizes.bytes, at, cut.len()));
        }
        cut.push(Node { name: name.clone(), parent, area: *area, sizes: *sizes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{packages::Packages, report::model::fixture};

    fn told(nodes: &[Node]) -> Vec<String> {
        let line = |node: &Node| {
            let Sizes { bytes, kept_bytes, files, kept_files } = node.sizes;
            let parent = node.parent.map_or("-".to_owned(), |parent| parent.to_string());
            format!("{} in {parent}: {bytes}/{kept_bytes} {files}/{kept_files}", node.name)
        };
        nodes.iter().map(line).collect()
    }

    #[test]
    fn areas_sum_up_to_the_image() {
        let (tree, keep) = fixture::image();
        let packages = Packages::default();
        let paths = keep.iter().map(|(path, _)| path.clone()).collect();
        let image = Image { tree: &tree, packages: &packages, kept: Some(&paths) };
        assert_eq!(
            told(&by_directory(&image)),
            [
                "/ in -: 35900000/11300000 9/4",
                "usr in 0: 35900000/11300000 9/4",
                "share in 1: 23100000/0 3/0",
                "bin in 1: 11600000/10100000 5/3",
                "lib in 1: 1200000/1200000 1/1",
                "doc in 2: 23100000/0 3/0",
                "a in 5: 23100000/0 2/0",
                "hard in 5: 0/0 1/0",
                "1 in 6: 23000000/0 1/0",
                "2 in 6: 100000/0 1/0",
                "app in 3: 10100000/10100000 1/1",
                "unused in 3: 1500000/0 1/0",
                "app-2 in 3: 0/0 1/1",
                "odd\\n\\u{202e} in 3: 0/0 1/0",
                "run in 3: 0/0 1/1",
                "libc.so.6 in 4: 1200000/1200000 1/1",
            ]
        );
        assert_eq!(
            told(&by_package(&image)),
            ["all files in -: 35900000/11300000 9/4", "no package in 0: 35900000/11300000 9/4"]
        );
    }

    #[test]
    fn the_number_of_areas_is_bounded() {
        let mut tree = fixture::image().0;
        let inode = tree.get(&fixture::path("/usr/bin/unused")).unwrap().clone();
        for directory in 0..100 {
            let directory = format!("/many/{directory}");
            tree.insert(
                fixture::path(&directory),
                crate::rootfs::Inode { kind: FileKind::Directory, size: 0, ..inode.clone() },
            );
            for file in 0..200 {
                tree.insert(fixture::path(format!("{directory}/{file}")), inode.clone());
            }
        }
        let packages = Packages::default();
        let image = Image { tree: &tree, packages: &packages, kept: None };
        let nodes = by_directory(&image);
        assert!(nodes.len() <= MAX_NODES && nodes.len() > MAX_NODES / 2, "{}", nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let below: Vec<_> = nodes.iter().filter(|other| other.parent == Some(at)).collect();
            assert!(below.len() <= MAX_CHILDREN + 1);
            if !below.is_empty() {
                assert_eq!(below.iter().map(|node| node.sizes.bytes).sum::<u64>(), node.sizes.bytes);
                assert_eq!(below.iter().map(|node| node.sizes.files).sum::<u64>(), node.sizes.files);
            }
        }
    }
}
