// Worker 1: one capability. Run it with: anyserve worker examples/multiserver/worker1.js

export default (app) => {
  app.capability(
    { type: 'multiply' },
    { inputs: { a: 'INT32', b: 'INT32' }, outputs: { product: 'INT32' } },
    ({ a, b }) => ({ product: a.data.map((value, i) => value * b.data[i]) }),
  );
};
