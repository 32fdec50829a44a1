// A company's identity provider: a real OpenID provider on a free port of this machine, with logins, refresh
// tokens, groups and back-channel logout. It prints its issuer as one JSON line, and is made once the test has
// said (POST /test/relay) where the relay is. Whoever comes to its login page is the person of ?login_as of the
// last POST /test/who, who consents to everything.

import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

import Provider from "oidc-provider";

const people = {
  anna: { name: "Anna Berg", email: "anna@example.com", email_verified: true, groups: ["staff", "ops"] },
  bert: { name: "Bert", email: "bert@example.com", email_verified: true, groups: ["guests"] },
};
let who = "anna";
let provider;
let callback;

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = { ...privateKey.export({ format: "jwk" }), kid: "one", use: "sig", alg: "RS256" };

const server = createServer((request, response) => handle(request, response));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

function make({ relay, secret }) {
  provider = new Provider(issuer, {
    jwks: { keys: [key] },
    cookies: { keys: ["of this run"] },
    clients: [
      {
        client_id: "penstock",
        client_secret: secret,
        redirect_uris: [`${relay}/oauth/upstream/callback`],
        backchannel_logout_uri: `${relay}/oauth/upstream/logout`,
        backchannel_logout_session_required: true,
        grant_types: ["authorization_code", "refresh_token"],
        token_endpoint_auth_method: "client_secret_basic",
        application_type: "native",
      },
    ],
    scopes: ["openid", "offline_access"],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
    // Its own refuses addresses of this machine, where the relay is.
    fetch: (url, options) => fetch(url, { ...options, dispatcher: undefined }),
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false }, backchannelLogout: { enabled: true } },
    findAccount: (_ctx, id) =>
      people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: { Interaction: 60, Session: 600, Grant: 600, AccessToken: 60, IdToken: 60, RefreshToken: 600 },
    renderError: (ctx, out) => {
      ctx.body = JSON.stringify(out);
    },
  });
  callback = provider.callback();
}

async function body(request) {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text || "{}");
}

async function handle(request, response) {
  if (request.url.startsWith("/test/")) {
    const said = await body(request);
    if (request.url === "/test/relay") make(said);
    if (request.url === "/test/who") who = said.who;
    if (request.url === "/test/people") Object.assign(people, said);
    if (request.url === "/test/fire") delete people[said.who];
    response.end("{}");
    return;
  }
  if (!request.url.startsWith("/interaction/")) {
    callback(request, response);
    return;
  }
  const { prompt, params, grantId, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    await provider.interactionFinished(request, response, { login: { accountId: who } });
    return;
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(" "));
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  const consent = { grantId: await grant.save() };
  await provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

console.log(JSON.stringify({ issuer }));
