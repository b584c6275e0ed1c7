'use strict';

/** Imports a command that is not in the bundle, by its path in dist. The bundle itself can't, because a script with cached code has no `import`. */
module.exports = (file) => import(`../dist/${file}`);
