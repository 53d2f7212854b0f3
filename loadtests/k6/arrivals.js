// What the scripts for both transports share: arrivals, prompts, and when a run has failed.
import { Counter, Rate } from 'k6/metrics';

export const STEPS = Number(__ENV.STEPS || 4);
export const VERIFY_SHARE = Number(__ENV.VERIFY_SHARE || 0.2);
export const API_KEY = __ENV.MM_API_KEY;

export const refused = new Counter('refused');
export const unsigned = new Counter('unsigned');
export const failed = new Rate('failed');

const PROMPTS = [
  'a red apple, flat style, on a white background',
  'a rocket, soft style, on a navy background',
  'a panda, 3d style, on a mint background',
];

// number: of the arrival, over all virtual users; the same pictures in every run.
export function promptOf(number) {
  return PROMPTS[number % PROMPTS.length];
}

// latency: the metric that holds how long a picture took, in milliseconds.
export function openLoop(latency) {
  return {
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
      // Arrivals for which no virtual user was free were never sent: less was offered than was said.
      dropped_iterations: ['count==0'],
      [latency]: [`p(99)<${Number(__ENV.P99_MS || 30000)}`],
    },
  };
}
