const net = require('node:net');

/** Node's, but for a question that it asks an expression which takes longer to be made than a call of a model to be sent. */
module.exports = { ...net, isIPv6: (text) => text.includes(':') && net.isIPv6(text) };
