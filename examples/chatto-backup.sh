#!/usr/bin/env bash
# usage: chatto-backup data     DIRECTORY FILE [OPTION...]
#        chatto-backup keys     DIRECTORY FILE [OPTION...]
#        chatto-backup whole    DIRECTORY FILE [OPTION...]
#        chatto-backup rehearse data|keys|whole DIRECTORY FILE [OPTION...]
#
# cron or systemd runs this script. Install it as /usr/local/sbin/chatto-backup.
#
#   data      makes an encrypted dump, DIRECTORY/daily/chatto-DAY.tar.gz.age. The first dump of a week is also
#             kept as DIRECTORY/weekly/chatto-WEEK.tar.gz.age
#   keys      does the same for the encryption keys: chatto-keys-DAY.age. Use another DIRECTORY, on another
#             disk or another machine: whoever has both can read the text of the messages
#   whole     puts data and keys into one archive, chatto-whole-DAY.tar.gz.age. Whoever opens it can read all
#   rehearse  tests the newest backup in DIRECTORY. data, whole: restores it into a private server and removes
#             that server. keys: checks every key of the export. Keep the identity that opens the backups on the
#             machine that tests them, and not on the server (a passphrase must be on both)
#
# FILE holds the age recipients to encrypt to. In a rehearsal, it holds the identity that opens the backups. The
# OPTIONs go to chatto-dump, chatto-keys export, chatto-load, or chatto-keys verify.
#
# Settings are variables of the environment:
#
#   BACKUP_LOCK=passphrase   FILE holds a passphrase, which encrypts and decrypts
#   BACKUP_DAILY=14          how many daily backups are kept
#   BACKUP_WEEKLY=8          how many weekly backups are kept. Both are counts, not ages: if backups fail, the last
#                            good ones stay
#   BACKUP_STALE=2           a rehearsal fails if the newest backup is older than this, in days: perhaps nobody has
#                            noticed that there are no new backups
#   BACKUP_METRICS=DIR       after each run, chatto-metrics writes DIR/chatto_backup_ACTION.prom
#   BACKUP_PING=FILE         after each run, the URL in FILE is fetched, with /fail at its end if the run failed
#
# The script prints nothing if all is well. Otherwise it prints the reason and its exit status is not 0, so cron
# sends a mail, and a systemd unit fails. DIRECTORY/report-ACTION.json is the report of the last backup, see
# chatto-report(5).
set -euo pipefail

daily=${BACKUP_DAILY:-14}
weekly=${BACKUP_WEEKLY:-8}
stale=${BACKUP_STALE:-2}

warn() { echo "chatto-backup: warning: $*" >&2; }

die() { echo "chatto-backup: error: $*" >&2; exit 1; }

usage() { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }

action=${1:-}
if [ "$action" = rehearse ]; then
    case ${2:-} in data | keys | whole) action="rehearse $2" ;; *) usage ;; esac
    shift
fi
[ $# -ge 3 ] || usage
directory=$2 with=$3
shift 3
case ${BACKUP_LOCK:-recipients} in
    recipients) lock=(-R "$with") unlock=(-i "$with") ;;
    passphrase) lock=(--passphrase-file "$with") unlock=(--passphrase-file "$with") ;;
    *) die "BACKUP_LOCK is neither recipients nor passphrase: $BACKUP_LOCK" ;;
esac
umask 077

# Only one run at a time works in a directory. So no other run uses a .part that is there.
exec 9< "$directory"
flock -n 9 || die "another one is at work in $directory"

# Reports the end of every run, good or bad. If the report fails, the backup stays valid.
finish() {
    local status=$? name=${action// /_} url
    trap - EXIT
    if [ -n "${BACKUP_METRICS:-}" ]; then
        chatto-metrics "$name" "$report" "$BACKUP_METRICS/chatto_backup_$name.prom" "$status" ||
            warn "no metrics in $BACKUP_METRICS"
    fi
    if [ -n "${BACKUP_PING:-}" ]; then
        # Not as an argument: other users could read it, and whoever knows it can ping.
        url=$(head -n 1 "$BACKUP_PING") || true
        [ "$status" -eq 0 ] || url=$url/fail
        printf 'url = "%s"\n' "$url" |
            curl -sS --fail --max-time 20 --retry 3 --output /dev/null --config - ||
            warn "no ping to the URL in $BACKUP_PING"
    fi
    [ "${action%% *}" != rehearse ] || rm -f "$report"
    exit "$status"
}

# The report of an earlier run must not be taken for that of this run.
case $action in
    "rehearse "*) report=$(mktemp) ;;
    data | keys | whole) report=$directory/report-$action.json && rm -f "$report" ;;
    *) usage ;;
esac
trap finish EXIT

# Keeps the output of a command as daily/NAME-DAY.SUFFIX. The file gets that name, and replaces an earlier one
# of the same day, only when it is whole and on the disk.
keep() {
    local name=$1 suffix=$2 part=$directory/.part status=0 file week
    shift 2
    "$@" > "$part" || status=$?
    if [ $status -ne 0 ]; then
        # After status 3 the archive lacks some streams. Keep it, but it must not replace a whole one.
        if [ $status -eq 3 ]; then mv -f "$part" "$directory/$name-incomplete.$suffix"; else rm -f "$part"; fi
        echo "chatto-backup: error: no whole $name today (status $status)" >&2
        exit $status
    fi
    sync "$part"
    mkdir -p "$directory/daily" "$directory/weekly"
    file=$directory/daily/$name-$(date +%F).$suffix
    mv -f "$part" "$file"
    week=$directory/weekly/$name-$(date +%G-W%V).$suffix
    [ -e "$week" ] || ln "$file" "$week"
    sync "$directory/daily" "$directory/weekly"
    prune "$daily" "$directory/daily/$name"-[0-9]*."$suffix"
    prune "$weekly" "$directory/weekly/$name"-[0-9]*."$suffix"
}

# Removes all FILEs but the last N. Their names sort by time.
prune() {
    local n=$1
    shift
    [ $# -le "$n" ] || rm -f -- "${@:1:$#-n}"
}

# Prints the newest daily NAME-DAY.SUFFIX, which must not be too old.
newest() {
    local name=$1 suffix=$2 file
    file=$(find "$directory/daily" -name "$name-[0-9]*.$suffix" | sort | tail -n 1)
    [ -n "$file" ] || die "no $name backup in $directory/daily"
    [ -z "$(find "$file" -mmin "+$((stale * 24 * 60))")" ] ||
        die "the newest backup is more than $stale days old: $file"
    echo "$file"
}

dump() { chatto-dump --report "$report" "$@" | gzip | encrypt; }

# age(1) asks for a passphrase at a terminal, but nobody is there to type it.
encrypt() {
    case ${lock[0]} in
        -R) age "${lock[@]}" ;;
        *) chatto-keys seal "${lock[@]}" ;;
    esac
}

case $action in
    data) keep chatto tar.gz.age dump "$@" ;;
    keys) keep chatto-keys age chatto-keys export --report "$report" "${lock[@]}" "$@" ;;
    whole) keep chatto-whole tar.gz.age dump --include-keys "$@" ;;
    "rehearse keys")
        file=$(newest chatto-keys age)
        # The verdict on stdout is for people.
        chatto-keys verify --report "$report" "${unlock[@]}" "$@" "$file" > /dev/null
        ;;
    rehearse*)
        case $action in *whole) name=chatto-whole ;; *) name=chatto ;; esac
        file=$(newest "$name" tar.gz.age)
        chatto-load --quiet --rehearse --report "$report" "${unlock[@]}" "$@" "$file"
        ;;
esac
