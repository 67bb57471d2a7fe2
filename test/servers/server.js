// The test server on node:http. See doc.go for the paths.
const http = require('node:http')
const port = Number(process.argv[2])

function handle (req, res) {
  const [, what, arg] = req.url.match(/^\/[^/]+\/(\w+)(?:\/(\d+))?$/) ?? []
  const n = Number(arg)
  switch (what) {
    case 'bytes': {
      const body = Buffer.alloc(n, 'w')
      res.setHeader('Content-Length', n)
      return res.end(body)
    }
    case 'chunked':
      for (let left = n; left > 0; left -= 65536) res.write(Buffer.alloc(Math.min(left, 65536), 'w'))
      return res.end()
    case 'status':
      res.statusCode = n
      return res.end()
    case 'sleep':
      return setTimeout(() => res.end('slept'), n)
    case 'upload': {
      let size = 0
      req.on('data', (b) => { size += b.length })
      return req.on('end', () => res.end(String(size)))
    }
    default:
      res.statusCode = 404
      return res.end()
  }
}

for (const host of ['127.0.0.1', '::1']) {
  const server = http.createServer({ keepAliveTimeout: 120000, requestTimeout: 0 }, handle)
  server.maxRequestsPerSocket = 0
  server.on('upgrade', (req, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  server.listen({ host, port, backlog: 4096 })
}
