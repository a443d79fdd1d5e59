#!/bin/sh
# A candidate from the clinic's approved contours: export, divide, train on, calibrate. A person installs and activates it.
# Run by rtseg-refresh.timer or rtseg-refresh.slurm. What it needs is set in the environment:
#   CONFIG   the daemon's configuration
#   MODELS   the folder of the bundles that serve (models.directory)
#   BUNDLE   the bundle that is trained on
#   WORK     sets, runs, candidates and the key file
#   OLD      data sets of old cases, separated by blanks, mixed in so that nothing is forgotten
#   STEPS    steps per member
#   LEAST    so many new or newer cases are worth a refresh
#   LIMIT    after so long it stops in order, and the next run goes on (rtseg-train --stop-after), empty for no limit
set -eu

CONFIG=${CONFIG:-/etc/rtseg/config.yaml}
MODELS=${MODELS:?say where the bundles lie}
BUNDLE=${BUNDLE:-han-oar}
WORK=${WORK:-/var/lib/rtseg-train}
OLD=${OLD:-}
STEPS=${STEPS:-500}
LEAST=${LEAST:-10}
LIMIT=${LIMIT:-}

umask 077
mkdir -p "$WORK/sets" "$WORK/runs" "$WORK/candidates"
clinic="$WORK/sets/clinic"

rtseg-daemon feedback export --out "$clinic" --key "$WORK/patients.key" --config "$CONFIG"
list=$(sha256sum "$clinic/manifest.json" | cut -c 1-16)
cases=$(grep -c '"name": "ct_' "$clinic/manifest.json" || true)
known=$(cat "$WORK/cases" 2>/dev/null || echo 0)
if [ -f "$WORK/begun" ]; then
    version=$(cat "$WORK/begun")    # an earlier run was stopped by its limit: go on with the set that it began with
else
    if [ $((cases - known)) -lt "$LEAST" ]; then
        echo "$cases cases, $known of them learned before: no refresh below $LEAST new ones"
        exit 0
    fi
    version=$(date -u +%Y.%m.%d)
    rm -rf "$WORK/sets/$version"
    cp -a "$clinic" "$WORK/sets/$version"
    rtseg-train split "$WORK/sets/$version" --held-out 0.3 --steady --out "$WORK/sets/$version-split"
    echo "$version" > "$WORK/begun"
    echo "refresh $version of $BUNDLE on $cases cases, list $list"
fi

mixed=""
for set in $OLD; do
    mixed="$mixed --data $set"
done
# shellcheck disable=SC2086 # several options, and paths without blanks
rtseg-train refresh "$MODELS/$BUNDLE" --data "$WORK/sets/$version-split/train" $mixed \
    --validation "$WORK/sets/$version-split/held-out" --runs "$WORK/runs/$version" \
    --out "$WORK/candidates/$BUNDLE/$version" --version "$version" --steps "$STEPS" ${LIMIT:+--stop-after "$LIMIT"}
rtseg-train calibrate "$WORK/candidates/$BUNDLE/$version" --validation "$WORK/sets/$version-split/held-out" \
    --report "$WORK/runs/$version/report"

echo "$cases" > "$WORK/cases"
rm -f "$WORK/begun"
echo "candidate: $WORK/candidates/$BUNDLE/$version"
echo "to see what it is worth: copy it to $MODELS/$BUNDLE/$version, and put shadow: [$BUNDLE@$version] into a route"
