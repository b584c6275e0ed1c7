'use strict';

// Old versions of Node.js must be able to parse this file and bin/anyserve.js: use nothing newer than ES2015.

/** Returns an error message for an unsupported version of Node.js. Undefined for a supported version. */
function unsupported(version) {
  const parts = version.replace(/^v/, '').split('.');
  const major = Number(parts[0]);
  const minor = Number(parts[1]);
  const isSupported = major >= 23 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19);
  if (isSupported) return undefined;
  // The required features were backported to 20 and 22, but not to 21.
  const required = major > 20 ? '22.12 or newer, or 20.19 or a later 20' : '20.19 or newer';
  return `anyserve needs Node.js ${required}; this is ${version}`;
}

module.exports = { unsupported };
