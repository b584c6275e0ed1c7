import { unsupported } from '../bin/node-version.js';

// The library imports this module first, so that an outdated Node.js is reported before anything else fails.
const problem = unsupported(process.version);
if (problem !== undefined) throw new Error(problem);
