// Empty services for Restate: `run` keeps steps in the handler, `call` makes each step an invocation of its own.
import * as restate from "@restatedev/restate-sdk";
const noop = restate.service({ name: "noop", handlers: { step: async (ctx, x) => x + 1 } });
const bench = restate.service({
  name: "bench",
  handlers: {
    seq: async (ctx, x) => { for (let i = 0; i < 3; i++) { const v = x; x = await ctx.run(() => v + 1); } return x; },
    diamond: async (ctx, x) => {
      const a = await ctx.run(() => x + 1);
      const [b, c] = await restate.RestatePromise.all([ctx.run(() => a + 1), ctx.run(() => a + 1)]);
      return await ctx.run(() => b + c);
    },
    seqcall: async (ctx, x) => { for (let i = 0; i < 3; i++) x = await ctx.serviceClient(noop).step(x); return x; },
    diamondcall: async (ctx, x) => {
      const s = ctx.serviceClient(noop);
      const a = await s.step(x);
      const [b, c] = await restate.RestatePromise.all([s.step(a), s.step(a)]);
      return await s.step(b + c);
    },
  },
});
restate.serve({ services: [bench, noop], port: +process.argv[2] });
