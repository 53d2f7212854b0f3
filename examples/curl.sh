#!/usr/bin/env bash
# Generate, look at the answer, verify. Needs a running service (make serve), curl and python3.
set -euo pipefail
url=${MINTMARK_URL:-http://127.0.0.1:3000}
out=$(mktemp -d)

curl --fail-with-body -s "$url/v1/images/generations" -H 'content-type: application/json' \
    -d '{"prompt": "a pizza, soft style, on a navy background", "seed": 7, "output_format": "webp"}' \
    > "$out/answer.json"
python3 - "$out" <<'PY'
import base64, json, pathlib, sys
out = pathlib.Path(sys.argv[1])
answer = json.loads((out / "answer.json").read_text())
item = answer["data"][0]
(out / "pizza.webp").write_bytes(base64.b64decode(item.pop("b64_json")))
print(json.dumps(item, indent=2))
PY

curl --fail-with-body -s "$url/v1/images/verify" -F "image=@$out/pizza.webp"
echo
echo "picture: $out/pizza.webp"
