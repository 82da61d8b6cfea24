//! One question a line, and the JSON form.

use rustix::io::Errno;

use super::*;
use crate::{
    capture::AccessKind,
    keep::testing::{Elf, Image, access, patterns},
};

fn image() -> Image {
    Image::new()
        .symlink("/lib", "usr/lib")
        .elf("/usr/sbin/nginx", &Elf::new().interpreter("/lib/ld.so").needed("libz.so.1"))
        .elf("/usr/lib/ld.so", &Elf::new())
        .symlink("/usr/lib/libz.so.1", "libz.so.1.3")
        .elf("/usr/lib/libz.so.1.3", &Elf::new().needed("libgone.so"))
        .file("/etc/passwd", b"")
        .file("/srv/secret", b"")
        .file("/srv/unused", b"")
        .symlink("/srv/loop", "loop")
        .file("/etc/conf", b"")
}

fn evidence() -> Accesses {
    let late = access("/usr/sbin/nginx", AccessKind::Stat, Outcome::Found);
    let late = (late.0, AccessRecord { offset_ns: 900_000_000, pid: 99, ..late.1 });
    Accesses::from([
        late,
        access("/usr/sbin/nginx", AccessKind::Exec, Outcome::Found),
        access("/srv/secret", AccessKind::Open, Outcome::Found),
        access("/etc/conf/x", AccessKind::Open, Outcome::Failed(Errno::NOTDIR.raw_os_error())),
    ])
}

fn explained(asked: &str) -> Explanation {
    let rules = patterns(&[], &["/srv/s*"]).unwrap();
    let set = image().plan_with(&evidence(), &rules).unwrap();
    explain(&set, image().tree(), &evidence(), &RequestedPath::new(asked).unwrap())
}

#[test]
fn answers_lead_back_to_the_evidence() {
    for (asked, answer) in [
        (
            "/usr/sbin/nginx",
            "/usr/sbin/nginx stays: executed first by pid 12 (nginx) at 0.2 s\n  accessed: executed\n  accessed: examined",
        ),
        (
            "/lib/libz.so.1.3",
            "/usr/lib/libz.so.1.3 stays: needed by /usr/sbin/nginx, executed first by pid 12 (nginx) at 0.2 s\n  elf-needed: needed by /usr/sbin/nginx\n  note: needs libgone.so, which the image does not have",
        ),
        (
            "/usr/lib/libz.so.1",
            "/usr/lib/libz.so.1 stays: a link to /usr/lib/libz.so.1.3, needed by /usr/sbin/nginx, executed first by pid 12 (nginx) at 0.2 s\n  symlink-to: a link to /usr/lib/libz.so.1.3",
        ),
        (
            "/etc/passwd",
            "/etc/passwd stays: part of every container (users)\n  skeleton: part of every container (users)",
        ),
        (
            "/etc/conf",
            "/etc/conf stays: opened first by pid 12 (nginx) at 0.2 s, which failed with errno 20\n  accessed: opened",
        ),
        (
            "/srv/secret",
            "/srv/secret does not stay: excluded by /srv/s*, although opened first by pid 12 (nginx) at 0.2 s",
        ),
        ("/srv/unused", "/srv/unused does not stay: nothing used it, and nothing that stays needs it"),
        ("/srv/no/where", "/srv/no/where is not in the image: it ends at /srv"),
        ("/srv/loop/x", "/srv/loop/x is not in the image: links lead in a circle"),
    ] {
        assert_eq!(explained(asked).to_string(), answer, "{asked}");
    }
}

#[test]
fn json_has_the_chain() {
    let json = serde_json::to_value(explained("/usr/lib/libz.so.1.3")).unwrap();
    let expected = serde_json::json!({
        "verdict": "kept",
        "path": "/usr/lib/libz.so.1.3",
        "chain": [
            {"path": "/usr/lib/libz.so.1.3", "reason": "elf-needed", "by": "/usr/sbin/nginx", "evidence": null},
            {
                "path": "/usr/sbin/nginx",
                "reason": "accessed",
                "kind": "exec",
                "evidence": {
                    "asked": "/usr/sbin/nginx", "kind": "exec", "errno": null, "finding": null, "pid": 12, "comm": "nginx",
                    "exe": "/usr/sbin/nginx", "offset_ns": 200_000_000, "count": 1
                }
            }
        ],
        "reasons": [{"reason": "elf-needed", "by": "/usr/sbin/nginx"}],
        "notes": ["needs libgone.so, which the image does not have"]
    });
    assert_eq!(json, expected);
    let json = serde_json::to_value(explained("/nowhere")).unwrap();
    assert_eq!(json, serde_json::json!({"verdict": "not-in-image", "asked": "/nowhere", "deepest": "/"}));
}

#[test]
fn healed_paths_tell_by_which_finding() {
    let absent = Outcome::Failed(Errno::NOENT.raw_os_error());
    let accesses = Accesses::from([
        access("/srv/unused", AccessKind::Healed, Outcome::Found),
        access("/srv/unused", AccessKind::Open, absent),
        access("/etc/conf", AccessKind::Healed, Outcome::Found),
        access("/etc/conf", AccessKind::Readdir, absent),
        access("/srv/secret", AccessKind::Healed, Outcome::Found),
        access("/etc/passwd", AccessKind::Open, absent),
    ]);
    let image = image().config(r#"{"Cmd":["/srv/unused"]}"#);
    let set = image.plan(&accesses);
    for (asked, answer) in [
        ("/srv/unused", "healed: in the slim image it was to be opened by pid 12 (nginx), in vain"),
        ("/etc/conf", "healed: in the slim image, pid 12 (nginx) listed a directory that lacked it"),
        (
            "/srv/secret",
            "healed: a step failed in the slim image, and pid 12 (nginx) had used it in the source",
        ),
        // Looked for in vain, but it stays for another reason.
        ("/etc/passwd", "part of every container (users)"),
    ] {
        let explanation = explain(&set, image.tree(), &accesses, &RequestedPath::new(asked).unwrap());
        let text = explanation.to_string();
        let expected = format!("{asked} stays: {answer}");
        assert_eq!(text.lines().next(), Some(expected.as_str()));
    }
}
