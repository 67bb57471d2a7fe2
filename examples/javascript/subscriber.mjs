// Prints the p99 of every operation in WEIR_LATENCY: of the last 24 hours, then as it happens.
import { decode } from '@msgpack/msgpack'
import { jetstream } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

const connection = await connect({ servers: process.argv[2] ?? 'nats://127.0.0.1:4222' })
const consumer = await jetstream(connection).consumers.get('WEIR_LATENCY', { filter_subjects: ['weir.latency.>'] })

for await (const message of await consumer.consume()) {
  const { workload, points } = decode(message.data)
  for (const p of points) {
    console.log(workload, p.side, p.attrs['http.route'] ?? '', p.count, 'requests, p99 ms:', quantile(p, 0.99) * 1e3)
  }
}

// In seconds. Bucket i of a histogram of scale s covers (b^i, b^(i+1)], b = 2^(2^-s).
function quantile (point, q) {
  const base = 2 ** 2 ** -point.scale
  let rank = q * point.count - point.zero_count
  const i = point.buckets.findIndex((count) => (rank -= count) <= 0)
  return i < 0 ? 0 : 2 * base ** (point.offset + i + 1) / (1 + base) // where the error is least
}
