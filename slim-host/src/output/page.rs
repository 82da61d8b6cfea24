//! Text for people as a value: lines of spans with a tone. What is in a span is cleaned when it is put in, so a
//! page cannot hold anything that a terminal acts upon.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};

use crate::path::acts_on_terminal;

/// What a span means; how that looks is decided in one place, here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// What the page is about.
    Title,
    /// Good news.
    Good,
    /// Something to look at.
    Warn,
    /// Something that failed.
    Bad,
    /// Labels and other words that the eye may skip.
    Dim,
}

impl Tone {
    fn style(self) -> Style {
        let style = Style::new();
        match self {
            Self::Plain => style,
            Self::Title => style.bold(),
            Self::Good => style.fg_color(Some(AnsiColor::Green.into())),
            Self::Warn => style.fg_color(Some(AnsiColor::Yellow.into())).bold(),
            Self::Bad => style.fg_color(Some(AnsiColor::Red.into())).bold(),
            Self::Dim => style.dimmed(),
        }
    }
}

/// Whether tones are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Text alone.
    Plain,
    /// ANSI colours.
    Coloured,
}

impl From<anstream::ColorChoice> for Look {
    fn from(choice: anstream::ColorChoice) -> Self {
        match choice {
            anstream::ColorChoice::Never => Self::Plain,
            anstream::ColorChoice::Auto
            | anstream::ColorChoice::AlwaysAnsi
            | anstream::ColorChoice::Always => Self::Coloured,
        }
    }
}

/// One line of clean spans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(Tone, String)>);

impl Line {
    /// A line of one plain span.
    #[must_use]
    pub fn plain(text: impl AsRef<str>) -> Self {
        Self::toned(Tone::Plain, text)
    }

    /// A line of one span.
    #[must_use]
    pub fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self::default().then(tone, text)
    }

    /// The line with another span at its end.
    #[must_use]
    pub fn then(mut self, tone: Tone, text: impl AsRef<str>) -> Self {
        self.0.push((tone, clean(text.as_ref())));
        self
    }

    /// The line without a newline. Spaces at its end are dropped.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        let mut text = String::new();
        let last = self.0.iter().rposition(|(_, span)| !span.trim_end().is_empty());
        for (at, (tone, span)) in self.0.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
            let span = if Some(at) == last { span.trim_end() } else { span };
            let style = tone.style();
            // Writing to a String cannot fail.
            let _ = match look {
                Look::Plain => write!(text, "{span}"),
                Look::Coloured => write!(text, "{style}{span}{style:#}"),
            };
        }
        text
    }
}

/// Lines, top to bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page(Vec<Line>);

impl Page {
    /// A page of plain text; each line break in `text` makes a line.
    #[must_use]
    pub fn of_text(text: impl fmt::Display) -> Self {
        Self(text.to_string().lines().map(Line::plain).collect())
    }

    /// Adds a line at the end.
    pub fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    /// Adds the lines of `other`.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Adds an empty line at the end.
    pub fn gap(&mut self) {
        self.0.push(Line::default());
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// The text, each line with its newline.
    #[must_use]
    pub fn render(&self, look: Look) -> String {
        self.0.iter().map(|line| line.render(look) + "\n").collect()
    }
}

/// `text` with everything that acts on a terminal escaped. Unlike [`crate::path::quote`] it leaves backslashes
/// alone: texts come here with their paths already quoted.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => clean.write_str("\\n"),
            '\t' => clean.write_str("\\t"),
            c if acts_on_terminal(c) => write!(clean, "{}", c.escape_unicode()),
            c => clean.write_char(c),
        };
    }
    clean
}
