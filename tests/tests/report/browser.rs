//! The page in a real browser: nothing is refused by its policy, search is exact, the map zooms, names do nothing.

use anyhow::Result;
use serde_json::{Value, json};
use slim_tests::crafted::Layer;
use slim_tests::{Browser, Engine, Image, Scratch, Slim, require};

use crate::{LOG, capture, image};

/// Escape, as WebDriver names it.
const ESCAPE: &str = "\u{e00c}";

/// Enter, likewise.
const ENTER: &str = "\u{e007}";

/// The paths in the rows of a table that are shown.
fn rows(browser: &Browser, table: &str) -> Result<Vec<String>> {
    let script = format!(
        "return [...document.querySelectorAll('#{table} tbody tr')].map((row) => row.querySelector('td.path').textContent)"
    );
    let value = browser.value(&script)?;
    Ok(value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Where the map is, as the steps of its trail.
fn trail(browser: &Browser) -> Result<Value> {
    browser.value(
        "return [...document.querySelectorAll('#trail button')].map((step) => step.textContent).filter((text) => text !== 'list its files')",
    )
}

#[test]
fn search_filters_and_the_map_zooms() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let browser = require!(Browser::start());
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    let capture = capture(&slim, &scratch, &image, LOG)?;
    let page = scratch.file("report.html");
    slim.run(["report", &capture, "--level", "strict", "--output", &page]).expect(0);
    browser.open(&page)?;

    // Rows are exactly those that match, in whatever they hold.
    assert_eq!(rows(&browser, "files")?.len(), 13);
    browser.type_into("#files input", "SHARE/unused 3")?;
    assert_eq!(rows(&browser, "files")?, ["/share/unused/3"]);
    browser.type_into("#files input", "opened")?;
    assert_eq!(rows(&browser, "files")?, ["/etc/app.conf", "/share/used/0"]);
    browser.type_into("#files input", "no such file")?;
    assert_eq!(rows(&browser, "files")?, [""; 0]);
    assert_eq!(browser.value("return document.querySelector('#files output').textContent")?, "0 of 13 rows");

    // A click zooms in, the trail and Escape lead back.
    assert_eq!(trail(&browser)?, json!(["/"]));
    browser.click_corner("#treemap .cell[aria-label^='/share,']")?;
    assert_eq!(trail(&browser)?, json!(["/", "share"]));
    // A file leads to its directory.
    browser.click("#treemap .cell[title^='/share/used/0\\a']")?;
    assert_eq!(trail(&browser)?, json!(["/", "share", "used"]));
    assert_eq!(
        browser.value("return document.querySelector('#trail .sum').textContent")?,
        "250 B, 50 B stays; 5 files, 1 stay"
    );
    browser.press(ESCAPE)?;
    assert_eq!(trail(&browser)?, json!(["/", "share"]));
    browser.click("#trail button")?;
    assert_eq!(trail(&browser)?, json!(["/"]));
    browser.click("[data-side='after']")?;
    let cells = "return [...document.querySelectorAll('#treemap .cell[role=button]')].map((cell) => cell.getAttribute('aria-label').split(',')[0])";
    assert_eq!(browser.value(cells)?, json!(["/bin", "/etc", "/share"]));

    // By keyboard alone; and from the map to the list of its files.
    browser.value("document.querySelector(\"#treemap .cell[aria-label^='/share,']\").focus()")?;
    browser.press(ENTER)?;
    assert_eq!(trail(&browser)?, json!(["/", "share"]));
    browser.click("#trail button:nth-child(3)")?;
    assert_eq!(rows(&browser, "files")?.len(), 10);
    browser.click("[data-by='owners']")?;
    assert_eq!(trail(&browser)?, json!(["all files"]));

    // From a process to what it used.
    assert_eq!(rows(&browser, "processes")?, ["/bin/app", "/bin/tool"]);
    browser.click("#processes tbody tr:nth-child(2) button")?;
    assert_eq!(rows(&browser, "accesses")?, ["/bin/tool", "/share/used/0"]);
    browser.click("#accesses .chip")?;
    assert_eq!(rows(&browser, "accesses")?.len(), 5);

    assert_eq!(browser.console()?, [""; 0], "errors, or refused by the policy");
    let loaded =
        browser.value("return performance.getEntriesByType('resource').map((entry) => entry.name)")?;
    assert_eq!(loaded, json!([]), "the page is complete in itself");
    Ok(())
}

/// Names that would be markup, script, or orders to a terminal.
fn hostile() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "</script><img src=x onerror=\"document.title='owned'\">",
        "<!--<script>",
        "\"><svg onload=alert(1)>",
        "'};alert(1);//",
        "{{7*7}}",
        "&lt;b&gt;",
        "\u{2028}\u{202e}gpj",
        "\x1b[2J",
        "__proto__",
        "a\tb\rc",
    ]
    .map(|name| name.replace('/', "\u{2215}").into_bytes())
    .to_vec();
    names.push(b"\xff\xfe<i>".to_vec());
    names
}

