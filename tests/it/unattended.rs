//! Backups that nobody watches. `examples/chatto-backup.sh` keeps 14 daily and 8 weekly ones, never replaces a good one by an
//! incomplete one, and says so. The units of `examples/systemd` run it with credentials from systemd, and systemd finds no
//! fault with them. Each run is reported to Prometheus and by a ping; promtool finds no fault with the metrics and the alerts.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fixtures;
use crate::support::programs::{Finished, install, path, run, run_with, search_path};
use crate::support::server::{LATEST, Server};
use anyhow::Result;
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chatto-backup.sh");
const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/chatto-metrics.sh");
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prometheus");
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
        let path = search_path(&[bin]);
        let machine = Machine { server, root, path };
        machine.shell("mkdir data keys tmp; age-keygen -o identity; age-keygen -y identity > recipients");
        machine.shell("echo sesame > pass; chmod 600 pass");
        machine.program("chatto-metrics", &format!("exec {METRICS} \"$@\""));
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

    /// A metric of the last run of `action`, if there is one; `more` labels follow the name.
    fn metric(&self, action: &str, name: &str) -> Option<f64> {
        self.metric_of(action, name, "")
    }

    fn metric_of(&self, action: &str, name: &str, more: &str) -> Option<f64> {
        let text = fs::read_to_string(self.at(&format!("metrics/chatto_backup_{action}.prom"))).unwrap();
        // As its own checker reads it.
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]);
        let checked = run_with(promtool, &text).expect_code(0);
        assert_eq!(checked.stderr, "", "{text}");
        let metric = format!("chatto_backup_last_{name}{{backup=\"{action}\"{more}}} ");
        text.lines().find_map(|line| line.strip_prefix(&metric)?.parse().ok())
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
    assert_eq!(machine.names("data"), ["daily", "report-data.json", "weekly"]);
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
    let still_good = |code: i32, failed: Finished| {
        let failed = failed.expect_code(code);
        assert!(failed.stderr.contains("chatto-backup: error: no whole chatto today"), "{}", failed.stderr);
        assert_eq!(fs::read(machine.at("data/daily/chatto-2026-01-01.tar.gz.age")).unwrap(), good);
        assert_eq!(machine.names("data/daily").len(), 1);
        assert_eq!(machine.names("data/weekly").len(), 1);
    };
    // Each program of the pipe in its turn; the dump as it is when there is no server.
    still_good(
        7,
        machine.command(&format!("{SCRIPT} data data recipients -s nats://127.0.0.1:1 --timeout 5")),
    );
    for program in ["gzip", "age"] {
        machine.program(program, "head -c 1000; exit 1");
        still_good(1, machine.backup("data", "data"));
        fs::remove_file(machine.at("bin").join(program))?;
    }
    assert_eq!(machine.names("data"), ["daily", "report-data.json", "weekly"]);
    // A dump that lacks a stream ends with 3: it is kept, elsewhere.
    let dump = path("chatto-dump");
    machine.program("chatto-dump", &format!("{} \"$@\" && exit 3", dump.display()));
    still_good(3, machine.backup("data", "data"));
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

/// As Chatto's own guide has it: a passphrase in a file, and one archive with the keys in it. It may stand beside the
/// other kind, and each is kept as long as it ought to be.
#[tokio::test(flavor = "multi_thread")]
async fn one_archive_with_keys_and_a_passphrase() -> Result<()> {
    let machine = Machine::start().await?;
    let at = format!("-s {} --token-file token", machine.server.url());
    let settings = "BACKUP_LOCK=passphrase BACKUP_DAILY=2 BACKUP_WEEKLY=1";
    for day in ["2026-01-04", "2026-01-05", "2026-01-06"] {
        machine.today(day);
        silent(machine.command(&format!("{settings} {SCRIPT} whole data pass {at}")));
    }
    silent(machine.command(&format!("{settings} {SCRIPT} keys data pass {at}")));
    silent(machine.command(&format!("{settings} {SCRIPT} data data pass {at}")));
    let file = |name: &str| name.replace("WHOLE", "chatto-whole-2026-01");
    let kept = [
        "chatto-2026-01-06.tar.gz.age",
        "chatto-keys-2026-01-06.age",
        "WHOLE-05.tar.gz.age",
        "WHOLE-06.tar.gz.age",
    ];
    assert_eq!(machine.names("data/daily"), kept.map(file));
    let weeks = machine.names("data/weekly");
    assert!(weeks.contains(&"chatto-whole-2026-W02.tar.gz.age".into()) && weeks.len() == 3, "{weeks:?}");
    for what in ["whole", "data", "keys"] {
        silent(machine.command(&format!("{settings} {SCRIPT} rehearse {what} data pass")));
        // What opens it is a passphrase, and another does not.
        machine.shell("echo other > other; chmod 600 other");
        machine.command(&format!("{settings} {SCRIPT} rehearse {what} data other")).expect_code(6);
    }
    assert_eq!(machine.names("tmp"), [""; 0]);
    machine.shell(
        "chatto-manifest list --passphrase-file pass data/daily/chatto-whole-2026-01-06.tar.gz.age > names
         grep -qx KV_ENCRYPTION_KEYS names
         # What age and gzip make of it is a tar, as of any other.
         chatto-keys open --passphrase-file pass data/daily/chatto-whole-2026-01-06.tar.gz.age | tar tz > names; grep -q EVT names",
    );
    let unknown = machine.command(&format!("BACKUP_LOCK=passphase {SCRIPT} data data pass")).expect_code(1);
    assert!(unknown.stderr.contains("neither recipients nor passphrase: passphase"), "{}", unknown.stderr);
    Ok(())
}

