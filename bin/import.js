'use strict';

/** Imports a command that is not in the bundle. The bundle cannot: a script with code from before has no import. */
module.exports = (file) => import(`../dist/cli/${file}`);
