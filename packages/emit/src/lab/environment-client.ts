import { request as httpRequest } from "node:http"
import { EvidenceError, isJsonObject, type Json, parseStrictJson } from "@envidence/core"
import WebSocket from "ws"
import { redactLine } from "./log.js"
import { EnvironmentProblem, type ProblemCode } from "./problem.js"
import { throwIfInterrupted } from "./process.js"

/** Where an environment is reached and what its answers may cost. Seconds and bytes. */
export interface EnvironmentAddress {
  readonly socketPath: string
  /** The port behind the socket: part of the Host header that the environment sees. */
  readonly port: number
  readonly limits?: Partial<ClientLimits>
  /** Aborting it ends every connection; what was waiting throws EvidenceError interrupted. */
  readonly signal?: AbortSignal
}

export interface ClientLimits {
  readonly connectSeconds: number
  readonly messageSeconds: number
  readonly messageBytes: number
}

// The stock client's times, and the message cap of the upstream collector.
const DEFAULTS: ClientLimits = { connectSeconds: 10, messageSeconds: 60, messageBytes: 1_048_576 }

// What the stock client sends: a server that knows a validator by its headers would behave for it alone.
const USER_AGENT = "Python/3.11 websockets/15.0.1"

export interface ObservationMessage {
  readonly type: "observation"
  readonly data: {
    readonly observation: { readonly [key: string]: Json }
    readonly reward: number | null
    readonly done: boolean
  }
}

/** A message of the server, and the frame that asked for it. */
export interface Exchange<Message extends Json = Json> {
  readonly send: Json
  readonly receive: Message
}

export interface ResetRequest {
  readonly seed: number
  readonly episodeId: string
}

/** One OpenEnv session: a WebSocket on /ws, strictly one request in flight. Methods throw EnvironmentProblem. */
export class EnvironmentSession {
  readonly #socket: WebSocket
  readonly #limits: ClientLimits
  readonly #inbox: Inbox
  readonly #signal: AbortSignal | undefined

  private constructor(socket: WebSocket, inbox: Inbox, limits: ClientLimits, signal: AbortSignal | undefined) {
    this.#socket = socket
    this.#inbox = inbox
    this.#limits = limits
    this.#signal = signal
  }

  /** Connects. The server accepts every connection: whether there is a session shows in the answer to its first reset. */
  static async open(address: EnvironmentAddress): Promise<EnvironmentSession> {
    const limits = { ...DEFAULTS, ...address.limits }
    const socket = new WebSocket(`ws+unix:${address.socketPath}:/ws`, {
      handshakeTimeout: limits.connectSeconds * 1000,
      maxPayload: limits.messageBytes,
      headers: { Host: `localhost:${address.port}`, "User-Agent": USER_AGENT },
    })
    // Listening begins before the connection: a refusal is a frame that nobody asked for.
    const inbox = new Inbox(socket)
    cutOnAbort(socket, address.signal)
    await connected(socket, limits).catch(error => {
      throwIfInterrupted(address.signal)
      throw error
    })
    return new EnvironmentSession(socket, inbox, limits, address.signal)
  }

  /** The reward of a reset may be null. */
  async reset({ seed, episodeId }: ResetRequest): Promise<Exchange<ObservationMessage & Json>> {
    return this.#observe({ type: "reset", data: { seed, episode_id: episodeId } })
  }

  async step(action: { readonly [key: string]: Json }): Promise<Exchange<ObservationMessage & Json>> {
    const exchange = await this.#observe({ type: "step", data: action })
    if (exchange.receive.data.reward === null) throw nullReward()
    return exchange
  }

  async state(): Promise<Exchange> {
    const exchange = await this.#ask({ type: "state" })
    const { receive } = exchange
    if (!isJsonObject(receive) || receive.type !== "state" || !isJsonObject(receive.data))
      throw new EnvironmentProblem("protocol-error", `the answer to "state" is not a state: ${excerpt(receive)}`)
    return exchange
  }

