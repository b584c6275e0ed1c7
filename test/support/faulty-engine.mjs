// An engine as a small program, for tests that kill and stop it: node faulty-engine.mjs [BEHAVIOUR [PORT]]. Prints its port.
// On SIGTERM it finishes its calls, but aborts them if it is abrupt, as vLLM does.
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';

const [behaviour = 'good', port = '0'] = process.argv.slice(2);
// Another model, because an engine that is busy with a flood is slow at other calls.
const MODEL = behaviour === 'floods' ? 'flood' : 'm';
const MODELS = JSON.stringify({ object: 'list', data: [{ id: MODEL, object: 'model' }] });
const EVENTS = 100;
let running = 0;

/** Streams an event every 50 ms, then `[DONE]`. */
async function stream(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (let n = 0; n < EVENTS && !response.destroyed; n++) {
    response.write(`data: {"n":${n}}\n\n`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  response.end('data: [DONE]\n\n');
}

/** Streams events of 1 KB without end, as fast as they are read. */
function flood(response) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const events = `data: ${'x'.repeat(1000)}\n\n`.repeat(16);
  const send = () => {
    while (!response.destroyed && response.write(events));
  };
  response.on('drain', send);
  send();
}

const http = createServer((request, response) => {
  if (behaviour === 'abrupt' && request.url === '/metrics')
    return void response.end(`vllm:num_requests_running ${running}\nvllm:num_requests_waiting 0\n`);
  if (request.method === 'GET') return void response.setHeader('content-type', 'application/json').end(MODELS);
  running++;
  response.on('close', () => running--);
  let body = '';
  request.on('data', (piece) => (body += piece));
  request.on('end', () => {
    if (body.includes('"stream":true')) return void (behaviour === 'floods' ? flood : stream)(response);
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ pid: process.pid }));
    // A server that limits idle time can close the connection just when the next request arrives.
    if (behaviour === 'closes') setTimeout(() => response.socket?.destroy(), Math.random() * 20);
  });
});

const JSON_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';

/** Responses of the engines that are not servers of Node. */
const RESPONSES = {
  garbage: '\0\x01\x02garbage\r\n\r\n',
  'too short': `${JSON_HEAD}content-length: 1000\r\n\r\n{}`,
  'too long': `${JSON_HEAD}content-length: 2\r\n\r\n{}{}{}`,
  continue: `HTTP/1.1 100 Continue\r\n\r\n${JSON_HEAD}content-length: 2\r\n\r\n{}`,
  'http 1.0': 'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{}',
};

const tcp = createTcpServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', (request) => {
    if (request.toString('latin1').startsWith('GET'))
      return void socket.end(`${JSON_HEAD}content-length: ${MODELS.length}\r\n\r\n${MODELS}`);
    if (behaviour !== 'endless headers') return void socket.end(RESPONSES[behaviour], 'latin1');
    socket.write(JSON_HEAD);
    const timer = setInterval(() => socket.write(`x-header: ${'x'.repeat(1000)}\r\n`), 1);
    socket.on('close', () => clearInterval(timer));
  });
});

const server = ['good', 'closes', 'floods', 'abrupt'].includes(behaviour) ? http : tcp;
server.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
process.on('SIGTERM', () => {
  if (behaviour === 'abrupt') process.exit();
  server.close(() => process.exit());
  setInterval(() => http.closeIdleConnections(), 50);
});
