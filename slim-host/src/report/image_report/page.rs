//! What an image is made of, for people.

use serde_json::Value;

use super::{HiddenLine, ImageReport, LayerLine, PackageLine, PrivilegedFile};
use crate::{
    output::{
        Line, Page, Tone,
        text::{count, elide, size},
    },
    path::quote,
    rootfs::stack::Hiding,
};

/// Lines of each list; JSON has more.
const SHOWN: usize = 10;

/// Width of the labels at the start of lines.
const LABEL: usize = 10;

/// Columns for texts of any length.
const WIDTH: usize = 68;

/// The image for people.
#[must_use]
pub fn page(report: &ImageReport) -> Page {
    let mut page = Page::default();
    head(&mut page, report);
    configuration(&mut page, &report.config);
    layers(&mut page, report);
    hidden(&mut page, report);
    packages(&mut page, report);
    privileged(&mut page, &report.privileged);
    page
}

/// A number with what is counted.
fn counted(number: u64, one: &str) -> String {
    match one.strip_suffix('y') {
        _ if number == 1 => format!("1 {one}"),
        Some(stem) => format!("{} {stem}ies", count(number)),
        None => format!("{} {one}s", count(number)),
    }
}

fn labelled(page: &mut Page, label: &str, text: impl AsRef<str>) {
    page.push(Line::toned(Tone::Dim, format!("{label:LABEL$}")).then(Tone::Plain, text));
}

fn head(page: &mut Page, report: &ImageReport) {
    page.push(Line::toned(Tone::Title, quote(report.reference.as_bytes())));
    labelled(page, "id", &report.id);
    let tags = report.tags.join(", ");
    if !report.tags.is_empty() && tags != report.reference {
        labelled(page, "tags", elide(&tags, WIDTH));
    }
    let created =
        report.created.as_deref().map_or(String::new(), |when| format!(", made {}", elide(when, 30)));
    labelled(page, "platform", format!("{}{created}", report.platform));
    let (files, directories) = (counted(report.files, "file"), counted(report.directories, "directory"));
    labelled(page, "size", format!("{} in {files}, {directories}", size(report.bytes)));
    let layers = counted(report.layers.len() as u64, "layer");
    let (all, wasted) = (size(report.layer_bytes), size(report.wasted));
    let text = format!("{all} in {layers}, {wasted} of it hidden by upper layers");
    labelled(page, "layers", text);
}

/// The fields of the configuration that are set, in the order of `docker run`.
fn configuration(page: &mut Page, config: &Value) {
    let lists = [("Entrypoint", "entrypoint"), ("Cmd", "cmd"), ("Shell", "shell"), ("OnBuild", "onbuild")];
    for (field, label) in lists {
        if let Some(list) =
            config.get(field).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
        {
            labelled(page, label, elide(&list.to_string(), WIDTH));
        }
    }
    for (field, label) in [("User", "user"), ("WorkingDir", "directory"), ("StopSignal", "stop by")] {
        if let Some(text) = config.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            labelled(page, label, elide(&quote(text.as_bytes()), WIDTH));
        }
    }
    for (field, label) in [("ExposedPorts", "ports"), ("Volumes", "volumes")] {
        let keys = config.get(field).and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
        let keys: Vec<String> = keys.map(|key| quote(key.as_bytes())).collect();
        if !keys.is_empty() {
            labelled(page, label, elide(&keys.join(", "), WIDTH));
        }
    }
    if let Some(check) = config.get("Healthcheck").filter(|check| !check.is_null()) {
        labelled(page, "health", elide(&check.to_string(), WIDTH));
    }
    let env = config.get("Env").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let env: Vec<String> = env.map(|entry| elide(&quote(entry.as_bytes()), WIDTH)).collect();
    several(page, "env", &env);
    let labels = config.get("Labels").and_then(Value::as_object).into_iter().flatten();
    let labels: Vec<String> = labels
        .map(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            elide(&format!("{}={}", quote(key.as_bytes()), quote(value.as_bytes())), WIDTH)
        })
        .collect();
    several(page, "labels", &labels);
}

/// A line each, the label before the first.
fn several(page: &mut Page, label: &str, texts: &[String]) {
    for (at, text) in texts.iter().take(SHOWN).enumerate() {
        labelled(page, if at == 0 { label } else { "" }, text);
    }
    rest(page, texts.len());
}

fn rest(page: &mut Page, all: usize) {
    if all > SHOWN {
        let more = count((all - SHOWN) as u64);
        page.push(Line::toned(Tone::Dim, format!("{:LABEL$}and {more} more; --format json has them", "")));
    }
}

fn heading(page: &mut Page, text: impl AsRef<str>) {
    page.gap();
    page.push(Line::toned(Tone::Dim, text));
}

fn layers(page: &mut Page, report: &ImageReport) {
    if report.layers.is_empty() {
        return;
    }
    heading(page, "layer       size    added replaced  removed       hides      wasted  made by");
    for LayerLine { number, share, created_by, .. } in &report.layers {
        let by = created_by.as_deref().unwrap_or("(the history does not tell)");
        let words: Vec<&str> = by.split_whitespace().collect();
        page.push(Line::plain(format!(
            "{number:>5} {:>10} {:>8} {:>8} {:>8} {:>11} {:>11}  {}",
            size(share.content.bytes),
            count(share.added.files),
            count(share.replaced.files),
            count(share.removed),
            size(share.hides),
            size(share.wasted),
            elide(&quote(words.join(" ").as_bytes()), 48),
        )));
    }
}

fn hidden(page: &mut Page, report: &ImageReport) {
    if report.hidden.is_empty() {
        return;
    }
    heading(page, format!("hidden, {}, most bytes first", counted(report.hidden_files, "file")));
    for HiddenLine { path, bytes, layer, by, how } in report.hidden.iter().take(SHOWN) {
        let how = match how {
            Hiding::Replaced => "replaced",
            Hiding::Removed => "removed",
        };
        let text = format!("{:>11}  {path} of layer {layer}, {how} by layer {by}", size(*bytes));
        page.push(Line::plain(text));
    }
    rest(page, usize::try_from(report.hidden_files).unwrap_or(usize::MAX));
}

fn packages(page: &mut Page, report: &ImageReport) {
    for database in &report.unreadable {
        page.push(Line::toned(Tone::Warn, "cannot be read  ").then(Tone::Plain, database));
    }
    if report.packages.is_empty() {
        return;
    }
    heading(page, format!("packages, {} of them, most bytes first", count(report.packages.len() as u64)));
    for PackageLine { manager, name, version, files, bytes } in report.packages.iter().take(SHOWN) {
        let name = format!("{} {}", quote(name.as_bytes()), quote(version.as_bytes()));
        let text = format!("{:>11} {:>7}  {} {name}", size(*bytes), count(*files), manager.name());
        page.push(Line::plain(text));
    }
    rest(page, report.packages.len());
}

fn privileged(page: &mut Page, files: &[PrivilegedFile]) {
    if files.is_empty() {
        return;
    }
    heading(page, format!("with the rights of others, {}", counted(files.len() as u64, "file")));
    for file in files.iter().take(SHOWN) {
        let setuid = file.setuid.then(|| format!("setuid {}", file.uid));
        let setgid = file.setgid.then(|| format!("setgid {}", file.gid));
        let capabilities = file.capabilities.as_ref().map(ToString::to_string);
        let rights: Vec<String> = [setuid, setgid, capabilities].into_iter().flatten().collect();
        page.push(Line::plain(format!("       {:04o}  {}  {}", file.mode, file.path, rights.join(", "))));
    }
    rest(page, files.len());
}
