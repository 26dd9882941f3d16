import { mkdtempSync, rmSync } from "node:fs"
import { createServer, type RequestListener } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type WebSocket, WebSocketServer } from "ws"

export type Answer = (text: string, socket: WebSocket) => void

export interface FakeEnvironment {
  readonly socketPath: string
  readonly port: number
  /** Headers of the last upgrade. */
  headers(): Readonly<Record<string, unknown>>
  close(): Promise<void>
}

export interface FakeOptions {
  /** Called once for each connection; what it returns answers that connection's frames. */
  readonly connect?: (socket: WebSocket) => Answer
  readonly request?: RequestListener
  /** False: /ws is no WebSocket. */
  readonly websocket?: boolean
}

export const observation = (fields: object, reward: unknown = null, done = false) =>
  JSON.stringify({ type: "observation", data: { observation: fields, reward, done } })

export const failure = (code: string, more: object = {}) =>
  JSON.stringify({ type: "error", data: { message: `because ${code}`, code, ...more } })

/** A server on a unix socket that says whatever a test wants. */
export async function fakeEnvironment(options: FakeOptions): Promise<FakeEnvironment> {
  const folder = mkdtempSync(join(tmpdir(), "fake-"))
  const socketPath = join(folder, "s.sock")
  const server = createServer(options.request ?? ((_, response) => response.writeHead(404).end()))
  let headers: Readonly<Record<string, unknown>> = {}
  if (options.websocket !== false) {
    const sockets = new WebSocketServer({ server, path: "/ws" })
    sockets.on("connection", (socket, request) => {
      headers = request.headers
      const answer = options.connect?.(socket) ?? (() => {})
      socket.on("message", data => answer(data.toString(), socket))
      socket.on("error", () => {})
    })
  }
  await new Promise<void>(resolve => server.listen(socketPath, resolve))
  return {
    socketPath,
    port: 8000,
    headers: () => headers,
    close: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
