#!/bin/sh
# Makes the certificates of the tests: an authority, and one it vouches for each of server and client.
set -eu
cd "$(dirname "$0")"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 \
  -keyout authority.key -out authority.pem -subj "/CN=test authority"
for name in server client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$name.key" -out "$name.csr" \
    -subj "/CN=$name"
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' > "$name.ext"
  openssl x509 -req -in "$name.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 \
    -extfile "$name.ext" -out "$name.pem"
  rm "$name.csr" "$name.ext"
done
rm authority.key authority.srl
