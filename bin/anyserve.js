#!/usr/bin/env node
'use strict';

// Old versions of Node.js must be able to parse this file: use nothing newer than ES2015.

const { unsupported } = require('./node-version.js');

function run() {
  // Source maps let stack traces name the source files. Node.js applies them only to code that it compiles itself.
  const isDebugging = process.argv.includes('--debug') || Boolean(process.env.ANYSERVE_DEBUG);
  if (isDebugging) process.setSourceMapsEnabled(true);

  const compiled = isDebugging ? undefined : require('./compiled.js');
  const { main } = compiled ? compiled.load('main.cjs') : require('../dist/bundle/main.cjs');

  main(process.argv.slice(2)).then((exitCode) => {
    process.exitCode = exitCode;
    // A command that failed or was interrupted has not compiled what the next run needs.
    if (exitCode === 0 && compiled) compiled.saveCode();
  });
}

// Checked before anything else is loaded, because an old Node.js can't parse the other files.
const problem = unsupported(process.version);
if (problem) {
  process.stderr.write(`${problem} (${process.execPath})\n`);
  process.exitCode = 1;
} else {
  run();
}
