use std::{io::Read as _, time::Duration};

use super::*;

/// A writer that others can look into.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Failing(io::ErrorKind, Buffer);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write_all(bytes)?;
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn buffers(verbosity: Verbosity, look: Look) -> (Output, Buffer, Buffer) {
    let (stdout, stderr) = (Buffer::default(), Buffer::default());
    let output = Output::to_writers(verbosity, look, Box::new(stdout.clone()), Box::new(stderr.clone()));
    (output, stdout, stderr)
}

#[derive(Debug, thiserror::Error)]
enum Sample {
    #[error("cannot load the image")]
    Outer(#[source] Box<Sample>),
    #[error("engine said: {0}")]
    Quoting(#[source] io::Error),
}

#[test]
fn data_goes_to_stdout_and_words_to_stderr() {
    let (output, stdout, stderr) = buffers(Verbosity::Normal, Look::Plain);
    output.note("tracing nginx");
    output.warning("3 events were lost");
    output.error(&Sample::Outer(Box::new(Sample::Quoting(io::Error::other("no\x1b[2Jspace")))));
    output.hint("free some");
    output.page(&Page::of_text("kept 3\nremoved 4")).unwrap();
    output.json(&serde_json::json!({"path": "/a\u{202e}\u{9b}\x1b\n\u{1f600}"})).unwrap();
    assert_eq!(
        stdout.text(),
        "kept 3\nremoved 4\n{\n  \"path\": \"/a\\u202e\\u009b\\u001b\\n\u{1f600}\"\n}\n"
    );
    assert_eq!(
        stderr.text(),
        "tracing nginx\nwarning: 3 events were lost\n\
         error: cannot load the image: engine said: no\\u{1b}[2Jspace\nhint: free some\n"
    );
}

#[test]
fn quiet_keeps_results_warnings_and_errors() {
    let (output, stdout, stderr) = buffers(Verbosity::Quiet, Look::Plain);
    output.note("n");
    output.live("l").finish("f");
    output.progress("p", Amount::Bytes(7)).counter().add(7);
    output.warning("w");
    output.error(&io::Error::other("e"));
    output.page(&Page::of_text("p")).unwrap();
    assert_eq!(stderr.text(), "warning: w\nerror: e\n");
    assert_eq!(stdout.text(), "p\n");
}

#[test]
fn colour_comes_from_tones_only() {
    let (output, stdout, stderr) = buffers(Verbosity::Normal, Look::Coloured);
    output.warning("\x1b[31mred?");
    assert_eq!(stderr.text(), "\x1b[1m\x1b[33mwarning:\x1b[0m \\u{1b}[31mred?\n");
    let mut page = Page::default();
    page.push(Line::toned(Tone::Good, "ok").then(Tone::Plain, " \n  ").then(Tone::Plain, "   "));
    output.page(&page).unwrap();
    assert_eq!(stdout.text(), "\x1b[32mok\x1b[0m \\n\n");
}

#[test]
fn a_reader_that_goes_away_ends_printing_and_nothing_else() {
    let tried = Buffer::default();
    let failing = Failing(io::ErrorKind::BrokenPipe, tried.clone());
    let output =
        Output::to_writers(Verbosity::Normal, Look::Plain, Box::new(failing), Box::new(Buffer::default()));
    output.page(&Page::of_text("one")).unwrap();
    output.page(&Page::of_text("two")).unwrap();
    assert_eq!(tried.text(), "one\n");
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let failing = Failing(io::ErrorKind::StorageFull, Buffer::default());
    let output =
        Output::to_writers(Verbosity::Normal, Look::Plain, Box::new(failing), Box::new(Buffer::default()));
    let error = output.page(&Page::of_text("one")).unwrap_err();
    assert_eq!(chain(&error), "cannot write to standard output: no storage space");
}

#[test]
fn off_a_terminal_progress_is_a_line_at_each_end() {
    let (output, stdout, stderr) = buffers(Verbosity::Normal, Look::Plain);
    let live = output.live("tracing nginx; press Ctrl-C to end");
    live.update(&LiveCounts::default());
    let work = output.progress("reading", Amount::Unknown);
    let mut read = Vec::new();
    work.counter().through(&b"whole"[..]).read_to_end(&mut read).unwrap();
    assert_eq!(read, b"whole");
    drop(work);
    output.note("container restarted");
    live.finish("traced nginx for 3 s");
    assert_eq!(stdout.text(), "");
    assert_eq!(
        stderr.text(),
        "tracing nginx; press Ctrl-C to end\ncontainer restarted\ntraced nginx for 3 s\n"
    );
}

#[test]
fn the_live_line_says_what_matters() {
    let counts = LiveCounts { files: 1214, events: 3482, lost: 0, since_new: Duration::from_millis(4900) };
    assert_eq!(counts.to_string(), "1,214 files  3,482 events  0 lost  last new file 4 s ago");
}

#[test]
fn log_records_are_cleaned_line_by_line() {
    let (output, _stdout, stderr) = buffers(Verbosity::Normal, Look::Plain);
    output.log_writer().write_all(b"DEBUG a\x1b[0m\nDEBUG \xff\n").unwrap();
    assert_eq!(stderr.text(), "DEBUG a\\u{1b}[0m\nDEBUG \u{fffd}\n");
}
