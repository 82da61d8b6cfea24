//! What a walk over many pages gave.

use super::Answer;
use crate::exercise::plan::KnownPage;

/// Pages in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pages {
    /// Those that were asked for, each once.
    pub pages: Vec<Page>,
    /// Origins that links and redirects lead to beside the container's (quoted, in order); none was contacted.
    pub elsewhere: Vec<String>,
    /// What of a document was not asked for, and why (quoted).
    pub skipped: Vec<String>,
    /// The limit that ended the search; `None` when there was no more to ask for.
    pub cut: Option<Cut>,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Path and query, as they were asked for.
    pub path: String,
    /// What came back at the last attempt.
    pub answer: PageAnswer,
    /// How often it was asked for until it was as expected, from 1.
    pub attempts: u32,
    /// What is wrong with it, where something is (quoted).
    pub wrong: Option<String>,
}

/// What came back for one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageAnswer {
    /// An answer; its body cannot be shown any more.
    Given(Answer),
    /// None.
    Absent,
}

/// The limit that ended a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// That of pages.
    Pages,
    /// That of time.
    Time,
}

impl Cut {
    /// A stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Time => "time",
        }
    }
}

impl Page {
    /// The answer, if there is one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.answer {
            PageAnswer::Given(answer) => Some(answer),
            PageAnswer::Absent => None,
        }
    }

    /// Whether it was as expected, but not at first.
    #[must_use]
    pub fn is_flaky(&self) -> bool {
        self.wrong.is_none() && self.attempts > 1
    }
}

impl Pages {
    /// The most attempts that a page took.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.pages.iter().map(|page| page.attempts).max().unwrap_or(1)
    }

    /// The pages that answered, for another image to be asked the same.
    #[must_use]
    pub fn known(&self) -> Vec<KnownPage> {
        let known = |page: &Page| Some(KnownPage { path: page.path.clone(), status: page.answer()?.status });
        self.pages.iter().filter_map(known).collect()
    }

    /// The answer that the page of this path had.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Page> {
        self.pages.iter().find(|page| page.path == path)
    }
}
