//! The fixtures tell the truth about the source images, before they judge slim ones.

use anyhow::Result;
use slim_tests::{Container, Engine, Image, require};

#[test]
fn layers_are_read_byte_for_byte() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("meta"));
    let [ground, changes, _] = <[_; 3]>::try_from(engine.layers(&source)?).expect("three layers");

    let setuid = &ground[b"keep/setuid".as_slice()];
    assert_eq!((setuid.kind, setuid.mode, setuid.owner), (b'0', 0o4755, (12345, 54321)));
    assert_eq!(
        (setuid.mtime.as_str(), setuid.content.as_slice()),
        ("981173106.123456789", b"setuid\n".as_slice())
    );
    let capable = &ground[b"keep/capable".as_slice()];
    assert_eq!(capable.xattrs.keys().collect::<Vec<_>>(), ["security.capability"]);
    let half = &ground[b"keep/half".as_slice()];
    assert_eq!((half.kind, half.link.as_deref()), (b'1', Some(b"drop/half".as_slice())));
    assert_eq!(ground[b"keep/device".as_slice()].device, Some((1, 3)));
    assert!(
        ground.contains_key(b"keep/bad-\xff\xfe".as_slice())
            && ground.contains_key(b"keep/new\nline".as_slice())
    );
    assert!(
        changes.contains_key(b"opaque/.wh..wh..opq".as_slice())
            && changes.contains_key(b"gone/.wh.file".as_slice())
    );
    Ok(())
}

#[test]
fn the_static_programs_report_what_they_did() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    for (file, status) in [("/first/199", 0), ("/first/200", 1)] {
        let container = Container::run(&engine, &source, &["--network", "none"], &["/bin/first", file])?;
        assert_eq!(container.wait()?, status, "{file}");
    }
    let container = Container::run(&engine, &source, &[], &["/bin/loop", "stat", "/many", "1000", "10"])?;
    assert_eq!(container.wait()?, 0);
    let said = String::from_utf8(container.stdout()?)?;
    let nanoseconds: Vec<u64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [all, round] = nanoseconds[..] else { anyhow::bail!("the loop said {said:?}") };
    assert!(round > 0 && all >= 9 * round, "ten rounds, nine of which are slower: {said:?}");
    Ok(())
}

#[test]
fn what_a_test_makes_is_removed_with_it() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let (name, tag);
    {
        let container = Container::run(&engine, &source, &[], &[])?;
        let image = Image::reserve(&engine, "removed");
        engine.docker(["commit", container.name(), image.tag()])?;
        assert_eq!(image.diff_ids()?.len(), 1, "a container that wrote nothing adds no layer");
        (name, tag) = (container.name().to_owned(), image.tag().to_owned());
    }
    assert!(engine.inspect("container", &name).is_err());
    assert!(engine.inspect("image", &tag).is_err());
    Ok(())
}

#[test]
fn images_move_to_the_engine_with_containerd_s_store() -> Result<()> {
    let overlay = require!(Engine::connect());
    let containerd = require!(Engine::containerd());
    let source = require!(overlay.test_image("batch"));
    overlay.copy_image(&source, &containerd)?;
    let layers =
        |engine: &Engine| Ok::<_, anyhow::Error>(engine.inspect("image", &source)?["RootFS"].clone());
    assert_eq!(layers(&overlay)?, layers(&containerd)?);
    slim_tests::workload::Workload::named("batch")?.check(&containerd, &source)
}
