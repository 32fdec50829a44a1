// Preloaded into Node programs (NODE_OPTIONS=--require): leads the host names in INTERNET_PORTS, a JSON object of
// ports, to ports of this machine. All else about a connection stays, the name in its TLS handshake too.

const net = require("node:net");

const ports = JSON.parse(process.env.INTERNET_PORTS);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
  const normalized = Array.isArray(args[0]);
  const options = normalized ? args[0][0] : args[0];
  const port = typeof options === "object" && options !== null ? ports[options.host] : undefined;
  if (port !== undefined) {
    const led = { ...options, host: "127.0.0.1", port };
    if (normalized) args[0][0] = led;
    else args[0] = led;
  }
  return connect.apply(this, args);
};
