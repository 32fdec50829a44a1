// A server of the handshake era that has everything the official conformance suite asks a server for, over stdio.
//
//     node tests/clients/everything_handshake.mjs

import { setTimeout as sleep } from "node:timers/promises";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListResourcesRequestSchema,
  ListRootsResultSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const WATCHED = "test://watched-resource";
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

const subscribed = new Set();
let level = "debug";

const server = new Server(
  { name: "everything-handshake", version: "1.0.0" },
  {
    capabilities: {
      completions: {},
      logging: {},
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      tools: { listChanged: true },
    },
    instructions: "For tests: everything that a server of the handshake era can have.",
  },
);

const text = (words) => ({ type: "text", text: words });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, words) => ({ type: "resource", resource: { uri, mimeType, text: words } });
const strings = (...names) => ({
  type: "object",
  properties: Object.fromEntries(names.map((name) => [name, { type: "string" }])),
  required: names,
});
const choices = (...pairs) => pairs.map(([value, title]) => ({ const: value, title }));

async function log(words, extra) {
  if (LEVELS.indexOf("info") < LEVELS.indexOf(level)) return;
  const params = { level: "info", logger: "everything", data: words };
  await extra.sendNotification({ method: "notifications/message", params });
}

async function elicit(message, properties, extra, required) {
  const requestedSchema = { type: "object", properties, ...(required && { required }) };
  const request = { method: "elicitation/create", params: { message, requestedSchema } };
  const answer = await extra.sendRequest(request, ElicitResultSchema);
  return `action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`;
}

async function sample(words, extra) {
  const params = { messages: [{ role: "user", content: text(words) }], maxTokens: 100 };
  const answer = await extra.sendRequest({ method: "sampling/createMessage", params }, CreateMessageResultSchema);
  return answer.content.text;
}

const NAME = { name: { type: "string" } };

// What a client of 2026-07-28 sees as a result that asks for more: here it is a question while the call runs.
const ASKING = {
  test_input_required_result_elicitation: [
    "Asks for a name.",
    null,
    async (_given, extra) => `Hello: ${await elicit("What is your name?", NAME, extra, ["name"])}`,
  ],
  test_input_required_result_sampling: [
    "Asks the model.",
    null,
    async (_given, extra) => `The model says: ${await sample("What is the capital of France?", extra)}`,
  ],
  test_input_required_result_list_roots: [
    "Asks for the roots.",
    null,
    async (_given, extra) => {
      const { roots } = await extra.sendRequest({ method: "roots/list" }, ListRootsResultSchema);
      return `Roots: ${roots.map(({ uri }) => uri).join(" ")}`;
    },
  ],
  test_input_required_result_request_state: [
    "Asks, and goes on with the same call.",
    null,
    async (_given, extra) => {
      const confirmed = { ok: { type: "boolean" } };
      return `state-ok: ${await elicit("Please confirm", confirmed, extra, ["ok"])}`;
    },
  ],
  test_input_required_result_tampered_state: [
    "Asks, and goes on with the same call.",
    null,
    async (_given, extra) => {
      const confirmed = { ok: { type: "boolean" } };
      return `state-ok: ${await elicit("Please confirm", confirmed, extra, ["ok"])}`;
    },
  ],
  test_input_required_result_multiple_inputs: [
    "Asks user, model and client at once.",
    null,
    async (_given, extra) => {
      const roots = extra.sendRequest({ method: "roots/list" }, ListRootsResultSchema);
      const user = elicit("What is your name?", NAME, extra, ["name"]);
      const answers = await Promise.all([user, sample("Generate a greeting", extra), roots]);
      return JSON.stringify(answers);
    },
  ],
  test_input_required_result_multi_round: [
    "Asks, and asks again.",
    null,
    async (_given, extra) => {
      const first = await elicit("Step 1: What is your name?", NAME, extra, ["name"]);
      const color = { color: { type: "string" } };
      return `${first} ${await elicit("Step 2: What is your favourite color?", color, extra, ["color"])}`;
    },
  ],
  test_input_required_result_capabilities: [
    "Asks what this client can be asked.",
    null,
    async (_given, extra) => {
      const able = server.getClientCapabilities() ?? {};
      if (able.sampling) return sample("What is the capital of France?", extra);
      if (able.elicitation) return elicit("What is your name?", NAME, extra, ["name"]);
      return "This client can be asked nothing.";
    },
  ],
  test_streaming_elicitation: [
    "Asks the user after some progress.",
    null,
    async (_given, extra) => {
      const progressToken = extra._meta?.progressToken;
      if (progressToken !== undefined) {
        await extra.sendNotification({ method: "notifications/progress", params: { progressToken, progress: 1 } });
      }
      return elicit("What is your name?", NAME, extra, ["name"]);
    },
  ],
  test_logging_tool: [
    "A log message.",
    null,
    async (_given, extra) => {
      await log("Said by the tool", extra);
      return "Logged.";
    },
  ],
};

