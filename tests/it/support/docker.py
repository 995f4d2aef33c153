"""docker(1) where there is none: `docker compose` as far as the manual uses it.

The real docker-compose says what the files mean. Commands run here instead of in a container: with the
environment of their service and nothing else, and with the places of its volumes instead of those inside.
What is mounted nowhere is not found. `up` is the day after: a job that waits for its hour runs once.
"""

import os
import subprocess
import sys

import yaml

# The programs, and where they may write, given by who installs this.
PATH, TMPDIR = os.environ["PATH"], os.environ["TMPDIR"]


def places(service):
    """What is mounted where. A volume without a source is for temporary files, as TMPDIR is here."""
    found = {}
    for volume in service.get("volumes", []):
        if isinstance(volume, str):
            parts = volume.split(":")
            source, target = (parts[0], parts[1]) if len(parts) > 1 else (None, parts[0])
        else:
            source, target = volume.get("source"), volume["target"]
        if source is None:
            assert target == "/tmp", f"nobody knows of {target}"
            continue
        assert os.path.exists(source), f"not there to be mounted: {source}"
        found[target] = source
    return found


def run(service, command):
    mounted = places(service)

    def here(word):
        for target, source in mounted.items():
            if word == target or word.startswith(target + "/"):
                return source + word[len(target) :]
        return word

    if command[0] == "snooze":
        end = next(n for n in range(1, len(command), 2) if not command[n].startswith("-"))
        times = subprocess.run(["snooze", "-n", *command[1:end]], check=True, stdout=subprocess.PIPE, text=True)
        days = {line.split("T")[0] for line in times.stdout.splitlines()}
        assert len(days) == 5, f"not once a day:\n{times.stdout}"
        command = command[end:]
    # Nobody can write where the root would be.
    own = {"PATH": PATH, "TMPDIR": TMPDIR, "HOME": "/proc/nobody"}
    environment = {name: str(value) for name, value in service.get("environment", {}).items()}
    return subprocess.run([here(word) for word in command], env=environment | own).returncode


def main(words):
    assert words[:1] == ["compose"], f"only docker compose: {words}"
    config = subprocess.run(["docker-compose", "config"], check=True, stdout=subprocess.PIPE)
    services = yaml.safe_load(config.stdout)["services"]
    match words[1:]:
        case ["up", "-d"]:
            jobs = [s for s in services.values() if s.get("command", [""])[0] == "snooze"]
            assert jobs, "no job waits for its hour"
            return max(run(job, job["command"]) for job in jobs)
        case ["run", "--rm", *rest]:
            if rest[0] == "-T":
                rest = rest[1:]
            name, *command = rest
            return run(services[name], command or services[name]["command"])
        case ["stop" | "start", name]:
            assert name in services, f"no such service: {name}"
            with open("docker.said", "a") as said:
                print(*words[1:], file=said)
            return 0
    sys.exit(f"docker: not known here: {words}")


sys.exit(main(sys.argv[1:]))
