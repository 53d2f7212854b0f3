// Draw a picture and see it grow, with fetch alone: in Node 18 or later, and in browsers.
//
// node examples/stream.mjs [URL]
// MM_API_KEY holds the key, where the service has keys.

import { writeFile } from "node:fs/promises";

const url = process.argv[2] ?? "http://127.0.0.1:3000";
const key = process.env.MM_API_KEY;

// Yields the JSON of each event of a server-sent stream. Lines that begin with a colon are comments
// that keep the connection open. A chunk may end anywhere, also within a line or a character.
async function* events(response) {
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice("data:".length))
        .join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

const response = await fetch(`${url}/v1/images/generations`, {
  method: "POST",
  headers: {
    "content-type": "application/json",
    ...(key && { authorization: `Bearer ${key}` }),
  },
  body: JSON.stringify({
    prompt: "a rocket, soft style, on a navy background",
    stream: true,
    partial_images: 3,
  }),
});

// What is refused before anything begins has a status; what fails later is an event.
if (!response.ok) {
  const { error } = await response.json();
  throw new Error(`${error.code}: ${error.message}`);
}

for await (const event of events(response)) {
  if (event.error) throw new Error(`${event.error.code}: ${event.error.message}`);
  const isFinished = event.type === "image_generation.completed";
  const name = isFinished ? "rocket.png" : `rocket-${event.partial_image_index}.png`;
  await writeFile(name, Buffer.from(event.b64_json, "base64"));
  console.log(name, isFinished ? `seed ${event.seed}, output ${event.output_id}` : "unfinished");
}