// Name -> description, schema or nothing, function of the arguments and the request that gives a text or contents.
const TOOLS = {
  test_simple_text: ["A text.", null, () => "This is a simple text response for testing."],
  test_image_content: ["An image.", null, () => [image]],
  test_audio_content: ["A sound.", null, () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }]],
  test_embedded_resource: [
    "A resource inside of a result.",
    null,
    () => [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  ],
  test_multiple_content_types: [
    "A text, an image and a resource.",
    null,
    () => [
      text("Multiple content types test:"),
      image,
      embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
  ],
  test_tool_with_logging: [
    "Three log messages on the way.",
    null,
    async (_given, extra) => {
      for (const words of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
        await log(words, extra);
        await sleep(50);
      }
      return "Logged.";
    },
  ],
  test_tool_with_progress: [
    "Three steps.",
    null,
    async (_given, extra) => {
      const progressToken = extra._meta?.progressToken;
      for (const progress of [0, 50, 100]) {
        if (progressToken !== undefined) {
          const params = { progressToken, progress, total: 100, message: `${progress} of 100` };
          await extra.sendNotification({ method: "notifications/progress", params });
        }
        await sleep(50);
      }
      return "Done.";
    },
  ],
  test_error_handling: [
    "Fails.",
    null,
    () => {
      throw new Error("This tool intentionally returns an error for testing");
    },
  ],
  test_reconnection: [
    "Takes long enough for a stream to be closed and resumed.",
    null,
    async () => {
      await sleep(1000);
      return "Reconnection test completed.";
    },
  ],
  test_sampling: [
    "Has the client's model answer.",
    strings("prompt"),
    async ({ prompt }, extra) => {
      const params = { messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 };
      const request = { method: "sampling/createMessage", params };
      const answer = await extra.sendRequest(request, CreateMessageResultSchema);
      return `LLM response: ${answer.content.text}`;
    },
  ],
  test_elicitation: [
    "Asks the user.",
    strings("message"),
    async ({ message }, extra) => {
      const properties = {
        username: { type: "string", description: "User's response" },
        email: { type: "string", description: "User's email address" },
      };
      return `User response: ${await elicit(message, properties, extra, ["username", "email"])}`;
    },
  ],
  test_elicitation_sep1034_defaults: [
    "Asks the user, and proposes answers.",
    null,
    async (_given, extra) => {
      const properties = {
        name: { type: "string", default: "John Doe" },
        age: { type: "integer", default: 30 },
        score: { type: "number", default: 95.5 },
        status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
        verified: { type: "boolean", default: true },
      };
      return `Elicitation completed: ${await elicit("Please check these values.", properties, extra)}`;
    },
  ],
  test_elicitation_sep1330_enums: [
    "Asks the user to choose, in all the ways of choosing.",
    null,
    async (_given, extra) => {
      const plain = ["option1", "option2", "option3"];
      const titled = choices(["value1", "First"], ["value2", "Second"], ["value3", "Third"]);
      const properties = {
        untitledSingle: { type: "string", enum: plain },
        titledSingle: { type: "string", oneOf: titled },
        legacyEnum: {
          type: "string",
          enum: ["opt1", "opt2", "opt3"],
          enumNames: ["Option One", "Option Two", "Option Three"],
        },
        untitledMulti: { type: "array", items: { type: "string", enum: plain } },
        titledMulti: { type: "array", items: { anyOf: titled } },
      };
      return `Elicitation completed: ${await elicit("Please choose.", properties, extra)}`;
    },
  ],
  json_schema_2020_12_tool: [
    "Has a schema of many keywords.",
    {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      $defs: {
        address: {
          $anchor: "addressDef",
          type: "object",
          properties: { street: { type: "string" }, city: { type: "string" } },
        },
      },
      properties: {
        name: { type: "string" },
        address: { $ref: "#/$defs/address" },
        contactMethod: { type: "string", enum: ["phone", "email"] },
        phone: { type: "string" },
        email: { type: "string" },
      },
      allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
      if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
      then: { required: ["phone"] },
      else: { required: ["email"] },
      additionalProperties: false,
    },
    (given) => `Called with ${Object.keys(given).sort()}`,
  ],
  ...ASKING,
  test_trigger_tool_change: [
    "Says that the list of tools has changed.",
    null,
    async () => {
      await server.sendToolListChanged();
      return "Said so.";
    },
  ],
  test_trigger_prompt_change: [
    "Says that the list of prompts has changed.",
    null,
    async () => {
      await server.sendPromptListChanged();
      return "Said so.";
    },
  ],
  test_trigger_resource_update: [
    `Says that ${WATCHED} has changed, to who subscribed to it.`,
    null,
    async () => {
      if (subscribed.has(WATCHED)) await server.sendResourceUpdated({ uri: WATCHED });
      return "Said so.";
    },
  ],
};

server.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: Object.entries(TOOLS).map(([name, [description, schema]]) => ({
    name,
    description,
    inputSchema: schema ?? { type: "object", properties: {} },
  })),
}));

