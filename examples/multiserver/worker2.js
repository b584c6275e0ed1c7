// Worker 2: two capabilities. Run it with: anyserve worker examples/multiserver/worker2.js

export default (app) => {
  app
    .capability(
      { type: 'divide' },
      { inputs: { a: 'FP32', b: 'FP32' }, outputs: { quotient: 'FP32' } },
      ({ a, b }) => ({ quotient: a.data.map((value, i) => value / b.data[i]) }),
    )
    .capability(
      { type: 'power' },
      { inputs: { base: 'FP32', exp: 'INT32' }, outputs: { result: 'FP32' } },
      ({ base, exp }) => ({ result: base.data.map((value, i) => value ** exp.data[i]) }),
    );
};
