//! Archives taken apart and put together again, so that one thing in them can be wrong and all the
//! rest still fits it: sums, sizes, checksums.

use std::io::Read;

use minlz::s2;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// One entry: its path, and its bytes unless it is a directory.
#[derive(Clone)]
pub struct Entry {
    pub path: String,
    pub bytes: Option<Vec<u8>>,
    /// Where its header begins and where its bytes do, in the archive that was read.
    pub header_at: usize,
    pub bytes_at: usize,
}

/// An archive as a list of entries.
#[derive(Clone)]
pub struct Archive(pub Vec<Entry>);

impl Archive {
    pub fn read(archive: &[u8]) -> Archive {
        let mut tar = tar::Archive::new(archive);
        let entries = tar.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let at = |at: u64| usize::try_from(at).unwrap();
            let (header_at, bytes_at) = (at(entry.raw_header_position()), at(entry.raw_file_position()));
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let bytes = (!entry.header().entry_type().is_dir()).then_some(bytes);
            Entry { path, bytes, header_at, bytes_at }
        });
        Archive(entries.collect())
    }

    /// The entry at `backup/{path}`.
    #[track_caller]
    pub fn entry(&mut self, path: &str) -> &mut Entry {
        let path = format!("backup/{path}");
        let found = self.0.iter_mut().find(|entry| entry.path == path);
        found.unwrap_or_else(|| panic!("the archive holds no {path}"))
    }

    /// The bytes of the file at `backup/{path}`.
    #[track_caller]
    pub fn file(&mut self, path: &str) -> &mut Vec<u8> {
        self.entry(path).bytes.as_mut().unwrap()
    }

    /// The paths of all files, without `backup/`.
    pub fn files(&self) -> Vec<String> {
        let files = self.0.iter().filter(|entry| entry.bytes.is_some());
        files.map(|entry| entry.path.trim_start_matches("backup/").to_owned()).collect()
    }

    /// Changes the JSON of a file.
    #[track_caller]
    pub fn edit(&mut self, path: &str, change: impl FnOnce(&mut Json)) {
        let file = self.file(path);
        let mut json = serde_json::from_slice(file).unwrap();
        change(&mut json);
        *file = json.to_string().into_bytes();
    }

    /// The manifest's entry of a stream.
    #[track_caller]
    pub fn in_manifest(&mut self, stream: &str) -> Json {
        let manifest: Json = serde_json::from_slice(self.file("manifest.json")).unwrap();
        let mut streams = manifest["streams"].as_array().unwrap().iter();
        streams.find(|entry| entry["name"] == stream).unwrap().clone()
    }

    /// Changes the manifest's entry of a stream.
    #[track_caller]
    pub fn edit_manifest(&mut self, stream: &str, change: impl FnOnce(&mut Json)) {
        self.edit("manifest.json", |manifest| {
            let mut streams = manifest["streams"].as_array_mut().unwrap().iter_mut();
            change(streams.find(|entry| entry["name"] == stream).unwrap());
        });
    }

    /// As a tar, its sums as they are.
    pub fn tar(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for Entry { path, bytes, .. } in &self.0 {
            let mut header = Header::new_ustar();
            header.set_path(path).unwrap();
            header.set_entry_type(if bytes.is_some() { EntryType::Regular } else { EntryType::Directory });
            let bytes = bytes.as_deref().unwrap_or_default();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            out.extend(header.as_bytes());
            out.extend(bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    /// As a tar whose `SHA256SUMS` agrees with every file.
    pub fn with_sums(&self) -> Vec<u8> {
        let mut sealed = self.clone();
        let mut sums = String::new();
        for Entry { path, bytes, .. } in &self.0 {
            let below = path.trim_start_matches("backup/");
            if let (Some(bytes), true) = (bytes, below != "SHA256SUMS") {
                sums += &format!("{}  {below}\n", hexadecimal(&Sha256::digest(bytes)));
            }
        }
        *sealed.file("SHA256SUMS") = sums.into_bytes();
        sealed.tar()
    }
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is inside a snapshot: the S2 stream decoded.
pub fn unwrapped(mut snapshot: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some((head, rest)) = snapshot.split_first_chunk::<4>() {
        let len = usize::from(head[1]) | usize::from(head[2]) << 8 | usize::from(head[3]) << 16;
        let (frame, rest) = rest.split_at(len);
        snapshot = rest;
        match head[0] {
            0x00 => content.extend(s2::decode(&frame[4..]).unwrap()),
            0x01 => content.extend(&frame[4..]),
            _ => {}
        }
    }
    content
}

/// `content` as a snapshot whose frames' checksums fit it.
pub fn wrapped(content: &[u8]) -> Vec<u8> {
    let mut out = b"\xff\x06\x00\x00S2sTwO".to_vec();
    for data in content.chunks(64 << 10) {
        let crc = crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8);
        out.push(0x01);
        out.extend(&u32::try_from(4 + data.len()).unwrap().to_le_bytes()[..3]);
        out.extend(crc.to_le_bytes());
        out.extend(data);
    }
    out
}