  /** Ends the session as the stock client does; the server frees its place within a moment. Never throws. */
  async close(): Promise<void> {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send('{"type":"close"}')
    this.#socket.close()
    if (!(await this.#inbox.closedWithin(2000))) this.#socket.terminate()
  }

  async #observe(send: Json): Promise<Exchange<ObservationMessage & Json>> {
    const { receive } = await this.#ask(send)
    if (!isObservation(receive))
      throw new EnvironmentProblem("protocol-error", `the answer is not an observation: ${excerpt(receive)}`)
    return { send, receive }
  }

  async #ask(send: Json): Promise<Exchange> {
    throwIfInterrupted(this.#signal)
    const unasked = this.#inbox.take()
    if (unasked !== undefined) throw unaskedProblem(unasked)
    if (this.#socket.readyState !== WebSocket.OPEN) throw this.#inbox.closedProblem()
    this.#socket.send(JSON.stringify(send))
    const receive = parseMessage(await this.#next())
    if (isJsonObject(receive) && receive.type === "error") throw errorProblem(receive)
    return { send, receive }
  }

  async #next(): Promise<Buffer> {
    try {
      return await this.#inbox.next(this.#limits.messageSeconds)
    } catch (error) {
      throwIfInterrupted(this.#signal)
      throw error
    }
  }
}

function cutOnAbort(socket: WebSocket, signal: AbortSignal | undefined): void {
  const cut = () => socket.terminate()
  signal?.addEventListener("abort", cut, { once: true })
  socket.once("close", () => signal?.removeEventListener("abort", cut))
}

function isObservation(message: Json): message is ObservationMessage & Json {
  if (!isJsonObject(message) || message.type !== "observation" || !isJsonObject(message.data)) return false
  const { observation, reward, done } = message.data
  return isJsonObject(observation) && (reward === null || typeof reward === "number") && typeof done === "boolean"
}

const nullReward = () =>
  new EnvironmentProblem(
    "null-reward",
    "the reward of a step is null: either the environment gave none, or it gave NaN or an infinity, which the server sends as null",
  )

const excerpt = (value: Json) => redactLine(JSON.stringify(value)).slice(0, 200)

function parseMessage(bytes: Buffer): Json {
  try {
    return parseStrictJson(bytes, "a message of the server") as Json
  } catch (error) {
    if (error instanceof EvidenceError) throw new EnvironmentProblem("invalid-json", error.message)
    throw error
  }
}

const ERROR_CODES: Readonly<Record<string, ProblemCode>> = {
  CAPACITY_REACHED: "capacity-reached",
  FACTORY_ERROR: "factory-error",
  SESSION_ERROR: "session-error",
  EXECUTION_ERROR: "execution-error",
  VALIDATION_ERROR: "validation-error",
}

function errorProblem(message: { readonly [key: string]: Json }): EnvironmentProblem {
  const data = isJsonObject(message.data) ? message.data : {}
  const code = typeof data.code === "string" ? data.code : ""
  const known = Object.hasOwn(ERROR_CODES, code) ? ERROR_CODES[code] : undefined
  return new EnvironmentProblem(known ?? "protocol-error", `the server answered ${excerpt(message)}`)
}

function unaskedProblem(bytes: Buffer): EnvironmentProblem {
  const message = parseMessage(bytes)
  if (isJsonObject(message) && message.type === "error") return errorProblem(message)
  return new EnvironmentProblem("unasked-frame", `the server sent a frame that nothing asked for: ${excerpt(message)}`)
}

function connected(socket: WebSocket, { connectSeconds }: ClientLimits): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = new EnvironmentProblem("timeout", `no WebSocket within ${connectSeconds} s`)
    const timer = setTimeout(() => fail(late), connectSeconds * 1000)
    const fail = (problem: EnvironmentProblem) => {
      clearTimeout(timer)
      socket.terminate()
      reject(problem)
    }
    socket.once("open", () => {
      clearTimeout(timer)
      resolve()
    })
    socket.once("unexpected-response", (_, { statusCode }) => fail(refusedUpgrade(statusCode)))
    socket.once("error", error => fail(new EnvironmentProblem("connection-closed", `no connection: ${error.message}`)))
  })
}

function refusedUpgrade(status = 0): EnvironmentProblem {
  const because = `not an OpenEnv WebSocket server: /ws answers HTTP ${status}`
  // 5xx is what a server says that is still starting.
  return new EnvironmentProblem(status >= 500 ? "connection-closed" : "no-websocket", because)
}

// The server answers one frame a request: one that floods is cut off.
const UNASKED_FRAMES = 16

