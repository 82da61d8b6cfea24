//! Differences that the user expects of a slim image.

use super::CommandError;
use crate::{
    cli::Ignored,
    exercise::Plan,
    keep::{RuleSpec, Rules},
    verify::Trial,
};

/// What is no finding.
#[derive(Debug, Default)]
pub(super) struct Excuses {
    /// Names that may be missing.
    pub(super) names: Rules,
    /// Parts of lines that a log may have.
    lines: Vec<String>,
}

impl Excuses {
    /// What `--ignore` lists, and names that match `gone`. Bodies are taken out of the comparison in `plan`.
    ///
    /// # Errors
    /// When a pattern is none, or no step has the name.
    pub(super) fn new(ignored: &[Ignored], gone: &[String], plan: &mut Plan) -> Result<Self, CommandError> {
        let (mut include, mut lines) = (gone.to_vec(), Vec::new());
        for ignored in ignored {
            match ignored {
                Ignored::Names(pattern) => include.push(pattern.clone()),
                Ignored::Log(text) => lines.push(text.clone()),
                Ignored::Body(step) => plan.ignore_body(step)?,
            }
        }
        Ok(Self { names: Rules::compile(RuleSpec { include, ..RuleSpec::default() })?, lines })
    }

    /// Takes the excused lines out of what the slim image's container wrote.
    pub(super) fn apply(&self, trial: &mut Trial) {
        let excused = |line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            self.lines.iter().any(|part| text.contains(part))
        };
        if !self.lines.is_empty() {
            let lines = trial.log.split_inclusive(|&byte| byte == b'\n').filter(|line| !excused(line));
            trial.log = lines.flatten().copied().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercise::{
        PlanError,
        plan::{Action, BodyRule, HttpRequest, Step},
    };

    #[test]
    fn names_lines_and_bodies() {
        let mut plan = Plan::new(vec![Step::new(Action::Http(HttpRequest::get("/").unwrap()))]).unwrap();
        let ignored = ["/a/*", "log:bad", "body:GET /"].map(|text| text.parse().unwrap());
        let excuses = Excuses::new(&ignored, &["/b".to_owned()], &mut plan).unwrap();
        let path = |text: &str| crate::path::ImagePath::new(text).unwrap();
        let matched = ["/a/x", "/b", "/c"].map(|name| excuses.names.included_by(&path(name)).is_some());
        assert_eq!(matched, [true, true, false]);
        assert_eq!(plan.steps()[0].body, BodyRule::Ignored);
        let mut trial = Trial { log: b"one\nso bad\ntwo\nbad".to_vec(), ..Trial::empty() };
        excuses.apply(&mut trial);
        assert_eq!(trial.log, b"one\ntwo\n");
        let error = Excuses::new(&["body:x".parse().unwrap()], &[], &mut plan).unwrap_err();
        assert!(matches!(error, CommandError::Plan(PlanError::NoStep { step }) if step == "x"));
    }
}