#[test]
fn hostile_names_are_text() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let browser = require!(Browser::start());
    let scratch = Scratch::new()?;
    let mut layer = Layer::default();
    layer.file("bin/app", &[b'a'; 100])?;
    for name in hostile() {
        layer.file([name.as_slice(), b"/", &name].concat(), &[b'x'; 1000])?;
        // A real closing tag has a slash, which only a path has.
        layer.file([b"</script><img src=x onerror=alert(1)>/".as_slice(), &name].concat(), &[b'y'; 500])?;
    }
    let status: Vec<u8> = b"Package: </script><script>alert(1)</script>\nVersion: <img src=x onerror=alert(1)>\nStatus: install ok installed\n\n".to_vec();
    layer.file("var/lib/dpkg/status", &status)?;
    let image = Image::craft(&engine, "hostile-report", &json!({ "Cmd": ["/bin/app"] }), &[layer.finish()?])?;
    let opened = "</script><img src=x onerror=alert(1)>/__proto__";
    let log = format!(
        "1 1700000001.000000 execve(\"/bin/app\", [\"x\"], 0x0 /* 0 vars */) = 0\n\
         1 1700000002.000000 openat(AT_FDCWD, \"/{opened}\", O_RDONLY) = 3\n\
         1 1700000003.000000 execve(\"/<img src=x onerror=alert(1)>\", [\"x\"], 0x0 /* 0 vars */) = -1 ENOENT (No such file or directory)\n"
    );
    let capture = capture(&slim, &scratch, &image, &log)?;
    let page = scratch.file("</title><img src=x>.html".replace('/', "_").as_str());
    let named = scratch.file("<img src=x onerror=alert(1)>.slim");
    std::fs::copy(&capture, &named)?;
    for subject in [named.as_str(), image.tag()] {
        slim.run(["report", subject, "--output", &page, "--force"]).expect(0);
        browser
            .open(&page.replace('%', "%25").replace('<', "%3C").replace('>', "%3E").replace(' ', "%20"))?;
        // The page has none of these by itself, and exactly one script that runs.
        let injected = browser.value(
            "return [document.querySelectorAll('img, iframe, object, embed, link, b, i, base, form').length, \
             document.querySelectorAll('script').length, document.querySelectorAll('svg').length <= 1, \
             [...document.querySelectorAll('*')].flatMap((e) => [...e.attributes]).filter((a) => a.name.startsWith('on')).length, \
             document.title === 'owned']",
        )?;
        assert_eq!(injected, json!([0, 2, true, 0, false]));
        // Every name is there as text, in the form that terminals are shown.
        let shown = rows(&browser, "files")?;
        assert_eq!(shown.len(), 2 + 2 * hostile().len());
        for name in [
            "/</script><img src=x onerror=alert(1)>/__proto__",
            "/\\xff\\xfe<i>/\\xff\\xfe<i>",
            "/\\u{1b}[2J/\\u{1b}[2J",
        ] {
            assert!(shown.iter().any(|path| path == name), "{name} is not in {shown:?}");
        }
        browser.type_into("#files input", "\\xff\\xfe<i>/\\xff")?;
        assert_eq!(rows(&browser, "files")?, ["/\\xff\\xfe<i>/\\xff\\xfe<i>"]);
        browser.click_corner("#treemap .cell[role=button]")?;
        assert_eq!(trail(&browser)?.as_array().map(Vec::len), Some(2));
        assert_eq!(browser.console()?, [""; 0], "errors, or refused by the policy");
    }
    let bytes = std::fs::read(&page)?;
    let text = String::from_utf8(bytes)?;
    let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert_eq!(text.chars().find(|&c| steers(c)), None);
    Ok(())
}
