// restate-load.mjs PORT SHAPE CONC N: calls Restate's ingress and prints a line of JSON
import http from "node:http";
const [port, shape, conc, n] = [+process.argv[2], process.argv[3], +process.argv[4], +process.argv[5]];
const agent = new http.Agent({ keepAlive: true, maxSockets: conc });
const run = (i) => new Promise((ok, no) => {
  const from = performance.now(), body = String(i);
  const req = http.request({ host: "127.0.0.1", port, method: "POST", path: `/bench/${shape}`, agent,
    headers: { "content-type": "application/json", "content-length": body.length } }, (res) => {
    let text = ""; res.on("data", (d) => (text += d)); res.on("end", () => res.statusCode === 200 ? ok(performance.now() - from) : no(new Error(text)));
  });
  req.on("error", no); req.end(body);
});
for (let i = 0; i < 20; i++) await run(i);
console.log("begin");
const took = []; let next = 0; const from = performance.now();
await Promise.all(Array.from({ length: conc }, async () => { while (next < n) took.push(await run(next++)); }));
const s = (performance.now() - from) / 1000;
console.log("end");
took.sort((a, b) => a - b);
console.log(JSON.stringify({ shape, conc, n, wf_s: n / s, p50_ms: took[n >> 1], p99_ms: took[Math.floor(n * 0.99)] }));
process.exit(0);
