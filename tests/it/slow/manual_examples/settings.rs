//! What each example needs before it runs, and what must be true after it has run.

/// An example: a literal block of `page` that holds `holds`.
pub struct Setting {
    pub page: &'static str,
    pub holds: &'static str,
    /// Whether `chatto.toml` leads to the empty server instead of the full one.
    pub into_new: bool,
    /// The files that it takes for granted, see `FILES` in `world`.
    pub given: &'static str,
    /// A script that runs first.
    pub before: &'static str,
    /// What is asked at the terminal, and the answers.
    pub typed: &'static [(&'static str, &'static str)],
    pub then: Then,
}

/// What must be true afterwards.
pub enum Then {
    /// This script succeeds; the file `said` holds what the example wrote.
    Shell(&'static str),
    /// The new server is equal to the old one, with or without its keys.
    Restored { keys: bool },
    /// It takes minutes: `.ci/run` has it.
    Ci,
}

use Then::{Ci, Restored, Shell};

const ANY: Setting =
    Setting { page: "", holds: "", into_new: false, given: "", before: "", typed: &[], then: Ci };
const README: Setting = Setting { page: "README.md", ..ANY };
const DUMP: Setting = Setting { page: "man/chatto-dump.1", ..ANY };
const LOAD: Setting =
    Setting { page: "man/chatto-load.1", into_new: true, given: "chatto.tar.gz.age key.txt", ..ANY };
const KEYS: Setting = Setting { page: "man/chatto-keys.1", ..ANY };
const ARCHIVE: Setting = Setting { page: "man/chatto-archive.5", given: "backup.tar", ..ANY };
const REPORT: Setting = Setting { page: "man/chatto-report.5", ..ANY };
const BACKUP: Setting = Setting { page: "man/chatto-backup.7", ..ANY };

const SAYS_SOUND: Then = Shell("grep '^sound: [1-9]' said");
const AT_THE_VAULT: Then = Shell(
    "test \"$(ls vault)\" = $'chatto-'$(date +%F)$'.tar.gz.age\\nchatto.toml'
     chatto-manifest verify -i etc/chatto/key.txt vault/chatto-*.tar.gz.age",
);
/// A Chatto with Docker Compose, and with backups of the days that the pages name and of today.
const COMPOSED: &str = "mkdir srv/backup/daily mnt/other/daily
     for day in 2026-11-25 $(date +%F); do
         cp chatto.tar.gz.age srv/backup/daily/chatto-$day.tar.gz.age
         cp keys.age mnt/other/daily/chatto-keys-$day.age
     done
     echo COMPOSE_FILE=compose.yml:backup.yaml >> .env
     echo BACKUP_DIR=$PWD/srv/backup >> .env
     echo KEYS_DIR=$PWD/mnt/other >> .env
     cp etc/chatto/backup.pub .";
const FROM_COMPOSE: Then = Shell(
    "chatto-manifest verify -i etc/chatto/key.txt srv/backup/daily/chatto-$(date +%F).tar.gz.age
     chatto-keys verify -i etc/chatto/key.txt mnt/other/daily/chatto-keys-$(date +%F).age",
);
/// A Chatto with NATS inside, which is not running.
const STOPPED: &str = "chatto-dump --include-keys | chatto-load --data-dir data
     printf '[nats.embedded]\\nenabled = true\\ndata_dir = \"data\"\\n' > chatto.toml";

const RESTIC_INIT: &str = "restic -q -r srv/restic -p etc/chatto/pass init";
/// The repository has one backup, and no dump that failed.
const IN_RESTIC: Then = Shell(
    "export RESTIC_REPOSITORY=srv/restic RESTIC_PASSWORD_FILE=etc/chatto/pass
     restic snapshots --json | jq -e 'map(.tags) == [[\"chatto\"]]'
     restic -q dump latest chatto.tar | chatto-manifest verify",
);
/// A remote that rclone(1) knows.
const RCLONE: &str = "mkdir -p .config/rclone
     printf '[vault]\\ntype = alias\\nremote = %s/vault\\n' \"$PWD\" > .config/rclone/rclone.conf";

pub const SETTINGS: &[Setting] = &[
    Setting {
        holds: "mv part chatto.tar.gz.age",
        given: "backup.pub key.txt",
        then: Shell("chatto-manifest verify -i key.txt chatto.tar.gz.age"),
        ..REPORT
    },
    Setting { holds: "jq -se", then: Shell("grep -x true said"), ..REPORT },
    Setting { holds: "chatto-dump --report report.json >backup.tar ||", then: Shell("not grep . said"), ..REPORT },
    Setting { holds: "make install", ..README },
    Setting { holds: "scripts/demo", ..README },
    Setting {
        holds: "age-keygen -o key.txt",
        then: Shell("echo hello | age -R backup.pub | age -d -i key.txt | grep -x hello"),
        ..README
    },
    Setting {
        holds: "> keys.age",
        given: "backup.pub key.txt",
        then: Shell(
            "chatto-manifest verify -i key.txt chatto.tar.gz.age
             chatto-keys verify -i key.txt keys.age | grep '^sound: 10 keys'",
        ),
        ..README
    },
    Setting {
        holds: "chatto-keys import -i key.txt",
        into_new: true,
        given: "chatto.tar.gz.age keys.age key.txt",
        then: Restored { keys: true },
        ..README
    },
    Setting {
        holds: "| gunzip | chatto-load",
        into_new: true,
        given: "chatto.tar.gz.age key.txt",
        then: Restored { keys: false },
        ..README
    },
    Setting {
        holds: "--rehearse",
        given: "chatto.tar.gz.age keys.age key.txt",
        then: Shell("test \"$(grep -c '^sound: [1-9]' said)\" = 2"),
        ..README
    },
    Setting { holds: "docker compose up -d", given: "backup.pub", then: FROM_COMPOSE, ..README },
    Setting {
        holds: "docker compose run --rm backup ",
        given: "backup.pub chatto.tar.gz.age keys.age key.txt",
        before: COMPOSED,
        then: FROM_COMPOSE,
        ..README
    },
    Setting {
        holds: "docker compose stop chatto",
        into_new: true,
        given: "chatto.tar.gz.age keys.age key.txt",
        before: COMPOSED,
        then: Restored { keys: true },
        ..README
    },
    Setting { holds: "ssh vault", given: "backup.pub", then: AT_THE_VAULT, ..README },
    Setting {
        holds: "aws s3 cp",
        given: "backup.pub",
        then: Shell(
            "test \"$(aws s3 ls s3://chatto-data | wc -l)\" = 1
             aws s3 cp s3://chatto-data/$(date +%F).tar.gz.age - | chatto-manifest verify -i etc/chatto/key.txt",
        ),
        ..README
    },
    Setting { holds: "restic backup", before: RESTIC_INIT, then: IN_RESTIC, ..README },
    Setting { holds: "nats://old:4222", then: Restored { keys: true }, ..README },
    // ----
    Setting {
        holds: "age -p >chatto.tar.gz.age",
        given: "pass",
        typed: &[("Enter passphrase", "sesame"), ("Confirm passphrase", "sesame")],
        then: Shell("chatto-manifest verify --passphrase-file pass chatto.tar.gz.age"),
        ..DUMP
    },
    Setting { holds: "ssh vault", given: "backup.pub", then: AT_THE_VAULT, ..DUMP },
    Setting { holds: "nats://old:4222", then: Restored { keys: false }, ..DUMP },
    Setting {
        holds: "--spool-dir /var/tmp",
        then: Shell("tar tzf chatto.tar.gz > names; not grep /part- names; chatto-manifest verify chatto.tar.gz"),
        ..DUMP
    },
    Setting {
        holds: "chatto-dump --offline",
        given: "backup.pub",
        before: STOPPED,
        then: Shell(
            "chatto-manifest verify -i etc/chatto/key.txt chatto.tar.gz.age
             test \"$(cat systemctl.said)\" = $'stop chatto\\nstart chatto'",
        ),
        ..DUMP
    },
    Setting { holds: "awk", then: Shell("grep '^KV_AUTH_TOKENS: .*tokens' said; not grep '^EVT' said"), ..DUMP },
    // ----
    Setting {
        holds: "$ chatto-load chatto.tar.gz.age",
        given: "sealed.tar.gz.age",
        before: "mv sealed.tar.gz.age chatto.tar.gz.age",
        typed: &[("passphrase", "sesame")],
        then: Restored { keys: false },
        ..LOAD
    },
    Setting {
        holds: "ssh vault cat",
        before: "mv chatto.tar.gz.age vault/",
        then: Restored { keys: false },
        ..LOAD
    },
    Setting {
        holds: "--rehearse",
        before: "head -c 9000 chatto.tar.gz.age > chatto-cut.age; mv chatto.tar.gz.age chatto-good.age",
        then: Shell("test \"$(grep ': bad$' said)\" = 'chatto-cut.age: bad'"),
        ..LOAD
    },
    Setting {
        holds: "--data-dir data",
        given: "chatto.tar.gz.age key.txt keys.age",
        before: "mkdir -p var/lib/chatto; mv chatto.tar.gz.age key.txt keys.age var/lib/chatto",
        then: Shell(
            "cd var/lib/chatto
             test \"$(chatto-keys list --data-dir data | wc -l)\" = 10
             chatto-dump --data-dir data > again.tar
             diff <(chatto-manifest list again.tar) <(chatto-manifest list -i key.txt chatto.tar.gz.age)",
        ),
        ..LOAD
    },
    Setting {
        holds: "--conflict skip",
        before: "chatto-load --stream 'KV_*' -i key.txt chatto.tar.gz.age",
        then: Restored { keys: false },
        ..LOAD
    },
    Setting {
        holds: "--stream OBJ_SERVER_ASSETS",
        given: "older.tar chatto.tar.gz.age key.txt",
        before: "chatto-load --stream OBJ_SERVER_ASSETS older.tar
                 chatto-load --exclude OBJ_SERVER_ASSETS -i key.txt chatto.tar.gz.age",
        then: Restored { keys: false },
        ..LOAD
    },
    // ----
    Setting {
        holds: "age -d keys.age",
        typed: &[("new passphrase: ", "sesame"), ("the same again: ", "sesame"), ("Enter passphrase", "sesame")],
        given: "pass",
        // On a terminal, jq(1) puts colours between the words.
        then: Shell(
            "grep key_count said
             chatto-keys open --passphrase-file pass keys.age | jq -e '.key_count == 10'",
        ),
        ..KEYS
    },
    Setting {
        holds: "chatto-keys verify",
        given: "keys.age key.txt",
        then: Shell("grep '^sound: 10 keys' said"),
        ..KEYS
    },
    Setting {
        holds: "chatto-keys export --offline",
        given: "backup.pub",
        before: STOPPED,
        then: Shell("age -d -i etc/chatto/key.txt keys.age | jq -e '.key_count == 10'"),
        ..KEYS
    },
    Setting {
        holds: "chatto-keys seal --passphrase-file pass",
        then: Shell(
            "chatto-manifest verify --passphrase-file etc/chatto/pass mnt/backup/*.tar.gz.age
             age -d -i etc/chatto/key.txt mnt/other/keys-*.age | jq -e '.key_count == 10'",
        ),
        ..KEYS
    },
    Setting {
        holds: "chatto-keys import",
        into_new: true,
        given: "pass key.txt sealed.tar.gz.age keys.age",
        before: "mv sealed.tar.gz.age mnt/backup/2026-11-22.tar.gz.age; mv keys.age mnt/other/keys-2026-11-22.age",
        then: Restored { keys: true },
        ..KEYS
    },
    Setting {
        holds: "pass.age",
        given: "pass pass.age key.txt chatto.tar.gz",
        then: Shell("chatto-keys open --passphrase-file pass chatto.tar.gz.age | cmp - chatto.tar.gz"),
        ..KEYS
    },
    // ----
    Setting { holds: "tar xf backup.tar", then: Shell("test -s backup/manifest.json; not grep . said"), ..ARCHIVE },
    Setting { holds: "backup/index.json", before: "tar xf backup.tar", then: Shell("grep -x EVT said"), ..ARCHIVE },
    Setting {
        holds: "attempt-$(jq",
        before: "tar xf backup.tar",
        then: Shell("test -s EVT.tar.s2; test -e backup/streams/EVT/attempt-1/part-000002; not grep . said"),
        ..ARCHIVE
    },
    Setting {
        holds: "again.tar",
        before: "tar xf backup.tar",
        then: Shell("chatto-manifest verify again.tar"),
        ..ARCHIVE
    },
    // ----
    Setting {
        holds: "$ age-keygen -o key.txt",
        then: Shell("echo hello | age -R backup.pub | age -d -i key.txt | grep -x hello"),
        ..BACKUP
    },
    Setting { holds: ">keys.age", given: "backup.pub key.txt", then: SAYS_SOUND, ..BACKUP },
    Setting {
        holds: "pigz",
        given: "backup.pub key.txt",
        then: Shell("for f in *.age; do chatto-manifest verify -i key.txt $f; done; test -e chatto.tar.zst.age"),
        ..BACKUP
    },
    Setting {
        holds: "45 3 * * *",
        then: Shell(
            "chatto-manifest verify -i etc/chatto/key.txt srv/backup/daily/chatto-$(date +%F).tar.gz.age
             age -d -i etc/chatto/key.txt srv/keys/daily/chatto-keys-$(date +%F).age | jq -e '.key_count == 10'
             not grep . said",
        ),
        ..BACKUP
    },
    Setting { holds: "| ssh vault", given: "backup.pub", then: AT_THE_VAULT, ..BACKUP },
    Setting {
        holds: "ssh -C chatto",
        given: "backup.pub",
        then: Shell("chatto-manifest verify -i etc/chatto/key.txt chatto-$(date +%F).tar.gz.age; not test -e part"),
        ..BACKUP
    },
    Setting {
        holds: "s3 mv",
        then: Shell(
            "test \"$(aws s3 ls --recursive s3://chatto-data | wc -l)\" = 2
             for name in daily/chatto-$(date +%F) weekly/chatto-$(date +%G-W%V); do
                 aws s3 cp s3://chatto-data/$name.tar.gz.age - | chatto-manifest verify -i etc/chatto/key.txt
             done
             test \"$(aws s3 ls s3://chatto-keys | wc -l)\" = 1
             aws s3 cp s3://chatto-keys/keys-$(date +%F).age - |
                 age -d -i etc/chatto/key.txt | jq -e '.key_count == 10'
             not grep . said",
        ),
        ..BACKUP
    },
    Setting {
        holds: "Prefix=daily/",
        then: Shell(
            "aws s3api get-bucket-lifecycle-configuration --bucket chatto-data > rules
             jq -e '[.Rules[] | .Filter.Prefix, .Expiration.Days] == [\"daily/\", 14, \"weekly/\", 56]' rules
             aws s3api get-bucket-lifecycle-configuration --bucket chatto-keys | jq -e '.Rules[0].Expiration.Days == 56'",
        ),
        ..BACKUP
    },
    Setting {
        holds: "aws s3 cp --only-show-errors",
        given: "chatto.tar.gz.age",
        before: "aws s3 cp chatto.tar.gz.age s3://chatto-data/daily/chatto-$(date +%F).tar.gz.age",
        then: Shell("not grep . said; test -z \"$(ls tmp)\""),
        ..BACKUP
    },
    Setting { holds: "docker compose up -d", given: "backup.pub", then: FROM_COMPOSE, ..BACKUP },
    Setting {
        holds: "docker compose run --rm backup ",
        given: "backup.pub chatto.tar.gz.age keys.age key.txt",
        before: COMPOSED,
        then: FROM_COMPOSE,
        ..BACKUP
    },
    Setting {
        holds: "chatto-backup rehearse data /backup -",
        given: "chatto.tar.gz.age keys.age key.txt",
        before: COMPOSED,
        then: Shell("test -z \"$(ls tmp)\""),
        ..BACKUP
    },
    Setting {
        holds: "docker compose stop chatto",
        into_new: true,
        given: "chatto.tar.gz.age keys.age key.txt",
        before: COMPOSED,
        then: Restored { keys: true },
        ..BACKUP
    },
    Setting {
        holds: "put-bucket-versioning",
        then: Shell(
            "aws s3api get-bucket-versioning --bucket chatto-data | jq -e '.Status == \"Enabled\"'
             aws s3api get-bucket-lifecycle-configuration --bucket chatto-data > rules
             jq -e '.Rules[0].NoncurrentVersionExpiration.NoncurrentDays == 14' rules",
        ),
        ..BACKUP
    },
    Setting {
        holds: "s3://chatto-data/chatto.tar.zst.age",
        then: Shell(
            "aws s3 cp s3://chatto-data/chatto.tar.zst.age - | chatto-manifest verify -i etc/chatto/key.txt
             not grep . said",
        ),
        ..BACKUP
    },
    Setting {
        holds: "list-object-versions",
        given: "chatto.tar.gz.age key.txt",
        before: "aws s3api put-bucket-versioning --bucket chatto-data --versioning-configuration Status=Enabled
                 aws s3 cp chatto.tar.gz.age s3://chatto-data/chatto.tar.zst.age
                 echo cut | aws s3 cp - s3://chatto-data/chatto.tar.zst.age",
        then: Shell("cmp before.tar.zst.age chatto.tar.gz.age; test -z \"$(ls tmp)\""),
        ..BACKUP
    },
    Setting {
        holds: "rclone rcat",
        before: RCLONE,
        then: Shell(
            "test \"$(ls vault/chatto)\" = chatto-$(date +%F).tar.zst.age
             chatto-manifest verify -i etc/chatto/key.txt vault/chatto/*
             not grep . said",
        ),
        ..BACKUP
    },
    Setting {
        holds: "rclone cat",
        given: "chatto.tar.gz.age key.txt",
        before: "mkdir -p .config/rclone vault/chatto
                 printf '[vault]\\ntype = alias\\nremote = %s/vault\\n' \"$PWD\" > .config/rclone/rclone.conf
                 mv chatto.tar.gz.age vault/chatto/chatto-$(date +%F).tar.zst.age",
        then: Shell("test -z \"$(ls tmp)\""),
        ..BACKUP
    },
    Setting {
        holds: "/srv/restic -p",
        then: Shell("restic -r srv/restic -p etc/chatto/pass snapshots"),
        ..BACKUP
    },
    Setting { holds: "restic -q backup", before: RESTIC_INIT, then: IN_RESTIC, ..BACKUP },
    Setting {
        holds: "restic -q dump",
        into_new: true,
        before: "restic -q -r srv/restic -p etc/chatto/pass init
                 chatto-dump --rsyncable -c chatto/chatto.toml |
                     restic -q -r srv/restic -p etc/chatto/pass backup --tag chatto --stdin --stdin-filename chatto.tar
                 echo cut | restic -q -r srv/restic -p etc/chatto/pass backup --tag part --stdin --stdin-filename chatto.tar",
        then: Restored { keys: false },
        ..BACKUP
    },
    Setting {
        holds: "borg init",
        then: Shell("BORG_PASSCOMMAND='cat etc/chatto/pass' borg list srv/borg"),
        ..BACKUP
    },
    Setting {
        holds: "borg create",
        before: "BORG_PASSCOMMAND='cat etc/chatto/pass' borg init --encryption repokey srv/borg",
        then: Shell(
            "export BORG_REPO=$PWD/srv/borg BORG_PASSCOMMAND=\"cat $PWD/etc/chatto/pass\"
             test \"$(borg list --short | wc -l)\" = 1
             borg extract --stdout ::$(borg list --short) | chatto-manifest verify
             # What fails is no archive.
             not borg create --content-from-command ::failed -- chatto-dump --stream NONE
             not borg list ::failed",
        ),
        ..BACKUP
    },
    Setting {
        holds: "borg extract",
        into_new: true,
        before: "export BORG_REPO=$PWD/srv/borg BORG_PASSCOMMAND=\"cat $PWD/etc/chatto/pass\"
                 borg init --encryption repokey
                 borg create --stdin-name chatto.tar --content-from-command ::chatto-1 -- \\
                     chatto-dump --rsyncable -c chatto/chatto.toml",
        then: Restored { keys: false },
        ..BACKUP
    },
    Setting {
        holds: "ssh vault cat",
        given: "chatto.tar.gz.age key.txt",
        before: "mv chatto.tar.gz.age vault/",
        then: SAYS_SOUND,
        ..BACKUP
    },
    Setting { holds: "back.tar", then: Restored { keys: true }, ..BACKUP },
    Setting {
        holds: "chatto-load --rehearse -i key.txt chatto.tar.gz.age",
        given: "chatto.tar.gz.age key.txt",
        then: Shell("test -z \"$(ls tmp)\""),
        ..BACKUP
    },
    Setting {
        holds: "BACKUP_LOCK=passphrase",
        before: "mkdir -p chatto/srv/backup",
        then: Shell("not grep . said; BACKUP_LOCK=passphrase chatto-backup rehearse whole srv/backup pass"),
        given: "pass",
        ..BACKUP
    },
    Setting {
        holds: "BACKUP_METRICS=",
        before: "mkdir -p var/lib/prometheus/node-exporter; echo file:///dev/null > etc/chatto/ping.url",
        then: Shell(
            "not grep . said
             grep -x 'chatto_backup_last_exit_status{backup=\"data\"} 0' \\
                 var/lib/prometheus/node-exporter/chatto_backup_data.prom",
        ),
        ..BACKUP
    },
    Setting {
        holds: "0 5 * * 0 chatto-backup rehearse",
        before: "mkdir -p chatto/srv/backup
                 chatto-backup data chatto/srv/backup etc/chatto/backup.pub",
        then: Shell("not grep . said; test -z \"$(ls tmp)\""),
        ..BACKUP
    },
    Setting {
        holds: "--dry-run",
        into_new: true,
        given: "chatto.tar.gz.age key.txt",
        then: Shell("chatto-load -i key.txt chatto.tar.gz.age"),
        ..BACKUP
    },
    Setting {
        holds: "$ chatto-keys import",
        into_new: true,
        given: "chatto.tar.gz.age keys.age key.txt",
        then: Restored { keys: true },
        ..BACKUP
    },
    Setting {
        holds: "--conflict overwrite -i",
        into_new: true,
        given: "older.tar chatto.tar.gz.age key.txt",
        before: "chatto-load older.tar",
        then: Restored { keys: false },
        ..BACKUP
    },
    Setting {
        holds: "--stream OBJ_SERVER_ASSETS",
        into_new: true,
        given: "older.tar chatto.tar.gz.age key.txt",
        before: "chatto-load --stream OBJ_SERVER_ASSETS older.tar
                 chatto-load --exclude OBJ_SERVER_ASSETS -i key.txt chatto.tar.gz.age",
        then: Restored { keys: false },
        ..BACKUP
    },
    Setting {
        holds: "--rename KV_RUNTIME_STATE",
        into_new: true,
        given: "chatto.tar.gz.age key.txt",
        before: "chatto-load -i key.txt chatto.tar.gz.age",
        then: Shell(
            "chatto-dump > now.tar
             chatto-manifest list -l now.tar | grep -E '^KV_(OLD|RUNTIME_STATE)' | cut -f 2-5 > two
             wc -l < two | grep -x 2; uniq two | wc -l | grep -x 1",
        ),
        ..BACKUP
    },
    Setting {
        holds: "--before 2h",
        given: "chatto.tar.gz.age key.txt",
        then: Shell(
            "chatto-manifest verify before.tar
             test \"$(chatto-manifest before.tar | jq '[.streams[].messages] | add')\" = 0",
        ),
        ..BACKUP
    },
    Setting {
        holds: "--drop-subject",
        given: "key.txt backup.pub",
        before: "chatto-dump --include-keys | age -R backup.pub > whole-1.tar.age
                 cp whole-1.tar.age before.age",
        then: Shell(
            "chatto-manifest verify -i key.txt whole-1.tar.age
             chatto-manifest diff -i key.txt before.age whole-1.tar.age
             chatto-manifest -i key.txt whole-1.tar.age | jq -e '.edited[0].options[1] | startswith(\"sha256:\")'",
        ),
        ..BACKUP
    },
    Setting {
        holds: "--format natsarc1",
        given: "chatto.tar.gz.age key.txt",
        then: Shell(
            "chatto-manifest verify arc.tar
             chatto-manifest diff -i key.txt chatto.tar.gz.age arc.tar
             jq -r '.streams[].format // empty' backup/manifest.json | sort -u | grep -x natsarc1
             test -s backup/streams/EVT/stream.tar.s2",
        ),
        ..BACKUP
    },
    Setting { holds: "ssh new chatto-load", then: Restored { keys: true }, ..BACKUP },
    Setting {
        holds: ">whole.tar.gz.age",
        given: "backup.pub key.txt",
        then: Shell("chatto-manifest list -i key.txt whole.tar.gz.age > names; grep -x KV_ENCRYPTION_KEYS names"),
        ..BACKUP
    },
    Setting {
        holds: ">all.tar.age",
        given: "backup.pub key.txt",
        then: Shell(
            "chatto-manifest list -i key.txt data.tar.age > names
             grep -qx EVT names; not grep ENCRYPTION names
             chatto-manifest list -i key.txt keys.tar.age | diff - <(echo KV_ENCRYPTION_KEYS)",
        ),
        ..BACKUP
    },
    Setting {
        holds: "$ chatto-load -i key.txt data.tar.age",
        given: "key.txt backup.pub",
        into_new: true,
        before: "chatto-dump -c chatto/chatto.toml | age -R backup.pub > data.tar.age
                 chatto-dump -c chatto/chatto.toml --include-keys |
                     chatto-manifest select --stream KV_ENCRYPTION_KEYS |
                     age -R backup.pub > keys.tar.age",
        then: Restored { keys: true },
        ..BACKUP
    },
    Setting {
        holds: "new.txt",
        given: "chatto.tar.gz.age key.txt",
        before: "cp chatto.tar.gz.age chatto-2026-11-22.tar.gz.age",
        then: Shell(
            "chatto-manifest verify -i new.txt chatto-2026-11-22.tar.gz.age
             not age -d -i key.txt chatto-2026-11-22.tar.gz.age",
        ),
        ..BACKUP
    },
    Setting {
        holds: "tar xz",
        given: "chatto.tar.gz.age keys.age key.txt",
        then: Shell("grep '\"name\": \"EVT\"' said; tail -n 1 said | grep -x 10"),
        ..BACKUP
    },
];
