// One MCP client of the TypeScript SDK over HTTP+SSE: lists tools, calls one with progress, cancels one, answers what
// the server asks, and prints what it saw as one JSON object.
//
//     TOKEN=... node ts_sse.mjs SDK URL
//
// SDK is "v1" (@modelcontextprotocol/sdk) or "v2" (@modelcontextprotocol/client); URL that of server-everything.

const [sdk, url] = process.argv.slice(2);
const modules =
  sdk === "v1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/sse.js")),
        ...(await import("@modelcontextprotocol/sdk/types.js")),
      }
    : await import("@modelcontextprotocol/client");

const client = new modules.Client(
  { name: `penstock-tests-${sdk}`, version: "1.0.0" },
  { capabilities: { elicitation: {}, sampling: {} } },
);
const answers = {
  "elicitation/create": () => ({ action: "accept", content: { name: "Penstock" } }),
  "sampling/createMessage": () => ({ model: "m", role: "assistant", content: { type: "text", text: "a sample" } }),
};
if (sdk === "v1") {
  client.setRequestHandler(modules.ElicitRequestSchema, answers["elicitation/create"]);
  client.setRequestHandler(modules.CreateMessageRequestSchema, answers["sampling/createMessage"]);
} else {
  for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(method, answer);
}
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
await client.connect(new modules.SSEClientTransport(new URL(url), { requestInit: { headers } }));

const call = (name, args, more) =>
  sdk === "v1"
    ? client.callTool({ name, arguments: args }, undefined, more)
    : client.callTool({ name, arguments: args }, more);

const progress = [];
const { tools } = await client.listTools();
const echo = await call("echo", { message: "water" });
const long = { duration: 0.2, steps: 4 };
await call("trigger-long-running-operation", long, { onprogress: (update) => progress.push(update.progress) });
const abort = new AbortController();
const cancelled = call("trigger-long-running-operation", { duration: 60, steps: 600 }, {
  onprogress: () => abort.abort("enough"),
  signal: abort.signal,
}).then(
  () => "answered",
  () => "cancelled",
);
const seen = {
  server: client.getServerVersion(),
  tools: tools.map((each) => each.name),
  echo,
  progress,
  cancelled: await cancelled,
  elicited: await call("trigger-elicitation-request", {}),
  sampled: await call("trigger-sampling-request", { prompt: "p", maxTokens: 10 }),
};
await client.close();
process.stdout.write(JSON.stringify(seen) + "\n");
