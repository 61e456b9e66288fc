const { Worker, isMainThread, parentPort } = require('worker_threads');
const { execFileSync } = require('child_process');
const fs = require('fs');
const http = require('http');

if (!isMainThread) {
  parentPort.postMessage(42);
} else {
  new Worker(__filename).on('message', (n) => {
    const echo = execFileSync('echo', ['hi']).toString().trim();
    const server = http.createServer((_, response) => response.end('ok'));
    server.listen(0, '127.0.0.1', () => {
      http.get({ port: server.address().port, host: '127.0.0.1' }, (response) => {
        response.on('data', async (data) => {
          await fs.promises.readFile(__filename);
          console.log('hello from node', n, echo, data.toString());
          server.close();
        });
      });
    });
  });
}
