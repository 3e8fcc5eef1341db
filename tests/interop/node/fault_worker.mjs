// BullMQ's Node client under faults, for tests/faults/compare.py: `node fault_worker.mjs SOCKET '{"options": {...}}'` works
// until its stdin ends; with "trees", a file, in place of "options" it adds them and ends. The log is tests/support/execution_log.py's.

import { appendFileSync, readFileSync, writeSync } from "node:fs";
import { FlowProducer, Worker } from "bullmq";

const [, , socket, words] = process.argv;
const asked = JSON.parse(words);
const connection = { path: socket, maxRetriesPerRequest: null };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function note(kind, key) {
  const line = `${kind} ${process.pid} ${(Date.now() / 1000).toFixed(6)} ${key}\n`;
  appendFileSync(process.env.FLOWNB_EXECUTION_LOG, line);
}

async function perform(job) {
  if (job.data.key === undefined) {
    const values = Object.values(await job.getChildrenValues());
    return { sum: values.reduce((sum, value) => sum + value.sum, 0), n: values.length };
  }
  note("+", job.data.key);
  await sleep(job.data.seconds * 1000);
  note("-", job.data.key);
  return { key: job.data.key, sum: job.data.number, n: 1 };
}

if (asked.trees) {
  await new FlowProducer({ connection }).addBulk(JSON.parse(readFileSync(asked.trees)));
  process.exit(0);
}
for (const name of ["leaf", "total"]) {
  const worker = new Worker(name, perform, { connection, ...asked.options });
  worker.on("error", () => undefined); // counted by what is stored at the end
  await worker.waitUntilReady();
}
writeSync(1, "0\n");
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
