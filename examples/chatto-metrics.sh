#!/usr/bin/env bash
# usage: chatto-metrics NAME REPORT FILE.prom [STATUS]
#
# Turns the REPORT of a run (chatto-report(5)) into FILE.prom, for the textfile collector of Prometheus'
# node_exporter. Install it as /usr/local/sbin/chatto-metrics; it needs jq.
#
#   NAME    what was run: data, keys, whole, rehearse_data and so on. It becomes the label "backup"
#   STATUS  the exit status of the whole run, if the run is more than one program, or the name of the signal that
#           ended it. Without STATUS, the status in the REPORT counts. With STATUS, the REPORT may be missing, as
#           after kill -9
#
# If the run has failed, the time of the last success comes from the old FILE.prom. The file is replaced in one
# step, so nobody reads half of it.
set -euo pipefail

die() { echo "chatto-metrics: error: $*" >&2; exit 1; }

usage() { sed -n '2s/^# //p' "$0" >&2; exit 2; }

[ $# -ge 3 ] || usage
name=$1 report=$2 file=$3
[[ $name =~ ^[a-z_]+$ ]] || usage
[[ $file == *.prom ]] || usage
command -v jq > /dev/null || die "jq is missing: apt-get install jq"

read_report='{}'
[ ! -s "$report" ] || read_report=$(jq -c . "$report") || die "no report: $report"
status=${4:-$(jq -r '.exit_status // empty' <<< "$read_report")}
[ -n "$status" ] || die "no report, and no status: $report"
# After a signal: the status that a shell shows after SIGKILL.
[[ $status =~ ^[0-9]+$ ]] || status=137

now=$(date +%s)
success=0
[ ! -e "$file" ] || success=$(sed -n 's/^chatto_backup_last_success_timestamp_seconds{.*} //p' "$file")
[ "$status" -ne 0 ] || success=$now

part=$(mktemp "$file.XXXXXX")
trap 'rm -f "$part"' EXIT
jq -r --arg name "$name" --argjson now "$now" --argjson success "${success:-0}" --argjson status "$status" '
    def metric(metric; help; values):
        [values | select(.value != null)]
        | if length == 0 then empty else
            "# HELP chatto_backup_last_\(metric) \(help)",
            "# TYPE chatto_backup_last_\(metric) gauge",
            (.[] | "chatto_backup_last_\(metric){backup=\"\($name)\"\(.label // "")} \(.value)")
          end;
    def outcomes(counts): counts | to_entries[] | {label: ",outcome=\"\(.key)\"", value};
    metric("run_timestamp_seconds"; "When the last run ended."; {value: $now}),
    metric("success_timestamp_seconds"; "When the last run ended that did all it was asked for; 0 if none did.";
        {value: $success}),
    metric("exit_status"; "Exit status of the last run; 0 is success."; {value: $status}),
    metric("duration_seconds"; "How long the last run took."; {value: .seconds}),
    metric("archive_bytes"; "Length of the archive or key export of the last run, before compression.";
        {value: .archive.bytes}),
    metric("messages"; "Messages in the streams of the last run.";
        {value: (if (.streams // []) == [] then null else [.streams[].messages // 0] | add end)}),
    metric("streams"; "Streams of the last run, by outcome."; if (.streams // []) == [] then empty else
        outcomes(reduce .streams[].outcome as $outcome
            ({done: 0, incomplete: 0, failed: 0, skipped: 0}; .[$outcome] += 1)) end),
    metric("keys"; "Keys of the last run, by outcome."; if .keys then outcomes(.keys) else empty end)
    ' <<< "$read_report" > "$part"
# The collector runs as another user.
chmod 644 "$part"
mv -f "$part" "$file"
