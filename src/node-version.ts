import { unsupported } from '../bin/node-version.js';

// The library imports this first, so that a Node.js that is too old is named before anything else fails in it.
const problem = unsupported(process.version);
if (problem !== undefined) throw new Error(problem);
