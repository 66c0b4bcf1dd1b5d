"use strict";
// Everything that would ask another server is switched off; the page's policy forbids it too.
const base = new URL(".", document.baseURI).href.replace(/\/$/, "");
Scalar.createApiReference("#app", {
  url: `${base}/api/v1/openapi.json`,
  servers: [{ url: base }],
  orderSchemaPropertiesBy: "preserve",
  agent: { disabled: true },
  defaultHttpClient: { targetKey: "shell", clientKey: "curl" },
  documentDownloadType: "json",
  hideClientButton: true,
  mcp: { disabled: true },
  persistAuth: false,
  showDeveloperTools: "never",
  telemetry: false,
  withDefaultFonts: false,
});
