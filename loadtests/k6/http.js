// OpenAI's endpoint with open-loop arrivals; a share of the pictures is verified.
//
//   k6 run loadtests/k6/http.js
//   k6 run -e BASE_URL=http://127.0.0.1:3000 -e RATE=2 -e DURATION=60s -e STEPS=4 loadtests/k6/http.js
//
// `dropped_iterations` are arrivals for which no virtual user was free: they were never sent, so the
// run offered less than it says. A threshold fails it then.
import { check } from 'k6';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:3000';
const STEPS = Number(__ENV.STEPS || 4);
const VERIFY_SHARE = Number(__ENV.VERIFY_SHARE || 0.2);
const HEADERS = __ENV.MM_API_KEY ? { Authorization: `Bearer ${__ENV.MM_API_KEY}` } : {};
const PROMPTS = [
  'a red apple, flat style, on a white background',
  'a rocket, soft style, on a navy background',
  'a panda, 3d style, on a mint background',
];
const REFUSALS = [429, 503];

const refused = new Counter('refused');
const unsigned = new Counter('unsigned');
const failed = new Rate('failed');

// A full queue turns callers away on purpose, which is no failed request.
http.setResponseCallback(http.expectedStatuses(200, ...REFUSALS));

export const options = {
  scenarios: {
    arrivals: {
      executor: 'constant-arrival-rate',
      rate: Math.round(Number(__ENV.RATE || 1) * 60),
      timeUnit: '1m',
      duration: __ENV.DURATION || '30s',
      preAllocatedVUs: 20,
      maxVUs: Number(__ENV.MAX_VUS || 200),
      gracefulStop: '60s',
    },
  },
  thresholds: {
    failed: ['rate==0'],
    unsigned: ['count==0'],
    dropped_iterations: ['count==0'],
    'http_req_duration{name:generate}': [`p(99)<${Number(__ENV.P99_MS || 30000)}`],
  },
};

export default function () {
  // The number of the arrival, over all virtual users: other seeds, the same in every run.
  const number = exec.scenario.iterationInTest;
  const body = JSON.stringify({
    prompt: PROMPTS[number % PROMPTS.length],
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
