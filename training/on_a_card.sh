#!/usr/bin/env bash
# Train recipes on a machine with a card, for so many seconds, and bring weights and logs back.
#
#     THERE="ssh -T gpu7" training/on_a_card.sh SECONDS RUNS TRAINING_SET VALIDATION_SET RECIPE...
#
# One recipe after the other, each member after the other, into RUNS/NAME-OF-THE-RECIPE. What lies there already goes
# along, so the same command goes on where it stopped. Ends with 0 when all are finished and with 3 when time was up.
#
# THERE    runs its last argument as a shell command on that machine ("ssh -T HOST"). Left out: this machine.
# PYTHON   its Python 3.11 with what the extra `training` names. Left out: python3.
# DEVICE   where it trains. Left out: cuda, so that a machine whose card is not seen says so and does not train for days.
#
# Only this project's own files, the data sets and RUNS go there, into a folder that is removed in the end.
set -euo pipefail

[ $# -ge 5 ] || { sed -n '2,4p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
seconds=$1 runs=$2 learn=$3 held=$4
shift 4
case $seconds in '' | *[!0-9]*) echo "on_a_card.sh: $seconds is no number of seconds" >&2; exit 2 ;; esac
for one in "$learn" "$held"; do
    [ -f "$one/manifest.json" ] || { echo "on_a_card.sh: $one is no data set; make one with rtseg-train import" >&2; exit 2; }
done
for recipe in "$@"; do
    [ -f "$recipe" ] || { echo "on_a_card.sh: there is no recipe $recipe" >&2; exit 2; }
done

here=$(cd "$(dirname "$0")/.." && pwd)
read -r -a there <<< "${THERE:-bash -c}"
python=${PYTHON:-python3} device=${DEVICE:-cuda}
mkdir -p "$runs"

folder=$("${there[@]}" 'mktemp -d')
bring_back() {
    if "${there[@]}" "tar -cf - -C $folder/runs ." | tar -xf - -C "$runs"; then
        "${there[@]}" "rm -rf $folder"
    else
        echo "on_a_card.sh: weights and logs could not be brought back; they lie in $folder/runs there" >&2
    fi
}

send() { # send FOLDER NAME...: into the folder there, links followed
    local into=$1
    shift
    tar -chf - --exclude=__pycache__ "$@" | "${there[@]}" "mkdir -p $folder/$into && tar -xf - -C $folder/$into"
}

trap '"${there[@]}" "rm -rf $folder"' EXIT
send project -C "$here" rtseg_daemon training/rtseg_training pyproject.toml
send learn -C "$learn" .
send held -C "$held" .
send runs -C "$runs" .
for recipe in "$@"; do
    send recipes -C "$(cd "$(dirname "$recipe")" && pwd)" "$(basename "$recipe")"
done
trap bring_back EXIT

began=$SECONDS
for recipe in "$@"; do
    name=$(basename "$recipe" .yaml)
    left=$((seconds - SECONDS + began))
    [ "$left" -gt 0 ] || { echo "on_a_card.sh: time is up before $name; the same command goes on" >&2; exit 3; }
    # TERM lets it save and end with 3
    "${there[@]}" "cd $folder && PYTHONPATH=project:project/training timeout --preserve-status -s TERM $left \
        $python -m rtseg_training train recipes/$name.yaml --data learn --validation held --out runs/$name --device $device"
done
