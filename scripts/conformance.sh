#!/bin/bash
# Judges a gateway binary with the WebSocket conformance kit.
#
#   scripts/conformance.sh [--bin FILE] [--kit DIR] [--profile NAME] [--only GLOB]... [--once] [--keep DIR]
#
# Starts the kit's stub model and the gateway (fresh home, free ports), records the profiles token (twice in
# a row on the same gateway), password and signals, and compares with what the reference did. Scenarios that
# scripts/conformance.pending names may fail; one that is named there and passes everywhere has to leave it.
#
#   --bin FILE      the gateway (default target/release/openclaw)
#   --kit DIR       the kit (default $CONFORMANCE_KIT, else ../shared/conformance)
#   --profile NAME  all (default), token, password or signals
#   --only GLOB     only the scenarios whose name fits (may be repeated)
#   --once          the token profile once
#   --keep DIR      keep recordings and logs there
#
# Needs python3 (or $PYTHON) with websockets and cryptography. Exit status 0 when nothing unexpected happened.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 2

bin=target/release/openclaw kit=${CONFORMANCE_KIT:-../shared/conformance} profile=all rounds=2 keep= only=()
python=${PYTHON:-python3}
while [ $# -gt 0 ]; do
    case $1 in
        --bin) bin=$2; shift 2 ;;
        --kit) kit=$2; shift 2 ;;
        --profile) profile=$2; shift 2 ;;
        --only) only+=("$2"); shift 2 ;;
        --once) rounds=1; shift ;;
        --keep) keep=$2; shift 2 ;;
        *) sed -n '2,18s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
[ -x "$bin" ] || { echo "conformance: no gateway at $bin; build it with: cargo build --release" >&2; exit 2; }
[ -f "$kit/run.py" ] || { echo "conformance: no kit at $kit" >&2; exit 2; }
bin=$(realpath "$bin") kit=$(realpath "$kit")

