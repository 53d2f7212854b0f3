#!/usr/bin/env bash
# Generate, watch, edit, verify. Needs a running service (make serve), curl and python3.
# Where the service has keys: MM_API_KEY=… examples/curl.sh
set -euo pipefail
url=${MINTMARK_URL:-http://127.0.0.1:3000}
out=$(mktemp -d)
call() { curl --fail-with-body -sS ${MM_API_KEY:+-H "authorization: Bearer $MM_API_KEY"} "$@"; }

# Writes the first picture of an answer to a file and shows the rest.
keep() {
    python3 -c '
import base64, json, pathlib, sys
answer = json.load(sys.stdin)
item = answer["data"][0]
pathlib.Path(sys.argv[1]).write_bytes(base64.b64decode(item.pop("b64_json")))
print(json.dumps(item, indent=2))' "$1"
}

echo "--- generate"
call "$url/v1/images/generations" -H 'content-type: application/json' \
    -d '{"prompt": "a pizza, soft style, on a navy background", "seed": 7, "output_format": "webp"}' |
    keep "$out/pizza.webp"

echo "--- watch: unfinished states, signed and marked as well"
call -N "$url/v1/images/generations" -H 'content-type: application/json' \
    -d '{"prompt": "a panda, soft style, on a lavender background", "stream": true, "partial_images": 2}' |
    sed -n 's/^event: //p'

echo "--- edit: all of it, as far as the strength allows"
call "$url/v1/images/edits" -F "image=@$out/pizza.webp" -F strength=0.6 \
    -F 'prompt=a pizza, flat style, on a white background' |
    keep "$out/edited.png"

echo "--- verify"
call "$url/v1/images/verify" -F "image=@$out/edited.png"
echo
echo "pictures: $out"
