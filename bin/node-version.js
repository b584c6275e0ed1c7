'use strict';

// Old versions of Node.js must be able to parse this file and bin/anyserve.js: nothing newer than ES2015 here.

/** Returns the message for a version of Node.js that is too old; undefined when it is new enough. */
function unsupported(version) {
  const parts = version.replace(/^v/, '').split('.');
  const major = Number(parts[0]);
  const minor = Number(parts[1]);
  const isSupported = major >= 23 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
  if (isSupported) return undefined;
  // The same features came to 20 and 22 as updates; 21 never got them.
  const needed = major > 20 ? '22.12 or newer, or 20.19 or a later 20' : '20.19 or newer';
  return `anyserve needs Node.js ${needed}; this is ${version}`;
}

module.exports = { unsupported };
