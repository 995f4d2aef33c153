//! Finds the nats-server to run, and its release. Starts no server.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{Error, not_runnable};
use crate::names::Printable;
use crate::release::Version;

/// Finds the nats-server to run: the file that the user gave, with what gave it for messages, else `$NATS_SERVER`, else
/// `nats-server` on `$PATH`.
///
/// If the named program is missing, that is an error, and no other place is searched.
pub fn find_binary(given: Option<(&Path, &str)>) -> Result<PathBuf, Error> {
    find(given, std::env::var_os("NATS_SERVER"), std::env::var_os("PATH"))
}

fn find(
    given: Option<(&Path, &str)>,
    variable: Option<OsString>,
    path: Option<OsString>,
) -> Result<PathBuf, Error> {
    let named = |file: &Path, by: &str| {
        if is_executable(file) {
            return Ok(file.to_path_buf());
        }
        Err(Error::NoBinary(format!(
            "that can be run at {}, which {by} names",
            Printable::new(&file.to_string_lossy())
        )))
    };
    if let Some((file, by)) = given {
        return named(file, by);
    }
    if let Some(file) = variable.filter(|file| !file.is_empty()) {
        return named(Path::new(&file), "$NATS_SERVER");
    }
    std::env::split_paths(path.as_deref().unwrap_or(OsStr::new("")))
        .map(|dir| dir.join("nats-server"))
        .find(|file| is_executable(file))
        .ok_or_else(|| Error::NoBinary("on $PATH".into()))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Asks `binary` which release it is.
pub fn version(binary: &Path) -> Result<Version, Error> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| not_runnable(binary, e))?;
    String::from_utf8_lossy(&output.stdout)
        .strip_prefix("nats-server: ")
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| not_runnable(binary, "it does not say that it is a nats-server"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    #[test]
    fn a_binary_is_looked_for_where_the_user_said_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let binary = dir.path().join("nats-server");
        let path = || Some(OsString::from(dir.path()));
        let message = |found: Result<PathBuf, Error>| found.unwrap_err().to_string();

        assert_eq!(message(find(None, None, path())), "no nats-server on $PATH");
        fs::write(&binary, "#!/bin/sh\n").unwrap();
        assert!(find(None, None, path()).is_err(), "not executable");
        fs::set_permissions(&binary, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(None, None, path()).unwrap(), binary);
        assert_eq!(find(None, Some("".into()), path()).unwrap(), binary);
        assert!(
            message(find(None, Some("/none".into()), path())).contains("/none, which $NATS_SERVER names")
        );
        assert!(
            message(find(Some((Path::new("/none"), "--nats-server")), None, path()))
                .contains("--nats-server names")
        );
    }
}