server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
  const tool = TOOLS[params.name];
  if (!tool) throw new McpError(ErrorCode.InvalidParams, `Unknown tool: ${params.name}`);
  try {
    const answer = await tool[2](params.arguments ?? {}, extra);
    return { content: typeof answer === "string" ? [text(answer)] : answer };
  } catch (error) {
    return { content: [text(error.message)], isError: true };
  }
});

// -- prompts

const PROMPTS = {
  test_simple_prompt: [[], () => [text("This is a simple prompt for testing.")]],
  test_prompt_with_arguments: [
    ["arg1", "arg2"],
    ({ arg1, arg2 }) => [text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  ],
  test_prompt_with_embedded_resource: [
    ["resourceUri"],
    ({ resourceUri }) => [
      embedded(resourceUri, "text/plain", "Embedded resource content for testing."),
      text("Please process the embedded resource above."),
    ],
  ],
  test_prompt_with_image: [[], () => [image, text("Please analyze the image above.")]],
  test_input_required_result_prompt: [
    [],
    async (_given, extra) => {
      const context = { context: { type: "string" } };
      return [text(await elicit("What context should the prompt use?", context, extra, ["context"]))];
    },
  ],
};

server.setRequestHandler(ListPromptsRequestSchema, () => ({
  prompts: Object.entries(PROMPTS).map(([name, [names]]) => ({
    name,
    description: `The prompt ${name}`,
    arguments: names.map((each) => ({ name: each, description: `The argument ${each}`, required: true })),
  })),
}));

server.setRequestHandler(GetPromptRequestSchema, async ({ params }, extra) => {
  const prompt = PROMPTS[params.name];
  if (!prompt) throw new McpError(ErrorCode.InvalidParams, `Unknown prompt: ${params.name}`);
  const contents = await prompt[1](params.arguments ?? {}, extra);
  return { messages: contents.map((content) => ({ role: "user", content })) };
});

server.setRequestHandler(CompleteRequestSchema, ({ params }) => {
  const values = ["paris", "park", "party", "testing"].filter((word) => word.startsWith(params.argument.value));
  return { completion: { values, total: values.length, hasMore: false } };
});

// -- resources

const RESOURCES = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  [WATCHED]: { mimeType: "text/plain", text: "Watched." },
};

server.setRequestHandler(ListResourcesRequestSchema, () => ({
  resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({
    uri,
    name: uri.slice("test://".length),
    description: `The resource ${uri}`,
    mimeType,
  })),
}));

server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({
  resourceTemplates: [
    {
      uriTemplate: "test://template/{id}/data",
      name: "template",
      description: "Data by number.",
      mimeType: "application/json",
    },
  ],
}));

server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  const data = { id, templateTest: true, data: `Data for ID: ${id}` };
  const found = id ? { mimeType: "application/json", text: JSON.stringify(data) } : RESOURCES[uri];
  if (!found) throw new McpError(-32002, "Resource not found", { uri });
  return { contents: [{ uri, ...found }] };
});

server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
  subscribed.add(params.uri);
  return {};
});

server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
  subscribed.delete(params.uri);
  return {};
});

server.setRequestHandler(SetLevelRequestSchema, ({ params }) => {
  level = params.level;
  return {};
});

await server.connect(new StdioServerTransport());