/// Answers HTTP requests at an address, and gives their paths.
fn listener() -> Result<(String, std::sync::mpsc::Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let (to, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> std::io::Result<()> {
        for connection in listener.incoming() {
            let mut lines = BufReader::new(connection?);
            let mut first = String::new();
            lines.read_line(&mut first)?;
            let mut line = String::new();
            while lines.read_line(&mut line)? > 2 {
                line.clear();
            }
            lines
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            if to.send(path).is_err() {
                break;
            }
        }
        Ok(())
    });
    Ok((url, asked))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_run_is_told() -> Result<()> {
    let machine = Machine::start().await?;
    let (url, asked) = listener()?;
    machine.shell("mkdir metrics");
    fs::write(machine.at("ping.url"), format!("{url}/secret\n"))?;
    // Whoever sees the arguments does not see the URL.
    machine.program("curl", "echo \"$@\" >> \"$HOME/curl.arguments\"; exec /usr/bin/curl \"$@\"");
    let settings = "BACKUP_METRICS=metrics BACKUP_PING=ping.url";
    let at = format!("-s {} --token-file token", machine.server.url());
    let time = |day: &str| {
        day.parse::<jiff::civil::Date>()
            .unwrap()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .unwrap()
            .timestamp()
            .as_second() as f64
    };

    silent(machine.command(&format!("{settings} {SCRIPT} data data recipients {at}")));
    assert_eq!(asked.recv()?, "/secret");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(machine.at("data/report-data.json"))?)?;
    assert_eq!(report["outcome"], "done");
    let success = machine.metric("data", "success_timestamp_seconds");
    assert_eq!(
        (success, machine.metric("data", "run_timestamp_seconds")),
        (Some(time("2026-01-01")), success)
    );
    assert_eq!(machine.metric("data", "exit_status"), Some(0.0));
    assert_eq!(machine.metric("data", "archive_bytes"), report["archive"]["bytes"].as_f64());
    assert_eq!(machine.metric("data", "duration_seconds"), report["seconds"].as_f64());
    let streams = report["streams"].as_array().unwrap();
    let done = streams.iter().filter(|stream| stream["outcome"] == "done");
    let messages: u64 = done.clone().map(|stream| stream["messages"].as_u64().unwrap()).sum();
    assert_eq!(machine.metric("data", "messages"), Some(messages as f64));
    let of = |outcome: &str| machine.metric_of("data", "streams", &format!(",outcome=\"{outcome}\""));
    assert_eq!((of("done"), of("failed")), (Some(done.count() as f64), Some(0.0)));
    // Another user's program reads it.
    let mode = fs::metadata(machine.at("metrics/chatto_backup_data.prom"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    // A run that fails keeps the time of the last success, also one whose dump is killed and reports nothing.
    machine.today("2026-01-02");
    machine
        .command(&format!("{settings} {SCRIPT} data data recipients -s nats://127.0.0.1:1 --timeout 5"))
        .expect_code(7);
    assert_eq!(asked.recv()?, "/secret/fail");
    assert_eq!(machine.metric("data", "exit_status"), Some(7.0));
    assert_eq!(machine.metric("data", "success_timestamp_seconds"), success);
    assert_eq!(machine.metric("data", "run_timestamp_seconds"), Some(time("2026-01-02")));
    assert_eq!(of("done"), None);
    machine.program("chatto-dump", "kill -9 $$");
    machine.command(&format!("{settings} {SCRIPT} data data recipients {at}")).expect_code(137);
    assert_eq!(asked.recv()?, "/secret/fail");
    assert_eq!(machine.metric("data", "exit_status"), Some(137.0));
    assert_eq!(machine.metric("data", "duration_seconds"), None);
    assert_eq!(machine.metric("data", "success_timestamp_seconds"), success);
    fs::remove_file(machine.at("bin/chatto-dump"))?;

    // Keys, and a rehearsal.
    silent(machine.command(&format!("{settings} {SCRIPT} keys keys recipients {at}")));
    assert_eq!(machine.metric_of("keys", "keys", ",outcome=\"done\""), Some(10.0));
    silent(machine.command(&format!("{settings} {SCRIPT} rehearse data data identity")));
    assert_eq!(machine.metric("rehearse_data", "messages"), Some(messages as f64));
    assert_eq!((asked.recv()?, asked.recv()?), ("/secret".into(), "/secret".into()));
    // Neither of the two makes a backup fail.
    let told =
        machine.command(&format!("BACKUP_METRICS=none BACKUP_PING=none {SCRIPT} data data recipients {at}"));
    let told = told.expect_code(0).stderr;
    assert!(told.contains("warning: no metrics in none") && told.contains("warning: no ping"), "{told}");
    let arguments = fs::read_to_string(machine.at("curl.arguments"))?;
    assert!(arguments.contains("--config") && !arguments.contains("secret"), "{arguments}");
    assert_eq!(machine.names("metrics").len(), 3, "no file is left beside them");
    Ok(())
}

#[test]
fn promtool_finds_no_fault_with_the_alerts_and_they_fire_when_they_ought_to() {
    for arguments in
        [["check", "rules", "chatto-backup.rules.yml"], ["test", "rules", "chatto-backup.rules.test.yml"]]
    {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).current_dir(ALERTS);
        run(promtool).expect_code(0);
    }
    // They speak of metrics that there are.
    let rules = fs::read_to_string(format!("{ALERTS}/chatto-backup.rules.yml")).unwrap();
    let metrics = fs::read_to_string(METRICS).unwrap();
    let named: Vec<&str> = rules.split("chatto_backup_last_").skip(1).collect();
    assert!(named.len() >= 6);
    for name in named {
        let name = name.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap();
        assert!(metrics.contains(&format!("metric(\"{name}\"")), "{name}");
    }
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
    assert!(
        unknown.stderr.contains("chatto-backup rehearse data|keys|whole DIRECTORY FILE"),
        "{}",
        unknown.stderr
    );
    Ok(())
}

/// What follows `key` in a unit.
fn exec(unit: &str, key: &str) -> String {
    let text = fs::read_to_string(Path::new(UNITS).join(unit)).unwrap();
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned()
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
        let line = exec(&format!("{unit}.service"), "ExecStart=");
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
        // systemd says how it ended; as root, hence the signs before it.
        let told = exec(&format!("{unit}.service"), "ExecStopPost=");
        let told = told.strip_prefix("-+").unwrap().replace("/usr/local/sbin/chatto-metrics", METRICS);
        let told = told.replace("/var/lib/prometheus/node-exporter", "metrics").replace("%S", "state");
        assert!(!told.contains('%'), "{told}");
        machine.shell("mkdir -p metrics");
        silent(machine.command(&format!("EXIT_STATUS=0; {told}")));
        silent(machine.command(&format!("EXIT_STATUS=KILL; {told}")));
    }
    assert_eq!(
        machine.names("metrics"),
        ["chatto_backup_data.prom", "chatto_backup_keys.prom", "chatto_backup_rehearse_data.prom"]
    );
    assert_eq!(machine.metric("keys", "exit_status"), Some(137.0));
    assert!(machine.metric("data", "messages").is_some_and(|messages| messages > 0.0));
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
    let line = exec("chatto-failed@.service", "ExecStart=");
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
        fs::write(
            &unit,
            text.replace("/usr/local/sbin/chatto-backup", SCRIPT)
                .replace("/usr/local/sbin/chatto-metrics", METRICS),
        )?;
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
