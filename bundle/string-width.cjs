/** The package, loaded once a text needs it: it makes a segmenter and knows Unicode, which takes milliseconds. */
let stringWidth;

/** Number of terminal columns of a text: nearly always one for each character. */
module.exports = (text) => {
  if (/^[\x20-\x7e…]*$/.test(text)) return text.length;
  stringWidth ??= require('string-width').default;
  return stringWidth(text);
};
