//! Recognises the outermost layer of an input by its first bytes. Opens nothing.

use std::fmt;

/// Bytes that are looked at to recognise a layer: the longest of the first bytes below.
pub(super) const HEAD: usize = 34;

pub(super) const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// A layer that is opened here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// age, binary.
    Age,
    /// age, armored: the same in base64, as it travels in mails.
    Armored,
}

impl LayerKind {
    /// The layer that begins with `head`.
    pub(super) fn of(head: &[u8]) -> Option<LayerKind> {
        match head {
            [0x1f, 0x8b, 0x08, ..] => Some(LayerKind::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(LayerKind::Zstd),
            _ if head.starts_with(b"age-encryption.org/") => Some(LayerKind::Age),
            _ if head.starts_with(ARMOR) => Some(LayerKind::Armored),
            _ => None,
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LayerKind::Gzip => "gzip",
            LayerKind::Zstd => "zstd",
            LayerKind::Age | LayerKind::Armored => "age",
        })
    }
}

/// A format that is recognised, but that another program must open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is called.
    pub name: &'static str,
    /// The command that writes its content to stdout, when given a file's name.
    pub command: &'static str,
}

/// First bytes of what others unwrap; from the formats' own documents and file(1)'s magic(5).
const FOREIGN: [(&[u8], Foreign); 10] = [
    (b"\xfd7zXZ\0", Foreign { name: "xz", command: "xz -dc" }),
    (b"BZh", Foreign { name: "bzip2", command: "bzip2 -dc" }),
    (b"\x04\x22\x4d\x18", Foreign { name: "lz4", command: "lz4 -dc" }),
    (b"\x02\x21\x4c\x18", Foreign { name: "lz4", command: "lz4 -dc" }),
    (b"LZIP", Foreign { name: "lzip", command: "lzip -dc" }),
    (b"\x1f\x9d", Foreign { name: "compress", command: "gzip -dc" }),
    (b"7z\xbc\xaf\x27\x1c", Foreign { name: "7z", command: "7z x -so" }),
    (b"PK\x03\x04", Foreign { name: "zip", command: "unzip -p" }),
    (b"-----BEGIN PGP MESSAGE-----", Foreign { name: "OpenPGP", command: "gpg -d" }),
    (b"Salted__", Foreign { name: "openssl enc", command: "openssl enc -d -aes-256-cbc -pbkdf2 -in" }),
];

impl Foreign {
    pub(super) fn of(head: &[u8]) -> Option<Foreign> {
        FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, foreign)| *foreign)
    }
}
