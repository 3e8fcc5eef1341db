// The other side of the comparison: the npm package bullmq, told by bench_flows.py what to do.
// One JSON object a line on stdin, {"do": name, ...}; one JSON object a line on stdout as the answer.

import { createInterface } from "node:readline";
import { FlowProducer, Queue, Worker } from "bullmq";
import Redis from "ioredis";

const open = [];
function connect() {
  const client = new Redis({ path: process.env.BENCH_SOCKET, maxRetriesPerRequest: null });
  open.push(client);
  return client;
}

const shared = connect();
const producer = new FlowProducer({ connection: shared });
const items = new Queue("items", { connection: shared });
const workers = {};
let root = null; // of the flow that was added last
let whenEnded = null; // tells that a root has completed

function fanOut(n) {
  const batchId = "batch_1";
  return {
    name: "aggregate-results",
    queueName: "agg",
    data: { batchId, totalItems: n },
    children: Array.from({ length: n }, (_, index) => ({
      name: `process-item-${index}`,
      queueName: "items",
      data: { batchId, index, item: `item ${index}` },
    })),
  };
}

async function measured(work) {
  const cpu = process.cpuUsage();
  const start = process.hrtime.bigint();
  const more = await work();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const used = process.cpuUsage(cpu);
  return {
    seconds,
    cpu_us: used.user + used.system,
    rss_mb: process.resourceUsage().maxRSS / 1024,
    ...more,
  };
}

async function aggregate(job) {
  const start = process.hrtime.bigint();
  const values = Object.values(await job.getChildrenValues());
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  return { count: values.length, sum: values.reduce((a, b) => a + b, 0), ms };
}

async function serve(name, processor, concurrency) {
  const worker = new Worker(name, processor, { connection: connect(), concurrency });
  worker.on("completed", (job, value) => {
    if (job.id === root && whenEnded) whenEnded(value);
  });
  worker.on("error", (error) => console.error(error));
  await worker.waitUntilReady();
  workers[name] = worker;
}

async function runFlow(tree) {
  const ended = new Promise((resolve) => (whenEnded = resolve));
  root = tree.opts?.jobId ?? null;
  const added = await producer.add(tree);
  root = added.job.id;
  return ended;
}

let chains = 0;
function chain() {
  const stage = (name, queueName, children) => ({ name, queueName, data: { index: 1 }, children });
  const tree = stage("four", "end", [
    stage("three", "chain", [stage("two", "chain", [stage("one", "chain", [])])]),
  ]);
  chains += 1;
  tree.opts = { jobId: `root-${chains}` }; // known before it can end
  return tree;
}

const doing = {
  async warm_add({ n }) {
    await producer.add(fanOut(n));
    return {};
  },

  async add({ n }) {
    const tree = fanOut(n);
    return measured(async () => {
      const added = await producer.add(tree);
      root = added.job.id;
    });
  },

  async start({ concurrency, root: servesRoots = true }) {
    await serve("items", async (job) => job.data.index, concurrency);
    if (servesRoots) await serve("agg", aggregate, 1);
    return {};
  },

  async warm_drain({ n }) {
    const tree = fanOut(n);
    tree.opts = { jobId: "warm-root" };
    return { count: (await runFlow(tree)).count };
  },

  async load({ n }) {
    await items.pause();
    const added = await producer.add(fanOut(n));
    root = added.job.id;
    return {};
  },

  async drain() {
    const ended = new Promise((resolve) => (whenEnded = resolve));
    return measured(async () => {
      await items.resume();
      return ended;
    });
  },

  async poll({ times, n }) {
    const ms = [];
    let shown = 0;
    for (let i = 0; i < times; i += 1) {
      const start = process.hrtime.bigint();
      const found = await producer.getFlow({ queueName: "agg", id: root, maxChildren: n, depth: 2 });
      ms.push(Number(process.hrtime.bigint() - start) / 1e6);
      shown = found.children.length;
    }
    return { ms, shown };
  },

  async rows({ rows }) {
    await serve("rows", async () => null, 100);
    await serve("agg", async () => null, 1);
    const ended = new Promise((resolve) => (whenEnded = resolve));
    root = "rows-root";
    return measured(async () => {
      await producer.add({
        name: "all",
        queueName: "agg",
        opts: { jobId: root },
        children: rows.map((data) => ({ name: "row", queueName: "rows", data })),
      });
      await ended;
    });
  },

  async start_chain() {
    await serve("chain", async (job) => job.data.index, 1);
    await serve("end", async (job) => job.data.index, 1);
    return {};
  },

  async chain({ times }) {
    const ms = [];
    for (let i = 0; i < times; i += 1) {
      const tree = chain();
      const start = process.hrtime.bigint();
      await runFlow(tree);
      ms.push(Number(process.hrtime.bigint() - start) / 1e6);
    }
    return { ms };
  },

  async chain_once() {
    const { job } = await producer.add(chain());
    while (!(await job.isCompleted())) await new Promise((resolve) => setTimeout(resolve, 10));
    return {};
  },

  async burst({ n }) {
    for (let i = 0; i < n; i += 1) await producer.add(chain());
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.do === "end") break;
  try {
    console.log(JSON.stringify(await doing[message.do](message)));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error?.stack ?? error) }));
  }
}
process.exit(0);
