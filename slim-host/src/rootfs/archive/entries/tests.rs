use std::io::Cursor;

use super::*;

impl Source for Cursor<Vec<u8>> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let position = self.position().checked_add(bytes).filter(|p| *p <= self.get_ref().len() as u64);
        self.set_position(position.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A header with its body, padded.
fn member(kind: u8, name: &[u8], body: &[u8], change: impl Fn(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkflag = [kind];
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(body.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn plain(kind: u8, name: &str, body: &[u8]) -> Vec<u8> {
    member(kind, name.as_bytes(), body, |_| {})
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(format!("{length} {key}=").as_bytes());
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    plain(b'x', "PaxHeader", &body)
}

fn read(stream: &[Vec<u8>]) -> Result<Vec<Entry>, String> {
    let mut stream = Cursor::new(stream.concat());
    let mut entries = Entries::new(&mut stream, 4096);
    let mut read = Vec::new();
    while let Some(entry) = entries.next().map_err(|error| error.to_string())? {
        read.push(entry);
    }
    Ok(read)
}

/// The one entry of a stream.
fn one(stream: &[Vec<u8>]) -> Entry {
    let mut entries = read(stream).unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

const END: [u8; 1024] = [0; 1024];

#[test]
fn entries_follow_each_other_with_their_offsets() {
    let stream = [plain(b'0', "a", &[1; 513]), plain(b'5', "d/", b""), plain(b'0', "b", b"xy"), END.to_vec()];
    let read = read(&stream).unwrap();
    let seen: Vec<_> = read.iter().map(|e| (e.name.as_slice(), e.kind, e.offset, e.size)).collect();
    assert_eq!(
        seen,
        [
            (&b"a"[..], EntryKind::Regular, 512, 513),
            (b"d/", EntryKind::Directory, 2048, 0),
            (b"b", EntryKind::Regular, 2560, 2)
        ]
    );
}

#[test]
fn extended_headers_are_applied_to_the_next_entry_alone() {
    let records: &[(&str, &[u8])] = &[
        ("path", b"new\nline"),
        ("linkpath", b"tar\nget"),
        ("mtime", b"-1.25"),
        ("uid", b"4294967295"),
        ("gid", b"7"),
        ("SCHILY.xattr.security.capability", b"\0\n\xff="),
        ("SCHILY.xattr.user.empty", b""),
        ("comment", b"ignored"),
        ("uname", b""),
    ];
    let stream = [
        plain(b'g', "global", &[0xff; 600]),
        pax(records),
        plain(b'2', "short", b""),
        plain(b'0', "next", b""),
    ];
    let read = read(&stream).unwrap();
    let [first, second] = &read[..] else { panic!("{read:?}") };
    assert_eq!((first.name.as_slice(), first.link.as_slice()), (&b"new\nline"[..], &b"tar\nget"[..]));
    assert_eq!((first.uid, first.gid), (u32::MAX, 7));
    assert_eq!(first.mtime, Timestamp { secs: -2, nanos: 750_000_000 });
    let xattrs: Vec<_> =
        first.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    assert_eq!(xattrs, [(&b"security.capability"[..], &b"\0\n\xff="[..]), (b"user.empty", b"")]);
    assert_eq!((second.name.as_slice(), second.uid, second.xattrs.len()), (&b"next"[..], 0, 0));
    assert_eq!(second.mtime, Timestamp { secs: 1, nanos: 0 });
}

#[test]
fn old_formats_are_read() {
    let long = "l".repeat(300);
    let with_nul = format!("{long}\0");
    let gnu = [
        plain(b'L', "././@LongLink", with_nul.as_bytes()),
        plain(b'K', "././@LongLink", b"to"),
        plain(b'1', "l", b""),
    ];
    let entry = one(&gnu);
    assert_eq!((entry.name, entry.link), (long.into_bytes(), b"to".to_vec()));
    assert_eq!(one(&[plain(0, "old-dir/", b"")]).kind, EntryKind::Directory);
    assert_eq!(one(&[plain(0, "old-file", b"x")]).kind, EntryKind::Regular);
    let negative = member(b'0', b"a", b"", |header| header.set_mtime(u64::MAX - 1));
    assert_eq!(one(&[negative]).mtime.secs, -2);
}

#[test]
fn times_are_read_as_go_reads_them() {
    for (text, expected) in [
        ("0", Some((0, 0))),
        ("1.5", Some((1, 500_000_000))),
        ("1.", Some((1, 0))),
        ("1.1234567899", Some((1, 123_456_789))),
        ("-1", Some((-1, 0))),
        ("-0.000000001", Some((-1, 999_999_999))),
        ("", None),
        (".5", None),
        ("1.x", None),
        ("--1", None),
        ("+1", None),
        ("1e3", None),
        ("9223372036854775808", None),
    ] {
        assert_eq!(time(text.as_bytes()), expected.map(|(secs, nanos)| Timestamp { secs, nanos }), "{text}");
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    let sized = |size| member(b'0', b"a", b"", move |header| header.set_size(size));
    let broken = |mut bytes: Vec<u8>| {
        bytes[0] ^= 1;
        bytes
    };
    let one_zero_block = [vec![0; 512], plain(b'0', "hidden", b"")].concat();
    for (case, stream, message) in [
        ("checksum", vec![broken(plain(b'0', "a", b""))], "a header with a wrong checksum at byte 512"),
        ("not a tar", vec![vec![b'x'; 600]], "a header with a wrong checksum at byte 512"),
        ("cut header", vec![plain(b'0', "a", b"")[..300].to_vec()], "the end inside a header at byte 0"),
        ("hidden behind a zero block", vec![one_zero_block], "a header behind a zero block at byte 1024"),
        ("sizes", vec![pax(&[("size", b"1")]), plain(b'0', "a", b"xy")], "two sizes for one entry"),
        ("size over zero", vec![pax(&[("size", b"1")]), plain(b'0', "a", b"")], "two sizes for one entry"),
        ("body of a link", vec![plain(b'1', "a", b"x")], "content behind an entry that has none"),
        ("body of a directory", vec![plain(b'5', "a", b"x")], "content behind an entry that has none"),
        ("sparse", vec![plain(b'S', "a", b"")], "sparse entries are not supported"),
        ("PAX sparse", vec![pax(&[("GNU.sparse.major", b"1")])], "a sparse entry, which is not supported"),
        ("unknown type", vec![plain(b'V', "a", b"")], "unknown type of entry"),
        (
            "two names",
            vec![pax(&[("path", b"x")]), plain(b'L', "", b"y\0"), plain(b'0', "a", b"")],
            "two long names",
        ),
        (
            "lone extension",
            vec![pax(&[("path", b"x")]), END.to_vec()],
            "an extended header without its entry",
        ),
        ("large extension", vec![plain(b'x', "", &[b'x'; 4097])], "an extended header above the limit"),
        (
            "giant extension",
            vec![member(b'x', b"", b"", |h| h.set_size(1 << 40))],
            "an extended header above the limit",
        ),
        (
            "cut extension",
            vec![member(b'x', b"", b"", |h| h.set_size(100))],
            "the end inside an extended header",
        ),
        ("no record", vec![plain(b'x', "", b"nonsense\n")], "a malformed PAX record"),
        ("record length", vec![plain(b'x', "", b"99 path=a\n")], "a malformed PAX record"),
        ("short record", vec![plain(b'x', "", b"1 \n")], "a malformed PAX record"),
        ("no newline", vec![plain(b'x', "", b"9 path=a ")], "a malformed PAX record"),
        ("no equals", vec![plain(b'x', "", b"9 path a\n")], "a malformed PAX record"),
        ("owner", vec![pax(&[("uid", b"4294967296")])], "a PAX owner that is no 32-bit number"),
        (
            "owner in the header",
            vec![member(b'0', b"a", b"", |h| h.set_uid(1 << 33))],
            "an owner above 32 bits",
        ),
        ("time", vec![pax(&[("mtime", b"soon")])], "a PAX time that is no number"),
        ("size beyond the end", vec![sized(1 << 40)], "cannot read the archive"),
        ("size beyond all", vec![sized(u64::MAX - 5)], "a size beyond every file"),
    ] {
        let error = read(&stream).unwrap_err();
        assert!(error.contains(message), "{case}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn damaged_streams_never_panic(at in 0_usize..3000, byte: u8, cut in 0_usize..3000) {
        let stream = [
            pax(&[("path", b"a/b"), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"y")]),
            plain(b'0', "a", &[7; 600]),
            plain(b'2', "l", b""),
            END.to_vec(),
        ];
        let mut stream = stream.concat();
        let at = at % stream.len();
        stream[at] = byte;
        stream.truncate(cut.max(1));
        let _ = read(&[stream]);
    }
}
