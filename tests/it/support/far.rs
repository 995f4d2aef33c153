//! Other machines, on loopback: machines that are reached over ssh, and an object store that speaks S3. They are real daemons,
//! each with its own port and keys.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use super::port::Port;

/// A daemon that says when it is ready, and is stopped when dropped.
struct Daemon(Child);

impl Daemon {
    /// Starts it and waits for the line on its stderr that holds `ready`, which is returned.
    fn start(mut command: Command, ready: &str) -> (Daemon, String) {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("cannot run {:?}: {e}", command.get_program()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let daemon = Daemon(child);
        let mut said = String::new();
        let line = lines.find(|line| {
            said += &format!("{line}\n");
            line.contains(ready)
        });
        let line = line.unwrap_or_else(|| panic!("{:?} does not start:\n{said}", command.get_program()));
        // It goes on talking, and must not wait for somebody to listen.
        thread::spawn(move || lines.for_each(drop));
        (daemon, line)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its log ends with it; that it is gone already is no news to anybody.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first of `directories` that holds `program`, or a failure that says how to install it.
fn find(program: &str, directories: impl IntoIterator<Item = PathBuf>, install: &str) -> PathBuf {
    let mut paths = directories.into_iter().map(|directory| directory.join(program));
    let found = paths.find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{program} is missing; run: {install}"))
}

fn search_path() -> Vec<PathBuf> {
    let mut path: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
    path.push("/usr/sbin".into());
    path
}

/// Machines that ssh reaches: a directory for each, in which its commands run.
pub struct Machines {
    _sshd: Daemon,
    _port: Port,
}

impl Machines {
    /// Starts an sshd for the machines `names`, directories below `root`. Their programs are those of
    /// `path`, and so is `ssh` with what it must know, which is put into `bin`.
    pub fn start(root: &Path, names: &[&str], bin: &Path, path: &str) -> Machines {
        let dir = root.join("ssh");
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        for key in ["host", "user"] {
            let keygen = ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", &at(key)];
            let made = Command::new("ssh-keygen").args(keygen).status();
            assert!(made.unwrap().success(), "ssh-keygen fails");
        }
        // sshd insists on this place when root runs it, and a package that was only just installed has not
        // made it.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        // sshd cannot be asked for just any port.
        let kept = Port::keep();
        let port = kept.number();
        write(
            &dir.join("arrive"),
            &format!(
                "#!/bin/sh\nexport PATH='{path}' HOME='{root}'/$MACHINE\ncd \"$HOME\" && \
                 exec bash -c \"$SSH_ORIGINAL_COMMAND\"\n",
                root = root.display()
            ),
        );
        write(
            &dir.join("sshd_config"),
            &format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
                 AcceptEnv MACHINE\nForceCommand sh {}\n",
                at("host"),
                at("user.pub"),
                at("arrive")
            ),
        );
        let host = fs::read_to_string(at("host.pub")).unwrap();
        let mut config = format!(
            "Host *\nHostName 127.0.0.1\nPort {port}\nIdentityFile {}\nIdentitiesOnly yes\nBatchMode yes\n\
             StrictHostKeyChecking yes\nHostKeyAlias machine\nUserKnownHostsFile {}\nLogLevel ERROR\n",
            at("user"),
            at("known_hosts")
        );
        for name in names {
            config += &format!("Host {name}\nSetEnv MACHINE={name}\n");
        }
        write(&dir.join("known_hosts"), &format!("machine {host}"));
        write(&dir.join("config"), &config);

        let ssh = find("ssh", search_path(), "scripts/install-tools ssh");
        let ssh = format!("#!/bin/sh\nexec {} -F {} \"$@\"\n", ssh.display(), at("config"));
        super::programs::install(&bin.join("ssh"), &ssh);
        let mut sshd = Command::new(find("sshd", search_path(), "scripts/install-tools sshd"));
        sshd.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
        Machines { _sshd: Daemon::start(sshd, "Server listening").0, _port: kept }
    }
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

/// A store of objects.
pub struct Store {
    _server: Daemon,
    /// Where it listens.
    pub url: String,
}

impl Store {
    /// The directory of the server and of `aws`.
    pub fn bin() -> PathBuf {
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/s3/bin");
        find("aws", [bin.clone()], "scripts/get-s3");
        bin
    }

    /// Starts an empty one.
    pub fn start() -> Store {
        let mut server = Command::new(Store::bin().join("moto_server"));
        // Without this it is still in Python's buffer when it is wanted.
        server.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1");
        let (server, line) = Daemon::start(server, "Running on http://");
        let url = line.split("Running on ").nth(1).unwrap().trim().to_owned();
        Store { _server: server, url }
    }
}