/** Frames in the order of arrival, and how the connection ended. */
class Inbox {
  readonly #frames: Buffer[] = []
  #wake: (() => void) | undefined
  #closed: { readonly code: number; readonly reason: string } | undefined
  #tooLarge = false

  constructor(socket: WebSocket) {
    socket.on("message", data => {
      if (this.#frames.length >= UNASKED_FRAMES) socket.terminate()
      else this.#frames.push(bytesOf(data))
      this.#wake?.()
    })
    // A close event always follows; without a listener the error would end the process.
    socket.on("error", error => {
      if ((error as NodeJS.ErrnoException).code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") this.#tooLarge = true
    })
    socket.on("close", (code, reason) => {
      this.#closed = { code, reason: reason.toString() }
      this.#wake?.()
    })
  }

  take(): Buffer | undefined {
    return this.#frames.shift()
  }

  async next(seconds: number): Promise<Buffer> {
    await this.#until(() => this.#frames.length > 0 || this.#closed !== undefined, seconds * 1000)
    const frame = this.take()
    if (frame !== undefined) return frame
    if (this.#closed === undefined) throw new EnvironmentProblem("timeout", `no answer within ${seconds} s`)
    throw this.closedProblem()
  }

  async closedWithin(milliseconds: number): Promise<boolean> {
    await this.#until(() => this.#closed !== undefined, milliseconds)
    return this.#closed !== undefined
  }

  closedProblem(): EnvironmentProblem {
    if (this.#tooLarge) return new EnvironmentProblem("message-too-large", "a message is larger than it may be")
    const { code = 1006, reason = "" } = this.#closed ?? {}
    const why = reason === "" ? "" : `: ${redactLine(reason)}`
    return new EnvironmentProblem("connection-closed", `the server closed the connection with code ${code}${why}`)
  }

  #until(condition: () => boolean, milliseconds: number): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise(resolve => {
      const finish = () => {
        clearTimeout(timer)
        this.#wake = undefined
        resolve()
      }
      const timer = setTimeout(finish, milliseconds)
      this.#wake = () => condition() && finish()
    })
  }
}

const bytesOf = (data: WebSocket.RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data)

const DOCUMENT_BYTES = 1_048_576

/** `GET /schema`, parsed. @throws EnvironmentProblem no-schema */
export async function fetchSchema(address: EnvironmentAddress): Promise<{ readonly [key: string]: Json }> {
  const { status, body } = await get(address, "/schema")
  if (status !== 200) throw new EnvironmentProblem("no-schema", `/schema answers HTTP ${status}`)
  const schema = parseDocument(body)
  if (!isJsonObject(schema)) throw new EnvironmentProblem("no-schema", "/schema is not a JSON object")
  return schema
}

function parseDocument(body: Buffer): Json {
  try {
    return parseStrictJson(body, "/schema") as Json
  } catch (error) {
    if (error instanceof EvidenceError) throw new EnvironmentProblem("no-schema", error.message)
    throw error
  }
}

function get(address: EnvironmentAddress, path: string): Promise<{ status: number; body: Buffer }> {
  const { socketPath, port, limits, signal } = address
  const seconds = limits?.connectSeconds ?? DEFAULTS.connectSeconds
  const headers = { Host: `localhost:${port}`, Accept: "*/*" }
  return new Promise((resolve, reject) => {
    const fail = (because: string) => {
      clearTimeout(timer)
      request.destroy()
      reject(
        signal?.aborted
          ? new EvidenceError("interrupted", "interrupted")
          : new EnvironmentProblem("no-schema", `${path}: ${because}`),
      )
    }
    const options = { socketPath, path, headers, agent: false, ...(signal ? { signal } : {}) }
    const request = httpRequest(options, response => {
      const chunks: Buffer[] = []
      let size = 0
      response.on("data", (chunk: Buffer) => {
        size += chunk.length
        if (size > DOCUMENT_BYTES) fail(`more than ${DOCUMENT_BYTES} bytes`)
        else chunks.push(chunk)
      })
      response.on("error", error => fail(error.message))
      response.on("end", () => {
        clearTimeout(timer)
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) })
      })
    })
    const timer = setTimeout(() => fail(`no answer within ${seconds} s`), seconds * 1000)
    request.on("error", error => fail(error.message))
    request.end()
  })
}
