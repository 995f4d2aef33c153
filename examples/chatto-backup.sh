#!/usr/bin/env bash
# usage: chatto-backup data     DIRECTORY RECIPIENTS [OPTION...]
#        chatto-backup keys     DIRECTORY RECIPIENTS [OPTION...]
#        chatto-backup rehearse data DIRECTORY IDENTITY [OPTION...]
#        chatto-backup rehearse keys DIRECTORY IDENTITY [OPTION...]
#
# What cron or systemd runs. Install it as /usr/local/sbin/chatto-backup.
#
#   data      a dump, encrypted to the age RECIPIENTS, becomes DIRECTORY/daily/chatto-DAY.tar.gz.age,
#             and the first of each week also DIRECTORY/weekly/chatto-WEEK.tar.gz.age
#   keys      the same for the encryption keys: chatto-keys-DAY.age. Use another DIRECTORY, on another
#             disk or another machine: the text of the messages can be read only with both
#   rehearse  tests the newest backup in DIRECTORY. data: restores it into a private server that is
#             thrown away. keys: checks every key of the export. The IDENTITY that opens the backups
#             belongs on the machine that tests them, not on the one that is backed up
#
# OPTIONs go to chatto-dump, chatto-keys export, chatto-load, or chatto-keys verify. The script is silent
# when all is well. Otherwise it says why and its exit status is not 0, so that cron sends a mail and a
# systemd unit fails.
set -euo pipefail

# So many are kept, counted and not reckoned from today: when backups fail, the last good ones stay.
daily=14
weekly=8
# A rehearsal of a backup that is older (in days) fails: nobody may have noticed that none came since.
stale=2

die() { echo "chatto-backup: error: $*" >&2; exit 1; }

usage() { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }

action=${1:-}
if [ "$action" = rehearse ]; then
    case ${2:-} in data | keys) action="rehearse $2" ;; *) usage ;; esac
    shift
fi
[ $# -ge 3 ] || usage
directory=$2 with=$3
shift 3
umask 077

# Only one at a time in a directory; it also means that a .part which is there is nobody's.
exec 9< "$directory"
flock -n 9 || die "another one is at work in $directory"

# Keeps what a command writes as daily/NAME-DAY.SUFFIX. It has that name only when it is whole and on
# the disk; it takes the place of an earlier one of the day only then.
keep() {
    local name=$1 suffix=$2 part=$directory/.part status=0 file week
    shift 2
    "$@" > "$part" || status=$?
    if [ $status -ne 0 ]; then
        # Status 3 is a whole archive that lacks some streams: better than none, but never in place of one.
        if [ $status -eq 3 ]; then mv -f "$part" "$directory/$name-incomplete.$suffix"; else rm -f "$part"; fi
        die "no whole $name today (status $status)"
    fi
    sync "$part"
    mkdir -p "$directory/daily" "$directory/weekly"
    file=$directory/daily/$name-$(date +%F).$suffix
    mv -f "$part" "$file"
    week=$directory/weekly/$name-$(date +%G-W%V).$suffix
    [ -e "$week" ] || ln "$file" "$week"
    sync "$directory/daily" "$directory/weekly"
    prune "$daily" "$directory/daily/$name"-*."$suffix"
    prune "$weekly" "$directory/weekly/$name"-*."$suffix"
}

# Removes all FILEs but the last N; their names sort by time.
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

dump() { chatto-dump "$@" | gzip | age -R "$with"; }

case $action in
    data) keep chatto tar.gz.age dump "$@" ;;
    keys) keep chatto-keys age chatto-keys export -R "$with" "$@" ;;
    "rehearse data")
        file=$(newest chatto tar.gz.age)
        chatto-load --quiet --rehearse -i "$with" "$@" "$file"
        ;;
    "rehearse keys")
        file=$(newest chatto-keys age)
        # Its verdict is for people.
        chatto-keys verify -i "$with" "$@" "$file" > /dev/null
        ;;
    *) usage ;;
esac
