//! Backups that nobody watches: `examples/chatto-backup.sh` keeps 14 daily and 8 weekly ones, puts nothing
//! in the place of a good one that is not whole, and says so; the units of `examples/systemd` run it with
//! credentials from systemd, and systemd finds no fault with them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fixtures;
use crate::support::programs::{Finished, install, path, run};
use crate::support::server::{LATEST, Server, binary};
use anyhow::Result;
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chatto-backup.sh");
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/systemd");

/// A machine with a key pair, a Chatto, and a calendar of its own: `date` says what the file `today` does.
struct Machine {
    server: Server,
    root: TempDir,
    path: String,
}

impl Machine {
    async fn start() -> Result<Machine> {
        let server = Server::start(LATEST);
        fixtures::v0_4(&server.client().await?, server.version(), 5, 100).await?;
        let root = tempfile::tempdir()?;
        let bin = root.path().join("bin");
        fs::create_dir(&bin)?;
        let ours = [bin.clone(), path("chatto-dump"), binary(LATEST)];
        let ours = ours.iter().enumerate().map(|(n, p)| if n == 0 { p } else { p.parent().unwrap() });
        let system = std::env::var_os("PATH").unwrap();
        let all = ours.map(Path::to_owned).chain(std::env::split_paths(&system));
        let path = std::env::join_paths(all)?.into_string().unwrap();
        let machine = Machine { server, root, path };
        machine.shell("mkdir data keys tmp; age-keygen -o identity; age-keygen -y identity > recipients");
        machine.program("date", "exec /bin/date -d \"$(cat \"$HOME/today\")\" \"$@\"");
        machine.today("2026-01-01");
        fs::write(machine.at("token"), machine.server.token())?;
        fs::set_permissions(machine.at("token"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(machine)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts a program before all others of its name.
    fn program(&self, name: &str, script: &str) {
        install(&self.at("bin").join(name), &format!("#!/bin/bash\n{script}\n"));
    }

    fn today(&self, day: &str) {
        fs::write(self.at("today"), day).unwrap();
    }

    /// Runs a command line as cron would: in its home directory, with next to no environment.
    fn command(&self, line: &str) -> Finished {
        let mut sh = Command::new("bash");
        sh.args(["-euo", "pipefail", "-c", line]).current_dir(self.root.path()).env_clear();
        sh.env("PATH", &self.path).env("HOME", self.root.path()).env("TMPDIR", self.at("tmp"));
        // Where every day has a midnight.
        sh.env("CREDENTIALS_DIRECTORY", self.root.path()).env("TZ", "UTC");
        run(sh)
    }

    #[track_caller]
    fn shell(&self, line: &str) {
        self.command(line).expect_code(0);
    }

    /// The script with the options that lead to the server.
    fn backup(&self, action: &str, directory: &str) -> Finished {
        let url = self.server.url();
        self.command(&format!("{SCRIPT} {action} {directory} recipients -s {url} --token-file token"))
    }

    /// The names in a directory, sorted; none where there is no such directory.
    fn names(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(directory)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn silent(done: Finished) {
    let done = done.expect_code(0);
    assert_eq!((done.stdout.as_slice(), done.stderr.as_str()), (b"".as_slice(), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn fourteen_days_and_eight_weeks_are_kept() -> Result<()> {
    let machine = Machine::start().await?;
    // Eleven weeks, of which the first begins on a Thursday, without the Tuesdays.
    let first: jiff::civil::Date = "2026-01-01".parse()?;
    let days = (0..77).map(|n| first.saturating_add(jiff::Span::new().days(n)));
    let days: Vec<String> = days
        .filter(|day| day.weekday() != jiff::civil::Weekday::Tuesday)
        .map(|day| day.to_string())
        .collect();
    // The rest of a run that was killed.
    fs::write(machine.at("data/.part"), "rubbish")?;
    for day in &days {
        machine.today(day);
        silent(machine.backup("data", "data"));
    }
    let file = |day: &String| format!("chatto-{day}.tar.gz.age");
    assert_eq!(machine.names("data/daily"), days[days.len() - 14..].iter().map(file).collect::<Vec<_>>());
    let weeks: Vec<String> = (5..=12).map(|week| format!("chatto-2026-W{week:02}.tar.gz.age")).collect();
    assert_eq!(machine.names("data/weekly"), weeks);
    assert_eq!(machine.names("data"), ["daily", "weekly"]);
    // The first backup of a week stands for it: that of Monday, 2 March.
    machine.shell("chatto-manifest verify -i identity data/weekly/chatto-2026-W05.tar.gz.age >&2");
    machine.shell("test data/daily/chatto-2026-03-09.tar.gz.age -ef data/weekly/chatto-2026-W11.tar.gz.age");
    let mode = fs::metadata(machine.at("data/weekly/chatto-2026-W05.tar.gz.age"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_backup_is_loud_and_takes_no_place() -> Result<()> {
    let machine = Machine::start().await?;
    silent(machine.backup("data", "data"));
    let good = fs::read(machine.at("data/daily/chatto-2026-01-01.tar.gz.age"))?;
    let still_good = |failed: Finished| {
        let failed = failed.expect_code(1);
        assert!(failed.stderr.contains("chatto-backup: error: no whole chatto today"), "{}", failed.stderr);
        assert_eq!(fs::read(machine.at("data/daily/chatto-2026-01-01.tar.gz.age")).unwrap(), good);
        assert_eq!(machine.names("data/daily").len(), 1);
        assert_eq!(machine.names("data/weekly").len(), 1);
    };
    // Each program of the pipe in its turn; the dump as it is when there is no server.
    still_good(machine.command(&format!("{SCRIPT} data data recipients -s nats://127.0.0.1:1 --timeout 5")));
    for program in ["gzip", "age"] {
        machine.program(program, "head -c 1000; exit 1");
        still_good(machine.backup("data", "data"));
        fs::remove_file(machine.at("bin").join(program))?;
    }
    assert_eq!(machine.names("data"), ["daily", "weekly"]);
    // A dump that lacks a stream ends with 3: it is kept, elsewhere.
    let dump = path("chatto-dump");
    machine.program("chatto-dump", &format!("{} \"$@\" && exit 3", dump.display()));
    still_good(machine.backup("data", "data"));
    machine.shell("chatto-manifest verify -i identity data/chatto-incomplete.tar.gz.age >&2");
    fs::remove_file(machine.at("bin/chatto-dump"))?;
    // Another one at the same time.
    let locked = machine.command(&format!("flock data {SCRIPT} data data recipients")).expect_code(1);
    assert!(locked.stderr.contains("another one is at work in data"), "{}", locked.stderr);
    for wrong in ["", "data data", "dta data recipients"] {
        assert_ne!(machine.command(&format!("{SCRIPT} {wrong}")).code, Some(0), "{wrong}");
    }
    silent(machine.backup("data", "data"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_fails_when_the_newest_backup_is_bad_or_old() -> Result<()> {
    let machine = Machine::start().await?;
    let rehearse = || machine.command(&format!("{SCRIPT} rehearse data data identity"));
    let says = |what: &str| {
        let failed = rehearse();
        assert_ne!(failed.code, Some(0));
        assert!(failed.stderr.contains(what), "{}", failed.stderr);
    };
    machine.shell("mkdir data/daily");
    says("no chatto backup in data/daily");
    silent(machine.backup("data", "data"));
    silent(rehearse());
    machine.shell("touch -d '-3 days' data/daily/chatto-2026-01-01.tar.gz.age");
    says("more than 2 days old");
    machine.today("2026-01-02");
    silent(machine.backup("data", "data"));
    silent(rehearse());
    machine.shell("truncate -s -1000 data/daily/chatto-2026-01-02.tar.gz.age");
    says("age layer");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_of_the_keys_fails_when_the_newest_export_is_bad_or_old() -> Result<()> {
    let machine = Machine::start().await?;
    let says = |code: i32, what: &str| {
        let failed = machine.command(&format!("{SCRIPT} rehearse keys keys identity")).expect_code(code);
        assert!(failed.stderr.contains(what), "{}", failed.stderr);
    };
    machine.shell("mkdir keys/daily");
    says(1, "no chatto-keys backup in keys/daily");
    silent(machine.backup("keys", "keys"));
    silent(machine.command(&format!("{SCRIPT} rehearse keys keys identity")));
    machine.shell("touch -d '-3 days' keys/daily/chatto-keys-2026-01-01.age");
    says(1, "more than 2 days old");
    machine.today("2026-01-02");
    silent(machine.backup("keys", "keys"));
    machine.shell("truncate -s -1 keys/daily/chatto-keys-2026-01-02.age");
    says(4, "age layer");
    machine.shell(
        "echo '{\"version\":3,\"keys\":[]}' | age -R recipients > keys/daily/chatto-keys-2026-01-02.age",
    );
    says(4, "no key");
    // It says how it is used where it is told neither of the two.
    let unknown = machine.command(&format!("{SCRIPT} rehearse keys identity")).expect_code(2);
    assert!(unknown.stderr.contains("chatto-backup rehearse keys DIRECTORY IDENTITY"), "{}", unknown.stderr);
    Ok(())
}

/// What follows `ExecStart=` in a unit.
fn exec_start(unit: &str) -> String {
    let text = fs::read_to_string(Path::new(UNITS).join(unit)).unwrap();
    text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_units_run_with_credentials_from_systemd() -> Result<()> {
    let machine = Machine::start().await?;
    for unit in ["chatto-backup", "chatto-keys", "chatto-rehearse"] {
        machine.shell(&format!("mkdir -p state/{unit}"));
        let text = fs::read_to_string(Path::new(UNITS).join(format!("{unit}.service")))?;
        let credentials: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("LoadCredential=")?.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        let line = exec_start(&format!("{unit}.service"));
        // Only what a unit loads is there for it.
        for name in ["token", "recipients", "identity"] {
            assert_eq!(line.contains(&format!("%d/{name}")), credentials.contains(&name), "{line}");
        }
        let line = line
            .replace("/usr/local/sbin/chatto-backup", SCRIPT)
            .replace("nats://127.0.0.1:4222", &machine.server.url())
            .replace("%S", "state")
            .replace("%d", "\"$CREDENTIALS_DIRECTORY\"");
        assert!(!line.contains('%'), "{line}");
        silent(machine.command(&line));
    }
    machine.shell(
        "chatto-manifest verify -i identity state/chatto-backup/daily/chatto-2026-01-01.tar.gz.age >&2
         age -d -i identity state/chatto-keys/daily/chatto-keys-2026-01-01.age | grep '\"key_count\": 10' >&2",
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn root_gets_a_mail_when_a_unit_fails() -> Result<()> {
    let machine = Machine::start().await?;
    for unit in ["chatto-backup", "chatto-keys", "chatto-rehearse"] {
        let text = fs::read_to_string(Path::new(UNITS).join(format!("{unit}.service")))?;
        assert!(text.lines().any(|line| line == "OnFailure=chatto-failed@%n.service"), "{unit}");
    }
    // As of a unit that failed: systemctl(1) then ends with 3.
    machine.program("systemctl", "echo \"last words of ${*: -1}\"; exit 3");
    machine.program("mail", "{ echo \"$@\"; cat; } >> \"$HOME/mail\"");
    let line = exec_start("chatto-failed@.service");
    let line = line.replace("%i", "chatto-keys.service").replace("%H", "here");
    assert!(!line.contains('%'), "{line}");
    silent(machine.command(&line));
    let mail = fs::read_to_string(machine.at("mail"))?;
    assert_eq!(mail, "-s chatto-keys.service failed on here root\nlast words of chatto-keys.service\n");
    // Nobody is told that a mail was sent that was not.
    machine.program("mail", "exit 1");
    machine.command(&line).expect_code(1);
    Ok(())
}

#[test]
fn systemd_finds_no_fault_with_the_units() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--man=no", "verify"]);
    let mut units = 0;
    for entry in fs::read_dir(UNITS)? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?;
        let unit = dir.path().join(entry.file_name());
        fs::write(&unit, text.replace("/usr/local/sbin/chatto-backup", SCRIPT))?;
        verify.arg(unit);
        units += 1;
    }
    assert_eq!(units, 7);
    let verified = run(verify).expect_code(0);
    assert_eq!(verified.stderr, "");
    for service in ["chatto-backup", "chatto-keys", "chatto-rehearse"] {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--threshold=20"]);
        run({
            security.arg(dir.path().join(format!("{service}.service")));
            security
        })
        .expect_code(0);
    }
    Ok(())
}
