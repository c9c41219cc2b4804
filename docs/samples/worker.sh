#!/bin/sh
# A worker over HTTP leases in sh, curl and jq:
#
#   BROKER_URL=https://broker.example BROKER_CONSUMER_KEY=ub_… sh worker.sh COMMAND [ARGUMENT…]
#
# COMMAND reads the verified object on stdin; $JOB names a file with the job, without its secrets. What it prints, JSON
# or text of at most 64 KiB, is the result. Exit status 0: processed; 65 (EX_DATAERR): rejected; any other: retry.
#
# jq is needed: an answer holds the uploader's own words (file name, metadata); a grep for "url" finds what he planted.
# No digest is proved here: a job that wants one proved while reading fails. worker.mjs does that, and resumes reads.
set -u
umask 077
renew_seconds=${RENEW_SECONDS:-20} # a third of the broker's [jobs] lease
room=$(mktemp -d) || exit 1
printf 'header = "Authorization: Bearer %s"\n' "$BROKER_CONSUMER_KEY" >"$room/key" # a command line is read by everybody
unset BROKER_CONSUMER_KEY
working='' stopping=''
trap 'rm -rf "$room"' EXIT
trap 'stopping=1; [ -z "$working" ] || kill "$working" 2>/dev/null' TERM INT

# call PATH BODY ANSWER: posts one file, keeps the answer in another, prints the status; 000 is nobody.
call() {
  exec curl -sS -K "$room/key" -H 'Content-Type: application/json' --data-binary "@$2" -o "$3" -w '%{http_code}' \
    --max-time 35 "$BROKER_URL$1" 2>/dev/null
}

# holding FILTER FILE: what is said with the lease that we hold now.
holding() { jq --rawfile said "$room/said" "{lease: .token, epoch} + $1" "$room/lease" >"$2"; }

# run INPUT COMMAND…: so that a signal ends it at once.
run() {
  [ -z "$stopping" ] || return 1
  input=$1 && shift
  "$@" <"$input" &
  working=$! && echo "$working" >"$room/working"
  wait "$working"
  code=$?
  [ -z "$stopping" ] || wait "$working"
  working=''
  return "$code"
}

# Beside the work. It ends with the worker, however that ends: a lease that is renewed for nobody would never be free.
renewing() {
  while sleep "$renew_seconds" && kill -0 "$$" 2>/dev/null; do
    holding '{}' "$room/renew"
    case $(call "/jobs/$id/renew" "$room/renew" "$room/renewed") in
      200) jq -e .lease "$room/renewed" >"$room/lease.new" && mv "$room/lease.new" "$room/lease" ;;
      404 | 409 | 410) echo lost >"$room/end" && kill "$(cat "$room/working")" 2>/dev/null && return ;;
    esac
  done
}

# The signed GET, header for header, into a file; then the command. Leaves in `end` what became of it.
attempt() {
  jq -e '.prove == []' "$room/job" >/dev/null || { echo unprovable >"$room/end" && return; }
  jq -r '.read | "url = \(.url | @json)", (.headers | to_entries[] | "header = \("\(.key): \(.value)" | @json)")' \
    "$room/job" >"$room/get"
  run /dev/null curl -sS -f -K "$room/get" -o "$room/object" -w '%{http_code}' --speed-limit 1 --speed-time 30 \
    >"$room/status" 2>/dev/null
  case $?/$(cat "$room/status") in
    0/200) ;;
    22/404 | 22/412) echo changed >"$room/end" && return ;;
    *) echo broken >"$room/end" && return ;;
  esac
  jq 'del(.lease, .read) + {epoch: .lease.epoch}' "$room/job" >"$room/known"
  run "$room/object" env JOB="$room/known" "$@" >"$room/said"
  code=$?
  [ -e "$room/end" ] || echo "$code" >"$room/end"
}

# What to tell the broker. Nothing of a lease that was lost.
verdict() {
  [ -z "$stopping" ] || { echo '{cause: "drain"}' && return; }
  case $(cat "$room/end") in
    0) echo '{outcome: "processed", result: ($said | (try fromjson catch $said))}' ;;
    65) echo '{outcome: "rejected", reason: {code: "processor-rejected", message: "the command does not accept it"}}' ;;
    unprovable) echo '{outcome: "failed", reason: {code: "checksum-not-provable", message: "worker.sh proves none"}}' ;;
    changed) echo '{outcome: "failed", reason: {code: "object-changed", message: "not what was verified"}}' ;;
    broken) echo '{cause: "infrastructure"}' ;;
    lost) ;;
    *) echo '{outcome: "retry", reason: {code: "processor-error", message: "the command failed"}}' ;;
  esac
}

# deliver WORDS: until the broker has answered; a stale lease gets 409, which is an answer.
deliver() {
  case $1 in '') echo "lost $id" >&2 && return ;; *cause*) verb=release ;; *) verb=result ;; esac
  for pause in 1 2 4 8 15 15; do
    holding "$1" "$room/report"
    status=$(call "/jobs/$id/$verb" "$room/report" "$room/told")
    case $status in 000 | 429 | 5??) sleep "$pause" ;; *) break ;; esac
  done
  echo "$verb $id $status" >&2
}

jq -n --arg worker "$(uname -n)-$$" '{max: 1, wait_seconds: 20, worker: $worker}' >"$room/wish"
while [ -z "$stopping" ]; do
  rm -f "$room/end" && : >"$room/said"
  run /dev/null call /jobs/lease "$room/wish" "$room/leased" >"$room/status"
  if [ "$(cat "$room/status")" != 200 ]; then
    [ -n "$stopping" ] || sleep 2
    continue
  fi
  jq -e '.jobs[0] // empty' "$room/leased" >"$room/job" || continue
  id=$(jq -r .id "$room/job")
  jq .lease "$room/job" >"$room/lease"
  echo "leased $id" >&2
  renewing &
  renewal=$!
  attempt "$@"
  deliver "$(verdict)"
  kill "$renewal" 2>/dev/null
  wait "$renewal" 2>/dev/null
done
exit 0
