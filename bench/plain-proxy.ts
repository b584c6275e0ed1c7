/** The simplest proxy of Node.js: pipes requests to one engine, and responses back. Arguments: the URL of the engine, a port. */
import { Agent, createServer, request as send } from 'node:http';

const [engine = '', port] = process.argv.slice(2);
const { hostname, port: enginePort } = new URL(engine);
const agent = new Agent({ keepAlive: true });

createServer((request, response) => {
  const { method, url: path, headers } = request;
  const upstream = send({ hostname, port: enginePort, method, path, headers, agent }, (incoming) => {
    response.writeHead(incoming.statusCode ?? 502, incoming.headers);
    incoming.pipe(response);
  });
  upstream.on('error', () => response.destroy());
  response.on('close', () => upstream.destroy());
  request.pipe(upstream);
}).listen(Number(port), '127.0.0.1');
