// Bull Board over the queues named on the command line: prints its port, serves until its input ends.

import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { Queue } from "bullmq";
import express from "express";

const [, , socket, ...names] = process.argv;
const connection = { path: socket, maxRetriesPerRequest: null };
const serverAdapter = new ExpressAdapter();
const queues = names.map((name) => new BullMQAdapter(new Queue(name, { connection })));
createBullBoard({ queues, serverAdapter });
const server = express()
  .use(serverAdapter.getRouter())
  .listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
