import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type Express } from 'express';
import { afterEach, expect, it } from 'vitest';
import { createHttpClasses } from '../../src/server/express-classes.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function startServer(app: Express, listener = createServer(app)): Promise<string> {
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => listener.close(resolve)));
  return `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
}

it('creates requests and responses with the prototypes that express would set', async () => {
  const app = express();
  const classes = createHttpClasses(app, () => 'registry');
  const seen: boolean[] = [];
  const url = await startServer(
    app,
    createServer(classes, (request, response) => {
      seen.push(Object.getPrototypeOf(request) === app.request, Object.getPrototypeOf(response) === app.response);
      app(request, response);
    }),
  );
  app.use((request, response) => {
    seen.push(Object.getPrototypeOf(request) === app.request, Object.getPrototypeOf(response) === app.response);
    response.end();
  });
  await fetch(url);
  expect(seen).toEqual([true, true, true, true]);
});

it('adds a header to the responses of an app, and leaves them otherwise unchanged', async () => {
  const createAppLike = (): Express => {
    const app = express();
    app.use(express.json());
    app.get('/json', (request, response) =>
      response.json({ ip: request.ip, host: request.hostname, q: request.query }),
    );
    app.get('/redirect', (_request, response) => response.redirect('/json'));
    app.get('/cookie', (_request, response) => response.cookie('a', 'b').status(201).type('text').send('set'));
    app.get('/app', (request, response) => response.send(String(request.app === app && response.app === app)));
    app.get('/throws', () => {
      throw Object.assign(new Error('no'), { status: 418, expose: true });
    });
    app.post('/echo', (request, response) => response.send(request.get('x-a') + JSON.stringify(request.body)));
    app.set('env', 'test');
    return app;
  };
  const quick = createAppLike();
  const [ordinary, other] = [
    await startServer(createAppLike()),
    await startServer(
      quick,
      createServer(
        createHttpClasses(quick, () => 'registry'),
        quick,
      ),
    ),
  ];
  const fetchResponse = async (url: string, path: string, init?: RequestInit) => {
    const response = await fetch(`${url}${path}`, { redirect: 'manual', ...init });
    const headers = [...response.headers].filter(([name]) => name !== 'date' && name !== 'x-anyserve-registry');
    return [response.status, headers, (await response.text()).replaceAll(url.slice(7), 'host')];
  };
  const post = { method: 'POST', body: '{"b":[1]}', headers: { 'content-type': 'application/json', 'x-a': 'yes' } };
  for (const [path, init] of [
    ['/json?x=1&x=2'],
    ['/redirect'],
    ['/cookie'],
    ['/app'],
    ['/throws'],
    ['/nowhere'],
    ['/json', { method: 'HEAD' }],
    ['/json', { method: 'OPTIONS' }],
    ['/echo', post],
  ] as const) {
    expect((await fetch(`${other}${path}`, { redirect: 'manual', ...init })).headers.get('x-anyserve-registry')).toBe(
      'registry',
    );
    expect(await fetchResponse(other, path, init)).toEqual(await fetchResponse(ordinary, path, init));
  }
});
