/** The string-width package. It is loaded on demand, because it creates a segmenter and Unicode tables, which takes milliseconds. */
let stringWidth;

/** Returns the number of terminal columns of a text. ASCII needs one per character. */
module.exports = (text) => {
  if (/^[\x20-\x7e…]*$/.test(text)) return text.length;
  stringWidth ??= require('string-width').default;
  return stringWidth(text);
};
