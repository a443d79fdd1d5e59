#!/usr/bin/env bash
# Certificates and configurations of hosts that share a ledger, from host.yaml:
#   deploy/three-hosts/prepare.sh OUT north south east
# makes OUT/NAME/{config.yaml,host.crt,host.key,hosts-ca.crt,pgpass} for each, and OUT/ca/ with the CA's key.
# DOMAIN=hospital.example: hosts call each other NAME.DOMAIN. Without it: NAME, as containers do.
# DATABASE=ledger: the database server. The password of user rtseg is made, and stands in OUT/password.
# What is there already stays as it is. Keep OUT/ca away from the hosts: who has that key can read every image.
set -euo pipefail
umask 077
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
out=$1
shift
mkdir -p "$out/ca"
database=${DATABASE:-ledger}
[ -s "$out/password" ] || openssl rand -hex 24 > "$out/password"
if [ ! -e "$out/ca/ca.key" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=hosts of rtseg-daemon" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$out/ca/ca.key" -out "$out/ca/ca.crt" 2> /dev/null
fi
for name in "$@"; do
    case $name in *[!a-z0-9-]* | "" | -*) echo "$name is no name of a host: use a-z, 0-9 and -" >&2; exit 2 ;; esac
    [ "$name" != ca ] || { echo "ca is the folder of the CA; give the host another name" >&2; exit 2; }
    folder=$out/$name address=$name${DOMAIN:+.$DOMAIN}
    mkdir -p "$folder"
    if [ ! -e "$folder/host.crt" ]; then
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$address" \
            -keyout "$folder/host.key" -out "$folder/host.csr" 2> /dev/null
        openssl x509 -req -in "$folder/host.csr" -CA "$out/ca/ca.crt" -CAkey "$out/ca/ca.key" -days 825 \
            -extfile <(printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n' \
                "$address") -out "$folder/host.crt" 2> /dev/null
        rm "$folder/host.csr"
    fi
    cp "$out/ca/ca.crt" "$folder/hosts-ca.crt"
    echo "$database:5432:rtseg:rtseg:$(cat "$out/password")" > "$folder/pgpass"
    [ -e "$folder/config.yaml" ] || sed "s/@HOST@/$name/g; s/@ADDRESS@/$address/g; s/@DATABASE@/$database/g" \
        "$here/host.yaml" > "$folder/config.yaml"
    echo "$folder"
done
