#!/usr/bin/env bash
# usage: chatto-backup data     DIRECTORY RECIPIENTS [OPTION...]
#        chatto-backup keys     DIRECTORY RECIPIENTS [OPTION...]
#        chatto-backup rehearse DIRECTORY IDENTITY [OPTION...]
#
# What cron or systemd runs. Install it as /usr/local/sbin/chatto-backup.
#
#   data      a dump, encrypted to the age RECIPIENTS, becomes DIRECTORY/daily/chatto-DAY.tar.gz.age,
#             and the first of each week also DIRECTORY/weekly/chatto-WEEK.tar.gz.age
#   keys      the same for the encryption keys: chatto-keys-DAY.age. Another DIRECTORY, on another
#             disk or another machine: with both, an old backup opens; with one, nothing does
#   rehearse  restores the newest backup into a private server that is thrown away. The IDENTITY that
#             this takes belongs on the machine that tests restores, not on the one that is backed up
#
# OPTIONs go to chatto-dump, chatto-keys export, or chatto-load. Silent when all is well; otherwise it
# says why and its exit status is not 0, so that cron sends a mail and a systemd unit fails.
set -euo pipefail

# So many are kept, counted and not reckoned from today: when backups fail, the last good ones stay.
daily=14
weekly=8
# A rehearsal of a backup that is older (in days) fails: nobody may have noticed that none came since.
stale=2

die() { echo "chatto-backup: error: $*" >&2; exit 1; }

[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
action=$1 directory=$2 with=$3
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

dump() { chatto-dump "$@" | gzip | age -R "$with"; }

case $action in
    data) keep chatto tar.gz.age dump "$@" ;;
    keys) keep chatto-keys age chatto-keys export -R "$with" "$@" ;;
    rehearse)
        newest=$(find "$directory/daily" -name 'chatto-*.tar.gz.age' | sort | tail -n 1)
        [ -n "$newest" ] || die "no backup in $directory/daily"
        [ -z "$(find "$newest" -mmin "+$((stale * 24 * 60))")" ] ||
            die "the newest backup is more than $stale days old: $newest"
        chatto-load --quiet --rehearse -i "$with" "$@" "$newest"
        ;;
    *) die "unknown action: $action" ;;
esac
