// Measures BullMQ: node bullmq.cjs PORT rate JOBS | latency RATE SECONDS | growth JOBS SIZE...
// One process enqueues in bulk and works, at a concurrency of 100. Prints a line of JSON.
const { Queue, Worker } = require('bullmq')
const [port, what, ...numbers] = process.argv.slice(2)
const [first, ...rest] = numbers.map(Number)
const connection = { host: '127.0.0.1', port: Number(port), maxRetriesPerRequest: null }
const queue = new Queue('bench', { connection })
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

async function work(handler, during) {
  const worker = new Worker('bench', handler, { connection, concurrency: 100 })
  try { return await during() } finally { await worker.close() }
}

let sent = 0
async function fill(count) {
  for (let end = sent + count; sent < end;) {
    const batch = []
    for (; batch.length < 1000 && sent < end; sent++) batch.push({ name: 'empty', data: {}, opts: { jobId: `k-${sent}` } })
    await queue.addBulk(batch)
  }
}

async function rate(count) {
  let done = 0
  const start = performance.now()
  await work(async () => true, async () => {
    const before = await queue.getCompletedCount()
    await fill(count)
    while (done < count) { await pause(5); done = await queue.getCompletedCount() - before }
  })
  const seconds = (performance.now() - start) / 1000
  return { jobs: count, seconds, jobs_per_second: count / seconds }
}

async function latency(perSecond, seconds) {
  const waits = [], all = perSecond * seconds, start = performance.now()
  await work(async job => { waits.push(performance.now() - job.data.sent); return true }, async () => {
    const sending = []
    for (let next = 0; next < all;) {
      const due = Math.min(all, Math.floor((performance.now() - start) * perSecond / 1000))
      for (; next < due; next++) sending.push(queue.add('empty', { sent: performance.now() }, { jobId: `l-${next}` }))
      await pause(1)
    }
    await Promise.all(sending)
    while (waits.length < all) await pause(5)
  })
  waits.sort((a, b) => a - b)
  const at = share => waits[Math.min(waits.length - 1, Math.floor(share * waits.length))]
  return { jobs_per_second: all / seconds, p50_ms: at(.5), p99_ms: at(.99), max_ms: at(1) }
}

async function growth(count, sizes) {
  const redis = await queue.client, grown = []
  const memory = async () => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))[1])
  const empty = await memory()
  let waiting = 0
  for (const size of sizes) {
    const start = performance.now(), more = size - waiting
    await fill(more)
    const enqueued_per_second = more * 1000 / (performance.now() - start)
    waiting = size
    const used = await memory() - empty
    grown.push({ waiting, enqueued_per_second, rate: await rate(count), memory: used })
  }
  return grown
}

async function main() {
  await queue.waitUntilReady()
  const answer = what === 'rate' ? await rate(first)
    : what === 'latency' ? await latency(first, rest[0]) : await growth(first, rest)
  console.log(JSON.stringify(answer))
  await queue.close()
}
main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
