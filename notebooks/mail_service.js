// A mail service as a Node team writes one: BullMQ's workers, and no word of flownb. It needs `npm install bullmq`
// once, in this folder. The notebook starts it, says on its first line where the server is, and ends it.

const { createInterface } = require("node:readline");
const { Worker } = require("bullmq");

const busy = new Set(["busy.example", "ha.example"]); // mail servers that refuse their first letter

async function send({ data }) {
  const [, domain] = data.to.split("@");
  if (!domain) throw new Error(`no such address: "${data.to}"`);
  if (busy.delete(domain)) throw new Error(`${domain} is busy, try again later`);
  return { server: `mx.${domain}`, characters: data.text.length };
}

async function count(job) {
  const letters = Object.values(await job.getChildrenValues());
  return { letters: letters.length };
}

createInterface({ input: process.stdin })
  .once("line", (line) => {
    const { url, unix_socket_path: path, password } = JSON.parse(line);
    const connection = { url, path, password, maxRetriesPerRequest: null };
    new Worker("emails", send, { connection });
    new Worker("newsletters", count, { connection });
  })
  .on("close", () => process.exit(0));
