#!/usr/bin/env node
'use strict';

// An old Node.js must be able to parse this file: nothing newer than ES2015 here.

const { unsupported } = require('./node-version.js');

function run() {
  // With --debug, a stack names the files that the bundle was made of, which Node finds out for what it compiles itself.
  const isDebugging = process.argv.includes('--debug') || Boolean(process.env.ANYSERVE_DEBUG);
  if (isDebugging) process.setSourceMapsEnabled(true);

  const compiled = isDebugging ? undefined : require('./compiled.js');
  const { main } = compiled ? compiled.load('main.cjs') : require('../dist/bundle/main.cjs');

  main(process.argv.slice(2)).then((exitCode) => {
    process.exitCode = exitCode;
    // A command that failed or was interrupted did not call what the next run calls.
    if (exitCode === 0 && compiled) compiled.keepCode();
  });
}

// Before anything else is loaded, because an old Node.js can't even parse it.
const problem = unsupported(process.version);
if (problem) {
  process.stderr.write(`${problem} (${process.execPath})\n`);
  process.exitCode = 1;
} else {
  run();
}
