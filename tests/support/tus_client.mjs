// Sends a WAV with tus-js-client, and prints the path of its record.
// node tus_client.mjs MODULES ENDPOINT TOKEN FILE
import { createReadStream, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, endpoint, token, path] = process.argv.slice(2);
const { Upload } = createRequire(join(modules, "here.js"))("tus-js-client");
let record = "";
const upload = new Upload(createReadStream(path), {
  endpoint,
  chunkSize: Infinity,
  uploadSize: statSync(path).size,
  retryDelays: Array(400).fill(20),
  metadata: { filename: "talk.wav" },
  headers: { Authorization: `Bearer ${token}` },
  onAfterResponse: (_request, response) => {
    record = response.getHeader("Content-Location") ?? record;
  },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => console.log(record),
});
upload.start();