work=$(mktemp -d) || exit 2
mkdir "$work/tmp" "$work/out"
export PYTHONDONTWRITEBYTECODE=1 TMPDIR=$work/tmp
gateway_pid='' stub_pid=''
finish() {
    stop_gateway
    [ -z "$stub_pid" ] || { kill "$stub_pid"; wait "$stub_pid"; } 2>/dev/null
    if [ -n "$keep" ]; then
        mkdir -p "$keep" && cp "$work"/out/* "$keep"/
    fi
    rm -rf "$work"
}
stop_gateway() {
    [ -n "$gateway_pid" ] || return 0
    kill "$gateway_pid" 2>/dev/null
    for _ in $(seq 100); do
        kill -0 "$gateway_pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$gateway_pid" 2>/dev/null
    wait "$gateway_pid" 2>/dev/null
    gateway_pid=''
}
trap finish EXIT
trap 'exit 130' INT TERM

free_port() {
    "$python" - <<'PY'
import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])
PY
}

# answers PORT PID: waits until something listens there, as long as the process lives (60 s at most).
answers() {
    for _ in $(seq 600); do
        kill -0 "$2" 2>/dev/null || return 1
        (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}

stub_port=$(free_port)
"$python" "$kit/stub_model.py" --port "$stub_port" --log "$work/out/requests.jsonl" 2>"$work/out/stub.log" &
stub_pid=$!
answers "$stub_port" "$stub_pid" || { echo "conformance: the stub model did not start" >&2; cat "$work/out/stub.log" >&2; exit 2; }

# start PROFILE FIXTURE: a gateway with a fresh home, if any scenario of the profile is wanted. The fixture's
# stub port and log file are made its own.
start() {
    local home=$work/$1
    [ -n "$(selected "$1")" ] || return 1
    install -d -m 700 "$home/.openclaw"
    sed -e "s#127.0.0.1:4010#127.0.0.1:$stub_port#" -e "s#/tmp/openclaw-conformance/gateway.log#$work/out/$1.gateway.log#" \
        "$kit/fixtures/$2" >"$home/.openclaw/openclaw.json"
    chmod 600 "$home/.openclaw/openclaw.json"
    port=$(free_port)
    env -i PATH="$PATH" HOME="$home" TMPDIR="$TMPDIR" OPENCLAW_NO_RESPAWN=1 \
        "$bin" gateway run --port "$port" >"$work/out/$1.console.log" 2>&1 &
    gateway_pid=$!
    answers "$port" "$gateway_pid" && return 0
    echo "FAIL $1: the gateway did not start"
    tail -n 20 "$work/out/$1.console.log"
    failed=$((failed + 1))
    stop_gateway
    return 1
}

# selected PROFILE: the names of its scenarios that --only lets through.
selected() {
    local name glob
    "$python" "$kit/run.py" --list --url - --out - --profile "$1" | while read -r name; do
        for glob in "${only[@]:-*}"; do
            # shellcheck disable=SC2053  # a glob is meant
            if [[ $name == $glob ]]; then
                echo "$name"
                break
            fi
        done
    done
}

pending=() ran=() broke=() failed=0 passed=0 excused=0
while read -r glob _; do
    [ -z "$glob" ] || [[ $glob == '#'* ]] || pending+=("$glob")
done <scripts/conformance.pending
is_pending() {
    local glob
    for glob in "${pending[@]:-}"; do
        # shellcheck disable=SC2053
        [[ $1 == $glob ]] && return 0
    done
    return 1
}

# record PROFILE ROUND ARGUMENT...: records the scenarios of a profile in one run, since the kit masks what
# all of a run's scenarios made, and judges them.
record() {
    local profile=$1 round=$2 out=$work/out/$1.$2.jsonl name verdict why arguments=()
    shift 2
    while read -r name; do
        arguments+=(--only "$name")
        ran+=("$name")
    done < <(selected "$profile")
    timeout 900 "$python" "$kit/run.py" --url "ws://127.0.0.1:$port" "$@" --profile "$profile" \
        "${arguments[@]}" --out "$out" >"$work/out/$profile.$round.run.log" 2>&1 </dev/null
    [ -s "$out" ] || { echo "FAIL $profile round $round: nothing was recorded"; tail -n 5 "$work/out/$profile.$round.run.log"; failed=$((failed + 1)); return; }
    while read -r verdict name why; do
        case $verdict in
            PASS) passed=$((passed + 1)) ;;
            FAIL)
                broke+=("$name")
                if is_pending "$name"; then
                    excused=$((excused + 1))
                    echo "pending $name ($profile round $round)  $why"
                else
                    failed=$((failed + 1))
                    echo "FAIL $name ($profile round $round)  $why"
                fi
                ;;
        esac
    done < <("$python" "$kit/compare.py" "$kit/reference.jsonl" "$out" "${arguments[@]}" 2>&1)
}

if [ "$profile" = all ] || [ "$profile" = token ]; then
    if start token openclaw.json; then
        for round in $(seq "$rounds"); do record token "$round" --token conformance-token-1; done
        stop_gateway
    fi
fi
if [ "$profile" = all ] || [ "$profile" = password ]; then
    if start password openclaw.password.json; then
        record password 1 --password conformance-password-1
        stop_gateway
    fi
fi
if [ "$profile" = all ] || [ "$profile" = signals ]; then
    if start signals openclaw.json; then
        record signals 1 --token conformance-token-1 --pid "$gateway_pid"
        stop_gateway
    fi
fi

# What is excused and passes is no longer pending.
for name in $(printf '%s\n' "${ran[@]:-}" | sort -u); do
    if is_pending "$name" && ! printf '%s\n' "${broke[@]:-}" | grep -qxF "$name"; then
        echo "FAIL $name passes now: take it out of scripts/conformance.pending"
        failed=$((failed + 1))
    fi
done
if [ $((passed + failed + excused)) -eq 0 ]; then
    echo "conformance: no scenario fits"
    exit 2
fi
echo "conformance: $passed passed, $failed failed, $excused pending"
[ "$failed" -eq 0 ]
