// Node's ws as its own documentation shows it: a loop over the readers with one send() each, and
// its way to find dead lines, a ping every 30 s. Arguments and commands as in sora.py; started with
// --expose-gc, which only makes the garbage collection that `collect` asks for possible.
"use strict";

const path = require("node:path");
const readline = require("node:readline");

const [modules, tasks, template, ...options] = process.argv.slice(2);
const { WebSocketServer } = require(path.join(modules, "ws"));

const BEAT_MS = 30_000;
const [head, tail] = template.split("SEQ");
const readers = new Set();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  path: "/ws",
  backlog: 4096,
  // On its default ws leaves messages below 1 KB as they are.
  perMessageDeflate: options.includes("deflate") ? { threshold: 0 } : false,
});
let seq = 0;

const nowUs = () => Number(process.hrtime.bigint() / 1000n);
const say = (what) => console.log(JSON.stringify(what));

server.on("listening", () => say({ port: server.address().port }));
server.on("connection", (socket) => {
  socket.isAlive = true;
  socket.on("pong", () => { socket.isAlive = true; });
  socket.on("error", () => socket.terminate());
  socket.on("close", () => readers.delete(socket));
  socket.on("message", (data) => onMessage(socket, JSON.parse(data)));
});

function onMessage(socket, message) {
  if (message.type === "auth") {
    socket.send('{"type":"authSuccess"}');
    return;
  }
  const ofTeam = message.id !== "crowd";
  if (ofTeam) readers.add(socket);
  socket.send('{"type":"subscribeSuccess"}');
  for (let i = 0; i < (ofTeam ? Number(tasks) : 1); i++) socket.send(`${head}1${tail}`);
}

function beat() {
  const text = JSON.stringify({ type: "heartbeat", timestamp: Date.now(), payload: { connectedClients: readers.size } });
  for (const socket of readers) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.send(text);
    socket.ping();
  }
}

function broadcast(dueUs) {
  seq = Math.max(seq + 1, dueUs);
  const data = Buffer.from(`${head}${seq}${tail}`);
  for (const socket of readers) socket.send(data, { binary: false });
}

async function publish(count, together, intervalUs) {
  const begin = nowUs();
  for (let done = 0; done < count; done += together) {
    const dueUs = intervalUs ? begin + (done / together) * intervalUs : nowUs();
    const waitUs = dueUs - nowUs();
    if (waitUs > 0) await new Promise((go) => setTimeout(go, waitUs / 1000));
    else await new Promise(setImmediate);
    for (let i = 0; i < together; i++) broadcast(dueUs);
  }
  say({ published: count });
}

// The longest turn of the loop, measured by one callback in each of them.
const turns = { longest: 0, last: 0, on: false };

function measure() {
  Object.assign(turns, { longest: 0, last: nowUs(), on: true });
  setImmediate(turn);
}

function turn() {
  const now = nowUs();
  turns.longest = Math.max(turns.longest, now - turns.last);
  turns.last = now;
  if (turns.on) setImmediate(turn);
}

function longestUs() {
  turns.on = false;
  return turns.longest;
}

async function leave() {
  measure();
  await new Promise(setImmediate);
  for (const socket of server.clients) socket.close(1001, "the server stops");
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  say({ held_us: longestUs() });
}

function collect() {
  const begin = nowUs();
  global.gc();
  say({ held_us: nowUs() - begin });
}

function obey(line) {
  const [command, ...numbers] = line.split(" ");
  if (command === "publish") publish(...numbers.map(Number));
  else if (command === "probe") { measure(); say({ probing: 1 }); }
  else if (command === "held") say({ held_us: longestUs() });
  else if (command === "collect") collect();
  else if (command === "lines") say({ lines: server.clients.size });
  else if (command === "leave") leave();
  else throw new Error(`an unknown command: ${line}`);
}

setInterval(beat, BEAT_MS);
readline.createInterface({ input: process.stdin })
  .on("line", obey)
  .on("close", () => process.exit(0));
