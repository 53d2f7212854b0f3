// OpenAI's endpoint with open-loop arrivals; a share of the pictures is verified.
//
//   k6 run loadtests/k6/http.js
//   k6 run -e BASE_URL=http://127.0.0.1:3000 -e RATE=2 -e DURATION=60s -e STEPS=4 loadtests/k6/http.js
import { check } from 'k6';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';

import {
  API_KEY,
  STEPS,
  VERIFY_SHARE,
  failed,
  openLoop,
  promptOf,
  refused,
  unsigned,
} from './arrivals.js';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:3000';
const HEADERS = API_KEY ? { Authorization: `Bearer ${API_KEY}` } : {};
const REFUSALS = [429, 503];

// A full queue turns callers away on purpose, which is no failed request.
http.setResponseCallback(http.expectedStatuses(200, ...REFUSALS));

export const options = openLoop('http_req_duration{name:generate}');

export default function () {
  const number = exec.scenario.iterationInTest;
  const body = JSON.stringify({
    prompt: promptOf(number),
    seed: number,
    num_inference_steps: STEPS,
  });
  const answer = http.post(`${BASE_URL}/v1/images/generations`, body, {
    headers: { 'Content-Type': 'application/json', ...HEADERS },
    tags: { name: 'generate' },
    timeout: '120s',
  });
  if (REFUSALS.includes(answer.status)) {
    refused.add(1);
    return;
  }
  const isDrawn = check(answer, { 'a picture came': (r) => r.status === 200 });
  failed.add(!isDrawn);
  if (isDrawn && Math.random() < VERIFY_SHARE) {
    verify(encoding.b64decode(answer.json('data.0.b64_json'), 'std'));
  }
}

function verify(picture) {
  const answer = http.post(
    `${BASE_URL}/v1/images/verify`,
    { image: http.file(picture, 'image') },
    { headers: HEADERS, tags: { name: 'verify' }, timeout: '120s' },
  );
  if (REFUSALS.includes(answer.status)) return;
  const isProven = check(answer, {
    'it is proven to be ours': (r) =>
      r.status === 200 &&
      r.json('verdict') === 'ai_generated_by_us' &&
      r.json('confidence') === 'proof',
  });
  unsigned.add(isProven ? 0 : 1);
}
