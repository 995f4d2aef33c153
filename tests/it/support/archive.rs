//! Archives for tests: dumped, loaded, read, taken apart and packed again. One thing in them can be wrong while everything else
//! still fits: sums, sizes, checksums.

use std::io::Read;

use anyhow::{Context, Result};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::programs::{Finished, program_for, run, run_with};
use super::s2;
use super::server::Server;

/// The end record.
const SUMS: &str = "backup/SHA256SUMS";

/// What `chatto-dump` writes with these arguments; it must succeed, and without a word.
#[track_caller]
pub fn dump(server: &Server, arguments: &[&str]) -> Vec<u8> {
    let mut command = program_for("chatto-dump", server);
    command.args(arguments);
    let finished = run(command).expect_code(0);
    assert_eq!(finished.stderr, "");
    finished.stdout
}

/// `chatto-load` with these arguments and `archive` on a pipe.
pub fn load(server: &Server, arguments: &[&str], archive: &[u8]) -> Finished {
    let mut command = program_for("chatto-load", server);
    command.args(arguments);
    run_with(command, archive)
}

/// One entry of a tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// A directory's ends in a slash.
    pub path: String,
    /// As in the header: a file's is `0`, a directory's `5`.
    pub kind: u8,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub data: Vec<u8>,
    /// Where its header begins and where its data do, in the archive that was read.
    pub header_at: usize,
    pub data_at: usize,
}

impl Entry {
    /// A file or a directory of no consequence but for its name and content.
    pub fn new(path: impl Into<String>, data: impl Into<Vec<u8>>) -> Entry {
        let (path, data) = (path.into(), data.into());
        let (kind, mode) = if path.ends_with('/') { (b'5', 0o700) } else { (b'0', 0o600) };
        Entry { path, kind, mode, owner: (0, 0), mtime: 0, data, header_at: 0, data_at: 0 }
    }
}

/// All entries, in their order.
pub fn entries(tar: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = String::from_utf8(entry.path_bytes().into_owned())?;
        let header = entry.header();
        let (kind, mode, mtime) = (header.entry_type().as_byte(), header.mode()?, header.mtime()?);
        let owner = (header.uid()?, header.gid()?);
        let (header_at, data_at) = (entry.raw_header_position(), entry.raw_file_position());
        let (header_at, data_at) = (usize::try_from(header_at)?, usize::try_from(data_at)?);
        let mut data = Vec::new();
        entry.read_to_end(&mut data)?;
        entries.push(Entry { path, kind, mode, owner, mtime, data, header_at, data_at });
    }
    Ok(entries)
}

/// A tar of `entries`, as given, right or wrong.
pub fn pack(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(entry.kind));
        header.set_mode(entry.mode);
        header.set_mtime(entry.mtime);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_size(entry.data.len() as u64);
        tar.append_data(&mut header, &entry.path, entry.data.as_slice())?;
    }
    Ok(tar.into_inner()?)
}

/// A tar of `entries` of ours that were changed, with new sums.
pub fn with_sums(mut entries: Vec<Entry>) -> Result<Vec<u8>> {
    let mut sums = String::new();
    for entry in entries.iter().filter(|entry| entry.kind == b'0' && entry.path != SUMS) {
        let path = entry.path.strip_prefix("backup/").context("a path below backup/")?;
        sums += &format!("{}  {path}\n", sha256(&entry.data));
    }
    entries.retain(|entry| entry.path != SUMS);
    entries.push(Entry::new(SUMS, sums));
    pack(&entries)
}

/// The content of the file `path`.
pub fn file<'a>(entries: &'a [Entry], path: &str) -> Result<&'a [u8]> {
    let found = entries.iter().find(|entry| entry.path == path);
    Ok(&found.with_context(|| format!("no {path} in the archive"))?.data)
}

/// The content of the JSON file `path`.
pub fn json(entries: &[Entry], path: &str) -> Result<Json> {
    serde_json::from_slice(file(entries, path)?).with_context(|| format!("{path} is not JSON"))
}

/// What the manifest counts of each stream.
pub fn counts(archive: &[u8]) -> Vec<[Json; 6]> {
    let manifest = manifest(archive).unwrap();
    let of = |stream: &Json| {
        ["name", "messages", "first_seq", "last_seq", "deleted", "consumers"]
            .map(|field| stream[field].clone())
    };
    manifest["streams"].as_array().unwrap().iter().map(of).collect()
}

/// `manifest.json` of an archive.
pub fn manifest(tar: &[u8]) -> Result<Json> {
    json(&entries(tar)?, "backup/manifest.json")
}

/// A stream's entry in a manifest or an index.
#[track_caller]
pub fn stream<'a>(list: &'a Json, name: &str) -> &'a Json {
    let streams = list["streams"].as_array().expect("a list of streams");
    streams.iter().find(|stream| stream["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// An archive to be changed. What cannot be done to it is a failed test; paths are those below `backup/`.
#[derive(Clone)]
pub struct Archive(pub Vec<Entry>);

impl Archive {
    #[track_caller]
    pub fn read(archive: &[u8]) -> Archive {
        Archive(entries(archive).unwrap())
    }

    #[track_caller]
    pub fn entry(&mut self, path: &str) -> &mut Entry {
        let path = format!("backup/{path}");
        let found = self.0.iter_mut().find(|entry| entry.path == path);
        found.unwrap_or_else(|| panic!("the archive holds no {path}"))
    }

    /// The content of a file.
    #[track_caller]
    pub fn file(&mut self, path: &str) -> &mut Vec<u8> {
        &mut self.entry(path).data
    }

    /// Changes the JSON of a file.
    #[track_caller]
    pub fn edit(&mut self, path: &str, change: impl FnOnce(&mut Json)) {
        let file = self.file(path);
        let mut json = serde_json::from_slice(file).unwrap();
        change(&mut json);
        *file = json.to_string().into_bytes();
    }

    /// Has the description in this directory of `streams` say that its stream is kept in memory.
    #[track_caller]
    pub fn put_into_memory(&mut self, directory: &str) {
        self.edit(&format!("streams/{directory}/backup.json"), |backup| {
            backup["config"]["storage"] = "memory".into();
        });
    }

    /// Takes the index out of a stream's tar, as servers may leave it out (2.12.8 after a purge).
    pub fn remove_index(&mut self, stream: &str) -> Result<()> {
        let snapshot = self.file(&format!("streams/{stream}/stream.tar.s2"));
        let mut files = entries(&s2::unwrapped(snapshot))?;
        let all = files.len();
        files.retain(|file| file.path != "msgs/index.db");
        anyhow::ensure!(files.len() + 1 == all, "{stream} has no index");
        *snapshot = s2::wrapped(&pack(&files)?);
        let (bytes, sha256) = (snapshot.len(), sha256(snapshot));
        self.edit_manifest(stream, |entry| (entry["bytes"], entry["sha256"]) = (bytes.into(), sha256.into()));
        Ok(())
    }

    /// The manifest's entry of a stream.
    #[track_caller]
    pub fn in_manifest(&self, name: &str) -> Json {
        stream(&json(&self.0, "backup/manifest.json").unwrap(), name).clone()
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
        pack(&self.0).unwrap()
    }

    /// As a tar whose `SHA256SUMS` agrees with every file.
    pub fn with_sums(&self) -> Vec<u8> {
        with_sums(self.0.clone()).unwrap()
    }
}

/// As sha256sum(1) writes it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
