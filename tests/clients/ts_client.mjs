// One MCP client of the TypeScript SDK: lists tools, calls one with progress, prints what it saw as one JSON object.
//
//     TOKEN=... node ts_client.mjs SDK URL TOOL ARGUMENTS
//
// SDK is "v1" (@modelcontextprotocol/sdk) or "v2" (@modelcontextprotocol/client), ARGUMENTS a JSON object.

const [sdk, url, tool, args] = process.argv.slice(2);
const options = { requestInit: { headers: { Authorization: `Bearer ${process.env.TOKEN}` } } };
const info = { name: `penstock-tests-${sdk}`, version: "1.0.0" };

async function connect() {
  if (sdk === "v1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const client = new Client(info);
    await client.connect(new StreamableHTTPClientTransport(new URL(url), options));
    const call = (request, more) => client.callTool(request, undefined, more);
    return { client, call };
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const client = new Client(info);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), options));
  return { client, call: (request, more) => client.callTool(request, more) };
}

const { client, call } = await connect();
const progress = [];
const { tools } = await client.listTools();
const result = await call(
  { name: tool, arguments: JSON.parse(args) },
  { onprogress: (update) => progress.push(update) },
);
const seen = { server: client.getServerVersion(), tools: tools.map((each) => each.name), progress, result };
await client.close();
process.stdout.write(JSON.stringify(seen) + "\n");
