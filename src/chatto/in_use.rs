//! Finds processes that use a store directory. A nats-server takes no lock, and an idle one closes its files after two
//! minutes. So this looks for signs. If there are none, that proves nothing. Changes nothing.
//!
//! | sign, in Linux's `/proc/PID` | of |
//! |---|---|
//! | `fd/*` is a file of the store: same device and inode, also across mount namespaces | any program in use |
//! | `cmdline` of a process called `nats-server` names the directory | an idle server |
//! | `comm` is `chatto` and `cwd` is the directory or above it, or `environ` names it | an idle Chatto |
//!
//! If there is no `/proc`, or if a process belongs to another user, nothing is known.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::names::Printable;

/// The variable that tells a Chatto where its store is.
const DATA_DIR: &str = "CHATTO_NATS_EMBEDDED_DATA_DIR";

/// A process that has, or seems to have, a store open.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub process: u32,
    /// Its name.
    pub name: Printable,
    /// What tells so.
    pub sign: String,
}

/// Looks for a process that uses the store in `dir`.
///
/// # Errors
/// When the directory itself cannot be looked at; not when a process cannot.
pub fn process_using(dir: &Path) -> io::Result<Option<Process>> {
    let dir = fs::canonicalize(dir)?;
    let me = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return Ok(None) };
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for process in numbers.filter(|number| *number != me) {
        let proc = PathBuf::from(format!("/proc/{process}"));
        let name = fs::read_to_string(proc.join("comm")).unwrap_or_default();
        let name = name.trim_end();
        let sign = open_file(&proc, &dir).or_else(|| match name {
            "nats-server" => named_in_command(&proc, &dir),
            "chatto" => chatto(&proc, &dir),
            _ => None,
        });
        if let Some(sign) = sign {
            return Ok(Some(Process { process, name: Printable::new(name), sign }));
        }
    }
    Ok(None)
}

/// A file that is open in `proc` and, by its path's end, device and inode, is one of the store's.
fn open_file(proc: &Path, dir: &Path) -> Option<String> {
    for descriptor in fs::read_dir(proc.join("fd")).ok()?.filter_map(Result::ok) {
        let Ok(target) = fs::read_link(descriptor.path()) else { continue };
        let target = target.as_os_str().as_bytes();
        let Some(at) = target.windows(JETSTREAM.len()).rposition(|part| part == JETSTREAM) else { continue };
        let ours = dir.join(OsStr::from_bytes(target.get(at + 1..).unwrap_or_default()));
        if let (Ok(theirs), Ok(file)) = (fs::metadata(descriptor.path()), fs::metadata(&ours))
            && is_same(&theirs, &file)
        {
            return Some(format!("it has {} open", Printable::new(&ours.to_string_lossy())));
        }
    }
    None
}

const JETSTREAM: &[u8] = b"/jetstream/";

/// An argument, or what follows a `=` in one, that is the directory.
fn named_in_command(proc: &Path, dir: &Path) -> Option<String> {
    let arguments = fs::read(proc.join("cmdline")).ok()?;
    let found = arguments.split(|byte| *byte == 0).any(|argument| {
        let value = argument.split(|byte| *byte == b'=').next_back().unwrap_or_default();
        is_dir(proc, value, dir)
    });
    found.then(|| "its command line names the directory".into())
}

fn chatto(proc: &Path, dir: &Path) -> Option<String> {
    if let Ok(environment) = fs::read(proc.join("environ")) {
        for variable in environment.split(|byte| *byte == 0) {
            let value = variable.strip_prefix(DATA_DIR.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                return is_dir(proc, value, dir).then(|| format!("its {DATA_DIR} is the directory"));
            }
        }
    }
    let Ok(cwd) = fs::metadata(proc.join("cwd")) else {
        return Some("what it has open, only its owner can see".into());
    };
    let above = dir.ancestors().any(|above| fs::metadata(above).is_ok_and(|above| is_same(&above, &cwd)));
    above.then(|| "it runs in or above the directory".into())
}

/// Whether `path`, as the process in `proc` would take it, is `dir`.
fn is_dir(proc: &Path, path: &[u8], dir: &Path) -> bool {
    let there = proc.join("cwd").join(OsStr::from_bytes(path));
    !path.is_empty() && matches!((fs::metadata(there), fs::metadata(dir)), (Ok(a), Ok(b)) if is_same(&a, &b))
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
