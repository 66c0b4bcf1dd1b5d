"use strict";
// Everything that would ask another server is switched off; the page's policy forbids it too.
Scalar.createApiReference("#app", {
  url: new URL("api/v1/openapi.json", document.baseURI).href,
  baseServerURL: new URL(".", document.baseURI).href.replace(/\/$/, ""),
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
