// npm's `eventsource`: what it hears as a line of JSON each. The process ends when the source is closed for good.
//   node client.mjs MODULE URL TOKEN

const [, , module, url, token] = process.argv;
const { EventSource } = await import(module);

const withToken = (address, init) =>
  fetch(address, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } });

const source = new EventSource(url, { fetch: withToken });
source.onmessage = ({ data, lastEventId }) =>
  console.log(JSON.stringify({ id: Number(lastEventId), ...JSON.parse(data) }));
