// Another program of the Node team: it adds a newsletter as a flow, a letter for each reader below it, and ends.

const { FlowProducer } = require("bullmq");

const readers = ["ada@first.example", "cleo@first.example", "bob@busy.example"];
const text = "What is new in November";

async function main() {
  const { url, unix_socket_path: path, password } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
  const producer = new FlowProducer({ connection: { url, path, password } });
  await producer.add({
    name: "november",
    queueName: "newsletters",
    children: readers.map((to, i) => ({
      name: "letter",
      queueName: "emails",
      data: { to, text },
      opts: { jobId: `november-${i}`, failParentOnFailure: true },
    })),
  });
  await producer.close();
}

main();
