// A peer: the npm package named on the command line (bullmq or bullmq5), told by tests/support/peers/process.py what to do.
// One JSON object a line on stdin, {"do": name, ...}; one JSON object a line on stdout as the answer.
// python_peer.py and flownb_peer.py in tests/support/peers do the same with their packages; a change here is a change there.

import { createInterface } from "node:readline";
import Redis from "ioredis";

const [, , me, library, socket] = process.argv;
const { FlowProducer, Queue, QueueEvents, UnrecoverableError, WaitingChildrenError, Worker } = await import(
  library
);
const connection = { path: socket, maxRetriesPerRequest: null };

const notes = new Redis(connection); // what the tests keep beside BullMQ's data
const producer = new FlowProducer({ connection });
const queues = {};
const workers = [];
const heard = {};

function queue(name) {
  queues[name] ??= new Queue(name, { connection });
  return queues[name];
}

// ---- what a job does, by its data --------------------------------------------------------------------

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function gather(job) {
  return { values: Object.values(await job.getChildrenValues()) };
}

const deeds = {
  value: (job) => job.data.value,
  gather,
  fail: (job) => {
    throw new Error(job.data.why);
  },
  give_up: (job) => {
    throw new UnrecoverableError(job.data.why);
  },
  fail_first(job) {
    if (job.attemptsMade < job.data.times) throw new Error("not yet");
    return job.data.value;
  },
  async hold(job) {
    while (!(await notes.exists("test:open"))) await sleep(5);
    if (job.data.fails) throw new Error("no");
    return job.data.value;
  },
  async report(job) {
    await job.updateProgress({ done: 0.5 });
    await job.log("half done");
    await job.updateData({ ...job.data, seen: [] });
    return job.data.value;
  },
  async nap(job) {
    await sleep(3);
    return job.data.value;
  },
  async outlast(job) {
    while ((await job.getDependenciesCount()).unprocessed) await sleep(5);
    return gather(job);
  },
  async grow(job, token) {
    if (!job.data.grown) {
      const parent = { id: job.id, queue: job.queueQualifiedName };
      for (const child of job.data.children) {
        await queue(child.queueName).add(child.name, child.data, { parent });
      }
      await job.updateData({ ...job.data, grown: true });
    }
    if (await job.moveToWaitingChildren(token)) throw new WaitingChildrenError();
    return gather(job);
  },
};

function told(answer) {
  if (Array.isArray(answer)) return answer.map(told);
  return answer?.queueQualifiedName ? answer.id : answer;
}

async function perform(job, token) {
  await notes.rpush("test:runs", JSON.stringify({ name: job.name, by: me }));
  return deeds[job.data.do](job, token);
}

// ---- what the tests ask for ----------------------------------------------------------------------------

const asked = {
  async work({ queue, ...settings }) {
    const worker = new Worker(queue, perform, { connection, ...settings });
    worker.on("error", (error) => console.error(`${me}: ${error}`));
    workers.push(worker);
    await worker.waitUntilReady();
  },
  async stop() {
    await Promise.all(workers.splice(0).map((worker) => worker.close()));
  },
  async add_flow({ tree }) {
    await producer.add(tree);
  },
  async add_jobs({ queue: name, jobs }) {
    await queue(name).addBulk(jobs);
  },
  async schedule({ queue: name, id, repeat, job }) {
    await queue(name).upsertJobScheduler(id, repeat, job);
  },
  async cron_times({ lines, zones, times }) {
    const { default: cron } = await import("cron-parser"); // what BullMQ reads patterns with
    const next = (line, tz, time) =>
      cron.CronExpressionParser.parse(line, { currentDate: new Date(time), tz })
        .next()
        .getTime();
    return lines.flatMap((line) => zones.flatMap((tz) => times.map((time) => next(line, tz, time))));
  },
  async tree({ queue: name, id, ...bounds }) {
    const named = (node) => node && { job: node.job.name, children: node.children?.map(named) };
    return named(await producer.getFlow({ queueName: name, id, ...bounds }));
  },
  // Any method of BullMQ's Queue or Job; jobs in what it returns are told by their ids.
  async call({ queue: name, method, args = [] }) {
    return told(await queue(name)[method](...args));
  },
  async call_job({ queue: name, id, method, args = [] }) {
    return told(await (await queue(name).getJob(id))[method](...args));
  },
  async pause({ queue: name }) {
    await queue(name).pause();
  },
  async resume({ queue: name }) {
    await queue(name).resume();
  },
  async retry({ queue: name, id }) {
    await (await queue(name).getJob(id)).retry();
  },
  async by_hand({ queue: name, fails }) {
    const worker = new Worker(name, null, { connection });
    const job = await worker.getNextJob(me, { block: false });
    // As BullMQ's worker does: who has a failed child fails unrun, and so does who may not be completed.
    const failed = (error) => job.moveToFailed(error, me, false);
    if (job?.deferredFailure) await failed(new UnrecoverableError(job.deferredFailure));
    else if (job && fails) await failed(new Error("by hand"));
    else if (job) await job.moveToCompleted("by hand", me, false).catch(failed);
    await worker.close();
    return job ? job.id : null;
  },
  async drain({ queue: name }) {
    await queue(name).drain();
  },
  async counts({ queue: name }) {
    return queue(name).getJobCounts();
  },
  async workers({ queue: name }) {
    return (await queue(name).getWorkers()).map((worker) => worker.rawname);
  },
  async children_values({ queue: name, id }) {
    return (await queue(name).getJob(id)).getChildrenValues();
  },
  async listen({ queue: name }) {
    await heard[name]?.listener.close();
    const events = new QueueEvents(name, { connection, lastEventId: "0-0" });
    await events.waitUntilReady();
    heard[name] = { listener: events, told: [] };
    const emit = events.emit.bind(events);
    events.emit = (event, ...args) => {
      if (!["error", "ioredis:close"].includes(event) && !event.includes(":"))
        heard[name].told.push([event, args[0]]);
      return emit(event, ...args);
    };
  },
  async heard({ queue: name }) {
    return heard[name].told.splice(0);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...more } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ answer: (await asked[name](more)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
  }
}
process.exit(0);
