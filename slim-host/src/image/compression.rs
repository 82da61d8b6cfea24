//! How layers are compressed in OCI layouts and archives, where that is asked for.
//!
//! Invariants: the diff id never depends on compression; the compressed bytes depend on the layer, the kind and the
//! level alone (one thread, no file name, gzip's time 0 and system 255), for one build of slim. Another version of a
//! compressor may give other bytes, so only the diff id is the same everywhere, and plain is the default.
//!
//! Non-goals: compressing what goes into the engine or into a docker-archive. The first would be unpacked at once,
//! and readers of the second disagree about members that are compressed.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
};

use flate2::GzBuilder;
use oci_spec::image::MediaType;

use super::target::copy;

/// What becomes of a layer's bytes in an OCI layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// They stay as they are.
    #[default]
    None,
    /// gzip, which every reader knows, at this level (1 to 9).
    Gzip(u32),
    /// zstd, smaller and faster to unpack, at this level (1 to 19); umoci before 0.5 cannot read it.
    Zstd(i32),
}

/// Why a text names no compression.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("compression {0:?} is unknown; write none, gzip, gzip:LEVEL (1-9), zstd or zstd:LEVEL (1-19)")]
pub struct CompressionError(String);

/// What the programs gzip and zstd take when nobody says anything.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let level = |text: &str, highest: u8| {
            text.parse::<u8>().ok().filter(|level| (1..=highest).contains(level) && !text.starts_with('+'))
        };
        let parsed = match text.split_once(':') {
            None => match text {
                "none" => Some(Self::None),
                "gzip" => Some(Self::Gzip(GZIP_LEVEL)),
                "zstd" => Some(Self::Zstd(ZSTD_LEVEL)),
                _ => None,
            },
            Some(("gzip", text)) => level(text, 9).map(|level| Self::Gzip(level.into())),
            // Higher levels make decoders need more memory than many of them allow.
            Some(("zstd", text)) => level(text, 19).map(|level| Self::Zstd(level.into())),
            Some(_) => None,
        };
        parsed.ok_or_else(|| CompressionError(text.to_owned()))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl Compression {
    /// The media type of a layer that is compressed so.
    pub(super) fn media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::ImageLayer,
            Self::Gzip(_) => MediaType::ImageLayerGzip,
            Self::Zstd(_) => MediaType::ImageLayerZstd,
        }
    }

    /// Compresses the `size` bytes of `from` into `to`.
    pub(super) fn run(self, from: &mut impl io::Read, size: u64, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::None => copy(from, to),
            Self::Gzip(level) => {
                // 255: unknown, so that the bytes do not tell the system on which they were made.
                let builder = GzBuilder::new().mtime(0).operating_system(255);
                let mut encoder = builder.write(to, flate2::Compression::new(level));
                copy(from, &mut encoder)?;
                encoder.finish().map(drop)
            }
            Self::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(to, level)?;
                // In the frame's header, so that readers know how much room they need.
                encoder.set_pledged_src_size(Some(size))?;
                encoder.include_checksum(true)?;
                copy(from, &mut encoder)?;
                encoder.finish().map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn texts_and_compressions_are_the_same() {
        for (text, compression, shown) in [
            ("none", Compression::None, "none"),
            ("gzip", Compression::Gzip(6), "gzip:6"),
            ("gzip:1", Compression::Gzip(1), "gzip:1"),
            ("zstd", Compression::Zstd(3), "zstd:3"),
            ("zstd:19", Compression::Zstd(19), "zstd:19"),
        ] {
            assert_eq!(text.parse(), Ok(compression));
            assert_eq!(compression.to_string(), shown);
        }
        for wrong in ["", "gz", "gzip:", "gzip:0", "gzip:10", "zstd:20", "zstd:+3", "none:1", "Zstd"] {
            assert_eq!(wrong.parse::<Compression>(), Err(CompressionError(wrong.to_owned())));
        }
    }

    #[test]
    fn gzip_tells_neither_time_nor_system_nor_name() {
        let mut out = Vec::new();
        Compression::Gzip(6).run(&mut &b"layer"[..], 5, &mut out).unwrap();
        // Magic, deflate, no flags, time 0, no extra flags at this level, system unknown.
        assert_eq!(out[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, b"layer");
    }

    #[test]
    fn zstd_says_the_size_and_reads_back() {
        let mut out = Vec::new();
        Compression::Zstd(3).run(&mut &b"layer"[..], 5, &mut out).unwrap();
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&out).ok().flatten(), Some(5));
        assert_eq!(zstd::decode_all(&out[..]).unwrap(), b"layer");
        let short = Compression::Zstd(3).run(&mut &b"laye"[..], 5, &mut Vec::new());
        assert!(short.is_err(), "a layer that is shorter than it was said to be");
    }
}
