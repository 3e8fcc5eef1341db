// BullMQ's side of tests/interop/conformance: plays the steps of a scenario, told as peer.mjs is, line by line.
// tests/interop/conformance/flownb_side.py plays the same steps with flownb; a change here is a change there.

import { createInterface } from "node:readline";
import {
  FlowProducer,
  Job,
  Queue,
  QueueEvents,
  RateLimitError,
  UnrecoverableError,
  WaitingChildrenError,
  Worker,
} from "bullmq";
import Redis from "ioredis";

const [, , socket] = process.argv;
const connection = new Redis({ path: socket, maxRetriesPerRequest: null });
let queues = {};
const workers = [];
const listeners = [];
let told = [];
let said = []; // by workers to their own listeners

function queue(name) {
  queues[name] ??= new Queue(name, { connection });
  return queues[name];
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const camel = (word) => word.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const camelKeys = (named) =>
  Object.fromEntries(Object.entries(named).map(([key, value]) => [camel(key), value]));

const text = (value) => JSON.stringify(value);
const sorted = (values) => values.sort((a, b) => (text(a) < text(b) ? -1 : 1));

// ---- what a job does: the words of its data's "do", one after the other; the last one's value is the job's -------

const deeds = {
  return: (_, value) => value,
  raise(_, why) {
    throw new Error(why);
  },
  give_up(_, why) {
    throw new UnrecoverableError(why);
  },
  raise_first(job, times) {
    if (job.attemptsMade < times) throw new Error(`attempt ${job.attemptsMade}`);
  },
  async hold(_, gate) {
    while (!(await connection.exists(`test:${gate}`))) await sleep(5);
  },
  nap: (_, ms) => sleep(ms),
  progress: (job, value) => job.updateProgress(value),
  log: (job, row) => job.log(row),
  data: (job, value) => job.updateData(value),
  values: async (job) => sorted(Object.values(await job.getChildrenValues())),
  values_in_order: async (job) => Object.values(await job.getChildrenValues()),
  ignored: (job) => job.getIgnoredChildrenFailures(),
  async dependencies(job) {
    const { failed, ignored, processed, unprocessed } = await job.getDependenciesCount();
    return { failed, ignored, processed, unprocessed };
  },
  attempts: (job) => job.attemptsMade,
  shown: (job) => ({ name: job.name, data: job.data, priority: job.opts.priority ?? 0 }),
  async limit_once(job, ms, { worker }) {
    if (await connection.set(`test:limited:${job.id}`, 1, "NX")) {
      await worker.rateLimit(ms);
      throw new RateLimitError();
    }
  },
  async grow(job, children, { token }) {
    if (!(await connection.set(`test:grown:${job.id}`, 1, "NX"))) return;
    const parent = { id: job.id, queue: job.queueQualifiedName };
    for (const child of children) {
      await queue(child.queueName).add(child.name, child.data, { ...child.opts, parent });
    }
    if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
  },
};

async function perform(job, token, worker, ownDeeds) {
  await connection.rpush("test:runs", job.name);
  let value = null;
  for (const [deed, given] of job.data?.do ?? ownDeeds) {
    value = await deeds[deed](job, given, { worker, token });
  }
  return value;
}

// ---- what a scenario asks for --------------------------------------------------------------------------

const HEARD = { active: 1, completed: 2, failed: 2 }; // what flownb's listeners get of an event's particulars

function plain(answer) {
  if (answer instanceof Job) return { job: answer.id };
  if (answer instanceof Error) return answer.message;
  if (Array.isArray(answer)) return answer.map(plain);
  return answer ?? null;
}

const tree = (node) =>
  node && { job: plain(node.job), children: node.children && sorted(node.children.map(tree)) };

// What flownb has under another name, or in another order: the same call in BullMQ's words.
const IN_OTHER_WORDS = {
  pause: (subject, wait = true) => (subject instanceof Worker ? subject.pause(!wait) : subject.pause()),
  get_logs: async (job) => (await queue(job.queueName).getJobLogs(job.id)).logs,
  get_jobs: (queue, states, first = 0, last = -1) =>
    queue.getJobs(states, first, last, !["completed", "failed"].includes(states)),
};

async function target(where, name) {
  if (where === "queue") return queue(name);
  if (where === "worker") return workers[name];
  const [queueName, first, scheduler] = name.split(":");
  const next = scheduler && (await queue(queueName).getJobScheduler(scheduler))?.next;
  const job = await queue(queueName).getJob(scheduler ? `${first}:${scheduler}:${next}` : first);
  if (!job) throw new Error(`there is no job ${name}`);
  return job;
}

const asked = {
  begin() {
    queues = {};
    said = [];
  },
  async end() {
    await asked.stop();
    await Promise.all(listeners.splice(0).map((listener) => listener.close()));
  },
  async add({ jobs }) {
    for (const { queueName, name, data, opts } of jobs) await queue(queueName).add(name, data, opts);
  },
  async add_bulk({ queue: name, jobs }) {
    return (await queue(name).addBulk(jobs)).length;
  },
  async flow({ trees, bulk }) {
    const producer = new FlowProducer({ connection });
    if (bulk) await producer.addBulk(trees);
    else for (const tree of trees) await producer.add(tree);
  },
  async work({ queues: names, deeds: ownDeeds, backoff, hears = [], ...options }) {
    if (backoff) options.settings = { backoffStrategy: (attempts) => backoff[attempts - 1] };
    for (const name of names) {
      const worker = new Worker(name, (job, token) => perform(job, token, worker, ownDeeds), {
        connection,
        ...camelKeys(options),
      });
      worker.on("error", (error) => console.error(`bullmq: ${error}`));
      for (const event of hears) {
        worker.on(event, (...about) => said.push([event, ...about.slice(0, HEARD[event] ?? 0)]));
      }
      workers.push(worker);
      await worker.waitUntilReady();
    }
  },
  async stop() {
    await Promise.all(workers.splice(0).map((worker) => worker.close()));
  },
  async listen({ queue: name }) {
    told = [];
    const listener = new QueueEvents(name, { connection, lastEventId: "0-0" });
    listeners.push(listener);
    const emit = listener.emit.bind(listener);
    listener.emit = (event, about, ...more) => {
      if (!["error", "ioredis:close"].includes(event) && !event.includes(":")) told.push({ event, ...about });
      return emit(event, about, ...more);
    };
    await listener.waitUntilReady();
  },
  heard() {
    return told.splice(0);
  },
  async tree({ queue: queueName, id, ...bounds }) {
    return tree(await new FlowProducer({ connection }).getFlow({ queueName, id, ...camelKeys(bounds) }));
  },
  overheard() {
    return said;
  },
  async call({ where, name, method, args, named }) {
    const subject = await target(where, name);
    if (method in IN_OTHER_WORDS) return IN_OTHER_WORDS[method](subject, ...args);
    const all = Object.keys(named).length ? [...args, camelKeys(named)] : args;
    const answer = await subject[camel(method)](...all);
    return /^(set|remove)_global/.test(method) ? null : answer; // how many fields there were is nobody's business
  },
  async read({ name, fields }) {
    const job = await target("job", name);
    return Object.fromEntries(fields.map((field) => [field, job[camel(field)] ?? null]));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...more } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ answer: plain(await asked[name](more)) }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
  }
}
process.exit(0);
