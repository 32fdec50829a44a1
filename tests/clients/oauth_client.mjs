// One MCP client of the TypeScript SDK that is sent away to log in: registers itself, prints the URL where its user
// consents, reads the callback URL from stdin, then lists the tools and calls one. Prints JSON lines.
//
//     node oauth_client.mjs SDK URL TOOL ARGUMENTS
//
// SDK is "v1" (@modelcontextprotocol/sdk) or "v2" (@modelcontextprotocol/client), ARGUMENTS a JSON object.

import { createInterface } from "node:readline";

const [sdk, url, tool, args] = process.argv.slice(2);
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const modules =
  sdk === "v1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
      }
    : await import("@modelcontextprotocol/client");

const kept = {};
const provider = {
  redirectUrl: "http://127.0.0.1:9/callback",
  clientMetadata: {
    client_name: `penstock-tests-${sdk}`,
    redirect_uris: ["http://127.0.0.1:9/callback"],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  state: () => "a-state",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  redirectToAuthorization: (where) => say({ authorize: where.href }),
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  codeVerifier: () => kept.verifier,
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (state) => void (kept.discovery = state),
};

async function connect() {
  const client = new modules.Client({ name: `penstock-tests-${sdk}`, version: "1.0.0" });
  const transport = new modules.StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (kept.tokens !== undefined) throw error;
    const callback = new URL((await input.next()).value);
    await transport.finishAuth(sdk === "v1" ? callback.searchParams.get("code") : callback.searchParams);
    return connect();
  }
}

const client = await connect();
const { tools } = await client.listTools();
const request = { name: tool, arguments: JSON.parse(args) };
const result = await client.callTool(request);
say({ tools: tools.map((each) => each.name), result, refreshable: kept.tokens.refresh_token !== undefined });
await client.close();
process.exit(0);
