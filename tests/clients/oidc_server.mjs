// A real OpenID Connect server on a free port of this machine. It prints its issuer and the credentials by which
// tokens are introspected there, as one JSON line, and logs everybody in as the account that a client's request
// names in login_hint: whoever asks is that person, who consents to everything.
//
// FORMAT: "jwt" or "opaque" access tokens. SCOPES: those of every resource, separated by spaces.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

import Provider from "oidc-provider";

const people = {
  anna: { email: "anna@example.com", email_verified: true },
  bert: { email: "bert@example.com", email_verified: true },
  mallory: { email: "anna@example.com", email_verified: false },
};
const { FORMAT = "jwt", SCOPES = "mcp" } = process.env;
const introspector = { client_id: "relay", client_secret: "introspection-secret-of-this-run" };
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = { ...privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "RS256" };

const server = createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  cookies: { keys: ["of this run"] },
  clients: [
    {
      ...introspector,
      redirect_uris: [],
      response_types: [],
      grant_types: [],
      token_endpoint_auth_method: "client_secret_basic",
    },
  ],
  scopes: ["openid", "offline_access", ...SCOPES.split(" ")],
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientId === introspector.client_id },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: SCOPES,
        audience: resource,
        accessTokenFormat: FORMAT,
        accessTokenTTL: 600,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  extraTokenClaims: (_ctx, token) => people[token.accountId] ?? {},
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: { Interaction: 60, Session: 60, Grant: 600 },
  renderError: (ctx, out) => {
    ctx.body = JSON.stringify(out);
  },
});

const callback = provider.callback();

async function handle(request, response) {
  if (!request.url.startsWith("/interaction/")) {
    callback(request, response);
    return;
  }
  const { prompt, params, grantId, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    const login = { accountId: params.login_hint ?? "anna" };
    await provider.interactionFinished(request, response, { login });
    return;
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(" "));
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

console.log(JSON.stringify({ issuer, introspection: `${issuer}/token/introspection`, ...introspector }));
