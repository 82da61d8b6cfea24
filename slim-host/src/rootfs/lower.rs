//! The lower directories of a container's root overlay, out of the options of its mount.
//!
//! Invariants: pure; the text is hostile (a container that owns a mount namespace writes these strings), so the
//! result is only a claim that [`super::layers`] checks against the engine's storage.
//!
//! Two layers of escaping: procfs writes space, tab, newline, backslash, comma and equals sign as `\ooo`
//! (`seq_show_option`), and overlayfs itself takes `\:` and `\,` for a literal colon and comma. Linux before 6.8
//! shows one `lowerdir=A:B`; from 6.8 a mount made through the new API shows one `lowerdir+=A` a layer.

use super::layers::LayersError;
use crate::{mountinfo, path::quote};

/// The lower directories of the overlay mounted on `/`, topmost first.
pub(super) fn of_root(table: &[u8]) -> Result<Vec<Vec<u8>>, LayersError> {
    let mut at_root = mountinfo::at_root(table);
    let (Some(mount), None) = (at_root.next(), at_root.next()) else {
        return Err(LayersError::RootMounts);
    };
    if mount.fs_type != b"overlay" || mount.root != b"/" {
        return Err(LayersError::NotOverlay { fs_type: quote(mount.fs_type) });
    }
    lower_dirs(mount.options)
}

fn lower_dirs(options: &[u8]) -> Result<Vec<Vec<u8>>, LayersError> {
    let mut dirs = Vec::new();
    for option in options.split(|&b| b == b',') {
        if let Some(value) = option.strip_prefix(b"lowerdir=") {
            dirs.extend(split_list(value));
        } else if let Some(value) = option.strip_prefix(b"lowerdir+=") {
            dirs.push(octal_decoded(value).map(|byte| byte.value).collect());
        } else if option.starts_with(b"datadir+=") {
            return Err(LayersError::Unreadable { reason: "data-only layers" });
        }
    }
    if dirs.is_empty() {
        return Err(LayersError::Unreadable { reason: "no lowerdir option" });
    }
    if dirs.iter().any(Vec::is_empty) {
        // `A::B` marks B as data-only since Linux 6.5.
        return Err(LayersError::Unreadable { reason: "an empty lowerdir entry" });
    }
    Ok(dirs)
}

/// Splits `A:B` at the colons that nobody escaped and removes the escapes.
fn split_list(value: &[u8]) -> Vec<Vec<u8>> {
    let mut dirs = vec![Vec::new()];
    let mut bytes = octal_decoded(value);
    while let Some(byte) = bytes.next() {
        // Linux 6.5 to 6.7 show a colon inside a path as `\072`.
        if byte.value == b':' && !byte.escaped {
            dirs.push(Vec::new());
            continue;
        }
        let literal =
            if byte.value == b'\\' { bytes.next().map(|next| next.value) } else { Some(byte.value) };
        if let (Some(dir), Some(literal)) = (dirs.last_mut(), literal) {
            dir.push(literal);
        }
    }
    dirs
}

/// A byte of an option, and whether it was written as `\ooo`.
struct OptionByte {
    value: u8,
    escaped: bool,
}

fn octal_decoded(mut rest: &[u8]) -> impl Iterator<Item = OptionByte> {
    std::iter::from_fn(move || {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = rest {
            rest = tail;
            let value = (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0');
            return Some(OptionByte { value, escaped: true });
        }
        let (&value, tail) = rest.split_first()?;
        rest = tail;
        Some(OptionByte { value, escaped: false })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_mount(options: &str) -> Vec<u8> {
        format!(
            "513 482 0:61 / / rw,relatime master:237 - overlay overlay {options}\n\
             514 513 0:64 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
             517 513 0:62 / /lower rw - overlay overlay rw,lowerdir=/etc\n"
        )
        .into_bytes()
    }

    fn dirs(options: &str) -> Vec<String> {
        let dirs = of_root(&root_mount(options)).unwrap();
        dirs.iter().map(|dir| dir.escape_ascii().to_string()).collect()
    }

    #[test]
    fn lower_directories_in_every_notation() {
        for (options, expected) in [
            ("rw,lowerdir=/a,upperdir=/u,workdir=/w", &["/a"][..]),
            ("rw,lowerdir=/a:/b:/c,upperdir=/u,workdir=/w,xino=off", &["/a", "/b", "/c"]),
            ("rw,lowerdir=l/AAA:l/BBB,upperdir=x/diff", &["l/AAA", "l/BBB"]),
            ("rw,lowerdir+=/a,lowerdir+=/b:c,upperdir=/u", &["/a", "/b:c"]),
            (r"rw,lowerdir=/a\040b:/c\011\012d", &["/a b", r"/c\t\nd"]),
            (r"rw,lowerdir=/a\134:b:/c", &["/a:b", "/c"]),
            (r"rw,lowerdir=/a\:b:/c", &["/a:b", "/c"]),
            (r"rw,lowerdir=/a\072b:/c", &["/a:b", "/c"]),
            (r"rw,lowerdir=/a\134\054b:/c\075d\054e", &["/a,b", "/c=d,e"]),
            (r"rw,lowerdir=/a\134\134b", &[r"/a\\b"]),
            (r"rw,lowerdir=/a\999", &["/a999"]),
            (r"rw,lowerdir=/a\", &["/a"]),
            (r"rw,lowerdir=/\400", &["/400"]),
        ] {
            assert_eq!(dirs(options), expected, "{options}");
        }
    }

    #[test]
    fn what_is_not_one_plain_overlay_is_refused() {
        let refused = |text: &[u8]| of_root(text).unwrap_err().to_string();
        let several = [root_mount("rw,lowerdir=/a"), root_mount("rw,lowerdir=/b")].concat();
        for (text, message) in [
            (b"".to_vec(), LayersError::RootMounts.to_string()),
            (b"garbage\n\n- - -\n1 2 0:3 / /\n1 2 0:3 / / -\n".to_vec(), LayersError::RootMounts.to_string()),
            (several, LayersError::RootMounts.to_string()),
            (
                b"1 2 8:1 / / rw - btrfs /dev/sda1 rw,subvol=/x\n".to_vec(),
                LayersError::NotOverlay { fs_type: "btrfs".to_owned() }.to_string(),
            ),
            (
                b"1 2 8:1 /etc / rw - overlay overlay rw,lowerdir=/a\n".to_vec(),
                LayersError::NotOverlay { fs_type: "overlay".to_owned() }.to_string(),
            ),
            (root_mount("rw"), LayersError::Unreadable { reason: "no lowerdir option" }.to_string()),
            (
                root_mount("rw,lowerdir="),
                LayersError::Unreadable { reason: "an empty lowerdir entry" }.to_string(),
            ),
            (
                root_mount("rw,lowerdir=/a::/b"),
                LayersError::Unreadable { reason: "an empty lowerdir entry" }.to_string(),
            ),
            (
                root_mount("rw,lowerdir+=/a,datadir+=/b"),
                LayersError::Unreadable { reason: "data-only layers" }.to_string(),
            ),
        ] {
            assert_eq!(refused(&text), message, "{}", text.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: Vec<u8>, options in "[rw,=:+\\\\0-7a/lowerdir]{0,64}") {
            let _ = of_root(&text);
            let _ = of_root(&root_mount(&options));
        }
    }
}
