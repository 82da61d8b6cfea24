//! Containers that were gone before the engine could say of which image they were.

use std::collections::BTreeSet;

use crate::{engine::ContainerEvent, path::quote};

/// Ids that are remembered, so that the birth and the start of a container are told as one.
const MOST: usize = 1 << 10;

/// Those that may have been of the traced images.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    ids: BTreeSet<String>,
    /// The first of them: its id and the image by which it was started (quoted).
    first: Option<(String, String)>,
}

impl Vanished {
    /// Takes note of one.
    pub(super) fn note(&mut self, event: &ContainerEvent) {
        if self.ids.len() >= MOST || !self.ids.insert(event.id.clone()) {
            return;
        }
        let short = event.id.get(..12).unwrap_or(&event.id);
        self.first.get_or_insert_with(|| (quote(short.as_bytes()), quote(event.image_id.as_bytes())));
    }

    /// What people should know; `None` when every container could be told.
    pub(super) fn warning(&self) -> Option<String> {
        let (id, image) = self.first.as_ref()?;
        let others = match self.ids.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        Some(format!(
            "container {id} of {image}{others} was gone, and its image too, before anybody could tell which image that was: if \
             it was this one, what it used is missing"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ContainerEventKind;

    #[test]
    fn each_is_told_once() {
        let event = |id: &str| ContainerEvent {
            id: id.to_owned(),
            image_id: "tmp\u{1b}".to_owned(),
            kind: ContainerEventKind::Vanished,
            time_ns: 1,
        };
        let mut vanished = Vanished::default();
        assert_eq!(vanished.warning(), None);
        let (first, second) = ("1".repeat(64), "2".repeat(64));
        [&first, &first].into_iter().for_each(|id| vanished.note(&event(id)));
        let warning = vanished.warning().unwrap();
        assert!(warning.starts_with("container 111111111111 of tmp\\u{1b} was gone, and"), "{warning}");
        vanished.note(&event(&second));
        assert!(vanished.warning().unwrap().contains("of tmp\\u{1b}, and 1 more was gone"));
    }
}
