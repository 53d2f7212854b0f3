// The gRPC service with open-loop arrivals; a share of the pictures is verified.
//
//   k6 run loadtests/k6/grpc.js
//   k6 run -e ADDRESS=127.0.0.1:3001 -e RATE=2 -e DURATION=60s -e STEPS=4 loadtests/k6/grpc.js
//
// The interface is read from the protos of this repository, so reflection may be off.
import { check } from 'k6';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { Trend } from 'k6/metrics';

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

const ADDRESS = __ENV.ADDRESS || '127.0.0.1:3001';
const SERVICE = 'mintmark.v1.ImageGeneration';
const METADATA = API_KEY ? { authorization: `Bearer ${API_KEY}` } : {};
const REFUSALS = [grpc.StatusUnavailable, grpc.StatusResourceExhausted];

const generate = new Trend('generate_ms', true);

const client = new grpc.Client();
client.load(['../../service/rpc/protos'], 'mintmark/v1/image_generation.proto');

export const options = openLoop('generate_ms');

let isConnected = false;

export default async function () {
  if (!isConnected) {
    // Once for each virtual user; pictures may be larger than the default of 4 MB.
    client.connect(ADDRESS, { plaintext: __ENV.TLS !== 'true', maxReceiveSize: 64 * 1024 * 1024 });
    isConnected = true;
  }
  const began = Date.now();
  const { pictures, error } = await draw(exec.scenario.iterationInTest);
  if (error !== null && REFUSALS.includes(error.code)) {
    refused.add(1);
    return;
  }
  const isDrawn = check(pictures, { 'a picture came': (p) => error === null && p.length === 1 });
  failed.add(!isDrawn);
  if (!isDrawn) return;
  generate.add(Date.now() - began);
  if (Math.random() < VERIFY_SHARE) verify(pictures[0]);
}

function draw(number) {
  return new Promise((resolve) => {
    const stream = new grpc.Stream(client, `${SERVICE}/Generate`, { metadata: METADATA });
    const pictures = [];
    let error = null;
    stream.on('data', (event) => {
      if (event.image) pictures.push(event.image.image.content);
    });
    stream.on('error', (found) => {
      error = found;
      resolve({ pictures, error });
    });
    stream.on('end', () => resolve({ pictures, error }));
    stream.write({
      prompt: promptOf(number),
      seed: number,
      numInferenceSteps: STEPS,
    });
    stream.end();
  });
}

function verify(content) {
  const answer = client.invoke(`${SERVICE}/Verify`, { image: content }, { metadata: METADATA });
  if (REFUSALS.includes(answer.status)) return;
  const isProven = check(answer, {
    'it is proven to be ours': (r) =>
      r.status === grpc.StatusOK &&
      r.message.verdict === 'VERDICT_AI_GENERATED_BY_US' &&
      r.message.confidence === 'CONFIDENCE_PROOF',
  });
  unsigned.add(isProven ? 0 : 1);
}
