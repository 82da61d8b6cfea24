//! Containers that were gone before the engine could say of which image they were.

use std::collections::BTreeSet;

use crate::{engine::ContainerEvent, path::quote};

/// Ids that are remembered, so that the birth and the start of a container are told as one.
const MOST: usize = 1 << 10;

/// Containers that are named.
const NAMED: usize = 5;

/// Those that may have been of the traced images.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    ids: BTreeSet<String>,
    /// The first of them: id and what its image was called (quoted).
    named: Vec<String>,
}

impl Vanished {
    /// Takes note of one.
    pub(super) fn note(&mut self, event: &ContainerEvent) {
        if self.ids.len() >= MOST || !self.ids.insert(event.id.clone()) || self.named.len() >= NAMED {
            return;
        }
        let short = event.id.get(..12).unwrap_or(&event.id);
        self.named.push(format!("{} of {}", quote(short.as_bytes()), quote(event.image_id.as_bytes())));
    }

    /// What people should know; `None` when every container could be told.
    pub(super) fn warning(&self) -> Option<String> {
        if self.ids.is_empty() {
            return None;
        }
        let others = match self.ids.len() - self.named.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        Some(format!(
            "gone before anybody could tell of which image they were: {}{others}; if it was this one, what they used is \
             missing",
            self.named.join(", ")
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
        let note = |vanished: &mut Vanished, digit: &str| vanished.note(&event(&digit.repeat(64)));
        ["1", "1"].into_iter().for_each(|digit| note(&mut vanished, digit));
        let told = |vanished: &Vanished| {
            let warning = vanished.warning().unwrap();
            let (_, rest) = warning.split_once(": ").unwrap();
            rest.split_once(';').unwrap().0.to_owned()
        };
        assert_eq!(told(&vanished), "111111111111 of tmp\\u{1b}");
        ["2", "3", "4", "5", "6", "7"].into_iter().for_each(|digit| note(&mut vanished, digit));
        assert!(told(&vanished).ends_with(", 555555555555 of tmp\\u{1b} and 2 more"), "{}", told(&vanished));
    }
}
