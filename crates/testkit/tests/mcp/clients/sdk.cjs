// A client of MCP's TypeScript SDKs: lists, calls, and tells of changes, a line of JSON each.
//
// usage: sdk.cjs MODULES 1|2 http|sse|stdio TARGET MODE TOOL ARGUMENTS [listen]
// A target is a URL, or a command as a JSON array of strings.

const { createRequire } = require('node:module');

const [modules, sdk, transport, target, mode, tool, args, then] = process.argv.slice(2);
const load = createRequire(`${modules}/x.cjs`);
const tell = (what) => console.log(JSON.stringify(what));

const kinds = sdk === '1'
  ? { ...load('@modelcontextprotocol/sdk/client/index.js'), ...load('@modelcontextprotocol/sdk/client/sse.js'),
      ...load('@modelcontextprotocol/sdk/client/stdio.js'), ...load('@modelcontextprotocol/sdk/client/streamableHttp.js') }
  : { ...load('@modelcontextprotocol/client'), ...load('@modelcontextprotocol/client/stdio') };

function connection() {
  if (transport === 'stdio') {
    const [command, ...rest] = JSON.parse(target);
    return new kinds.StdioClientTransport({ command, args: rest, env: process.env });
  }
  const kind = transport === 'sse' ? kinds.SSEClientTransport : kinds.StreamableHTTPClientTransport;
  return new kind(new URL(target));
}

async function names(client) {
  const found = [];
  let cursor;
  do {
    const page = await client.listTools(cursor ? { cursor } : undefined, { cacheMode: 'reload' });
    found.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor);
  return found.sort();
}

async function main() {
  const onChanged = async (error) => {
    if (error) throw error;
    tell({ changed: await names(client) });
  };
  const listChanged = then === 'listen' ? { tools: { autoRefresh: false, debounceMs: 0, onChanged } } : undefined;
  const options = { capabilities: {}, listChanged, versionNegotiation: sdk === '2' ? { mode } : undefined };
  const client = new kinds.Client({ name: 'test', version: '1' }, options);
  await client.connect(connection());
  const version = client.getNegotiatedProtocolVersion?.() ?? client.transport?._protocolVersion ?? null;
  tell({ version, tools: await names(client) });
  const result = await client.callTool({ name: tool, arguments: JSON.parse(args) });
  tell({ called: result.content[0].text, structured: result.structuredContent ?? null, failed: result.isError ?? false });
  if (then === 'listen') {
    tell({ listening: true });
    return;
  }
  await client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
