const stringWidth = require('string-width/index.js');

/** How many columns of a terminal a text takes: nearly always one a character, which needs no table of Unicode. */
module.exports = (text) => (/^[\x20-\x7e…]*$/.test(text) ? text.length : stringWidth(text));
