#!/usr/bin/env node
'use strict';

// With --debug, a stack names the files that the bundle was made of, which Node finds out for what it compiles itself.
const isDebugging = process.argv.includes('--debug') || Boolean(process.env.ANYSERVE_DEBUG);
if (isDebugging) process.setSourceMapsEnabled(true);

const { main } = isDebugging ? require('../dist/bundle/main.cjs') : require('./compiled.js').load('main.cjs');

main(process.argv.slice(2)).then((exitCode) => {
  process.exitCode = exitCode;
});
